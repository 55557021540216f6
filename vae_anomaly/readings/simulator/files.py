"""Simulated readings as Parquet files, the way files land in real life."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vae_anomaly.domain import MICROSECONDS_PER_S, SECONDS_PER_DAY
from vae_anomaly.errors import ConfigError
from vae_anomaly.readings.simulator.station import (
    START,
    simulate_fleet,
    simulate_pumping_station,
)

logger = logging.getLogger(__name__)


def write_sample(
    folder: str | Path,
    *,
    days: float = 45.0,
    normal_days: float = 35.0,
    seed: int = 0,
    days_per_file: float = 7.0,
    assets: tuple[str, ...] = (),
) -> tuple[Path, ...]:
    """Write simulated readings the way files land: one Parquet file per week.

    Args:
        folder: Where to write `station_2026-01-05.parquet` and so on; made if missing.
        days: Length of the readings.
        normal_days: Days at the beginning without faults.
        seed: Seed of everything random.
        days_per_file: Days in each file. A row lies in the file of its arrival, whatever
            its clock said.
        assets: Names of several stations; without them one station and no `asset` column.

    Returns:
        The files, in the order of time.

    Raises:
        ConfigError: `days` or `days_per_file` is too small.
    """
    if days_per_file <= 0:
        raise ConfigError(
            f"Cannot write sample files: expected days_per_file above 0, got {days_per_file}. "
            "Use 1 for daily and 7 for weekly files."
        )
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    if assets:
        fleet = simulate_fleet(assets, days=days, normal_days=normal_days, seed=seed)
        tables = [simulation.table for simulation in fleet.values()]
    else:
        tables = [simulate_pumping_station(days=days, normal_days=normal_days, seed=seed).table]
    parts: dict[int, list[pa.Table]] = {}
    for table in tables:
        for number, part in _split(table, days_per_file):
            parts.setdefault(number, []).append(part)
    return tuple(
        _write(pa.concat_tables(parts[number]), target, number * days_per_file)
        for number in sorted(parts)
    )


def _split(table: pa.Table, days_per_file: float) -> list[tuple[int, pa.Table]]:
    """Cut a table by time of arrival: the latest time seen so far."""
    arrived = np.maximum.accumulate(table["timestamp"].cast(pa.int64()).to_numpy())
    since = (arrived - arrived[0]) / (MICROSECONDS_PER_S * SECONDS_PER_DAY)
    numbers, firsts = np.unique((since // days_per_file).astype(int), return_index=True)
    stops = [*firsts[1:], table.num_rows]
    return [
        (int(number), table.slice(first, stop - first))
        for number, first, stop in zip(numbers, firsts, stops, strict=True)
    ]


def _write(table: pa.Table, folder: Path, after_days: float) -> Path:
    """Write one file, as small as it gets: rounded values repeat, so dictionaries pay."""
    first = datetime.fromisoformat(START) + timedelta(days=after_days)
    name = f"{first:%Y-%m-%d}" if after_days == int(after_days) else f"{first:%Y-%m-%dT%H%M}"
    path = folder / f"station_{name}.parquet"
    others = [column for column in table.column_names if column != "timestamp"]
    pq.write_table(
        table,
        path,
        compression="zstd",
        compression_level=19,
        use_dictionary=others,
        column_encoding={"timestamp": "DELTA_BINARY_PACKED"},
    )
    logger.info("wrote %s, %d rows", path, table.num_rows)
    return path
