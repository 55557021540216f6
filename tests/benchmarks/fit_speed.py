"""Benchmark: how fast the network trains on this machine, small and large, with its backend.

Run `KERAS_BACKEND=jax python -m tests.benchmarks.fit_speed`: each line trains twice and times the
second, so that compiling is not in it; the first line of the output names backend and processor.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from vae_anomaly import Detector, DetectorConfig
from vae_anomaly.config import ModelConfig, ThresholdConfig

STEPS = 1_000


@dataclass(frozen=True)
class Size:
    """One size of the network and its batches."""

    name: str
    num_sensors: int
    window: int = 1
    hidden: int = 64
    batch_rows: int = 64
    num_rows: int = 60_000


SIZES = (
    Size("default, 8 sensors", 8),
    Size("default, 50 sensors", 50),
    Size("batches of 1,024", 8, batch_rows=1_024),
    Size("window 64, batches of 1,024", 8, window=64, batch_rows=1_024),
    Size("50 sensors, window 64, hidden 512, batches of 1,024", 50, 64, 512, 1_024, 30_000),
)


def make_readings(size: Size) -> pa.Table:
    """Make readings of which half of the variance is common to all sensors."""
    rng = np.random.default_rng(0)
    common = rng.normal(size=(size.num_rows, 3)) @ rng.normal(size=(3, size.num_sensors))
    values = common + rng.normal(size=common.shape)
    times = 1_714_564_800_000_000 + np.arange(size.num_rows) * 1_000_000
    columns = {"timestamp": pa.array(times, pa.timestamp("us", "UTC"))}
    return pa.table(columns | {f"s{k}": values[:, k] for k in range(size.num_sensors)})


def time_training(size: Size) -> float:
    """Return optimiser steps per second of the second of two fits."""
    config = DetectorConfig(
        model=ModelConfig(
            window=size.window,
            hidden=size.hidden,
            batch_rows=size.batch_rows,
            min_training_steps=STEPS,
            max_training_steps=STEPS,
        ),
        threshold=ThresholdConfig(provisional=True),
    )
    readings = make_readings(size)
    marks: list[tuple[float, int]] = []
    for _ in range(2):
        marks.clear()
        Detector.fit(
            readings,
            config=config,
            seed=0,
            progress=lambda done, _: marks.append((time.perf_counter(), done)),
        )
    first = next(mark for mark in marks if mark[1] >= STEPS // 10)
    last = max((mark for mark in marks if mark[1] <= STEPS), key=lambda mark: mark[1])
    return (last[1] - first[1]) / (last[0] - first[0])


def main() -> None:
    """Print one line per size."""
    import keras

    backend = keras.backend.backend()
    where = ""
    if backend == "jax":
        import jax

        where = f" on {jax.devices()[0].device_kind}"
    print(f"{backend}{where}: network, optimiser steps a second, rows a second")
    for size in SIZES:
        rate = time_training(size)
        print(f"{size.name} | {rate:,.0f} | {rate * size.batch_rows:,.0f}", flush=True)


if __name__ == "__main__":
    main()
