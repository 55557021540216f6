"""Alert events as alerting sees them, and the history of their status."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from vae_anomaly.errors import AlertingError
from vae_anomaly.operations.alerting.states import SUPERSEDED, SYSTEM
from vae_anomaly.operations.alerting.times import to_us
from vae_anomaly.readings import delta
from vae_anomaly.readings.alerting_layout import ALERT_CHANGES
from vae_anomaly.readings.tables import Lake


@dataclass(frozen=True)
class Event:
    """An alert event without what it is made of.

    Attributes:
        alert_id: Its identity.
        asset: Its asset.
        model_name: Registered model.
        model_version: The version that found it last.
        start_us: Microseconds since 1970.
        end_us: Microseconds since 1970, exclusive.
        status: As in the table.
        mute: Why nobody is called for it, empty where somebody is.
        group_id: The first event of its group.
    """

    alert_id: str
    asset: str
    model_name: str
    model_version: str
    start_us: int
    end_us: int
    status: str
    mute: str = ""
    group_id: str = ""

    @property
    def is_live(self) -> bool:
        """Whether the scores bear it out."""
        return self.status != SUPERSEDED


@dataclass(frozen=True)
class Change:
    """One change of status.

    Attributes:
        alert_id: The alert.
        number: 1 for the first of this alert.
        status: What it became.
        at_us: When: the time of the event where the system did it, else that of the deed.
        by: Who; `system` where it follows from the data.
        reason: Why.
        asset: Its asset.
        model_name: Its registered model.
        start_us: When the event started, as it was known.
        end_us: When it ended, exclusive, as it was known.
    """

    alert_id: str
    number: int
    status: str
    at_us: int
    by: str
    reason: str
    asset: str
    model_name: str
    start_us: int
    end_us: int

    @classmethod
    def of(
        cls, event: Event, number: int, status: str, *, at_us: int, by: str, reason: str
    ) -> Change:
        """Make the change of an event."""
        return cls(
            event.alert_id,
            number,
            status,
            at_us,
            by,
            reason,
            event.asset,
            event.model_name,
            event.start_us,
            event.end_us,
        )

    @property
    def is_decision(self) -> bool:
        """Whether a person did it."""
        return self.by != SYSTEM


def read_events(lake: Lake, *, model_name: str) -> tuple[Event, ...]:
    """Read the alert events of a model, superseded ones too, sorted by start.

    Raises:
        TableError: The table cannot be read.
    """
    table = lake.read_alerts()
    table = table.filter(pc.equal(table["model_name"], model_name))
    names = ["alert_id", "asset", "model_name", "model_version", "start", "end"]
    return tuple(
        Event(
            **{name: row[name] for name in names[:4]},
            start_us=to_us(row["start"]),
            end_us=to_us(row["end"]),
            status=row["status"],
            mute=row["mute"] or "",
            group_id=row["group_id"] or "",
        )
        for row in table.select([*names, "status", "mute", "group_id"]).to_pylist()
    )


def find_event(lake: Lake, alert_id: str, *, model_name: str) -> Event:
    """Find an alert by its id or the beginning of it.

    Args:
        lake: The lake.
        alert_id: The id, or as much of it as no other has.
        model_name: Registered model.

    Raises:
        AlertingError: There is none, or there are several.
    """
    begin = alert_id.strip().lower()
    found = [
        event
        for event in read_events(lake, model_name=model_name)
        if begin and event.alert_id.startswith(begin)
    ]
    if len(found) == 1:
        return found[0]
    got = "none" if not found else ", ".join(event.alert_id for event in found[:5])
    raise AlertingError(
        f"Cannot find alert '{alert_id}': expected one alert whose id begins so, got {got}. "
        "See 'vae-anomaly alerts list' for what there is."
    )


def read_changes(lake: Lake) -> tuple[Change, ...]:
    """Read the history of all alerts, each in order.

    Raises:
        TableError: The table cannot be read.
    """
    uri = lake.uri("alert_changes")
    if not delta.has_table(uri):
        return ()
    rows = delta.read_table(uri).sort_by([("alert_id", "ascending"), ("number", "ascending")])
    return tuple(
        Change(
            **{name: row[name] for name in ("alert_id", "number", "status", "by", "reason")},
            **{name: row[name] for name in ("asset", "model_name")},
            at_us=to_us(row["at"]),
            start_us=to_us(row["start"]),
            end_us=to_us(row["end"]),
        )
        for row in rows.to_pylist()
    )


def list_last(changes: Iterable[Change]) -> dict[str, Change]:
    """Return the last change of each alert."""
    return {change.alert_id: change for change in changes}


def append_changes(lake: Lake, changes: Sequence[Change]) -> None:
    """Append changes to the history, once.

    Raises:
        TableError: The table cannot be written.
    """
    if not changes:
        return
    content = "\x1e".join(repr(change) for change in changes)
    commit_id = f"alert_changes:{hashlib.sha256(content.encode()).hexdigest()[:32]}"
    rows = [
        {
            **{name: getattr(change, name) for name in ALERT_CHANGES.names if name in _SAME},
            "at": change.at_us,
            "start": change.start_us,
            "end": change.end_us,
        }
        for change in changes
    ]
    table = pa.Table.from_pylist(rows, schema=ALERT_CHANGES)
    delta.append_once(lake.uri("alert_changes"), table, commit_id=commit_id)


def write_settled(lake: Lake, settled: Mapping[str, Event]) -> None:
    """Write status, mute and group of alerts.

    Args:
        lake: The lake.
        settled: Alerts by id, as they are to be; all are in the table.

    Raises:
        TableError: The table cannot be written.
    """
    if not settled:
        return
    starts = [event.start_us for event in settled.values()]
    table = lake.read_alerts(
        assets=sorted({event.asset for event in settled.values()}),
        start_us=min(starts),
        end_us=max(starts) + 1,
    )
    rows = [
        row
        | {
            "status": settled[row["alert_id"]].status,
            "mute": settled[row["alert_id"]].mute,
            "group_id": settled[row["alert_id"]].group_id,
        }
        for row in table.to_pylist()
        if row["alert_id"] in settled
    ]
    delta.upsert(
        lake.uri("alerts"), pa.Table.from_pylist(rows, schema=table.schema), keys=("alert_id",)
    )


_SAME = frozenset(("alert_id", "number", "status", "by", "reason", "asset", "model_name"))
"""Columns of the history that are fields of a change as they are."""
