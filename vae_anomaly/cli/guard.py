"""Running one command: failures become exit codes and messages, other libraries keep quiet."""

from __future__ import annotations

import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable

from cyclopts import CycloptsError

from vae_anomaly.cli import EXIT_INTERRUPTED
from vae_anomaly.cli.output import clean_text
from vae_anomaly.errors import VaeAnomalyError
from vae_anomaly.operations.monitoring.logs import JSON, find_format, make_formatter

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
DEBUG_OPTION = "--debug"
DEBUG_VARIABLE = "VAE_ANOMALY_DEBUG"

QUIET_ENVIRONMENT = {
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}
"""Read at the first import of MLflow, so it must be set before that."""


def run_guarded(command: Callable[[], int | None], *, debug: bool) -> int:
    """Run a command and turn whatever happens into an exit code.

    Args:
        command: Returns an exit code, or None where it is done.
        debug: Show the traceback of a failure.

    Returns:
        0 done, 1 refused or failed, 2 wrong usage, 130 interrupted.
    """
    try:
        code = command()
        sys.stdout.flush()
    except CycloptsError as error:
        return _fail(_describe_usage(error), code=EXIT_USAGE, debug=debug)
    except VaeAnomalyError as error:
        return _fail(str(error), code=EXIT_FAILED, debug=debug)
    except BrokenPipeError:
        _forget_stdout()
        return EXIT_FAILED
    except KeyboardInterrupt:
        return _fail("Interrupted.", code=EXIT_INTERRUPTED, debug=debug)
    except Exception as error:  # noqa: BLE001 - the last line before a person
        return _fail(_describe_surprise(error), code=EXIT_FAILED, debug=debug)
    return EXIT_DONE if code is None else code


def quieten_libraries(*, debug: bool) -> None:
    """Let only results and failures through: commands print what they would log.

    Args:
        debug: Leave warnings on and log everything this package does.
    """
    for name, value in QUIET_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    handler = logging.StreamHandler()
    handler.setFormatter(make_formatter("%(levelname)s %(name)s: %(message)s"))
    own = logging.getLogger("vae_anomaly")
    own.addHandler(handler)
    usual = logging.INFO if find_format() == JSON else logging.ERROR
    own.setLevel(logging.DEBUG if debug else usual)
    if not debug and not sys.warnoptions:
        warnings.simplefilter("ignore")


def _fail(message: str, *, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    from rich.console import Console
    from rich.text import Text

    text = Text.assemble(("error:", "bold red"), " ", clean_text(message, keep_lines=True))
    Console(stderr=True).print(text, soft_wrap=True)
    return code


def _describe_usage(error: CycloptsError) -> str:
    command = " ".join(("vae-anomaly", *(error.command_chain or ())))
    return f"{error}\nSee '{command} --help'."


def _describe_surprise(error: Exception) -> str:
    reason = str(error).strip().split("\n")[0]
    return (
        f"Something went wrong that should not: {type(error).__name__}: {reason}\n"
        f"Run the same again with {DEBUG_OPTION} (or {DEBUG_VARIABLE}=1) to see where."
    )


def _forget_stdout() -> None:
    """Point stdout at nothing, so that flushing it at exit does not fail a second time."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
