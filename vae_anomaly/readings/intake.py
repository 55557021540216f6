"""The way of one delivery into `readings`: staged while it streams in, merged, committed once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vae_anomaly.domain import (
    BoolArray,
    IntArray,
    Problem,
    Readings,
    SensorQuality,
)
from vae_anomaly.readings.chunks import CELLS_PER_ROW
from vae_anomaly.readings.data_files import DataFile, DataFolder
from vae_anomaly.readings.layout import readings_schema, readings_to_table
from vae_anomaly.readings.load import LoadedReadings
from vae_anomaly.readings.merge import Merge, merge_rows
from vae_anomaly.readings.problems import judge_each_row
from vae_anomaly.readings.rows import equal_rows, problem_code, sort_rows, take_rows
from vae_anomaly.readings.series_quality import (
    Ranges,
    SeriesQuality,
    find_runs,
    join_series,
    measure_series,
)
from vae_anomaly.readings.shared_rows import (
    Shares,
    as_rows,
    equal_tables,
    fold_shares,
    read_shares,
    read_values,
)
from vae_anomaly.readings.spool import Spool

ROW_PROBLEMS = (
    Problem.NO_TIMESTAMP,
    Problem.IMPLAUSIBLE_TIME,
    Problem.NO_ASSET,
    Problem.NO_SENSOR,
)
"""What may be wrong with a row by itself."""

NUM_WRITERS = 2
"""Files written at once, while the next rows are read: Arrow holds no lock meanwhile."""

MERGE_CELLS = 16_000_000
"""Values that are merged at once, those of times and names included; more of one asset and day
are merged span by span."""


@dataclass(frozen=True)
class Delivery:
    """One content of one source on its way into the lake.

    Attributes:
        source: Name of the file in the tables.
        batch: Name of the delivery.
        is_correction: Whether the source was delivered before, with other content.
    """

    source: str
    batch: str
    is_correction: bool = False


@dataclass
class Outcome:
    """What became of the rows of a delivery so far.

    Attributes:
        num_rows: Rows seen.
        num_kept: Rows that are new in `readings`.
        quarantined: Rows of the file that go to quarantine as they came, by `Problem`.
        kept_losers: Rows that are kept, but of which a value went to quarantine.
        lost: Rows of `readings` of which a value had to give way, with these values alone.
        withdrawn: What a correction removes from rows of `readings`, as rows.
        num_restored: Rows of `readings` that stay all the same, since others gave them, too.
    """

    num_rows: int = 0
    num_kept: int = 0
    quarantined: dict[Problem, list[IntArray]] = field(default_factory=dict)
    kept_losers: list[IntArray] = field(default_factory=list)
    lost: Spool = field(default_factory=Spool)
    withdrawn: Spool = field(default_factory=Spool)
    num_restored: int = 0

    @property
    def num_quarantined(self) -> int:
        """Rows that are in quarantine and not in `readings`."""
        return sum(rows.size for parts in self.quarantined.values() for rows in parts)

    def quarantine(self, problem: Problem, rows: IntArray) -> None:
        """Note rows of the file for quarantine."""
        if rows.size:
            self.quarantined.setdefault(problem, []).append(rows)


class Staging:
    """Rows of one delivery, written as data files that no table knows yet.

    `usable` are the rows of the latest chunk without a problem of their own, as they came.

    Args:
        folder: Folder of `readings`.
        delivery: The delivery.
        columns: Column of each sensor.
        ranges: Values that are allowed, by name of sensor.
    """

    def __init__(
        self,
        folder: DataFolder,
        delivery: Delivery,
        *,
        columns: Mapping[str, str],
        ranges: Ranges | None = None,
    ) -> None:
        self.outcome = Outcome()
        self.usable: IntArray = np.zeros(0, dtype=np.int64)
        self.added: list[DataFile] = []
        self.removed: list[DataFile] = []
        self._folder = folder
        self._delivery = delivery
        self._columns = columns
        self._ranges = ranges
        self._measuring: list[tuple[str, Future[SeriesQuality]]] = []
        self._measured: dict[str, list[SeriesQuality]] = {}
        self._cleaned: dict[str, IntArray] = {}
        self._num_files = 0
        self._pool = ThreadPoolExecutor(max_workers=NUM_WRITERS)
        self._writing: list[Future[DataFile]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        self.outcome.lost.close()
        self.outcome.withdrawn.close()

    def add(self, readings: Readings, *, start: int) -> IntArray:
        """Judge and stage the rows of one chunk; return the usable ones, sorted.

        Args:
            readings: Rows as they came.
            start: Row of the file that the first of them is.
        """
        codes = judge_each_row(readings)
        for problem in ROW_PROBLEMS:
            bad = np.flatnonzero(codes == problem_code(problem))
            self.outcome.quarantine(problem, bad + start)
        usable = np.flatnonzero(codes == problem_code(Problem.NONE))
        self.usable = usable
        merge = merge_rows(readings, sort_rows(readings, usable))
        self._note_losers(merge.others + start, merge.losers + start)
        merged = Readings(
            timestamps=take_rows(readings.timestamps, merge.kept),
            asset_codes=take_rows(readings.asset_codes, merge.kept),
            asset_names=readings.asset_names,
            values=merge.values,
            sensors=readings.sensors,
        )
        self.outcome.num_rows += readings.num_rows
        self.outcome.num_kept += merged.num_rows
        table = readings_to_table(
            merged,
            merge.kept + start,
            columns=self._columns,
            source=self._delivery.source,
            batch=self._delivery.batch,
        )
        self.wait()
        for first, end in find_runs(merged):
            self._writing.append(self._start_writing(table.slice(first, end - first), "part"))
            self._start_measuring(merged, first, end)
        return merge.kept

    def count_cleaned(self, loaded: LoadedReadings) -> None:
        """Count the infinities and sentinels of a chunk, which are missing in its rows."""
        found = np.stack([loaded.num_infinite, loaded.num_sentinel])
        if not found.any():
            return
        for k, asset in enumerate(loaded.readings.asset_names):
            self._cleaned[asset] = self._cleaned.get(asset, 0) + found[:, k]

    def list_quality(self) -> list[SensorQuality]:
        """Return what the values of the rows that were staged are like."""
        self.wait()
        none = np.zeros((2, len(self._columns)), dtype=np.int64)
        found: list[SensorQuality] = []
        for asset, parts in sorted(self._measured.items()):
            num_infinite, num_sentinel = self._cleaned.get(asset, none)
            found += join_series(parts).list_sensors(
                asset, tuple(self._columns), num_infinite=num_infinite, num_sentinel=num_sentinel
            )
        return found

    def find_spans(self) -> dict[str, tuple[int, int]]:
        """Return the first and last time of what was staged, per asset."""
        self.wait()
        return _find_spans(self.added)

    def settle(self, known: Sequence[DataFile]) -> None:
        """Merge staged files with one another and with what the table holds of the same time.

        Args:
            known: Data files of the table, those of the assets and days of `find_spans` at
                least.
        """
        spans = self.find_spans()
        staged, self.added = self.added, []
        parts: dict[tuple[str, str], list[tuple[DataFile, bool]]] = {}
        for file in staged:
            parts.setdefault((file.asset, file.date), []).append((file, True))
        for file in known:
            key = (file.asset, file.date)
            if key in parts or self._is_corrected(file, spans):
                parts.setdefault(key, []).append((file, False))
        for files in parts.values():
            for group in self._find_groups(files, spans):
                new = [file for file, is_new in group if is_new]
                old = [file for file, is_new in group if not is_new]
                if len(group) == 1 and new:
                    self.added += new
                elif new or any(self._is_corrected(file, spans) for file in old):
                    self._merge(new, old, span=spans[group[0][0].asset])

    def _find_groups(
        self, files: Sequence[tuple[DataFile, bool]], spans: Mapping[str, tuple[int, int]]
    ) -> Iterator[list[tuple[DataFile, bool]]]:
        """Group files whose times overlap; those a correction touches are one group."""
        ordered = sorted(files, key=lambda item: (item[0].first_us, item[0].path))
        group: list[tuple[DataFile, bool]] = []
        end_us = -1
        for item in ordered:
            if group and item[0].first_us > end_us:
                yield group
                group, end_us = [], -1
            group.append(item)
            end_us = max(end_us, item[0].last_us)
            if self._is_corrected(item[0], spans):
                end_us = max(end_us, spans[item[0].asset][1])
        if group:
            yield group

    def _is_corrected(self, file: DataFile, spans: Mapping[str, tuple[int, int]]) -> bool:
        span = spans.get(file.asset)
        return self._delivery.is_correction and span is not None and file.touches(*span)

    def _merge(
        self, new: Sequence[DataFile], old: Sequence[DataFile], *, span: tuple[int, int]
    ) -> None:
        """Merge files of one asset and day, span of time by span of time."""
        files = (*new, *old)
        first_us = min(file.first_us for file in files)
        last_us = max(file.last_us for file in files)
        at_once = max(MERGE_CELLS // (len(self._columns) + CELLS_PER_ROW), 1)
        num_slices = -(-sum(file.num_rows for file in files) // at_once)
        cuts = np.linspace(first_us, last_us + 1, num_slices + 1).astype(np.int64)
        rewritten: list[DataFile] = []
        is_rewritten = False
        for begin, end in pairwise(cuts.tolist()):
            old_rows, new_rows, changes_old = self._merge_rows(
                self._read(new, begin, end - 1), self._read(old, begin, end - 1), span=span
            )
            is_rewritten |= changes_old
            if num_slices == 1 and changes_old:
                old_rows, new_rows = self._empty(), pa.concat_tables([old_rows, new_rows])
            self.added += self._write(new_rows)
            if num_slices > 1:  # whether a later span changes old rows is not known yet
                rewritten += self._write(old_rows)
        if is_rewritten:
            self.added += rewritten
            self.removed += old

    def _merge_rows(
        self, new: pa.Table, old: pa.Table, *, span: tuple[int, int]
    ) -> tuple[pa.Table, pa.Table, bool]:
        """Merge rows of one asset; return the old ones, the new ones, and whether old changed."""
        old, is_withdrawn = self._withdraw(new, old, span=span)
        both = pa.concat_tables([old, new])
        readings = self._as_readings(both)
        is_old = np.arange(both.num_rows) < old.num_rows
        merge = merge_rows(readings, sort_rows(readings, np.arange(both.num_rows)), first=is_old)
        self._note_merge(both, readings, merge, is_old)
        kept, is_changed = self._share_rows(both, readings, merge)
        from_old = is_old[merge.kept]
        return (
            kept.filter(pa.array(from_old)),
            kept.filter(pa.array(~from_old)),
            is_withdrawn or bool(np.any(is_changed & from_old)),
        )

    def _withdraw(
        self, new: pa.Table, old: pa.Table, *, span: tuple[int, int]
    ) -> tuple[pa.Table, bool]:
        """Take out of old rows what a correction supersedes; return them, and if there was any.

        What other deliveries gave to them stays.
        """
        if not self._delivery.is_correction or not old.num_rows:
            return old, False
        columns = tuple(self._columns.values())
        shares = read_shares(old, columns)
        is_gone = self._find_superseded(new, old, shares, span=span)
        if not is_gone.any():
            return old, False
        gone = shares.take(np.flatnonzero(is_gone))
        self.outcome.withdrawn.add(as_rows(old, gone, columns))
        left = shares.take(np.flatnonzero(~is_gone & np.isin(shares.rows, gone.rows)))
        restored = np.unique(left.rows)
        self.outcome.num_restored += restored.size
        others = np.setdiff1d(np.arange(old.num_rows), gone.rows)
        if restored.size:
            left = left.take(np.arange(left.rows.size), np.searchsorted(restored, left.rows))
            folded = fold_shares(old.take(pa.array(restored)), left, columns)
            return pa.concat_tables([old.take(pa.array(others)), folded]), True
        return old.take(pa.array(others)), True

    def _share_rows(
        self, both: pa.Table, readings: Readings, merge: Merge
    ) -> tuple[pa.Table, BoolArray]:
        """Return the rows that stand, with what each delivery gave, and which of them changed."""
        kept = both.take(pa.array(merge.kept))
        is_changed = np.zeros(merge.kept.size, dtype=np.bool_)
        if not merge.others.size:
            return kept, is_changed
        columns = tuple(self._columns.values())
        key_times = readings.timestamps[merge.kept]
        place = np.searchsorted(key_times, readings.timestamps)  # of each row, among those kept
        is_shared = np.zeros(merge.kept.size, dtype=np.bool_)
        is_shared[place[merge.others]] = True
        members = np.flatnonzero(is_shared[place])
        members = members[np.argsort(place[members], kind="stable")]
        shares = read_shares(both.take(pa.array(members)), columns)
        keys = np.flatnonzero(is_shared)
        rows = np.searchsorted(keys, place[members][shares.rows])
        shared = kept.take(pa.array(keys))
        folded = fold_shares(shared, shares.take(np.arange(rows.size), rows), columns)
        is_changed[keys] = ~equal_tables(shared, folded, columns)
        whole = pa.concat_tables([kept.take(pa.array(np.flatnonzero(~is_shared))), folded])
        order = np.argsort(np.concatenate([np.flatnonzero(~is_shared), keys]), kind="stable")
        return whole.take(pa.array(order)), is_changed

    def _find_superseded(
        self, new: pa.Table, old: pa.Table, shares: Shares, *, span: tuple[int, int]
    ) -> BoolArray:
        """Tell what the same source gave before that a correction has changed or left out."""
        times = old["timestamp"].cast(pa.int64()).to_numpy()[shares.rows]
        is_own = pc.equal(shares.sources, self._delivery.source).to_numpy(zero_copy_only=False)
        is_gone: BoolArray = is_own & (times >= span[0]) & (times <= span[1])
        new_times = new["timestamp"].cast(pa.int64()).to_numpy()
        order = np.argsort(new_times, kind="stable")
        place = np.searchsorted(new_times[order], times)
        place = np.minimum(place, max(new.num_rows - 1, 0))
        if new.num_rows:
            match = order[place]
            values = self._as_readings(new).values[match]
            is_same = (new_times[match] == times) & equal_rows(shares.values, values)
            is_gone &= ~is_same
        return is_gone

    def _note_merge(
        self,
        both: pa.Table,
        readings: Readings,
        merge: Merge,
        is_old: BoolArray,
    ) -> None:
        rows = both["_row"].to_numpy()
        new_others = merge.others[~is_old[merge.others]]
        new_losers = merge.losers[~is_old[merge.losers]]
        self.outcome.num_kept -= new_others.size
        self._note_losers(rows[new_others], rows[new_losers])
        old_losers = merge.losers[is_old[merge.losers]]
        if old_losers.size:
            key = np.searchsorted(readings.timestamps[merge.kept], readings.timestamps[old_losers])
            values = readings.values[old_losers]
            is_lost = values > merge.values[key]
            lost = both.take(pa.array(old_losers))
            for k, column in enumerate(self._columns.values()):
                position = lost.column_names.index(column)
                only = pa.array(np.where(is_lost[:, k], values[:, k], np.nan), from_pandas=True)
                lost = lost.set_column(position, column, only)
            self.outcome.lost.add(lost)

    def _note_losers(self, others: IntArray, losers: IntArray) -> None:
        is_other = np.isin(losers, others)
        self.outcome.quarantine(Problem.CONFLICTING_DUPLICATE, losers[is_other])
        if not is_other.all():
            self.outcome.kept_losers.append(losers[~is_other])

    def _read(self, files: Sequence[DataFile], first_us: int, last_us: int) -> pa.Table:
        schema = readings_schema(self._columns)
        tables = [
            self._folder.read(file, first_us=first_us, last_us=last_us).select(schema.names)
            for file in files
            if file.touches(first_us, last_us)
        ]
        return pa.concat_tables(tables) if tables else schema.empty_table()

    def _empty(self) -> pa.Table:
        return readings_schema(self._columns).empty_table()

    def _as_readings(self, table: pa.Table) -> Readings:
        return Readings(
            timestamps=table["timestamp"].cast(pa.int64()).to_numpy(),
            asset_codes=np.zeros(table.num_rows, dtype=np.int64),
            asset_names=("",),
            values=read_values(table, tuple(self._columns.values())),
            sensors=tuple(self._columns),
        )

    def _write(self, rows: pa.Table) -> list[DataFile]:
        """Write merged rows; no rows are no file."""
        if not rows.num_rows:
            return []
        ordered = rows.sort_by("timestamp").combine_chunks()
        return [self._start_writing(ordered, "merged").result()]

    def _start_writing(self, rows: pa.Table, kind: str) -> Future[DataFile]:
        self._num_files += 1
        name = f"{kind}-{self._delivery.batch}-{self._num_files}"
        return self._pool.submit(self._folder.write, rows, name=name)

    def _start_measuring(self, readings: Readings, first: int, end: int) -> None:
        """Measure rows of one asset and day beside writing them."""
        asset = readings.asset_names[readings.asset_codes[first]]
        measured = self._pool.submit(
            measure_series,
            readings.timestamps[first:end],
            readings.values[first:end],
            readings.sensors,
            ranges=self._ranges,
        )
        self._measuring.append((asset, measured))

    def wait(self) -> None:
        """Wait for what is being written, so that no more than two chunks are in memory."""
        self.added += [future.result() for future in self._writing]
        self._writing = []
        for asset, future in self._measuring:
            part, parts = future.result(), self._measured.setdefault(asset, [])
            if parts and parts[-1].last_us < part.first_us:
                parts[-1] = parts[-1].join(part)
            else:
                parts.append(part)
        self._measuring = []


def _find_spans(files: Sequence[DataFile]) -> dict[str, tuple[int, int]]:
    """Return the first and last time of each asset."""
    spans: dict[str, tuple[int, int]] = {}
    for file in files:
        first, last = spans.get(file.asset, (file.first_us, file.last_us))
        spans[file.asset] = (min(first, file.first_us), max(last, file.last_us))
    return spans
