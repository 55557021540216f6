"""Reading the parts of the input into one `Readings`, cleaned cell by cell on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from vae_anomaly.domain import (
    DEFAULT_ASSET,
    NO_TIME,
    PROBLEMS,
    CodeArray,
    Contract,
    FloatArray,
    IntArray,
    Readings,
)
from vae_anomaly.errors import ReadingsError
from vae_anomaly.readings.columns import Zone, mixed_zones, read_numbers, read_text, read_times
from vae_anomaly.readings.contract import list_names
from vae_anomaly.readings.parts import PROBLEM_COLUMN, RawPart, name_parts, write_notes
from vae_anomaly.wording import format_plural

SENTINEL_MAGNITUDE = 1e30
"""No instrument reads this much in any unit; loggers write it for "missing" (3W: -1.18e42)."""

TOO_LONG = 2.0**53
"""From here on float64 does not hold each whole number."""


@dataclass(frozen=True)
class LoadedReadings:
    """All rows of the input, cleaned, with the counts of what was cleaned.

    Attributes:
        readings: The rows in the order they came.
        num_infinite: Infinities per asset and sensor; the last row is that of rows without an
            asset. Shape `(assets + 1, sensors)`.
        num_sentinel: Sentinels, likewise.
        notes: What a person should know about the times.
    """

    readings: Readings
    num_infinite: IntArray
    num_sentinel: IntArray
    notes: tuple[str, ...]


def load_readings(
    parts: Sequence[RawPart], contract: Contract, *, sentinels: Sequence[float] = ()
) -> LoadedReadings:
    """Read all parts; infinities and sentinels become NaN, no row is dropped.

    Args:
        parts: The input. A sensor that a part does not have is NaN there.
        contract: Which columns to read.
        sentinels: Values that mean "missing", beside any magnitude of 1e30 or more.

    Returns:
        The rows and counts. Asset names are sorted, whatever the order of the rows.

    Raises:
        ReadingsError: Times cannot be read, only some of them have a zone, or a part does not
            hold the rows it declares.
    """
    num_rows = sum(part.num_rows for part in parts if part.is_exact)
    loader = _Loader(num_rows, contract, tuple(sentinels))
    for part in parts:
        loader.add_part(part)
    return loader.finish(name_parts(parts), notes=write_notes(parts))


class _Loader:
    """Fills preallocated arrays batch by batch, so that the input is never held twice.

    Only where parts do not know how many rows they have do the arrays grow.
    """

    def __init__(self, num_rows: int, contract: Contract, sentinels: tuple[float, ...]) -> None:
        names = contract.sensor_names
        self._contract = contract
        self._sentinels = sentinels
        self._filled = 0
        self._timestamps = np.empty(num_rows, dtype=np.int64)
        self._codes = np.zeros(num_rows, dtype=np.int64)
        self._values = np.empty((num_rows, len(names)), dtype=np.float64, order="F")
        self._problems: CodeArray | None = None
        self._code_of: dict[str, int] = {}
        self._zones: set[Zone] = set()
        self._is_cut = False
        self._inexact: set[str] = set()
        self._num_infinite = _CellCounts(len(names))
        self._num_sentinel = _CellCounts(len(names))

    def add_part(self, part: RawPart) -> None:
        contract = self._contract
        wanted = (contract.timestamp, contract.asset, *contract.sensor_names, PROBLEM_COLUMN)
        there = frozenset(part.schema.names)
        columns = [name for name in wanted if name is not None and name in there]
        begin, end = self._filled, self._filled + part.num_rows
        for batch in part.batches(columns):
            filled = self._filled + batch.num_rows
            if filled > end:
                raise _wrong_num_rows(part, "more")
            if filled > self._timestamps.size:
                self._resize(max(filled, self._timestamps.size * 3 // 2))
            self._add_batch(batch, part.name)
        if part.is_exact and self._filled != end:
            raise _wrong_num_rows(part, str(self._filled - begin))

    def finish(self, where: str, *, notes: tuple[str, ...]) -> LoadedReadings:
        if {Zone.NAIVE, Zone.AWARE} <= self._zones:
            raise mixed_zones(self._contract.timestamp, where)
        if Zone.NAIVE in self._zones:
            notes += ("times without a zone were taken as UTC",)
        if self._is_cut:
            notes += ("times were cut to whole microseconds",)
        if self._inexact:
            names = list_names(sorted(self._inexact))
            notes += (f"whole numbers of 2^53 or more may have lost their last digits: {names}",)
        if self._filled < self._timestamps.size:
            self._resize(self._filled)
        assets = tuple(sorted(self._code_of)) if self._contract.asset else (DEFAULT_ASSET,)
        places = self._sort_codes(assets)
        return LoadedReadings(
            readings=Readings(
                timestamps=self._timestamps,
                asset_codes=places[self._codes] if self._code_of else self._codes,
                asset_names=assets,
                values=self._values,
                sensors=self._contract.sensor_names,
                problems=self._problems,
            ),
            num_infinite=self._num_infinite.sort(places),
            num_sentinel=self._num_sentinel.sort(places),
            notes=tuple(dict.fromkeys(notes)),
        )

    def _resize(self, num_rows: int) -> None:
        rows = slice(self._filled)
        before = (self._timestamps, self._codes, self._values)
        self._timestamps = np.empty(num_rows, dtype=np.int64)
        self._codes = np.zeros(num_rows, dtype=np.int64)
        self._values = np.empty((num_rows, self._values.shape[1]), dtype=np.float64, order="F")
        if self._problems is not None:
            problems = np.zeros(num_rows, dtype=np.int8)
            problems[rows] = self._problems[rows]
            self._problems = problems
        for old, new in zip(before, (self._timestamps, self._codes, self._values), strict=True):
            new[rows] = old[rows]

    def _add_batch(self, batch: pa.RecordBatch, part: str) -> None:
        rows = slice(self._filled, self._filled + batch.num_rows)
        names = batch.schema.names
        self._filled = rows.stop
        timestamp, asset = self._contract.timestamp, self._contract.asset
        if timestamp in names:
            times = read_times(batch.column(timestamp), name=timestamp, part=part)
            self._timestamps[rows] = times.values
            self._zones.add(times.zone)
            self._is_cut |= times.is_cut
        else:
            self._timestamps[rows] = NO_TIME
        if asset is not None:
            self._codes[rows] = self._encode(batch.column(asset)) if asset in names else -1
        if PROBLEM_COLUMN in names:
            self._add_problems(batch.column(PROBLEM_COLUMN), rows)
        for k, sensor in enumerate(self._contract.sensor_names):
            mine = self._values[rows, k]
            if sensor in names:
                # minus zero becomes zero: equal values are equal bit by bit
                np.add(self._clean(batch.column(sensor), k, self._codes[rows]), 0.0, out=mine)
            else:
                mine[:] = np.nan

    def _add_problems(self, column: pa.Array, rows: slice) -> None:
        if column.null_count == len(column):
            return
        text = column.dictionary_encode()
        found = [PROBLEMS.index(name) for name in text.dictionary.to_pylist()]
        codes = np.array([*found, 0], dtype=np.int8)
        if self._problems is None:
            self._problems = np.zeros(self._timestamps.size, dtype=np.int8)
        self._problems[rows] = codes[text.indices.fill_null(len(found)).to_numpy()]

    def _clean(self, column: pa.Array, k: int, codes: IntArray) -> FloatArray:
        values = read_numbers(column)
        if _is_long_integer(column.type) and np.any(np.abs(values) >= TOO_LONG):
            self._inexact.add(self._contract.sensor_names[k])
        is_far = np.abs(values) >= SENTINEL_MAGNITUDE
        is_bad = is_far
        for sentinel in self._sentinels:
            is_bad = is_bad | (values == sentinel)
            if pa.types.is_float32(column.type):
                is_bad |= values == np.float32(sentinel)
        if is_bad.any():
            is_infinite = np.isinf(values)
            self._num_infinite.add(k, codes[is_infinite])
            self._num_sentinel.add(k, codes[is_bad & ~is_infinite])
            values = np.where(is_bad, np.nan, values)
        return values

    def _encode(self, column: pa.Array) -> IntArray:
        text = read_text(column)
        codes = [
            self._code_of.setdefault(name, len(self._code_of))
            for name in text.dictionary.to_pylist()
        ]
        indices = text.indices.fill_null(len(codes)).to_numpy(zero_copy_only=False)
        found: IntArray = np.array([*codes, -1], dtype=np.int64)[indices]
        return found

    def _sort_codes(self, names: tuple[str, ...]) -> IntArray:
        """Return the place in `names` of each code; -1, that of no asset, comes last."""
        rank = {name: i for i, name in enumerate(names)}
        codes = self._code_of or dict.fromkeys(names, 0)
        return np.array([*(rank[name] for name in codes), -1], dtype=np.int64)


class _CellCounts:
    """Counts of cells per asset and sensor, while assets come up."""

    def __init__(self, num_sensors: int) -> None:
        self._counts = np.zeros((1, num_sensors), dtype=np.int64)

    def add(self, k: int, codes: IntArray) -> None:
        """Count cells of one sensor, of which the asset of each is given, -1 where none."""
        found = np.bincount(codes + 1)
        missing = max(found.size - len(self._counts), 0)
        self._counts = np.pad(self._counts, ((0, missing), (0, 0)))
        self._counts[: found.size, k] += found

    def sort(self, places: IntArray) -> IntArray:
        """Return the counts in another order of the assets, those without an asset last."""
        counts = np.zeros((places.size, self._counts.shape[1]), dtype=np.int64)
        found = np.roll(self._counts, -1, axis=0)
        counts[places[: len(found) - 1]] = found[:-1]
        counts[-1] = found[-1]
        return counts


def _is_long_integer(type_: pa.DataType) -> bool:
    plain = type_.value_type if pa.types.is_dictionary(type_) else type_
    return bool(pa.types.is_int64(plain) or pa.types.is_uint64(plain))


def _wrong_num_rows(part: RawPart, found: str) -> ReadingsError:
    return ReadingsError(
        f"Cannot read {part.name}: expected the "
        f"{format_plural(part.num_rows, 'row')} it declares, got {found}. "
        "Write it again, or wait until it is no longer being written."
    )
