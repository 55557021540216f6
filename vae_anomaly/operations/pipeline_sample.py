"""The readings to train on: all of the period, or evenly spread blocks of it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from vae_anomaly.domain import MICROSECONDS_PER_DAY
from vae_anomaly.operations.alerting.exclusions import Exclusion, find_normal_steps
from vae_anomaly.operations.pipeline_tables import LakeView, to_microseconds
from vae_anomaly.readings.rows import EARLIEST_US, LATEST_US

MAX_BLOCKS = 50
"""Blocks of one asset, the held-out part counted."""

MIN_BLOCK_ROWS = 1_000
"""Rows below which a block says little: windows and levels reach over hundreds of steps."""

MIN_ASSET_ROWS = 5_000
"""Rows that a small asset keeps beside large ones."""

COUNT_ROWS = 1_000_000
"""Times that are read at once where rows are counted."""


@dataclass(frozen=True)
class TrainingRows:
    """Readings to train on.

    Attributes:
        table: asset, timestamp and sensors, sorted by asset and time.
        num_period_rows: Readings there are in the period.
        num_blocks: Stretches of neighbouring readings that were taken, of all assets.
        num_excluded: Readings of these that were left out, as they are not normal.
    """

    table: pa.Table
    num_period_rows: int
    num_blocks: int
    num_excluded: int = 0


def read_training_rows(
    view: LakeView,
    *,
    start_us: int | None,
    end_us: int | None,
    max_rows: int,
    held_share: float,
    excluded: Collection[Exclusion] = (),
) -> TrainingRows:
    """Read the readings of a period, or evenly spread blocks where there are more than asked for.

    Each asset gives its part of the rows: the last ones in one piece, as they are held out, and
    of those before blocks at even distances. A small one gives `MIN_ASSET_ROWS` all the same, as
    long as these add no more than a quarter to `max_rows`. Which these are depends on nothing but
    the times of the readings: counted in order of time, whatever files they lie in.

    Args:
        view: The lake.
        start_us: Start of the period, microseconds since 1970; None for no limit.
        end_us: Its end, exclusive; None for no limit.
        max_rows: Rows to take at most, about.
        held_share: Share of the rows that is held out.
        excluded: Spans of which no reading is taken. Blocks are chosen as if there were none.

    Returns:
        The readings, and how many there are.

    Raises:
        TableError: The readings cannot be read.
    """
    first_us = EARLIEST_US if start_us is None else start_us
    until_us = LATEST_US if end_us is None else end_us
    ranks = {asset: _Ranks(view, asset, first_us, until_us) for asset in view.readings.assets}
    total = sum(mine.num_rows for mine in ranks.values())
    tables = [view.readings.read("", start_us=0, end_us=1)]
    num_blocks, floor = 0, min(MIN_ASSET_ROWS, max_rows // (4 * max(len(ranks), 1)))
    num_excluded = 0
    for asset, mine in ranks.items():
        quota = mine.num_rows
        if total > max_rows:
            quota = max(max_rows * mine.num_rows // total, floor)
        blocks = choose_blocks(mine.num_rows, max(quota, 1), held_share=held_share)
        for first, end in blocks:
            block = mine.read(first, end)
            is_normal = find_normal_steps(to_microseconds(block), excluded, asset)
            num_excluded += int(np.sum(~is_normal))
            tables.append(block if is_normal.all() else block.filter(pa.array(is_normal)))
        num_blocks += len(blocks)
    return TrainingRows(pa.concat_tables(tables), total, num_blocks, num_excluded)


def choose_blocks(num_rows: int, quota: int, *, held_share: float) -> tuple[tuple[int, int], ...]:
    """Choose blocks of rows that are counted from 0 in order of time.

    Args:
        num_rows: Rows there are.
        quota: Rows to take.
        held_share: Share of them that is taken from the end in one piece.

    Returns:
        First and end, exclusive, of each block, in order; they do not overlap.

    Example:
        >>> choose_blocks(100_000, 10_000, held_share=0.3)[:2]
        ((6428, 7428), (20285, 21285))
        >>> choose_blocks(100_000, 10_000, held_share=0.3)[-1]
        (97000, 100000)
        >>> choose_blocks(100, 200, held_share=0.3)
        ((0, 100),)
    """
    if quota >= num_rows:
        return ((0, num_rows),) if num_rows else ()
    held = int(np.ceil(quota * held_share))
    rest, fitted = num_rows - held, quota - held
    num_blocks = min(MAX_BLOCKS - 1, max(fitted // MIN_BLOCK_ROWS, 1))
    lengths = np.diff(np.arange(num_blocks + 1) * fitted // num_blocks)
    bounds = np.arange(num_blocks + 1) * rest // num_blocks
    firsts = bounds[:-1] + (np.diff(bounds) - lengths) // 2
    blocks = [
        (int(first), int(first + length))
        for first, length in zip(firsts, lengths, strict=True)
        if length
    ]
    return (*blocks, (rest, num_rows))


class _Ranks:
    """The readings of an asset in a period, counted from 0 in order of time.

    Args:
        view: The lake.
        asset: The asset.
        start_us: Start of the period.
        end_us: Its end, exclusive.
    """

    def __init__(self, view: LakeView, asset: str, start_us: int, end_us: int) -> None:
        self._view = view
        self._asset = asset
        counts: dict[int, int] = {}
        for file in view.readings.files_of(asset):
            day = file.first_us // MICROSECONDS_PER_DAY
            counts[day] = counts.get(day, 0) + file.num_rows
        days = [day for day in sorted(counts) if _overlaps(day, start_us, end_us)]
        self._starts = [max(day * MICROSECONDS_PER_DAY, start_us) for day in days]
        self._ends = [min((day + 1) * MICROSECONDS_PER_DAY, end_us) for day in days]
        mine = [
            counts[day] if end - start == MICROSECONDS_PER_DAY else self._count(start, end)
            for day, start, end in zip(days, self._starts, self._ends, strict=True)
        ]
        self._before = np.concatenate([[0], np.cumsum(np.array(mine, dtype=np.int64))])
        self.num_rows = int(self._before[-1])

    def read(self, first: int, end: int) -> pa.Table:
        """Read rows `[first, end)`."""
        return self._view.readings.read(
            self._asset, start_us=self._find_time(first), end_us=self._find_time(end - 1) + 1
        )

    def _find_time(self, rank: int) -> int:
        day = int(np.searchsorted(self._before, rank, side="right")) - 1
        left = rank - int(self._before[day])
        for part in self._cut(self._starts[day], self._ends[day]):
            times = self._view.readings.read_times(self._asset, start_us=part[0], end_us=part[1])
            if left < times.size:
                return int(times[left])
            left -= times.size
        return self._ends[day] - 1

    def _count(self, start_us: int, end_us: int) -> int:
        return sum(
            self._view.readings.read_times(self._asset, start_us=first, end_us=end).size
            for first, end in self._cut(start_us, end_us)
        )

    def _cut(self, start_us: int, end_us: int) -> tuple[tuple[int, int], ...]:
        line = self._view.readings.timeline_of(self._asset)
        return line.cut(start_us, end_us, max_rows=COUNT_ROWS)


def _overlaps(day: int, start_us: int, end_us: int) -> bool:
    return day * MICROSECONDS_PER_DAY < end_us and (day + 1) * MICROSECONDS_PER_DAY > start_us
