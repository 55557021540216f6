"""The tables of the monitor: what was compared with what, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import DeltaTable

from vae_anomaly.readings import delta
from vae_anomaly.readings.layout import TIME
from vae_anomaly.readings.tables import Lake

DRIFT_TABLE, REFERENCE_TABLE = "drift", "drift_reference"

MAX_FILES = 400
"""Data files of `drift` before they are put together: one comes with each check."""

DRIFT = pa.schema(
    [
        ("time", TIME),
        ("model_name", pa.string()),
        ("model_version", pa.string()),
        ("readings_version", pa.int64()),
        ("asset", pa.string()),
        ("sensor", pa.string()),
        ("statistic", pa.string()),
        ("value", pa.float64()),
        ("p_value", pa.float64()),
        ("limit", pa.float64()),
        ("verdict", pa.string()),
        ("reason", pa.string()),
    ]
)
"""One row per series and check; `time` is the end of the blocks that were compared."""

DRIFT_REFERENCE = pa.schema(
    [
        ("model_name", pa.string()),
        ("model_version", pa.string()),
        ("asset", pa.string()),
        ("sensor", pa.string()),
        ("block_s", pa.float64()),
        ("decorrelation_steps", pa.float64()),
        ("num_base", pa.int64()),
        ("num_blocks", pa.int64()),
        ("num_steps", pa.float64()),
        ("level", pa.float64()),
        ("level_spread", pa.float64()),
        ("spread", pa.float64()),
        ("spread_spread", pa.float64()),
        ("step_spread", pa.float64()),
    ]
)
"""What the blocks of each series were like when a model version was calibrated; raw units."""


def append_drift(lake: Lake, rows: Sequence[Mapping[str, Any]], *, commit_id: str) -> bool:
    """Append what a check found, once; return whether anything was written."""
    table = pa.Table.from_pylist(list(rows), schema=DRIFT)
    is_new = delta.append_once(lake.uri(DRIFT_TABLE), table, commit_id=commit_id)
    delta.keep_few_files(lake.uri(DRIFT_TABLE), max_files=MAX_FILES)
    return is_new


def read_drift(
    lake: Lake,
    *,
    model_name: str | None = None,
    model_version: str | None = None,
    time_us: int | None = None,
) -> pa.Table:
    """Return what the checks found, sorted by time, asset, sensor and statistic.

    Args:
        lake: The lake.
        model_name: Registered model wanted, None for all.
        model_version: Version wanted, None for all.
        time_us: End of the blocks wanted, None for all; files of other checks are not read.
    """
    wanted: dict[str, Any] = {
        "model_name": model_name,
        "model_version": model_version,
        "time": None if time_us is None else pa.scalar(time_us, TIME),
    }
    table = _read(lake, DRIFT_TABLE, DRIFT, wanted)
    keys = ("time", "asset", "sensor", "statistic")
    return table.sort_by([(key, "ascending") for key in keys])


def append_reference(lake: Lake, rows: Sequence[Mapping[str, Any]], *, commit_id: str) -> bool:
    """Append the reference of a model version, once; return whether anything was written."""
    table = pa.Table.from_pylist(list(rows), schema=DRIFT_REFERENCE)
    return delta.append_once(lake.uri(REFERENCE_TABLE), table, commit_id=commit_id)


def read_reference(lake: Lake, *, model_name: str, model_version: str, block_s: float) -> pa.Table:
    """Return the reference of a model version, with base blocks of a length."""
    wanted = {"model_name": model_name, "model_version": model_version, "block_s": block_s}
    table = _read(lake, REFERENCE_TABLE, DRIFT_REFERENCE, wanted)
    return table.sort_by([("asset", "ascending"), ("sensor", "ascending")])


def _read(lake: Lake, name: str, schema: pa.Schema, wanted: Mapping[str, Any]) -> pa.Table:
    uri = lake.uri(name)
    if not delta.has_table(uri):
        return schema.empty_table()
    where = ds.scalar(value=True)
    for column, value in wanted.items():
        if value is not None:
            where = where & (ds.field(column) == value)
    with delta.explain_table_errors("read", uri):
        dataset = DeltaTable(uri).to_pyarrow_dataset()
        return dataset.to_table(columns=schema.names, filter=where)
