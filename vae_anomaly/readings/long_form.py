"""Long input, one row per value, pivoted to one row per time while it streams."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import pyarrow as pa

from vae_anomaly.config import ReadingsConfig
from vae_anomaly.domain import LABEL_PREFIX, Contract
from vae_anomaly.errors import ContractError
from vae_anomaly.readings.columns import ColumnKind, column_kind, read_text
from vae_anomaly.readings.contract import list_names
from vae_anomaly.readings.parts import (
    GIVEN_COLUMN,
    PROBLEM_COLUMN,
    RawPart,
    Tally,
    join_tellers,
)
from vae_anomaly.readings.pivot import LongRows, PivotColumns, pivot_rows, read_long_rows

MAX_SENSORS = 20_000
"""More names than this in the column of sensors are no sensors."""


def pivot_long(part: RawPart, config: ReadingsConfig, contract: Contract | None = None) -> RawPart:
    """Turn a long part into a wide one, one column per sensor.

    Rows of one time and asset that follow one another become one row. A cell that is given
    several times makes several rows of that time, which are merged later like any others. A row
    without a sensor has the problem `no_sensor`. Times and values that no sensor of the
    contract has are columns like others, which the contract leaves out.

    Args:
        part: A part; without the column of sensors it is wide and stays as it is.
        config: Settings with `long`.
        contract: The sensors, where they are known. They are columns too where this part has
            none of their values, if it has those of any other of them.

    Returns:
        A wide part that has at most as many rows as the long one, and says so.

    Raises:
        ContractError: A column is missing or of the wrong type, there are too many sensors, or
            one is named like another column.
        ReadingsError: The column of sensors cannot be read.
    """
    long = config.long
    there = {field.name: field.type for field in part.schema}
    timestamp = contract.timestamp if contract is not None else config.timestamp
    if not long.sensor or timestamp not in there:
        return part
    if long.sensor not in there and (contract is not None or long.value not in there):
        return part
    _check_columns(part, there, config)
    found = _find_sensors(part, config)
    expected = contract.sensor_names if contract is not None else config.sensors
    names = {name: config.aliases.get(name, name) for name in found}
    sensors, notes = _choose_sensors(sorted(set(names.values())), expected)
    asset = (contract.asset if contract is not None else None) or config.asset
    columns = PivotColumns(
        timestamp=timestamp,
        asset=asset if asset in there else None,
        sensors={name: k for k, name in enumerate(sensors)},
        names=names,
        labels=tuple(name for name in there if name.startswith(LABEL_PREFIX)),
        long=long,
    )
    schema = _make_schema(part, columns)
    notes += [f"sensor '{old}' is read as '{new}'" for old, new in names.items() if old != new]
    tally = Tally(notes)

    def read(wanted: Sequence[str]) -> Iterator[pa.RecordBatch]:
        tally.clear()
        kept: LongRows | None = None
        for batch in part.batches(columns.needs):
            rows = read_long_rows(batch, columns, tally)
            rows = rows if kept is None else kept.join(rows)
            rows, kept = rows.split_last()
            yield from pivot_rows(rows, wanted, columns, schema)
        if kept is not None:
            yield from pivot_rows(kept, wanted, columns, schema)

    tell: Callable[[], Mapping[str, int]] = join_tellers(part.tell, tally.tell)
    return replace(part, schema=schema, batches=read, is_exact=False, tell=tell)


def _check_columns(
    part: RawPart, there: Mapping[str, pa.DataType], config: ReadingsConfig
) -> None:
    long = config.long
    needs = [name for name in (long.sensor, long.value, long.quality) if name]
    missing = [name for name in needs if name not in there]
    if missing:
        raise ContractError(
            f"Cannot read {part.name} as long input: expected columns {list_names(needs)}, got "
            f"columns {list_names(there)}. Name them with long in the settings of the readings."
        )
    kind = column_kind(there[long.value])
    allowed = {ColumnKind.NUMBER, ColumnKind.EMPTY} | (
        {ColumnKind.TEXT} if config.numeric_text else set()
    )
    if kind not in allowed:
        raise ContractError(
            f"Cannot read {part.name} as long input: expected numbers in column '{long.value}', "
            f"got {there[long.value]}. Convert it to numbers at the source"
            + (", or set numeric_text = true." if kind is ColumnKind.TEXT else ".")
        )
    kind = column_kind(there[long.sensor])
    if kind not in (ColumnKind.NUMBER, ColumnKind.TEXT, ColumnKind.EMPTY):
        raise ContractError(
            f"Cannot read {part.name} as long input: expected names of sensors in column "
            f"'{long.sensor}', got {there[long.sensor]}. Name the right one with long in the "
            "settings of the readings."
        )


def _find_sensors(part: RawPart, config: ReadingsConfig) -> tuple[str, ...]:
    """Return the names in the column of sensors, sorted; it is read for that."""
    names: set[str] = set()
    for batch in part.batches([config.long.sensor]):
        names.update(read_text(batch.column(0)).dictionary.drop_null().to_pylist())
        if len(names) > MAX_SENSORS:
            raise ContractError(
                f"Cannot read {part.name} as long input: expected at most {MAX_SENSORS:,} "
                f"different sensors in column '{config.long.sensor}', got more. Is it the right "
                "column? Name it with long in the settings of the readings."
            )
    return tuple(sorted(names))


def _choose_sensors(
    found: Sequence[str], expected: Sequence[str]
) -> tuple[tuple[str, ...], list[str]]:
    """Return the columns to make, those that are expected first, and what is to be noted."""
    there = frozenset(found)
    known = [name for name in expected if name in there]
    if not known:
        return tuple(found), []
    missing = [name for name in expected if name not in there]
    note = f"sensors without a row in a long file are missing there: {list_names(missing)}"
    return tuple(dict.fromkeys((*expected, *found))), [note] if missing else []


def _make_schema(part: RawPart, columns: PivotColumns) -> pa.Schema:
    kept = [name for name in (columns.timestamp, columns.asset, *columns.labels) if name]
    types = {field.name: field.type for field in part.schema}
    clashes = [name for name in (*kept, PROBLEM_COLUMN, GIVEN_COLUMN) if name in columns.sensors]
    if clashes:
        raise ContractError(
            f"Cannot read {part.name} as long input: expected sensors that are named like no "
            f"other column, got {list_names(clashes)}. Rename them with aliases in the settings "
            "of the readings."
        )
    fields = [pa.field(name, _plain_type(types[name])) for name in kept]
    if columns.asset is not None:
        fields[1] = pa.field(columns.asset, pa.dictionary(pa.int64(), pa.string()))
    fields += [pa.field(name, pa.float64()) for name in columns.sensors]
    return pa.schema([*fields, (PROBLEM_COLUMN, pa.string()), (GIVEN_COLUMN, pa.string())])


def _plain_type(type_: pa.DataType) -> pa.DataType:
    return type_.value_type if pa.types.is_dictionary(type_) else type_
