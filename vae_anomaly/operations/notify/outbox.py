"""The table `outbox`: one row per channel, alert event and what happened to it."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, final

import pyarrow as pa
import pyarrow.compute as pc

from vae_anomaly.operations.pipeline_tables import EPOCH
from vae_anomaly.readings import delta
from vae_anomaly.readings.layout_outbox import OUTBOX

KEY_LETTERS = 32
OPENED = "opened"


class Status(StrEnum):
    """What has become of a row of the outbox."""

    PENDING = "pending"
    SENT = "sent"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    """The alert event was no longer to be told when it would have been sent; it may be again."""
    SKIPPED = "skipped"
    """Written down, and not to be told: it goes on with what was told, or nobody asked for it."""


class Arrived(StrEnum):
    """Whether the receiver has a message."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"
    """It may have: a try was cut off before the answer."""


@dataclass(frozen=True)
class Attempt:
    """One try of a message.

    Attributes:
        at_us: When, microseconds since 1970, UTC.
        arrived: An `Arrived`.
        answer: What the receiver answered, or what went wrong; no secrets.
    """

    at_us: int
    arrived: str
    answer: str


@dataclass(frozen=True)
class Entry:
    """One row of the outbox; times in microseconds since 1970, UTC.

    Attributes:
        key: Hash of channel, alert event, what happened and round.
        channel: Name of the channel.
        alert_id: The alert event.
        what: `opened`, or how it ended.
        round: How often the event was opened to the channel, this time included.
        thread: First alert event that the channel was told of what is going on.
        asset: Its asset.
        group_id: Group of alert events that belong together, "" for none.
        severity: As the event had it.
        status: A `Status`.
        reason: Why it is not sent, "" where it is.
        arrived: An `Arrived`, of all tries.
        created_us: When it was enqueued.
        due_us: When it is to be sent, or tried again.
        message: Key of the message that it goes out in, "" before that is settled.
        sealed_us: When that was settled.
        hold_us: Until when the receiver asked not to be called.
        tries: How often it was tried since it was last put in line.
        attempts: Every try there was.
        last_error: What the last failed try came to, "" after a good one.
        payload: The event as JSON.
    """

    key: str
    channel: str
    alert_id: str
    what: str
    round: int
    thread: str
    asset: str
    group_id: str
    severity: str
    status: str
    reason: str
    created_us: int
    due_us: int
    payload: str
    arrived: str = Arrived.NO
    message: str = ""
    sealed_us: int | None = None
    hold_us: int | None = None
    tries: int = 0
    attempts: tuple[Attempt, ...] = ()
    last_error: str = ""

    @property
    def is_end(self) -> bool:
        """Whether it tells how an alert event ended."""
        return self.what != OPENED

    @property
    def position(self) -> tuple[int, bool]:
        """Its place among the rows of its alert event."""
        return self.round, self.is_end

    @property
    def may_be_told(self) -> bool:
        """Whether people know, or may know, of the event."""
        if self.status == Status.PENDING:
            return self.arrived != Arrived.NO
        return self.status in {Status.SENT, Status.SKIPPED}


def make_key(*parts: object) -> str:
    """Hash what makes a row or a message what it is.

    Example:
        >>> make_key("duty", "a1", "opened", 1) == make_key("duty", "a1", "opened", 1)
        True
        >>> make_key("a", "bc") == make_key("ab", "c")
        False
    """
    text = "\x1f".join(str(part) for part in parts)
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_LETTERS]


@final
class Outbox:
    """The table, under the root of a lake; it comes into being with its first row.

    Every write is one atomic commit, by key. Who reads, decides and writes has to hold the
    lock `ENQUEUE` in between.
    """

    def __init__(self, root: str) -> None:
        self.uri = f"{root}/outbox"

    def read(self, *, statuses: Collection[str] = ()) -> tuple[Entry, ...]:
        """Read rows, sorted by creation and key.

        Args:
            statuses: Statuses wanted, none for all.

        Raises:
            TableError: The table cannot be read.
        """
        if not delta.has_table(self.uri):
            return ()
        table: pa.Table = delta.read_table(self.uri)
        return _to_entries(table.filter(_have_status(table, statuses)) if statuses else table)

    def read_channel(self, channel: str, *, sealed_since_us: int) -> tuple[Entry, ...]:
        """Read the rows of a channel that wait, and those that got their message lately.

        Args:
            channel: The channel.
            sealed_since_us: Since when, microseconds since 1970.

        Raises:
            TableError: The table cannot be read.
        """
        if not delta.has_table(self.uri):
            return ()
        table: pa.Table = delta.read_table(self.uri)
        sealed = pc.fill_null(table["sealed"].cast(pa.int64()), 0)
        is_recent = pc.greater_equal(sealed, sealed_since_us)
        is_wanted = pc.or_(_have_status(table, [Status.PENDING]), is_recent)
        return _to_entries(table.filter(pc.and_(is_wanted, pc.equal(table["channel"], channel))))

    def write(self, entries: Sequence[Entry]) -> None:
        """Write rows in one commit; those of the same key are replaced.

        Raises:
            TableError: The table cannot be written.
        """
        if not entries:
            return
        table = pa.Table.from_pylist([_to_row(entry) for entry in entries], schema=OUTBOX)
        if delta.has_table(self.uri):
            delta.upsert(self.uri, table, keys=("key",))
        else:
            delta.append_once(self.uri, table)


def to_us(time: datetime) -> int:
    """Return a time as microseconds since 1970."""
    return (time - EPOCH) // timedelta(microseconds=1)


def _count_times(kind: pa.DataType) -> pa.DataType:
    """Return a type with numbers for its times: objects for each would take far longer."""
    if pa.types.is_timestamp(kind):
        return pa.int64()
    if pa.types.is_list(kind):
        return pa.list_(_count_times(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(part.name, _count_times(part.type)) for part in kind])
    return kind


_NUMBERS = pa.schema([(item.name, _count_times(item.type)) for item in OUTBOX])


def _have_status(table: pa.Table, statuses: Collection[str]) -> pa.ChunkedArray:
    return pc.is_in(table["status"], pa.array([str(status) for status in statuses]))


def _to_entries(table: pa.Table) -> tuple[Entry, ...]:
    rows = table.select(OUTBOX.names).cast(_NUMBERS).to_pylist()
    return tuple(sorted(map(_to_entry, rows), key=lambda item: (item.created_us, item.key)))


def _to_entry(row: dict[str, Any]) -> Entry:
    attempts = tuple(
        Attempt(item["at"], item["arrived"], item["answer"]) for item in row.pop("attempts")
    )
    content = {_FIELDS.get(name, name): value for name, value in row.items()}
    return Entry(**content, attempts=attempts)


def _to_row(entry: Entry) -> dict[str, Any]:
    row = {name.removesuffix("_us"): value for name, value in vars(entry).items()}
    row["attempts"] = [
        {"at": item.at_us, "arrived": item.arrived, "answer": item.answer}
        for item in entry.attempts
    ]
    return row


_FIELDS = {
    item.name.removesuffix("_us"): item.name for item in fields(Entry) if item.name.endswith("_us")
}
"""The field of each column of which the name differs."""
