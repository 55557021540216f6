"""Times that are numbers, or local, as times in UTC; only where the settings ask for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vae_anomaly.config import ReadingsConfig
from vae_anomaly.domain import NO_TIME, BoolArray, Contract, IntArray, Problem
from vae_anomaly.errors import ContractError
from vae_anomaly.readings.columns import (
    ColumnKind,
    Zone,
    column_kind,
    read_numbers,
    read_text,
    read_times,
)
from vae_anomaly.readings.local_time import LocalClock
from vae_anomaly.readings.parts import (
    GIVEN_COLUMN,
    PROBLEM_COLUMN,
    MadeColumn,
    RawPart,
    Tally,
    join_tellers,
    keep_column,
    make_batch,
    make_columns,
)

MICROSECONDS = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}
"""Microseconds per unit of time."""

FARTHEST = 9e18
"""Microseconds that still fit into an integer; what lies beyond is as implausible."""

UTC_TIMES = pa.timestamp("us", "UTC")

SECOND = "{row} in an hour that comes twice, taken as the second time: the clock stepped back"
FIRST = "{row} in an hour that comes twice, taken as the first time"
SKIPPED = "{row} at a local time that does not exist: the clock was set forward over it"
CUT = "times were cut to whole microseconds"


def read_times_as_utc(
    part: RawPart, config: ReadingsConfig, contract: Contract | None = None
) -> RawPart:
    """Turn times that are numbers or local into times in UTC.

    Args:
        part: A wide part.
        config: Settings with `timestamp_unit` and `timezone`.
        contract: The name of the time column, where it is known.

    Returns:
        The part; where its times are local it has columns for their problems too.

    Raises:
        ContractError: Times are numbers that are too coarse to be times.
    """
    name = contract.timestamp if contract is not None else config.timestamp
    if name not in part.schema.names:
        return part
    type_ = part.schema.field(name).type
    kind = column_kind(type_)
    if kind is ColumnKind.NUMBER and config.timestamp_unit is not None:
        return _read_epoch(part, name, type_, config.timestamp_unit)
    is_aware = pa.types.is_timestamp(type_) and type_.tz is not None
    if kind in (ColumnKind.TIME, ColumnKind.TEXT) and config.timezone and not is_aware:
        asset = (contract.asset if contract is not None else None) or config.asset
        return _read_local(part, name, asset, config.timezone)
    return part


def _read_epoch(part: RawPart, name: str, type_: pa.DataType, unit: str) -> RawPart:
    plain = type_.value_type if pa.types.is_dictionary(type_) else type_
    if pa.types.is_boolean(plain) or pa.types.is_float16(plain) or pa.types.is_float32(plain):
        raise ContractError(
            f"Cannot read times from column '{name}' of {part.name}: expected numbers that can "
            f"tell seconds apart, whole or float64, got {plain}. Write them as such."
        )
    is_whole = pa.types.is_integer(plain)
    field = pa.field(name, pa.timestamp(unit, "UTC") if is_whole else UTC_TIMES)

    def make(batch: pa.RecordBatch) -> pa.Array:
        column = batch.column(name)
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if not is_whole:
            microseconds = read_numbers(column) * MICROSECONDS[unit]
            is_missing = np.isnan(microseconds)
            far = np.clip(np.where(is_missing, 0.0, microseconds), -FARTHEST, FARTHEST)
            return pc.cast(pa.array(np.rint(far).astype(np.int64), mask=is_missing), UTC_TIMES)
        if pa.types.is_uint64(column.type):
            column = pc.min_element_wise(
                column, pa.scalar(np.iinfo(np.int64).max, pa.uint64()), skip_nulls=False
            )
        return pc.cast(pc.cast(column, pa.int64()), field.type)

    columns = [keep_column(other) for other in part.schema]
    columns[part.schema.names.index(name)] = MadeColumn(field, (name,), make)
    return make_columns(part, columns)


def _read_local(part: RawPart, name: str, asset: str, zone: str) -> RawPart:
    there = part.schema.names
    schema = part.schema.set(there.index(name), pa.field(name, UTC_TIMES))
    for own in (PROBLEM_COLUMN, GIVEN_COLUMN):
        if own not in there:
            schema = schema.append(pa.field(own, pa.string()))
    tally = Tally()

    def read(names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        tally.clear()
        local = _LocalColumn(part.name, name, asset, LocalClock(zone), tally)
        helpers = [name, *(one for one in (asset, PROBLEM_COLUMN, GIVEN_COLUMN) if one in there)]
        needs = list(dict.fromkeys([*(one for one in names if one in there), *helpers]))
        for batch in part.batches(needs):
            arrays = {one: batch.column(one) for one in needs}
            arrays |= _localise(arrays, local)
            fields = [schema.field(one) for one in names]
            yield make_batch([arrays[one] for one in names], fields, batch.num_rows)

    return replace(part, schema=schema, batches=read, tell=join_tellers(part.tell, tally.tell))


@dataclass(frozen=True)
class _LocalColumn:
    """A column of local times: where it stands, and the clock that they are read from."""

    part: str
    name: str
    asset: str
    clock: LocalClock
    tally: Tally


def _localise(arrays: dict[str, pa.Array], local: _LocalColumn) -> dict[str, pa.Array]:
    """Return the column of times in UTC, and those of problems and of what was given."""
    name, tally = local.name, local.tally
    column = arrays[name]
    times = read_times(column, name=name, part=local.part)
    if times.is_cut:
        tally.note(CUT)
    nothing = pa.nulls(len(column), pa.string())
    problems = arrays.get(PROBLEM_COLUMN, nothing)
    given = arrays.get(GIVEN_COLUMN, nothing)
    values = times.values
    if times.zone is Zone.NAIVE:
        tally.note(f"times without a zone were taken as local times of {local.clock.zone}")
        codes, names = _find_assets(arrays.get(local.asset), len(column))
        utc = local.clock.to_utc(values, codes, names)
        values = utc.values
        is_skipped = utc.is_skipped
        tally.count(SKIPPED, int(np.count_nonzero(is_skipped)))
        tally.count(SECOND, int(np.count_nonzero(utc.is_second)))
        tally.count(FIRST, int(np.count_nonzero(utc.is_repeated & ~utc.is_second)))
        if is_skipped.any():
            problems = _put(problems, is_skipped, Problem.IMPLAUSIBLE_TIME.value)
            given = _put(given, is_skipped, pc.cast(_decode(column), pa.string()))
    return {
        name: pc.cast(pa.array(values, mask=values == NO_TIME), UTC_TIMES),
        PROBLEM_COLUMN: problems,
        GIVEN_COLUMN: given,
    }


def _find_assets(column: pa.Array | None, num_rows: int) -> tuple[IntArray, list[str | None]]:
    if column is None:
        return np.zeros(num_rows, dtype=np.int64), [None]
    text = read_text(column)
    names = [*text.dictionary.to_pylist(), None]
    codes: IntArray = text.indices.fill_null(len(names) - 1).to_numpy().astype(np.int64)
    return codes, names


def _put(column: pa.Array, where: BoolArray, text: str | pa.Array) -> pa.Array:
    return pc.if_else(pa.array(where), text, column)


def _decode(column: pa.Array) -> pa.Array:
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
