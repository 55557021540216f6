"""What changed in `readings` between two versions of it, by the files that came and went."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from vae_anomaly.domain import FloatArray, IntArray
from vae_anomaly.errors import TableError
from vae_anomaly.readings.data_files import DataFile, DataFolder, list_data_files
from vae_anomaly.readings.pinned import group_by_asset
from vae_anomaly.readings.rows import equal_rows
from vae_anomaly.readings.tables import Lake

logger = logging.getLogger(__name__)

UPKEEP = frozenset({"OPTIMIZE", "VACUUM START", "VACUUM END"})
"""Commits that change no row."""

NOTHING: IntArray = np.zeros(0, dtype=np.int64)

Spans = tuple[tuple[int, int], ...]
"""First and last time of each, microseconds since 1970."""


@dataclass(frozen=True)
class Touched:
    """Which rows of one asset changed within a span of time.

    Attributes:
        times: Times of rows that are new, have other values or are no more, ascending.
        unknown: Where a file is no more that rows would have to be compared with: any row may
            have changed there.
    """

    times: IntArray
    unknown: Spans = ()


@dataclass(frozen=True)
class Changes:
    """Files of `readings` that came and went.

    Attributes:
        added: Files that are new, per asset.
        removed: Files that are no more, per asset.
        is_everything: Whether the older version cannot be read, so that any row may have changed.
        folder: Where the files lie.
        columns: Columns of the sensors.
    """

    added: Mapping[str, Sequence[DataFile]]
    removed: Mapping[str, Sequence[DataFile]]
    folder: DataFolder = field(repr=False)
    columns: tuple[str, ...]
    is_everything: bool = False

    @property
    def assets(self) -> tuple[str, ...]:
        """Assets that something changed of, in order; none where everything may have."""
        return tuple(sorted({*self.added, *self.removed}))

    def files_of(self, asset: str) -> tuple[DataFile, ...]:
        """Return the files of an asset that came or went."""
        return (*self.added.get(asset, ()), *self.removed.get(asset, ()))

    def spans_of(self, asset: str) -> Spans:
        """Return where changes of an asset can lie, by the statistics of the files.

        Returns:
            Spans that do not overlap, in order of time.
        """
        return join_spans((file.first_us, file.last_us) for file in self.files_of(asset))

    def find(self, asset: str, *, start_us: int, end_us: int) -> Touched:
        """Find the rows of an asset that changed in `[start_us, end_us)`.

        Args:
            asset: The asset.
            start_us: First time, microseconds since 1970.
            end_us: Time after the last.

        Raises:
            TableError: A file that is in the table cannot be read.
        """
        if self.is_everything:
            return Touched(NOTHING, ((start_us, end_us - 1),))
        removed = _within(self.removed.get(asset, ()), start_us, end_us)
        added = _within(self.added.get(asset, ()), start_us, end_us)
        if not removed:
            return Touched(self._read(added, (), start_us, end_us)[0])
        new = self._read(added, self.columns, start_us, end_us)
        try:
            old = self._read(removed, self.columns, start_us, end_us)
        except TableError:
            spans = join_spans((file.first_us, file.last_us) for file in removed)
            logger.warning("files of asset %r are no more: all their steps count as new", asset)
            return Touched(new[0], spans)
        return Touched(_compare(old, new))

    def _read(
        self, files: Sequence[DataFile], columns: Sequence[str], start_us: int, end_us: int
    ) -> tuple[IntArray, FloatArray]:
        table = self.folder.read_columns(files, columns, start_us=start_us, end_us=end_us)
        times: IntArray = table["timestamp"].cast(pa.int64()).to_numpy()
        order = np.argsort(times, kind="stable")
        values = np.empty((times.size, len(columns)))
        for k, name in enumerate(columns):
            values[:, k] = table[name].to_numpy()
        return times[order], values[order]


def find_changes(lake: Lake, *, since: int | None, until: int) -> Changes:
    """Find the files of `readings` that came and went, and so the rows that may have changed.

    Args:
        lake: The lake; it has readings.
        since: Older version of `readings`, None where there is none to start from.
        until: Newer version.

    Returns:
        The changes. Where the older version is no more, or is no older, all rows may have changed.
    """
    uri, folder = lake.uri("readings"), lake.readings_folder()
    columns = tuple(lake.reading_columns().values())
    if since is None or since > until:
        return Changes({}, {}, folder, columns, is_everything=True)
    try:
        first = _skip_upkeep(folder, since, until)
        if first == until:
            return Changes({}, {}, folder, columns)
        before = {file.path: file for file in list_data_files(uri, version=first)}
    except TableError:
        logger.warning("version %d of the readings is no more: scoring all again", since)
        return Changes({}, {}, folder, columns, is_everything=True)
    after = {file.path: file for file in list_data_files(uri, version=until)}
    return Changes(
        group_by_asset(file for path, file in after.items() if path not in before),
        group_by_asset(file for path, file in before.items() if path not in after),
        folder,
        columns,
    )


def join_spans(spans: Iterable[tuple[int, int]]) -> Spans:
    """Join spans that overlap or touch.

    Args:
        spans: First and last time of each, in any order.

    Example:
        >>> join_spans([(5, 9), (0, 2), (3, 3), (7, 12)])
        ((0, 3), (5, 12))
    """
    ordered = np.array(sorted(spans), dtype=np.int64).reshape(-1, 2)
    firsts, lasts = ordered.T
    reached = np.maximum.accumulate(lasts)
    begins = np.flatnonzero(np.append(True, firsts[1:] > reached[:-1] + 1)[: firsts.size])
    ends = reached[np.append(begins[1:], firsts.size) - 1] if begins.size else reached
    return tuple(zip(firsts[begins].tolist(), ends.tolist(), strict=True))


def _skip_upkeep(folder: DataFolder, since: int, until: int) -> int:
    """Return the latest version that has the same rows as an older one, as the log says."""
    while since < until and folder.find_operation(since + 1) in UPKEEP:
        since += 1
    return since


def _within(files: Sequence[DataFile], start_us: int, end_us: int) -> list[DataFile]:
    return [file for file in files if file.touches(start_us, end_us - 1)]


def _compare(old: tuple[IntArray, FloatArray], new: tuple[IntArray, FloatArray]) -> IntArray:
    """Return the times of rows that only one side has, or that have other values."""
    times, values = old
    new_times, new_values = new
    if not new_times.size or not times.size:
        return np.concatenate([times, new_times])
    place = np.minimum(np.searchsorted(new_times, times), new_times.size - 1)
    is_same = (new_times[place] == times) & equal_rows(values, new_values[place])
    return np.union1d(times[~is_same], np.setdiff1d(new_times, times))
