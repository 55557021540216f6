"""Alert events as notifications see them, and what of them goes into a message."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from vae_anomaly.operations.notify.outbox import OPENED, to_us
from vae_anomaly.operations.pipeline_tables import EPOCH
from vae_anomaly.readings import delta
from vae_anomaly.readings.tables import Lake

SEVERITIES = ("low", "medium", "high")
OPEN, SUPERSEDED = "open", "superseded"
ENDS = ("resolved", "dismissed", SUPERSEDED)
"""Statuses of an alert event that is over; each is also what is told of it."""


@dataclass(frozen=True)
class AlertState:
    """An alert event as it stands in the lake; times in microseconds since 1970, UTC.

    Attributes:
        row: Its row of the table `alerts`.
        start_us: Its first flagged step.
        end_us: End of its last flagged step, exclusive.
    """

    row: dict[str, Any]
    start_us: int
    end_us: int

    @property
    def alert_id(self) -> str:
        """Its id."""
        return str(self.row["alert_id"])

    @property
    def asset(self) -> str:
        """Its asset."""
        return str(self.row["asset"])

    @property
    def status(self) -> str:
        """Its status."""
        return str(self.row["status"])

    @property
    def severity(self) -> str:
        """Its severity."""
        return str(self.row["severity"])

    @property
    def is_muted(self) -> bool:
        """Whether nobody is to be told of it."""
        return bool(self.row.get("mute"))

    @property
    def group_id(self) -> str:
        """The group it belongs to, "" for none."""
        return str(self.row.get("group_id") or "")


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
    rows = mine.sort_by([("start", "ascending"), ("alert_id", "ascending")]).to_pylist()
    return tuple(AlertState(row, to_us(row["start"]), to_us(row["end"])) for row in rows)


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
