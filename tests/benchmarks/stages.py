"""What scoring and training cost, as ratios to floors measured in the same run.

Run with `python -m tests.benchmarks.stages [--rows N] [--backend jax] [--pyod-python PATH]`.
The floor of scoring is the network's bare matrix products in NumPy; that of a file is reading it
and writing the scores. Other work on the machine disturbs single figures, so the two sides of
each ratio are measured in turn and the best of each is taken.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.conftest import make_plant
from vae_anomaly import Detector, DetectorConfig
from vae_anomaly.config import ModelConfig

NUM_SENSORS, HIDDEN, LATENT, LAYERS = 8, 64, 3, 2
FIT_ROWS = 20_000
FIT_STEPS = 500
TIMED_STEPS = 1_000
BARE_CHUNK = 4096
ROUNDS = 3
FILE_ROUNDS = 2
PYOD_ROWS = 10_000

STAGES = {
    "check": "vae_anomaly.detector.detector.check_readings",
    "decode": "vae_anomaly.model.density.Density.score",
    "adapt": "vae_anomaly.detector.scoring.adapt",
    "shift": "vae_anomaly.detector.scoring.find_shifts",
    "rules": "vae_anomaly.detector.scoring.find_breaches",
    "smooth": "vae_anomaly.detector.scoring.smooth",
    "table": "vae_anomaly.detector.detector.make_score_table",
}


def measure(action: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds an action took, and its result."""
    start = time.perf_counter()
    result = action()
    return time.perf_counter() - start, result


def measure_in_turn(*actions: Callable[[], Any], rounds: int) -> list[float]:
    """Return the least seconds of each of several actions, done one after the other."""
    taken = [[measure(action)[0] for action in actions] for _ in range(rounds)]
    return [min(seconds) for seconds in zip(*taken, strict=True)]


@contextlib.contextmanager
def timed_stages() -> Iterator[dict[str, float]]:
    """Add up the seconds spent in each stage of scoring."""
    spent: dict[str, float] = defaultdict(float)
    with contextlib.ExitStack() as stack:
        for stage, name in STAGES.items():
            stack.enter_context(mock.patch(name, _timed(_find(name), stage, spent)))
        yield spent


def _timed(action: Callable[..., Any], stage: str, spent: dict[str, float]) -> Callable[..., Any]:
    def run(*arguments: Any, **options: Any) -> Any:
        seconds, result = measure(lambda: action(*arguments, **options))
        spent[stage] += seconds
        return result

    return run


def _find(name: str) -> Any:
    patch = mock.patch(name)
    return getattr(patch.getter(), patch.attribute)


def multiply_bare(num_rows: int) -> None:
    """Multiply as many numbers as the network does, and nothing else."""
    widths = [NUM_SENSORS, *[HIDDEN] * LAYERS, LATENT, *[HIDDEN] * LAYERS, 2 * NUM_SENSORS]
    chunk = np.ones((BARE_CHUNK, NUM_SENSORS), dtype=np.float32)
    kernels = [np.full(shape, 0.01, dtype=np.float32) for shape in pairwise(widths)]
    for _ in range(0, num_rows, BARE_CHUNK):
        values = chunk
        for kernel in kernels:
            values = values @ kernel


def fit_detector() -> Detector:
    """Fit the detector that is timed; how well it detects plays no part."""
    model = ModelConfig(
        hidden=HIDDEN,
        layers=LAYERS,
        latent=LATENT,
        min_training_steps=FIT_STEPS,
        max_training_steps=FIT_STEPS,
    )
    readings = make_plant(FIT_ROWS, num_sensors=NUM_SENSORS)
    seconds, detector = measure(lambda: Detector.fit(readings, config=DetectorConfig(model=model)))
    print(f"Detector.fit: {FIT_ROWS:,} rows, twice {FIT_STEPS} steps, all in: {seconds:.1f} s")
    return detector


def time_array(detector: Detector, table: pa.Table) -> float:
    """Print what scoring a table in memory costs; return rows per second."""
    num_rows = table.num_rows
    bare_s, score_s = measure_in_turn(
        lambda: multiply_bare(num_rows), lambda: detector.score(table), rounds=ROUNDS
    )
    rate = num_rows / score_s
    print(f"Detector.score of a table: {num_rows:,} rows of {NUM_SENSORS} sensors")
    print(f"  {rate / 1e6:.2f} million rows/s, {bare_s / score_s:.2f} times the bare products")
    # stages that run side by side overlap in time, so their shares are those of a single core
    with mock.patch("vae_anomaly.detector.stretches._count_cores", return_value=1):
        rounds = []
        for _ in range(ROUNDS):
            with timed_stages() as spent:
                seconds, _ = measure(lambda: detector.score(table))
            rounds.append((seconds, spent))
    seconds, spent = min(rounds, key=lambda one: one[0])
    spent["rest"] = seconds - sum(spent.values())
    print(f"  on one core {num_rows / seconds / 1e6:.2f} million rows/s; of that:")
    for stage in (*STAGES, "rest"):
        print(f"  {stage:8s} {spent[stage] / seconds:4.0%}")
    return rate


