"""How readings, scores and alert events lie in the columns of the tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vae_anomaly.domain import (
    DEFAULT_ASSET,
    MICROSECONDS_PER_DAY,
    NO_TIME,
    AlertEvent,
    IntArray,
    Readings,
    SensorQuality,
)
from vae_anomaly.errors import TableError
from vae_anomaly.readings.shared_rows import DELIVERIES, DELIVERIES_TYPE

TIME = pa.timestamp("us", "UTC")
PARTITIONS = ("asset", "date")
RESERVED = ("asset", "timestamp", "date", "_source", "_batch", "_row", DELIVERIES)
"""Our own columns of `readings`; a sensor of such a name is stored under another."""

QUARANTINE = pa.schema(
    [
        ("source", pa.string()),
        ("row", pa.int64()),
        ("batch", pa.string()),
        ("reason", pa.string()),
        ("rule", pa.string()),
        ("first_seen", TIME),
        ("content", pa.string()),
    ]
)
LEDGER = pa.schema(
    [
        ("source", pa.string()),
        ("content_hash", pa.string()),
        ("batch", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("num_rows", pa.int64()),
        ("num_kept", pa.int64()),
        ("num_quarantined", pa.int64()),
        ("num_duplicates", pa.int64()),
        ("num_entries", pa.int64()),
        ("num_withdrawn", pa.int64()),
        ("num_restored", pa.int64()),
        ("size", pa.int64()),
        ("modified", TIME),
        ("delivery", pa.int64()),
    ]
)
QUALITY = pa.schema(
    [
        ("asset", pa.string()),
        ("sensor", pa.string()),
        ("source", pa.string()),
        ("batch", pa.string()),
        ("first", TIME),
        ("last", TIME),
        ("num_rows", pa.int64()),
        ("num_missing", pa.int64()),
        ("num_infinite", pa.int64()),
        ("num_sentinel", pa.int64()),
        ("num_out_of_range", pa.int64()),
        ("num_spikes", pa.int64()),
        ("longest_flat_steps", pa.int64()),
        ("last_flat_steps", pa.int64()),
        ("minimum", pa.float64()),
        ("maximum", pa.float64()),
        ("copy_of", pa.string()),
    ]
)
"""What the values of a delivery are like, per asset and sensor; raw units."""

SCORES = pa.schema(
    [
        ("asset", pa.string()),
        ("timestamp", TIME),
        ("model_name", pa.string()),
        ("model_version", pa.string()),
        ("nll", pa.float64()),
        ("score", pa.float64()),
        ("threshold", pa.float64()),
        ("state", pa.string()),
        ("reason", pa.string()),
        ("kl", pa.float64()),
    ]
)
"""Scores without `contribution`, of which the fields depend on the sensors."""

LIVE_VERSIONS = pa.schema(
    [
        ("number", pa.int64()),
        ("model_name", pa.string()),
        ("model_version", pa.string()),
        ("start", TIME),
        ("noted", TIME),
    ]
)
"""From which time of the readings on a version is live; each row ends what was before it there."""

ALERTS = pa.schema(
    [
        ("alert_id", pa.string()),
        ("asset", pa.string()),
        ("model_name", pa.string()),
        ("model_version", pa.string()),
        ("start", TIME),
        ("end", TIME),
        ("peak", TIME),
        ("peak_score", pa.float64()),
        ("threshold", pa.float64()),
        ("num_steps", pa.int64()),
        ("severity", pa.string()),
        ("status", pa.string()),
        ("top_sensors", pa.list_(pa.string())),
        ("top_shares", pa.list_(pa.float64())),
        ("reasons", pa.list_(pa.string())),
        ("mute", pa.string()),
        ("group_id", pa.string()),
    ]
)
SETTLED = ("status", "mute", "group_id")
"""Columns of `alerts` that do not come from the scores alone: see `operations/alerting`."""


def name_columns(sensors: Sequence[str]) -> dict[str, str]:
    """Choose the column of each sensor: its own name wherever tables allow it.

    Delta tables do not tell names apart by case, and some names are ours; such a sensor gets a
    number behind its name.

    Example:
        >>> name_columns(["flow", "Flow", "date", "p (Pa)"])
        {'flow': 'flow', 'Flow': 'Flow~2', 'date': 'date~2', 'p (Pa)': 'p (Pa)'}
    """
    taken = set(RESERVED)
    columns = {}
    for sensor in sensors:
        column, number = sensor, 1
        while column.lower() in taken:
            number += 1
            column = f"{sensor}~{number}"
        taken.add(column.lower())
        columns[sensor] = column
    return columns


def readings_schema(columns: Mapping[str, str]) -> pa.Schema:
    """Return the schema of `readings` for sensors with these columns."""
    return pa.schema(
        [
            ("asset", pa.string()),
            ("timestamp", TIME),
            ("date", pa.date32()),
            *((column, pa.float64()) for column in columns.values()),
            ("_source", pa.string()),
            ("_batch", pa.string()),
            ("_row", pa.int64()),
            (DELIVERIES, DELIVERIES_TYPE),
        ]
    )


def readings_to_table(
    readings: Readings, rows: IntArray, *, columns: Mapping[str, str], source: str, batch: str
) -> pa.Table:
    """Lay out readings as rows of `readings`.

    Args:
        readings: Usable readings in the order wanted.
        rows: Row of the file that each is. Shape `(rows,)`.
        columns: Column of each sensor.
        source: File they come from.
        batch: Name of the delivery.
    """
    num_rows = readings.num_rows
    times = pa.array(readings.timestamps, TIME)
    names = pa.array(readings.asset_names, pa.string())
    content = {
        "asset": pa.DictionaryArray.from_arrays(pa.array(readings.asset_codes), names),
        "timestamp": times,
        "date": pa.array((readings.timestamps // MICROSECONDS_PER_DAY).astype(np.int32)).view(
            pa.date32()
        ),
    }
    for k, sensor in enumerate(readings.sensors):
        values = readings.values[:, k]
        content[columns[sensor]] = pa.array(values, from_pandas=bool(np.isnan(values).any()))
    content["_source"] = _repeat(source, num_rows)
    content["_batch"] = _repeat(batch, num_rows)
    content["_row"] = pa.array(rows)
    return pa.table(content)


def _repeat(text: str, num_rows: int) -> pa.DictionaryArray:
    """Return a column of one text, which takes no room."""
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(num_rows, dtype=np.int32)), [text])


def quality_to_table(found: Sequence[SensorQuality], *, source: str, batch: str) -> pa.Table:
    """Put what the values of a delivery are like into the columns of `QUALITY`.

    Args:
        found: An entry per asset and sensor.
        source: Name of the file.
        batch: Name of the delivery.

    Returns:
        The table, in the order given; numbers that there are none of are null.
    """
    times = {"first": "first_us", "last": "last_us"}
    given = {"source": source, "batch": batch}
    columns = {}
    for field in QUALITY:
        if field.name in given:
            columns[field.name] = pa.repeat(given[field.name], len(found))
            continue
        values = [getattr(item, times.get(field.name, field.name)) for item in found]
        columns[field.name] = pa.array(values, field.type, from_pandas=True)
    return pa.table(columns, schema=QUALITY)


def scores_to_table(
    scores: pa.Table, *, columns: Mapping[str, str], model_name: str, model_version: str
) -> pa.Table:
    """Lay out the scores table of a detector as rows of `scores`.

    Raises:
        TableError: A column is missing, a row has no time, or two rows share asset and time.
    """
    num_rows = scores.num_rows
    given = {name: scores[name] for name in scores.column_names}
    given.setdefault("asset", pa.repeat(DEFAULT_ASSET, num_rows))
    given["model_name"] = pa.repeat(model_name, num_rows)
    given["model_version"] = pa.repeat(model_version, num_rows)
    missing = [name for name in (*SCORES.names, "contribution") if name not in given]
    if missing:
        raise TableError(
            f"Cannot write scores: expected the columns of a detector's scores, got none named "
            f"{', '.join(map(repr, missing))}. Pass what Detector.score returns."
        )
    table = pa.table({item.name: given[item.name].cast(item.type) for item in SCORES})
    _check_keys(table)
    table = table.append_column("date", table["timestamp"].cast(pa.date32()))
    return table.append_column("contribution", rename_fields(given["contribution"], columns))


def alerts_to_table(
    events: Sequence[AlertEvent], *, model_name: str, model_version: str
) -> pa.Table:
    """Lay out alert events as rows of `alerts`; all are open."""
    rows = [
        {
            "alert_id": event.alert_id,
            "asset": event.asset,
            "model_name": model_name,
            "model_version": model_version,
            "start": event.start_us,
            "end": event.end_us,
            "peak": event.peak_us,
            "peak_score": event.peak_score,
            "threshold": event.threshold,
            "num_steps": event.num_steps,
            "severity": event.severity,
            "status": "open",
            "top_sensors": list(event.top_sensors),
            "top_shares": list(event.top_shares),
            "reasons": list(event.reasons),
            "mute": "",
            "group_id": "",
        }
        for event in events
    ]
    return pa.Table.from_pylist(rows, schema=ALERTS)


def rename_fields(column: pa.ChunkedArray, names: Mapping[str, str]) -> pa.ChunkedArray:
    """Return a struct column with its fields renamed; names not mapped stay."""
    array = pa.chunked_array([column]) if isinstance(column, pa.Array) else column
    fields = [item.with_name(names.get(item.name, item.name)) for item in array.type]
    renamed = [
        pa.StructArray.from_arrays(
            [chunk.field(i) for i in range(len(fields))], fields=fields, mask=chunk.is_null()
        )
        for chunk in array.chunks
    ]
    return pa.chunked_array(renamed, type=pa.struct(fields))


def _check_keys(table: pa.Table) -> None:
    times = pc.fill_null(table["timestamp"].cast(pa.int64()), NO_TIME).to_numpy()
    if NO_TIME in times:
        raise TableError(
            "Cannot write scores: expected a time in each row, got rows without. Leave out rows "
            "that have no timestamp."
        )
    codes = table["asset"].combine_chunks().dictionary_encode().indices.to_numpy()
    order = np.lexsort((times, codes))
    if np.any((np.diff(times[order]) == 0) & (np.diff(codes[order]) == 0)):
        raise TableError(
            "Cannot write scores: expected one row per asset and time, got several. Leave out "
            "duplicates."
        )
