"""Rows of one value each as rows of one time each; arrays only, no row by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vae_anomaly.config import LongConfig
from vae_anomaly.domain import BoolArray, FloatArray, IntArray, Problem
from vae_anomaly.readings.columns import ColumnKind, column_kind, read_numbers, read_text
from vae_anomaly.readings.numeric_text import parse_numbers
from vae_anomaly.readings.parts import GIVEN_COLUMN, PROBLEM_COLUMN, Tally, make_batch

CELLS_AT_ONCE = 4_000_000
"""Cells of a wide batch: 32 MB, however many sensors there are."""

NO_SENSOR = -1
"""Code of a row that names no sensor."""


@dataclass(frozen=True)
class PivotColumns:
    """Which columns of a long part are what.

    Attributes:
        timestamp: The time column.
        asset: The asset column, or None.
        sensors: Place of each sensor among the columns that are made.
        names: Sensor that each name in the column of sensors stands for.
        labels: Columns of labels.
        long: Names of the columns of long input.
        assets: Code of each asset seen so far; it grows while rows are read.
    """

    timestamp: str
    asset: str | None
    sensors: Mapping[str, int]
    names: Mapping[str, str]
    labels: tuple[str, ...]
    long: LongConfig
    assets: dict[str, int] = field(default_factory=dict)

    @property
    def needs(self) -> list[str]:
        """Columns of the long part that are read."""
        long = self.long
        names = (self.timestamp, self.asset, long.sensor, long.value, long.quality, *self.labels)
        return list(dict.fromkeys(name for name in names if name))


@dataclass(frozen=True)
class LongRows:
    """Some rows of long input.

    Attributes:
        times: Times as they came.
        assets: Code of each asset, -1 where missing. Shape `(rows,)`.
        sensors: Place of each sensor, `NO_SENSOR` where missing. Shape `(rows,)`.
        values: The values, NaN where missing. Shape `(rows,)`.
        labels: Columns of labels.
    """

    times: pa.Array
    assets: IntArray
    sensors: IntArray
    values: FloatArray
    labels: tuple[pa.Array, ...]

    def join(self, later: LongRows) -> LongRows:
        """Return these rows and those that follow."""
        pairs = zip(self.labels, later.labels, strict=True)
        return LongRows(
            times=pa.concat_arrays([self.times, later.times]),
            assets=np.concatenate([self.assets, later.assets]),
            sensors=np.concatenate([self.sensors, later.sensors]),
            values=np.concatenate([self.values, later.values]),
            labels=tuple(pa.concat_arrays(pair) for pair in pairs),
        )

    def split_last(self) -> tuple[LongRows, LongRows | None]:
        """Keep the rows of the last time and asset back: more of them may follow.

        Where that would be most of the rows, nothing is kept back.
        """
        times = self.times.dictionary_encode().indices.fill_null(-1).to_numpy()
        is_other = (times != times[-1:]) | (self.assets != self.assets[-1:])
        others = np.flatnonzero(is_other)
        cut = int(others[-1]) + 1 if others.size else 0
        if 2 * cut < len(times):
            return self, None
        return self._slice(0, cut), self._slice(cut, len(times))

    def _slice(self, begin: int, end: int) -> LongRows:
        rows = slice(begin, end)
        return LongRows(
            times=self.times[rows],
            assets=self.assets[rows],
            sensors=self.sensors[rows],
            values=self.values[rows],
            labels=tuple(label[rows] for label in self.labels),
        )


def read_long_rows(batch: pa.RecordBatch, columns: PivotColumns, tally: Tally) -> LongRows:
    """Read a batch of long input.

    Args:
        batch: A batch with the columns that `columns` needs.
        columns: Which column is what.
        tally: Counts values that are missing for their quality, or are no numbers.
    """
    long = columns.long
    places = {old: columns.sensors[new] for old, new in columns.names.items()}
    values = _read_values(batch.column(long.value), long, tally)
    if long.quality:
        codes = read_text(batch.column(long.quality))
        good = [text in long.good for text in codes.dictionary.to_pylist()]
        is_good: BoolArray = np.array([*good, "" in long.good])[
            codes.indices.fill_null(len(good)).to_numpy(zero_copy_only=False)
        ]
        note = f"{{value}} taken as missing: '{long.quality}' is none of the good codes"
        tally.count(note, int(np.count_nonzero(~is_good & ~np.isnan(values))))
        values = np.where(is_good, values, np.nan)
    assets = np.zeros(batch.num_rows, dtype=np.int64)
    if columns.asset is not None:
        text = read_text(batch.column(columns.asset))
        for name in text.dictionary.drop_null().to_pylist():
            columns.assets.setdefault(name, len(columns.assets))
        assets = _look_up(text, columns.assets)
    return LongRows(
        times=_decode(batch.column(columns.timestamp)),
        assets=assets,
        sensors=_look_up(read_text(batch.column(long.sensor)), places),
        values=values,
        labels=tuple(_decode(batch.column(name)) for name in columns.labels),
    )


def pivot_rows(
    rows: LongRows, names: Sequence[str], columns: PivotColumns, schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    """Make wide batches of long rows.

    Args:
        rows: The rows.
        names: Columns that are asked for.
        columns: Which column is what.
        schema: All columns of the wide part.

    Yields:
        Batches with a row per time and asset, in the order in which these come first, and one
        more for each time that a cell is given again.
    """
    if not rows.sensors.size:
        return
    wide = _find_wide_rows(rows)
    is_first = np.diff(np.maximum.accumulate(wide), prepend=-1) > 0
    first = np.flatnonzero(is_first)
    wanted = [name for name in names if name in columns.sensors]
    at_once = max(CELLS_AT_ONCE // max(len(wanted), 1), 1)
    for begin in range(0, first.size, at_once):
        end = min(begin + at_once, first.size)
        is_in = slice(None) if end - begin == first.size else (wide >= begin) & (wide < end)
        cells = _spread(rows, wide, is_in, begin, end, [columns.sensors[name] for name in wanted])
        arrays = dict(zip(wanted, cells, strict=True))
        kept = first[begin:end]
        made = [
            arrays[name] if name in arrays else _take(rows, name, kept, wide, columns)
            for name in names
        ]
        yield make_batch(made, [schema.field(name) for name in names], kept.size)


def _find_wide_rows(rows: LongRows) -> IntArray:
    """Number the wide row that each long row goes to, in order of first appearance."""
    times = rows.times.dictionary_encode().indices.fill_null(-1).to_numpy().astype(np.int64)
    num_assets = int(rows.assets.max()) + 2
    keys = (times + 1) * num_assets + rows.assets + 1
    is_nameless = rows.sensors == NO_SENSOR
    if is_nameless.any():  # each is a row of its own, told from the others by its place
        keys = np.where(is_nameless, -1 - np.arange(keys.size), keys)
    num_sensors = int(rows.sensors.max()) + 2
    repeats = _count_before(keys * num_sensors + rows.sensors + 1)
    if repeats is not None:
        keys = keys * (int(repeats.max()) + 1) + repeats
    return _number(keys)


def _count_before(cells: IntArray) -> IntArray | None:
    """Count for each cell how often it came before; None where all differ."""
    if len(pc.unique(pa.array(cells))) == cells.size:
        return None
    order = np.argsort(cells, kind="stable")
    ordered = cells[order]
    is_new = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    places = np.arange(cells.size)
    counts = np.empty(cells.size, dtype=np.int64)
    counts[order] = places - np.maximum.accumulate(np.where(is_new, places, 0))
    return counts


def _number(keys: IntArray) -> IntArray:
    numbers: IntArray = pa.array(keys).dictionary_encode().indices.to_numpy().astype(np.int64)
    return numbers


def _spread(
    rows: LongRows,
    wide: IntArray,
    is_in: BoolArray | slice,
    begin: int,
    end: int,
    places: Sequence[int],
) -> list[pa.Array]:
    """Put the values of some sensors at their rows, null where there is none."""
    num_places = max(int(rows.sensors.max(initial=-1)), max(places, default=-1)) + 2
    column_of = np.full(num_places, -1, dtype=np.int64)
    column_of[list(places)] = np.arange(len(places))
    column = column_of[rows.sensors[is_in]]
    is_wanted = column >= 0
    cells = np.full((end - begin, len(places)), np.nan, order="F")
    row = wide[is_in] - begin
    cells[row[is_wanted], column[is_wanted]] = rows.values[is_in][is_wanted]
    return [pa.array(cells[:, k], from_pandas=True) for k in range(len(places))]


def _take(
    rows: LongRows, name: str, kept: IntArray, wide: IntArray, columns: PivotColumns
) -> pa.Array:
    if name == columns.timestamp:
        return rows.times.take(pa.array(kept))
    if name == columns.asset:
        codes = rows.assets[kept]
        indices = pa.array(codes, mask=codes < 0)
        return pa.DictionaryArray.from_arrays(indices, pa.array([*columns.assets], pa.string()))
    if name == PROBLEM_COLUMN:
        is_nameless = pa.array(rows.sensors[kept] == NO_SENSOR)
        return pc.if_else(is_nameless, Problem.NO_SENSOR.value, pa.scalar(None, pa.string()))
    if name == GIVEN_COLUMN:
        is_nameless = pa.array(rows.sensors[kept] == NO_SENSOR)
        values = pc.cast(pa.array(rows.values[kept], from_pandas=True), pa.string())
        text = pc.binary_join_element_wise(f"{columns.long.value} =", values, " ")
        return pc.if_else(is_nameless, text, None)
    return _take_label(rows.labels[columns.labels.index(name)], kept, wide)


def _take_label(label: pa.Array, kept: IntArray, wide: IntArray) -> pa.Array:
    """Take the largest label of the rows that become one, the first where it is no number."""
    if column_kind(label.type) is not ColumnKind.NUMBER:
        return label.take(pa.array(kept))
    largest = np.full(int(wide.max()) + 1, -np.inf)
    np.fmax.at(largest, wide, read_numbers(label))
    found = largest[wide[kept]]
    return pc.cast(pa.array(found, mask=np.isneginf(found)), label.type, safe=False)


def _read_values(column: pa.Array, long: LongConfig, tally: Tally) -> FloatArray:
    if column_kind(column.type) is not ColumnKind.TEXT:
        return read_numbers(column)
    numbers, num_bad = parse_numbers(column)
    note = f"{{value}} of '{long.value}', taken as missing: text that is no number"
    tally.count(note, num_bad)
    return read_numbers(numbers)


def _look_up(text: pa.DictionaryArray, places: Mapping[str, int]) -> IntArray:
    """Return the place of each text, -1 where there is none."""
    table = np.array([*(places.get(name, -1) for name in text.dictionary.to_pylist()), -1])
    indices = text.indices.fill_null(len(table) - 1).to_numpy(zero_copy_only=False)
    found: IntArray = table[indices].astype(np.int64, copy=False)
    return found


def _decode(column: pa.Array) -> pa.Array:
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