def time_file(detector: Detector, table: pa.Table) -> None:
    """Print what scoring a file into a file costs, against reading and writing alone."""
    from vae_anomaly.cli import files

    with tempfile.TemporaryDirectory() as folder:
        source, out, saved = (
            Path(folder, "in.parquet"),
            Path(folder, "out.parquet"),
            Path(folder, "d"),
        )
        pq.write_table(table, source, compression="zstd")
        detector.save(saved)
        scores = detector.score(table)

        def score() -> None:
            with contextlib.redirect_stdout(io.StringIO()):
                files.score((str(source),), detector=str(saved), out=out)

        def copy() -> None:
            pq.read_table(source)
            pq.write_table(scores, out, compression="zstd")

        score_s, copy_s = measure_in_turn(score, copy, rounds=FILE_ROUNDS)
    print(f"vae-anomaly score, Parquet to Parquet: {table.num_rows:,} rows")
    print(f"  {table.num_rows / score_s / 1e6:.2f} million rows/s, ", end="")
    print(f"{score_s / copy_s:.2f} times reading and writing alone")


def time_training(table: pa.Table) -> float:
    """Print what training costs once it is compiled; return rows per second."""
    import keras

    from vae_anomaly.model.trainer import Trainer
    from vae_anomaly.model.vae import VAE

    batch_rows = ModelConfig().batch_rows
    vae = VAE(NUM_SENSORS, latent=LATENT, hidden=HIDDEN, layers=LAYERS)
    vae.build(None)
    trainer = Trainer(vae)
    values = np.column_stack([column.to_numpy() for column in table.columns[1:]])
    scaled = ((values - values.mean(axis=0)) / values.std(axis=0)).astype(np.float32)
    windows = np.resize(scaled, (TIMED_STEPS * batch_rows, NUM_SENSORS))

    def train() -> None:
        trainer.run(windows, batch_rows=batch_rows, learning_rate=1e-3)

    first_s, _ = measure(train)
    (seconds,) = measure_in_turn(train, rounds=ROUNDS)
    rate = len(windows) / seconds
    print(f"Training, steps of {batch_rows} rows, on {keras.backend.backend()}:")
    print(f"  {rate / 1e3:.0f} thousand rows/s, {rate / batch_rows:.0f} steps/s ", end="")
    print(f"once compiled, which takes {first_s - seconds:.1f} s")
    return rate


def time_pyod(python: str, table: pa.Table, *, training_rate: float, scoring_rate: float) -> None:
    """Print what PyOD's VAE makes of the same readings with the same sizes."""
    values = np.column_stack([column.to_numpy() for column in table.columns[1:]])[:PYOD_ROWS]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "values.npy")
        np.save(file, values)
        script = Path(__file__).with_name("pyod_vae.py")
        sizes = [str(size) for size in (HIDDEN, LATENT, ModelConfig().batch_rows)]
        done = subprocess.run(
            [python, str(script), str(file), *sizes], check=True, capture_output=True, text=True
        )
    theirs = json.loads(done.stdout.splitlines()[-1])
    for what, ours in (("training", training_rate), ("scoring", scoring_rate)):
        rate = theirs[f"{what}_rows_per_s"]
        print(f"PyOD's VAE, {what}: {rate / 1e3:.1f} thousand rows/s, ", end="")
        print(f"ours is {ours / rate:.0f} times as fast")


def main() -> None:
    """Print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows to score")
    parser.add_argument("--backend", help="Keras backend, where not the configured one")
    parser.add_argument("--pyod-python", help="a Python that has PyOD, to compare with")
    options = parser.parse_args()
    if options.backend:
        os.environ["KERAS_BACKEND"] = options.backend
    training = make_plant(FIT_ROWS, num_sensors=NUM_SENSORS)
    detector = fit_detector()
    table = make_plant(options.rows, num_sensors=NUM_SENSORS)
    scoring_rate = time_array(detector, table)
    time_file(detector, table)
    training_rate = time_training(training)
    if options.pyod_python:
        time_pyod(
            options.pyod_python, training, training_rate=training_rate, scoring_rate=scoring_rate
        )


if __name__ == "__main__":
    main()
