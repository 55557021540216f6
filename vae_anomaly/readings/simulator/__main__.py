"""Write sample files from the command line."""

from __future__ import annotations

import argparse

from vae_anomaly.readings.simulator.files import write_sample


def main(arguments: list[str] | None = None) -> None:
    """Write what `write_sample` writes, with its defaults.

    Args:
        arguments: Command-line arguments; those of the process where not given.
    """
    parser = argparse.ArgumentParser(
        prog="python -m vae_anomaly.readings.simulator",
        description="Write readings of a simulated pumping station, one Parquet file per week.",
    )
    parser.add_argument("folder", help="where to write; made if missing")
    parser.add_argument("--days", type=float, default=45.0, help="length of the readings")
    parser.add_argument("--normal-days", type=float, default=35.0, help="days before any fault")
    parser.add_argument("--seed", type=int, default=0, help="seed of everything random")
    parser.add_argument("--days-per-file", type=float, default=7.0, help="days in each file")
    parser.add_argument("--assets", nargs="+", default=[], help="names of several stations")
    options = parser.parse_args(arguments)
    write_sample(
        options.folder,
        days=options.days,
        normal_days=options.normal_days,
        seed=options.seed,
        days_per_file=options.days_per_file,
        assets=tuple(options.assets),
    )


if __name__ == "__main__":
    main()
