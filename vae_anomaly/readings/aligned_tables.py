"""Alignment of tables: readings of the lake, and labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vae_anomaly.config import ReadingsConfig
from vae_anomaly.domain import MICROSECONDS_PER_S, Contract, IntArray, Readings
from vae_anomaly.errors import ContractError
from vae_anomaly.readings.alignment import align_readings, list_rules

if TYPE_CHECKING:
    import pyarrow as pa


def align_labels(labels: pa.Table, ticks: IntArray) -> pa.Table:
    """Give each tick the largest label of its rows: it is anomalous where one of them is.

    Args:
        labels: Columns of labels, one row per row of the input.
        ticks: Tick that each row became part of, -1 where none; every tick has a row.

    Returns:
        The labels, one row per tick; null where no row of a tick has one.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    table = labels.append_column("_tick", pa.array(ticks)).filter(pa.array(ticks >= 0))
    names = [name for name in labels.column_names if not pa.types.is_null(labels[name].type)]
    columns = {}
    for name in names:
        grouped = table.group_by("_tick").aggregate([(name, "max")]).sort_by("_tick")
        columns[name] = pc.cast(grouped[f"{name}_max"], labels[name].type)
    return pa.table(columns)


def widen_to_ticks(
    start_us: int | None, end_us: int | None, *, period_s: float
) -> tuple[int | None, int | None]:
    """Say which readings make up the ticks of `[start_us, end_us)`.

    Args:
        start_us: First tick at the earliest, microseconds since 1970; None for no limit.
        end_us: End of the ticks, exclusive; None for no limit.
        period_s: Seconds between ticks.

    Returns:
        Start and end, exclusive, of the readings.

    Example:
        >>> widen_to_ticks(60_000_000, 180_000_000, period_s=60.0)
        (1, 120000001)
    """
    period_us = round(period_s * MICROSECONDS_PER_S)
    if start_us is not None:
        start_us = -(-start_us // period_us) * period_us - period_us + 1
    if end_us is not None:
        end_us = (end_us - 1) // period_us * period_us + 1
    return start_us, end_us


def align_table(
    table: pa.Table, contract: Contract, config: ReadingsConfig, *, purpose: str = "align readings"
) -> pa.Table:
    """Align a table of readings of the lake as its settings say.

    Args:
        table: `asset`, `timestamp` (microseconds, UTC) and one column per sensor; no two rows of
            the same asset and time.
        contract: Its sensors and period.
        config: Says which rule a sensor has; where none has one the table stays as it is.
        purpose: What cannot be done otherwise.

    Returns:
        The same columns, one row per asset and tick, sorted by both. What to read for certain
        ticks `widen_to_ticks` says.

    Raises:
        ContractError: A sensor is missing.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    rules = list_rules(config, contract.sensor_names)
    if not rules:
        return table
    missing = [name for name in contract.sensor_names if name not in table.column_names]
    if missing:
        raise ContractError(
            f"Cannot {purpose}: expected sensors {contract.sensor_names}, got none called "
            f"{missing}. Read the table with the columns of its contract."
        )
    names = pa.array(sorted(pc.unique(table["asset"]).to_pylist()), pa.string())
    codes = pc.index_in(table["asset"], value_set=names).to_numpy().astype(np.int64)
    values = np.empty((table.num_rows, len(contract.sensors)), order="F")
    for k, name in enumerate(contract.sensor_names):
        values[:, k] = table[name].to_numpy()
    readings = Readings(
        timestamps=table["timestamp"].cast(pa.int64()).to_numpy(),
        asset_codes=codes,
        asset_names=tuple(names.to_pylist()),
        values=values,
        sensors=contract.sensor_names,
    )
    aligned = align_readings(readings, period_s=contract.period_s, rules=rules)
    columns = {
        "asset": names.take(pa.array(aligned.asset_codes)),
        "timestamp": pa.array(aligned.timestamps).cast(table.schema.field("timestamp").type),
    }
    columns |= {
        name: pa.array(aligned.values[:, k], from_pandas=True)
        for k, name in enumerate(contract.sensor_names)
    }
    return pa.table(columns)
