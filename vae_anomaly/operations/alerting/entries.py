"""Append-only tables of things that are said of a span of time, and may be taken back."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from vae_anomaly.errors import AlertingError
from vae_anomaly.operations.alerting.times import format_minute, to_us
from vae_anomaly.readings import delta
from vae_anomaly.readings.alerting_layout import LABELS, MAINTENANCE
from vae_anomaly.readings.tables import Lake

ADDED, WITHDRAWN = "added", "withdrawn"
SCHEMAS = {"labels": LABELS, "maintenance": MAINTENANCE}
VARIANT = {"labels": "kind", "maintenance": "source"}
"""The column that only this table has."""


@dataclass(frozen=True)
class Entry:
    """Something said of the span `[start_us, end_us)` of an asset.

    Attributes:
        asset: The asset, `*` for all.
        start_us: Microseconds since 1970.
        end_us: Microseconds since 1970, exclusive.
        by: Who said it.
        reason: Why.
        variant: Of a label its kind, of a maintenance window its source.
    """

    asset: str
    start_us: int
    end_us: int
    by: str
    reason: str
    variant: str

    def id_in(self, table: str) -> str:
        """Return its identity: a label is what is said of a span, a window also by whom."""
        about: tuple[str, ...] = (self.asset, str(self.start_us), str(self.end_us))
        if table == "maintenance":
            about += (self.variant, self.reason)
        return hashlib.sha256("\x1f".join((table, *about)).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class _Standing:
    """The newest row of an entry."""

    entry: Entry
    number: int
    is_active: bool


def read_entries(lake: Lake, table: str) -> dict[str, Entry]:
    """Read what stands and was not withdrawn.

    Args:
        lake: The lake.
        table: `labels` or `maintenance`.

    Returns:
        Entries by id, in order of time.

    Raises:
        TableError: The table cannot be read.
    """
    standing = _read_standing(lake, table)
    active = [(entry_id, one.entry) for entry_id, one in standing.items() if one.is_active]
    return dict(sorted(active, key=lambda item: (item[1].start_us, item[0])))


def add_entries(lake: Lake, table: str, entries: Iterable[Entry], *, at_us: int) -> int:
    """Add entries; what stands already is not added again.

    Args:
        lake: The lake.
        table: `labels` or `maintenance`.
        entries: What to add. A label replaces the one of the same span.
        at_us: When.

    Returns:
        How many were added.

    Raises:
        AlertingError: An entry ends before it starts.
        TableError: The table cannot be written.
    """
    standing, rows = _read_standing(lake, table), {}
    for entry in entries:
        _require_span(entry)
        entry_id = entry.id_in(table)
        known = standing.get(entry_id)
        if known and known.is_active and known.entry.variant == entry.variant:
            continue
        number = known.number + 1 if known else 1
        rows[entry_id] = _make_row(table, entry, number=number, action=ADDED, at_us=at_us)
    _append(lake, table, tuple(rows.values()))
    return len(rows)


def withdraw_entries(
    lake: Lake, table: str, entry_ids: Collection[str], *, by: str, reason: str, at_us: int
) -> int:
    """Withdraw entries; nothing is deleted.

    Args:
        lake: The lake.
        table: `labels` or `maintenance`.
        entry_ids: Which; one that does not stand is left alone.
        by: Who does it.
        reason: Why.
        at_us: When.

    Returns:
        How many were withdrawn.

    Raises:
        TableError: The table cannot be written.
    """
    standing = _read_standing(lake, table)
    rows = [
        _make_row(table, known.entry, number=known.number + 1, action=WITHDRAWN, at_us=at_us)
        | {"by": by, "reason": reason}
        for known in (standing[entry_id] for entry_id in sorted(set(entry_ids) & standing.keys()))
        if known.is_active
    ]
    _append(lake, table, rows)
    return len(rows)


def _read_standing(lake: Lake, table: str) -> dict[str, _Standing]:
    uri = lake.uri(table)
    if not delta.has_table(uri):
        return {}
    rows = delta.read_table(uri).sort_by([("entry_id", "ascending"), ("number", "ascending")])
    return {
        row["entry_id"]: _Standing(
            Entry(
                row["asset"],
                to_us(row["start"]),
                to_us(row["end"]),
                row["by"],
                row["reason"],
                row[VARIANT[table]],
            ),
            row["number"],
            row["action"] == ADDED,
        )
        for row in rows.to_pylist()
    }


def _make_row(
    table: str, entry: Entry, *, number: int, action: str, at_us: int
) -> dict[str, object]:
    return {
        "entry_id": entry.id_in(table),
        "number": number,
        "action": action,
        "at": at_us,
        "by": entry.by,
        "reason": entry.reason,
        "asset": entry.asset,
        "start": entry.start_us,
        "end": entry.end_us,
        VARIANT[table]: entry.variant,
    }


def _append(lake: Lake, table: str, rows: Sequence[dict[str, object]]) -> None:
    delta.append_once(lake.uri(table), pa.Table.from_pylist(list(rows), schema=SCHEMAS[table]))


def _require_span(entry: Entry) -> None:
    if entry.start_us >= entry.end_us:
        raise AlertingError(
            f"Cannot keep a span of asset '{entry.asset}': expected a start before its end, got "
            f"{format_minute(entry.start_us)} and {format_minute(entry.end_us)}. Correct the "
            "times."
        )
