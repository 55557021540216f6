"""One simulated station as a table: plant, faults, rounding, dirt and labels put together."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa

from vae_anomaly.domain import (
    MICROSECONDS_PER_S,
    SECONDS_PER_DAY,
    FloatArray,
    IntArray,
    TextArray,
)
from vae_anomaly.errors import ConfigError
from vae_anomaly.readings.simulator.dirt import DirtyRows, add_dirt
from vae_anomaly.readings.simulator.faults import Fault, plant_faults
from vae_anomaly.readings.simulator.instruments import INSTRUMENTS
from vae_anomaly.readings.simulator.plant import simulate_plant
from vae_anomaly.wording import format_plural

START = "2026-01-05T00:00:00Z"
"""A Monday, so that weekly files are calendar weeks."""
MIN_STEPS = 200  # room for one of each kind of dirt


@dataclass(frozen=True)
class Simulation:
    """What was simulated.

    Attributes:
        table: `timestamp`, `asset` where one was named, one float64 per sensor, `label_anomaly`
            (1 inside a fault) and `label_kind`; rows in the order of arrival.
        faults: The planted faults in the order of time.
        units: Unit per sensor name, "1" where it has none.
    """

    table: pa.Table
    faults: tuple[Fault, ...]
    units: dict[str, str]


def simulate_pumping_station(  # noqa: PLR0913 - a front door: every argument has a good default
    *,
    days: float = 45.0,
    normal_days: float = 35.0,
    seed: int = 0,
    period_s: float = 120.0,
    start: str = START,
    dirt: bool = True,
    asset: str | None = None,
) -> Simulation:
    """Simulate one pumping station in raw units; the same arguments give the same values.

    The plant, the faults and the dirt draw from separate random streams, so that the readings
    without dirt are those with dirt, cleaned.

    Args:
        days: Length of the readings.
        normal_days: Days at the beginning without faults; from there on one fault per 30 hours.
        seed: Seed of everything random.
        period_s: Seconds between steps.
        start: First time, ISO 8601 with a zone.
        dirt: Whether to add gaps, copies, sentinels, a lost clock and late rows.
        asset: Name for an `asset` column; without it there is no such column.

    Returns:
        The table with its truth.

    Raises:
        ConfigError: The period is too short, or `start` is not a time with a zone.

    Example:
        >>> station = simulate_pumping_station(days=2.0, normal_days=0.5, dirt=False)
        >>> station.table.num_rows, [fault.kind.value for fault in station.faults]
        (1440, ['step'])
        >>> station.units["flow"]
        'm3/s'
    """
    timestamps = _make_timestamps(days, period_s, start)
    plant_rng, fault_rng, dirt_rng = np.random.default_rng(seed).spawn(3)
    plant = simulate_plant(timestamps, period_s=period_s, rng=plant_rng)
    first_step = round(min(normal_days, days) * SECONDS_PER_DAY / period_s)
    sensors, faults = plant_faults(plant, first_step=first_step, period_s=period_s, rng=fault_rng)
    values = np.column_stack(
        [_display(sensors[item.name], item.resolution) for item in INSTRUMENTS]
    )
    codes = _label(timestamps, faults)
    rows = DirtyRows(timestamps, values, np.arange(timestamps.size))
    if dirt:
        rows = add_dirt(timestamps, values, busy=codes >= 0, rng=dirt_rng)
    kinds = np.array([*(fault.kind.value for fault in faults), ""], dtype=object)
    table = _make_table(rows, kinds[codes[rows.steps]], asset)
    return Simulation(table, faults, {item.name: item.unit for item in INSTRUMENTS})


def simulate_fleet(
    assets: tuple[str, ...], *, days: float = 45.0, normal_days: float = 35.0, seed: int = 0
) -> dict[str, Simulation]:
    """Simulate several stations of one kind, each with its own chance and faults.

    Args:
        assets: Names of the stations; they fill the `asset` column.
        days: Length of the readings.
        normal_days: Days at the beginning without faults.
        seed: Seed of the first station; the next ones count on from it.

    Returns:
        One simulation per name.

    Example:
        >>> fleet = simulate_fleet(("pump-01", "pump-02"), days=1.0)
        >>> fleet["pump-02"].table["asset"][0].as_py()
        'pump-02'
    """
    return {
        asset: simulate_pumping_station(
            days=days, normal_days=normal_days, seed=seed + number, asset=asset
        )
        for number, asset in enumerate(assets)
    }


def _make_timestamps(days: float, period_s: float, start: str) -> IntArray:
    try:
        first = datetime.fromisoformat(start)
    except ValueError:
        first = None
    if first is None or first.tzinfo is None:
        raise ConfigError(
            f"Cannot simulate a station: expected a start in ISO 8601 with a zone, got '{start}'. "
            f"Write it like '{START}'."
        )
    num_steps = round(days * SECONDS_PER_DAY / period_s) if period_s > 0 else 0
    if num_steps < MIN_STEPS:
        raise ConfigError(
            f"Cannot simulate a station: expected at least {MIN_STEPS} steps, got "
            f"{format_plural(days, 'day')} with a step every {period_s} s. "
            "Ask for more days or a shorter period."
        )
    period_us = round(period_s * MICROSECONDS_PER_S)
    first_us = (first - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    return first_us + period_us * np.arange(num_steps, dtype=np.int64)


def _display(values: FloatArray, resolution: float) -> FloatArray:
    """Round to the instrument's step, in decimals as short as the step's own."""
    decimals = max(0, int(np.ceil(-np.log10(resolution))))
    shown = np.round(np.round(values / resolution) * resolution, decimals)
    return np.asarray(np.maximum(shown, 0.0) + 0.0)


def _label(timestamps: IntArray, faults: tuple[Fault, ...]) -> IntArray:
    """Number of the fault at each step, -1 where there is none."""
    codes = np.full(timestamps.size, -1, dtype=np.int64)
    for number, fault in enumerate(faults):
        first, last = np.searchsorted(timestamps, (fault.start_us, fault.end_us))
        codes[first:last] = number
    return codes


def _make_table(rows: DirtyRows, kinds: TextArray, asset: str | None) -> pa.Table:
    columns = {"timestamp": pa.array(rows.timestamps, type=pa.timestamp("us", tz="UTC"))}
    if asset is not None:
        columns["asset"] = pa.repeat(pa.scalar(asset), rows.timestamps.size)
    for number, item in enumerate(INSTRUMENTS):
        columns[item.name] = pa.array(rows.values[:, number], from_pandas=True)
    columns["label_anomaly"] = pa.array((kinds != "").astype(np.int8))
    columns["label_kind"] = pa.array(kinds, type=pa.string())
    return pa.table(columns)
