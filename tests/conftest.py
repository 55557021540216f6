"""Fixtures shared by all tests: one fitted detector, and real data where it is there."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from vae_anomaly.config import (
    AlertConfig,
    DetectorConfig,
    ModelConfig,
    PipelineConfig,
    ThresholdConfig,
)

PROJECT = Path(__file__).resolve().parents[1]

QUICK = ModelConfig(min_training_steps=100, max_training_steps=100)
"""Enough training for tests of anything but detection quality."""


def make_plant(
    num_rows: int = 1200, *, seed: int = 0, num_sensors: int = 5, period_s: int = 60
) -> pa.Table:
    """Readings of a small coupled plant in mixed raw units, without faults."""
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(num_rows, 2))
    mixing = np.random.default_rng(99).normal(size=(2, num_sensors))
    scales = 10.0 ** np.linspace(-3, 5, num_sensors)
    noise = 0.3 * rng.normal(size=(num_rows, num_sensors))
    values = (factors @ mixing + noise) * scales + 7 * scales
    times = np.arange(num_rows) * period_s * 1_000_000 + 1_750_000_000_000_000
    columns = {"timestamp": pa.array(times, pa.int64()).cast(pa.timestamp("us", "UTC"))}
    return pa.table(columns | {f"sensor {i} (unit)": values[:, i] for i in range(num_sensors)})


@pytest.fixture(scope="session")
def plant() -> pa.Table:
    return make_plant()


@pytest.fixture(scope="session")
def quick_config() -> DetectorConfig:
    return DetectorConfig(
        model=QUICK,
        threshold=ThresholdConfig(smoothing_steps=5),
        alerts=AlertConfig(merge_steps=5, min_steps=1),
    )


@pytest.fixture(scope="session")
def detector(plant, quick_config):
    from vae_anomaly import Detector

    return Detector.fit(plant, config=quick_config)


@pytest.fixture(scope="session")
def rivals(tmp_path_factory) -> PipelineConfig:
    """A pipeline with a champion, and a good and some bad challengers; see `tests.promotions`."""
    from tests.promotions import make_versions

    return make_versions(tmp_path_factory.mktemp("rivals"))


@pytest.fixture
def line(rivals, tmp_path) -> PipelineConfig:
    """A copy of that pipeline for one test, with nothing decided and nothing scored."""
    from tests.promotions import copy_line

    return copy_line(rivals, tmp_path)


@pytest.fixture(scope="session")
def benchmark_data() -> Path:
    folder = Path(os.environ.get("VAE_ANOMALY_BENCHMARK_DATA", PROJECT.parent / "shared/data"))
    if not folder.is_dir():
        pytest.skip(f"no labelled data at {folder}; set VAE_ANOMALY_BENCHMARK_DATA")
    return folder
