"""Arrow columns as NumPy arrays: times in microseconds, numbers in float64, asset codes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vae_anomaly.domain import MICROSECONDS_PER_DAY, NO_TIME, FloatArray, IntArray
from vae_anomaly.errors import ContractError, ReadingsError, VaeAnomalyError
from vae_anomaly.readings.parts import RawPart

MICROSECONDS = {"s": 1_000_000, "ms": 1_000, "us": 1}
"""Microseconds per unit of an Arrow timestamp; nanoseconds are divided instead."""

ZONE_PATTERN = r"(Z|z|[+-][0-9]{2}(:?[0-9]{2})?)$"
"""Zone at the end of an ISO 8601 time."""

DATE_PATTERN = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
"""ISO 8601 date alone; its day would otherwise read as a zone."""


class ColumnKind(StrEnum):
    """What a raw column can be used for."""

    NUMBER = "number"
    TIME = "time"
    TEXT = "text"
    EMPTY = "empty"
    """Without a type, as a column is that never held a value."""
    OTHER = "other"


class Zone(StrEnum):
    """Whether the times of a column know their zone."""

    UNKNOWN = ""
    """No time seen yet."""
    NAIVE = "without a zone"
    AWARE = "with a zone"


@dataclass(frozen=True)
class RawColumn:
    """One column over all parts of the input.

    Attributes:
        name: The column.
        kind: What it can be used for.
        type: Its Arrow type in words, in the first part that has one.
        part: That part, for messages.
        missing_from: Parts that hold rows but not this column.
        clash: Another kind it has in a later part, with type and part, or None.
    """

    name: str
    kind: ColumnKind
    type: str
    part: str
    missing_from: tuple[str, ...] = ()
    clash: RawColumn | None = None


@dataclass(frozen=True)
class Times:
    """Times of one batch.

    Attributes:
        values: Microseconds since 1970, `NO_TIME` where missing. Shape `(rows,)`.
        zone: Whether they know their zone.
        is_cut: Whether digits finer than a microsecond were cut off.
    """

    values: IntArray
    zone: Zone
    is_cut: bool = False


def column_kind(type_: pa.DataType) -> ColumnKind:
    """Say what a column of an Arrow type can be used for."""
    types = pa.types
    if types.is_dictionary(type_):
        return column_kind(type_.value_type)
    if types.is_null(type_):
        return ColumnKind.EMPTY
    if _is_number(type_):
        return ColumnKind.NUMBER
    if types.is_timestamp(type_) or types.is_date(type_):
        return ColumnKind.TIME
    if types.is_string(type_) or types.is_large_string(type_) or types.is_string_view(type_):
        return ColumnKind.TEXT
    return ColumnKind.OTHER


def merge_columns(parts: Sequence[RawPart]) -> dict[str, RawColumn]:
    """Bring the columns of all parts together, in order of first appearance.

    Args:
        parts: The input; parts without rows do not count, unless there are no others.

    Returns:
        The columns by name. Number types may differ from part to part; a column that is of
        another kind in a later part keeps its first kind and carries the other as `clash`.
    """
    filled = [part for part in parts if part.num_rows] or list(parts)
    types = [(part.name, {item.name: item.type for item in part.schema}) for part in filled]
    names = dict.fromkeys(name for _, types_of in types for name in types_of)
    return {name: _merge_column(name, types) for name in names}


def read_numbers(column: pa.Array) -> FloatArray:
    """Return a column as float64, NaN where null. Shape `(rows,)`; it may be read-only."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if not pa.types.is_float64(column.type):
        column = pc.cast(column, pa.float64(), safe=False)
    values: FloatArray = column.to_numpy(zero_copy_only=False)
    return values


