"""A year of two pumps, week by week: seasons, maintenance, faults, a new sensor, a wrong unit."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vae_anomaly.domain import FloatArray

START = datetime(2025, 1, 6, tzinfo=UTC)
"""A Monday."""

PERIOD = timedelta(minutes=15)
STEPS = 7 * 24 * 4
"""Steps of a week."""

PUMPS = ("pump-1", "pump-2")
REPLACED_WEEK = 20
"""From this week on another pressure sensor of pump-2 reads 30 kPa more."""

WRONG_UNIT_WEEK = 30
"""In this week pump-1 sends its pressure in bar."""


@dataclass(frozen=True)
class Incident:
    """Something that happens to a pump in `[start, end)` steps of a week."""

    week: int
    pump: str
    start: int
    end: int

    @property
    def begin(self) -> datetime:
        """Time of its first step."""
        return START + self.week * timedelta(weeks=1) + self.start * PERIOD

    @property
    def finish(self) -> datetime:
        """Time after its last step."""
        return START + self.week * timedelta(weeks=1) + self.end * PERIOD


HOT_BEARING = Incident(15, "pump-1", 200, 300)
NOISY_PRESSURE = Incident(26, "pump-2", 300, 360)
STUCK_FLOW = Incident(36, "pump-1", 400, 480)
FAULTS = (HOT_BEARING, NOISY_PRESSURE, STUCK_FLOW)
SERVICE = Incident(12, "pump-1", 132, 148)
"""Tuesday, 09:00 to 13:00: the pump stands still."""


def make_week(week: int) -> dict[str, FloatArray]:
    """Simulate a week of both pumps; one array per sensor, of shape `(pumps, steps)`."""
    rng = np.random.default_rng([2025, week])
    steps = np.arange(STEPS)
    hours = steps / 4 % 24
    days = week * 7 + steps / 96
    season = -5.0 * np.cos(2 * np.pi * days / 365)
    ambient = 12 + season + 4 * np.sin(2 * np.pi * (hours - 9) / 24) + _wander(rng, 1.0)
    demand = 1 + 0.25 * np.sin(2 * np.pi * (hours - 6) / 24) - 0.1 * (steps >= 5 * 96)
    flow = 100 * demand + _wander(rng, 4.0)
    pressure = 6e5 - 12.0 * flow**2 + _noise(rng, 1500)
    current = 20 + 2e-7 * flow * pressure + _noise(rng, 0.15)
    bearing = ambient + 0.8 * current + _wander(rng, 0.5)
    vibration = 1.5 + 1e-4 * (flow - 100) ** 2 + _noise(rng, 0.08)
    return {
        "ambient": ambient,
        "flow": flow,
        "pressure": pressure,
        "current": current,
        "bearing": bearing,
        "vibration": vibration,
    }


def spoil(week: int, values: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """Let happen what happens in a week."""
    spoilt = {name: array.copy() for name, array in values.items()}
    rng = np.random.default_rng([7, week])
    if week >= REPLACED_WEEK:
        spoilt["pressure"][1] += 30_000
    for incident in (SERVICE, *FAULTS):
        if incident.week != week:
            continue
        part = PUMPS.index(incident.pump), slice(incident.start, incident.end)
        length = incident.end - incident.start
        if incident is HOT_BEARING:
            spoilt["bearing"][part] += np.minimum(np.arange(length) / 8, 12)
        elif incident is NOISY_PRESSURE:
            spoilt["pressure"][part] += rng.normal(0, 25_000, length)
        elif incident is STUCK_FLOW:
            spoilt["flow"][part] = spoilt["flow"][part][0] * 1.15
        else:
            for name in ("flow", "pressure", "current", "vibration"):
                spoilt[name][part] = rng.normal(0, 0.01, length)
    return spoilt


def write_week(folder: Path, week: int, *, in_bar: bool = False) -> Path:
    """Write a week as one raw file; `in_bar` writes the pressure of pump-1 in another unit."""
    values = spoil(week, make_week(week))
    if in_bar:
        values["pressure"][0] /= 1e5
    begin = START + week * timedelta(weeks=1)
    times = np.datetime64(begin.replace(tzinfo=None), "us") + np.arange(STEPS) * np.timedelta64(
        PERIOD
    )
    table = pa.table(
        {
            "timestamp": pa.array(np.tile(times, len(PUMPS))).cast(pa.timestamp("us", "UTC")),
            "asset": np.repeat(PUMPS, STEPS),
            **{name: array.ravel() for name, array in values.items()},
        }
    )
    file = folder / f"week-{week:02d}.parquet"
    pq.write_table(table, file.with_suffix(".new"))
    file.with_suffix(".new").rename(file)
    return file


def _noise(rng: np.random.Generator, size: float) -> FloatArray:
    return rng.normal(0, size, (len(PUMPS), STEPS))


def _wander(rng: np.random.Generator, size: float) -> FloatArray:
    """Return noise that stays for hours, of this standard deviation."""
    shocks = rng.normal(0, 1, (len(PUMPS), STEPS + 200))
    kernel = 0.9 ** np.arange(200)
    smooth = np.array([np.convolve(row, kernel, mode="valid")[:STEPS] for row in shocks])
    found: FloatArray = size * smooth / np.sqrt(np.sum(kernel**2))
    return found
