"""Benchmark: the pipeline on sets far larger than memory, each step under a hard limit.

Run `python -m tests.benchmarks.bounded_memory [--limit MIB] [MILLION_ROWS ...]`; rows of eight
sensors are made on the fly and deleted afterwards. Each step runs in a process of its own that
may hold no more than the limit: in a control group where one can be made, which counts what is
really held, else by RLIMIT_DATA, which counts stacks and heaps that are only set aside, too.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.benchmarks.ingest_cost import NUM_SENSORS, START_US, make_files

STEPS = ("ingest", "train", "score")
TRAINING_SHARE = 0.2
MIB = 2**20
BYTES_PER_VALUE = 8

LIMITS = (
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
    (Path("/sys/fs/cgroup"), "memory.max"),
)
"""Control groups of version 1 and 2, and the file that holds the limit."""

SETTINGS = """
source = "raw"
report = "report.html"

[lake]
root = "lake"

[registry]
folder = "mlflow"

[training]
end = "{end}"
max_rows = {max_rows}
"""


def write_pipeline(folder: Path, num_rows: int, *, max_rows: int) -> None:
    """Write the raw files, and settings that train on the first part of them."""
    (folder / "raw").mkdir()
    make_files(folder / "raw", num_rows)
    seconds = START_US // 1_000_000 + round(TRAINING_SHARE * num_rows)
    end = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    settings = SETTINGS.format(end=end.isoformat(), max_rows=max_rows)
    (folder / "pipeline.toml").write_text(settings, encoding="utf-8")


def limit_memory(limit_mib: int) -> None:
    """Put this process under a hard limit."""
    for folder, name in LIMITS:
        group = folder / f"vae-anomaly-{os.getpid()}"
        with contextlib.suppress(OSError):
            group.mkdir()
            (group / name).write_text(str(limit_mib * MIB), encoding="ascii")
            (group / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")
            return
        with contextlib.suppress(OSError):
            group.rmdir()
    resource.setrlimit(resource.RLIMIT_DATA, (limit_mib * MIB, limit_mib * MIB))


def remove_groups() -> None:
    """Remove the control groups of processes that have ended."""
    for folder, _ in LIMITS:
        for group in folder.glob("vae-anomaly-*"):
            with contextlib.suppress(OSError):
                group.rmdir()


def do(step: str, config_file: Path, limit_mib: int) -> None:
    """Do one step in this process under a limit; print seconds, MiB and what was done."""
    limit_memory(limit_mib)
    from vae_anomaly.config import read_pipeline_config
    from vae_anomaly.operations import pipeline

    config = read_pipeline_config(config_file)
    began = time.perf_counter()
    if step == "ingest":
        num_rows = pipeline.ingest_source(config).num_kept
    elif step == "train":
        num_rows = pipeline.train_detector(config).num_rows
    else:
        num_rows = pipeline.score_readings(config).num_new_rows
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{seconds:.1f} s | {peak:.0f} MiB | {num_rows:,} rows")


def main() -> None:
    """Print a line per size and step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", type=float, nargs="*", default=[10.0, 220.0])
    parser.add_argument("--limit", type=int, default=1_500, help="MiB of each process")
    parser.add_argument("--max-rows", type=int, default=500_000, help="readings to train on")
    given = parser.parse_args()
    print("million rows | set, times the limit | step | time | peak of memory | rows")
    for size in given.sizes:
        num_rows = round(size * 1e6)
        times = num_rows * (NUM_SENSORS + 1) * BYTES_PER_VALUE / (given.limit * MIB)
        with tempfile.TemporaryDirectory() as folder:
            write_pipeline(Path(folder), num_rows, max_rows=given.max_rows)
            for step in STEPS:
                command = [sys.executable, "-m", "tests.benchmarks.bounded_memory", step]
                config_file = str(Path(folder) / "pipeline.toml")
                done = subprocess.run(
                    [*command, config_file, str(given.limit)],
                    capture_output=True,
                    text=True,
                    check=False,
                )
                said = done.stdout.strip() if done.returncode == 0 else done.stderr[-2_000:]
                remove_groups()
                print(f"{size:g} | {times:.1f} | {step} | {said}", flush=True)
                if done.returncode:
                    raise SystemExit(1)


if __name__ == "__main__":
    if len(sys.argv) == 4 and sys.argv[1] in STEPS:
        do(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