def read_text(column: pa.Array) -> pa.DictionaryArray:
    """Return a column as dictionary-encoded text; blanks are null."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    text = pc.cast(column, pa.string())
    is_blank = pc.equal(pc.utf8_trim_whitespace(text), "")
    return pc.if_else(is_blank, None, text).dictionary_encode()


def read_times(column: pa.Array, *, name: str, part: str) -> Times:
    """Return a time column as microseconds since 1970 in UTC.

    Args:
        column: Timestamps of any unit, dates, or ISO 8601 text.
        name: Name of the column, for messages.
        part: Where it comes from, for messages.

    Returns:
        The times; those without a zone are taken as UTC.

    Raises:
        ReadingsError: The column holds numbers, unreadable text, or times with and without
            a zone.
    """
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column_kind(column.type)
    if kind is ColumnKind.TEXT:
        column = _parse_times(pc.cast(column, pa.string()), name=name, part=part)
    elif kind is ColumnKind.EMPTY:
        return Times(np.full(len(column), NO_TIME, dtype=np.int64), Zone.UNKNOWN)
    elif kind is not ColumnKind.TIME:
        raise _not_a_time(column.type, name=name, part=part)
    values, is_cut = _to_microseconds(column)
    if column.null_count == len(column):
        return Times(values, Zone.UNKNOWN)
    is_aware = pa.types.is_timestamp(column.type) and column.type.tz is not None
    return Times(values, Zone.AWARE if is_aware else Zone.NAIVE, is_cut)


def mixed_zones(name: str, where: str) -> ReadingsError:
    """Make the error for times of which only some know their zone."""
    return ReadingsError(
        f"Cannot read times from column '{name}' of {where}: expected times that all have a zone "
        "or all have none, got mixed time zones (some with a zone, some without). Write all of "
        "them with their zone."
    )


def _is_number(type_: pa.DataType) -> bool:
    types = pa.types
    return bool(
        types.is_integer(type_)
        or types.is_floating(type_)
        or types.is_boolean(type_)
        or types.is_decimal(type_)
    )


def _merge_column(name: str, parts: Sequence[tuple[str, dict[str, pa.DataType]]]) -> RawColumn:
    missing = tuple(part for part, types in parts if name not in types)
    found = [
        RawColumn(name, column_kind(types[name]), str(types[name]), part)
        for part, types in parts
        if name in types
    ]
    typed = [column for column in found if column.kind is not ColumnKind.EMPTY] or found[:1]
    first = typed[0]
    clash = next((column for column in typed if column.kind is not first.kind), None)
    return RawColumn(name, first.kind, first.type, first.part, missing, clash)


def _not_a_time(type_: pa.DataType, *, name: str, part: str) -> VaeAnomalyError:
    if _is_number(type_):
        return ReadingsError(
            f"Cannot read times from column '{name}' of {part}: expected timestamps or ISO 8601 "
            f"text, got {type_}: a number does not say its unit or its first day. Set "
            "timestamp_unit in the settings of the readings, or convert it to timestamps."
        )
    return ContractError(
        f"Cannot read times from column '{name}' of {part}: expected timestamps or ISO 8601 "
        f"text, got {type_}. Name the time column with `timestamp` in the settings."
    )


def _to_microseconds(column: pa.Array) -> tuple[IntArray, bool]:
    """Return int64 microseconds and whether finer digits were cut; far times are clipped."""
    type_, is_cut = column.type, False
    if pa.types.is_timestamp(type_):
        raw, factor = pc.cast(column, pa.int64()), MICROSECONDS.get(type_.unit, 0)
    elif pa.types.is_date32(type_):
        raw, factor = pc.cast(pc.cast(column, pa.int32()), pa.int64()), MICROSECONDS_PER_DAY
    else:
        raw, factor = pc.cast(column, pa.int64()), MICROSECONDS["ms"]
    values: IntArray = pc.fill_null(raw, 0).to_numpy(zero_copy_only=False)
    if factor == 0:
        is_cut = bool(np.any(values % 1000))
        values = values // 1000
    elif factor > 1:
        limit = np.iinfo(np.int64).max // factor
        values = np.clip(values, -limit, limit) * factor
    if column.null_count:
        values = np.where(column.is_null().to_numpy(zero_copy_only=False), NO_TIME, values)
    return values, is_cut


def _parse_times(column: pa.Array, *, name: str, part: str) -> pa.Array:
    text = pc.utf8_trim_whitespace(column)
    text = pc.if_else(pc.equal(text, ""), None, text)
    for type_ in _time_types():
        try:
            return pc.cast(text, type_)
        except pa.ArrowInvalid:
            continue
    is_zoned = pc.match_substring_regex(text, ZONE_PATTERN)
    is_zoned = pc.and_(is_zoned, pc.invert(pc.match_substring_regex(text, DATE_PATTERN)))
    zoned, naive = text.filter(is_zoned), text.filter(pc.invert(is_zoned))
    if _parses(zoned) and _parses(naive):
        raise mixed_zones(name, part)
    value = _first_unreadable(naive if _parses(zoned) else zoned)
    raise ReadingsError(
        f"Cannot read times from column '{name}' of {part}: expected ISO 8601 times such as "
        f"'2024-05-01T12:00:00Z', got {value!r}. Convert the column to timestamps."
    )


def _first_unreadable(text: pa.Array) -> str:
    """Find a value that does not parse in an array that does not parse, by halving."""
    while len(text) > 1:
        half = len(text) // 2
        text = text[half:] if _parses(text[:half]) else text[:half]
    return str(text[0].as_py())


def _time_types() -> tuple[Any, ...]:
    return (
        pa.timestamp("us"),
        pa.timestamp("us", "UTC"),
        pa.timestamp("ns"),
        pa.timestamp("ns", "UTC"),
    )


def _parses(text: pa.Array) -> bool:
    for type_ in _time_types():
        try:
            pc.cast(text, type_)
        except pa.ArrowInvalid:
            continue
        return True
    return False
