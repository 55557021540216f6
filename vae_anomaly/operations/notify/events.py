"""Alert events as notifications see them, and what of them goes into a message."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, final

import pyarrow as pa
import pyarrow.compute as pc

from vae_anomaly.operations.notify.outbox import OPENED, to_us
from vae_anomaly.operations.pipeline_tables import EPOCH
from vae_anomaly.readings import delta
from vae_anomaly.readings.tables import Lake

SEVERITIES = ("low", "medium", "high")
OPEN, RESOLVED, SUPERSEDED = "open", "resolved", "superseded"
ENDS = (RESOLVED, "dismissed", SUPERSEDED)
"""Statuses of an alert event that is over; each is also what is told of it."""


BLOCK_ROWS = 500
"""Rows that are made Python values at once; those of new events lie together."""

STATE_COLUMNS = ("alert_id", "asset", "severity", "status", "mute", "group_id")


@final
class _Rows:
    """Rows of a table as Python values, a block of them at a time."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self._start = 0
        self._block: list[dict[str, Any]] = []

    def get(self, index: int) -> dict[str, Any]:
        if not self._start <= index < self._start + len(self._block):
            self._start = index
            self._block = self._table.slice(index, BLOCK_ROWS).to_pylist()
        return self._block[index - self._start]


@dataclass(frozen=True)
class AlertState:
    """An alert event as it stands in the lake; times in microseconds since 1970, UTC.

    Attributes:
        alert_id: Its id.
        asset: Its asset.
        severity: `low`, `medium` or `high`.
        status: `open`, or what has become of it.
        mute: Why nobody is to be told of it, "" where people are.
        group_id: The group it belongs to, "" for none.
        start_us: Its first flagged step.
        end_us: End of its last flagged step, exclusive.
        rows: Rows of the table `alerts`, of which most are never looked at in full.
        index: Its row among them.
    """

    alert_id: str
    asset: str
    severity: str
    status: str
    mute: str
    group_id: str
    start_us: int
    end_us: int
    rows: _Rows = field(repr=False, compare=False)
    index: int

    @property
    def row(self) -> dict[str, Any]:
        """Its whole row."""
        return self.rows.get(self.index)


def read_alert_states(lake: Lake, *, model_name: str) -> tuple[AlertState, ...]:
    """Read the alert events of a model, superseded ones included, in order of time.

    Raises:
        TableError: The table cannot be read.
    """
    uri = lake.uri("alerts")
    if not delta.has_table(uri):
        return ()
    table: pa.Table = delta.read_table(uri)
    mine = table.filter(pc.equal(table["model_name"], model_name))
    mine = mine.sort_by([("start", "ascending"), ("alert_id", "ascending")]).combine_chunks()
    columns: dict[str, list[Any]] = {name: _list_texts(mine, name) for name in STATE_COLUMNS}
    for name in ("start", "end"):
        columns[f"{name}_us"] = mine[name].cast(pa.int64()).to_pylist()
    rows, names = _Rows(mine), list(columns)
    states = zip(*columns.values(), strict=True)
    return tuple(
        AlertState(**dict(zip(names, values, strict=True)), rows=rows, index=k)
        for k, values in enumerate(states)
    )


def _list_texts(table: pa.Table, name: str) -> list[str]:
    """Return a column, with "" where there is nothing, or no such column yet."""
    if name not in table.column_names:
        return [""] * table.num_rows
    texts: list[str] = pc.fill_null(table[name], "").to_pylist()
    return texts


def make_payload(alert: AlertState, *, what: str = OPENED, thread: str) -> str:
    """Write down what a message says of an alert event, as JSON with sorted names.

    Args:
        alert: The alert event.
        what: `opened`, or how it ended.
        thread: First alert event that was told of what is going on.
    """
    row = alert.row
    threshold = row["threshold"]
    ratio = row["peak_score"] / threshold if threshold and threshold > 0 else None
    return json.dumps(
        {
            "what": what,
            "alert_id": alert.alert_id,
            "thread": thread,
            "group_id": alert.group_id,
            "asset": alert.asset,
            "severity": alert.severity,
            "status": alert.status,
            "start": format_time(alert.start_us),
            "end": format_time(alert.end_us),
            "peak": format_time(to_us(row["peak"])),
            "peak_score": _finite(row["peak_score"]),
            "threshold": _finite(threshold),
            "ratio": _finite(ratio),
            "top_sensors": list(row["top_sensors"] or ()),
            "top_shares": [_finite(share) for share in row["top_shares"] or ()],
            "reasons": list(row["reasons"] or ()),
            "model_name": row["model_name"],
            "model_version": row["model_version"],
        },
        sort_keys=True,
    )


def format_time(time_us: int) -> str:
    """Write a time as ISO 8601 in UTC.

    Example:
        >>> format_time(1_500_000)
        '1970-01-01T00:00:01.500000Z'
    """
    return (EPOCH + timedelta(microseconds=time_us)).isoformat().replace("+00:00", "Z")


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
