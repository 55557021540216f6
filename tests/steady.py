"""A small plant without seasons or faults, whose readings can be shifted: for tests of drift."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

START = datetime(2026, 1, 5, tzinfo=UTC)
TRAINING_HOURS = 40
SENSORS = ("flow", "level", "power")
STEPS_PER_HOUR = 60

SETTINGS = f"""
source = "raw"
report = "report.html"

[lake]
root = "lake"

[registry]
folder = "{{registry}}"

[training]
end = "{(START + timedelta(hours=TRAINING_HOURS)).isoformat()}"

[monitor]
block_s = 3600

[detector.model]
min_training_steps = 100
max_training_steps = 100

[detector.threshold]
smoothing_steps = 5
shift_steps = 0
adaptation_steps = 0
"""


def write_plant(folder: Path, *, registry: Path | None = None, settings: str = "") -> Path:
    """Write settings and the hours to train on; return the settings file."""
    (folder / "raw").mkdir(parents=True)
    write_hours(folder, 0, TRAINING_HOURS)
    config = folder / "pipeline.toml"
    text = SETTINGS.format(registry=registry or "mlflow") + settings
    config.write_text(text, encoding="utf-8")
    return config


def write_hours(folder: Path, first: int, num: int, *, shift: float = 0.0) -> Path:
    """Write a raw file of some hours, its first sensor shifted by so many standard deviations."""
    rng = np.random.default_rng(first)
    factor = rng.normal(size=(num * STEPS_PER_HOUR, 1))
    values = 0.8 * factor + 0.6 * rng.normal(size=(len(factor), len(SENSORS)))
    values[:, 0] += shift
    times = [START + timedelta(minutes=first * 60 + step) for step in range(len(values))]
    columns = {"timestamp": pa.array(times, pa.timestamp("us", "UTC"))}
    scales = zip(SENSORS, (1e-3, 1.0, 1e4), values.T, strict=True)
    columns |= {name: pa.array(scale * (column + 5)) for name, scale, column in scales}
    file = folder / "raw" / f"hours-{first:04d}.parquet"
    pq.write_table(pa.table(columns), file)
    return file
