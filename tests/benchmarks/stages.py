"""What each stage of fitting and scoring costs, as a ratio to a floor measured in the same run.

The floor of scoring is reading the Parquet file, the network's bare matrix products, and writing
the result. Run with `python -m tests.benchmarks.stages [rows]`.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from tests.conftest import make_plant
from vae_anomaly import Detector, DetectorConfig
from vae_anomaly.config import ModelConfig
from vae_anomaly.detector.scoring import score_rows
from vae_anomaly.detector.table import make_score_table
from vae_anomaly.readings.check import check_readings

ROWS = 1_000_000
NUM_SENSORS = 8
TRAINING_STEPS = 1_000


def measure(action: Callable[[], object]) -> tuple[float, object]:
    """Return the seconds an action took, and its result."""
    start = time.perf_counter()
    result = action()
    return time.perf_counter() - start, result


def bare_products(detector: Detector, num_rows: int) -> None:
    """Multiply as many numbers as the network does, and nothing else."""
    hidden = detector.record.config.model.hidden
    latent = detector.record.facts.latent
    widths = [NUM_SENSORS, hidden, hidden, latent, hidden, hidden, 2 * NUM_SENSORS]
    chunk = np.zeros((4096, widths[0]), dtype=np.float32)
    kernels = [np.zeros(shape, dtype=np.float32) for shape in pairwise(widths)]
    for _ in range(0, num_rows, len(chunk)):
        hidden_values = chunk
        for kernel in kernels:
            hidden_values = hidden_values @ kernel


def main() -> None:
    """Print one line per stage."""
    num_rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    config = DetectorConfig(
        model=ModelConfig(min_training_steps=TRAINING_STEPS, max_training_steps=TRAINING_STEPS)
    )
    fit_s, fitted = measure(
        lambda: Detector.fit(make_plant(20_000, num_sensors=NUM_SENSORS), config=config)
    )
    detector: Detector = fitted
    steps_per_s = TRAINING_STEPS / fit_s
    print(f"fit: {TRAINING_STEPS} steps of 64 rows in {fit_s:.1f} s, {steps_per_s:.0f} steps/s")
    print("     (start of the backend, export and calibration included)")
    with tempfile.TemporaryDirectory() as folder:
        file, out = Path(folder, "in.parquet"), Path(folder, "out.parquet")
        pq.write_table(make_plant(num_rows, num_sensors=NUM_SENSORS), file, compression="zstd")
        read_s, _ = measure(lambda: pq.read_table(file))
        products_s, _ = measure(lambda: bare_products(detector, num_rows))
        check_s, checked = measure(
            lambda: check_readings(file, contract=detector.contract, purpose="score")
        )
        score_s, rows = measure(lambda: score_rows(checked, detector._density, detector.record))
        table_s, table = measure(lambda: make_score_table(checked, rows))
        write_s, _ = measure(lambda: pq.write_table(table, out, compression="zstd"))
    floor = read_s + products_s + write_s
    total = check_s + score_s + table_s + write_s
    print(f"score: {num_rows} rows of {NUM_SENSORS} sensors, {num_rows / total:.0f} rows/s")
    print(f"floor: read {read_s:.2f} s, products {products_s:.2f} s, write {write_s:.2f} s")
    for name, seconds in (
        ("read and check", check_s),
        ("density and state", score_s),
        ("make the table", table_s),
        ("write", write_s),
        ("all", total),
    ):
        print(f"  {name:18s} {seconds / total:5.0%} of the time, {seconds / floor:5.2f} x floor")


if __name__ == "__main__":
    main()
