"""One file or table of the input, opened but not read: what every adaptor takes and gives."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from vae_anomaly.wording import format_plural

PROBLEM_COLUMN = "_problem"
"""Column of an adapted part that says which `Problem` a row has; null where it has none."""

GIVEN_COLUMN = "_given"
"""Column of an adapted part with the text of what could not be read from a row."""

COUNTED = re.compile(r"\{(row|value)\}")
"""Where a note has its count."""


@dataclass(frozen=True)
class RawPart:
    """One file or table of the input, opened but not read.

    Attributes:
        name: What messages call it.
        schema: Its columns as they came, or as an adaptor gives them.
        num_rows: Rows it declares; at most so many where it is not exact.
        batches: Reads the columns asked for, batch after batch.
        is_exact: Whether it has just as many rows as it declares.
        tell: What a person should know of it: notes with their counts, those of the latest
            reading. `{row}` or `{value}` in a note stands for its count with that noun.
    """

    name: str
    schema: pa.Schema
    num_rows: int
    batches: Callable[[Sequence[str]], Iterator[pa.RecordBatch]]
    is_exact: bool = True
    tell: Callable[[], Mapping[str, int]] = dict


def name_parts(parts: Sequence[RawPart]) -> str:
    """Name the parts in a message: the only one, or the first and how many more."""
    first = parts[0].name
    return first if len(parts) == 1 else f"{first} and {len(parts) - 1} more"


def write_notes(parts: Sequence[RawPart]) -> tuple[str, ...]:
    """Write what the parts tell, after they were read; counts of one note are added up.

    Example:
        >>> part = RawPart("'x'", pa.schema([]), 0, iter, tell=lambda: {"{value} dropped": 2})
        >>> write_notes([part, part])
        ('4 values dropped',)
    """
    counts: dict[str, int] = {}
    for part in parts:
        for note, count in part.tell().items():
            counts[note] = counts.get(note, 0) + count
    return tuple(_write_note(note, count) for note, count in counts.items())


def _write_note(note: str, count: int) -> str:
    return COUNTED.sub(lambda match: format_plural(count, match[1]), note, count=1)


@dataclass(frozen=True)
class MadeColumn:
    """A column that an adaptor makes, batch by batch.

    Attributes:
        field: Its name and type.
        needs: Columns of the part that it is made from.
        make: Makes it of a batch that has these columns.
    """

    field: pa.Field
    needs: tuple[str, ...]
    make: Callable[[pa.RecordBatch], pa.Array]


def keep_column(field: pa.Field, *, name: str = "") -> MadeColumn:
    """Give a column as it is, under another name where its `field` has one.

    Args:
        field: The column as it is to be called.
        name: What it is called now, where that is something else.
    """
    old = name or field.name
    return MadeColumn(field, (old,), lambda batch: batch.column(old))


def make_columns(
    part: RawPart, columns: Sequence[MadeColumn], *, tally: Tally | None = None
) -> RawPart:
    """Adapt a part column by column; only what is asked for is read and made.

    Args:
        part: The part.
        columns: All columns of the adapted part.
        tally: What `columns` count while they are made.

    Returns:
        The adapted part, with as many rows.
    """
    by_name = {column.field.name: column for column in columns}
    schema = pa.schema([column.field for column in columns])
    counts = Tally() if tally is None else tally

    def read(names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        counts.clear()
        wanted = [by_name[name] for name in names]
        needs = list(dict.fromkeys(need for column in wanted for need in column.needs))
        for batch in part.batches(needs or part.schema.names[:1]):
            arrays = [column.make(batch) for column in wanted]
            yield make_batch(arrays, [column.field for column in wanted], batch.num_rows)

    return replace(part, schema=schema, batches=read, tell=join_tellers(part.tell, counts.tell))


def make_batch(
    arrays: Sequence[pa.Array], fields: Sequence[pa.Field], num_rows: int
) -> pa.RecordBatch:
    """Make a batch that has its rows even where it has no column."""
    if not arrays:
        return pa.RecordBatch.from_arrays([pa.nulls(num_rows)], names=["_"]).select([])
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


class Tally:
    """Notes with their counts, of the reading that goes on or was the latest.

    Args:
        always: Notes that hold without anything being counted.
    """

    def __init__(self, always: Sequence[str] = ()) -> None:
        self._always = dict.fromkeys(always, 0)
        self._counts: dict[str, int] = {}

    def clear(self) -> None:
        """Begin anew."""
        self._counts = {}

    def count(self, note: str, count: int) -> None:
        """Add to the count of a note; nothing is noted of none."""
        if count:
            self._counts[note] = self._counts.get(note, 0) + count

    def note(self, note: str) -> None:
        """Note what has no count."""
        self._counts.setdefault(note, 0)

    def tell(self) -> Mapping[str, int]:
        """Return the notes with their counts."""
        return self._always | self._counts


def join_tellers(*tellers: Callable[[], Mapping[str, int]]) -> Callable[[], Mapping[str, int]]:
    """Tell what each of several tells, in their order."""
    return lambda: {note: count for tell in tellers for note, count in tell().items()}
