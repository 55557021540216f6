"""The command line: `vae-anomaly`."""

from __future__ import annotations

from collections.abc import Sequence

EXIT_INTERRUPTED = 130
"""128 and the number of the signal, as shells count it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Of the command line; those of the process where not given, and only then
            logging and warnings of the process are set.

    Returns:
        The exit code: 0 done, 1 refused or failed, 2 wrong usage, 130 interrupted.
    """
    try:
        from vae_anomaly.cli.app import run
    except KeyboardInterrupt:  # pressed while modules load, which takes a moment
        return EXIT_INTERRUPTED
    return run(arguments)
