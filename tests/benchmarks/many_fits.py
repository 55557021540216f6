"""Benchmark: whether a process that trains again and again grows.

Run `python -m tests.benchmarks.many_fits [NUMBER]`: it prints the resident memory after each
training, of a pipeline that trains as `vae-anomaly run train` does, and the growth from the
fifth training to the last.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.pipelines import read_config
from vae_anomaly.operations import pipeline

WARM_UP = 5


def measure_memory() -> float:
    """Return the resident memory of this process, MiB."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise SystemExit("expected /proc/self/status with VmRSS, as Linux has it")


def main(number: int) -> None:
    """Print memory after each training."""
    with TemporaryDirectory() as folder:
        config = read_config(Path(folder))
        pipeline.ingest_source(config)
        found = []
        for seed in range(number):
            pipeline.train_detector(config.model_copy(update={"seed": seed}))
            found.append(measure_memory())
            print(f"training {seed + 1}: {found[-1]:.0f} MiB", flush=True)
    grown = (found[-1] - found[WARM_UP - 1]) / (number - WARM_UP)
    print(f"growth after the first {WARM_UP}: {grown:.2f} MiB each")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
