"""Which rows of `readings` changed or went away between two versions of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from vae_anomaly.domain import FloatArray, IntArray
from vae_anomaly.errors import TableError
from vae_anomaly.readings.alignment import find_ticks
from vae_anomaly.readings.data_files import DataFile, DataFolder, list_data_files
from vae_anomaly.readings.rows import equal_rows
from vae_anomaly.readings.tables import Lake


@dataclass(frozen=True)
class Changes:
    """What changed of one asset.

    Attributes:
        changed: Times of rows with other values, ascending, microseconds since 1970.
        withdrawn: Times of rows that are no more, ascending.
        new: Times of rows that are new, ascending, where they were asked for.
    """

    changed: IntArray
    withdrawn: IntArray
    new: IntArray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def at_ticks(self, ticks: IntArray, *, period_s: float) -> Changes:
        """Return what changed of the ticks that these rows are part of.

        Args:
            ticks: All ticks of the asset now, ascending.
            period_s: Seconds between them.
        """
        rows = np.concatenate([self.changed, self.withdrawn, self.new])
        touched = np.unique(find_ticks(rows, period_s=period_s))
        is_there = np.isin(touched, ticks)
        return Changes(changed=touched[is_there], withdrawn=touched[~is_there])


def find_changes(
    lake: Lake, *, since: int, until: int, with_new: bool = False
) -> dict[str, Changes] | None:
    """Find the rows of `readings` that changed or went away, by the files that were replaced.

    Args:
        lake: The lake.
        since: Older version of `readings`.
        until: Newer version.
        with_new: Whether to find new rows too, for which all files that are new are read.

    Returns:
        The changes per asset; None where the older version, or a file of it, is no more, so that
        every row may have changed.
    """
    if since == until:
        return {}
    uri, folder = lake.uri("readings"), lake.readings_folder()
    try:
        before = {file.path: file for file in list_data_files(uri, version=since)}
        after = {file.path: file for file in list_data_files(uri, version=until)}
        removed = _group([file for path, file in before.items() if path not in after])
        added = _group([file for path, file in after.items() if path not in before])
        columns = tuple(lake.reading_columns().values())
        found: dict[str, list[Changes]] = {}
        for key in (removed | added) if with_new else removed:
            old = _read(folder, removed.get(key, []), columns)
            new = _read(folder, added.get(key, []), columns)
            found.setdefault(key[0], []).append(_compare(old, new))
    except TableError:
        return None
    return {
        asset: Changes(
            changed=np.sort(np.concatenate([part.changed for part in parts])),
            withdrawn=np.sort(np.concatenate([part.withdrawn for part in parts])),
            new=np.sort(np.concatenate([part.new for part in parts])),
        )
        for asset, parts in found.items()
    }


def _group(files: Sequence[DataFile]) -> dict[tuple[str, str], list[DataFile]]:
    groups: dict[tuple[str, str], list[DataFile]] = {}
    for file in files:
        groups.setdefault((file.asset, file.date), []).append(file)
    return groups


def _read(
    folder: DataFolder, files: Sequence[DataFile], columns: Sequence[str]
) -> tuple[IntArray, FloatArray]:
    """Read times, ascending, and values of the rows of one asset and day."""
    tables = [folder.read(file, first_us=file.first_us, last_us=file.last_us) for file in files]
    if not tables:
        return np.zeros(0, dtype=np.int64), np.zeros((0, len(columns)))
    table = pa.concat_tables(tables).sort_by("timestamp")
    values = np.column_stack([table[name].to_numpy() for name in columns])
    return table["timestamp"].cast(pa.int64()).to_numpy(), values.astype(np.float64, copy=False)


def _compare(old: tuple[IntArray, FloatArray], new: tuple[IntArray, FloatArray]) -> Changes:
    times, values = old
    new_times, new_values = new
    if not new_times.size:
        return Changes(changed=times[:0], withdrawn=times)
    added = np.setdiff1d(new_times, times)
    place = np.minimum(np.searchsorted(new_times, times), new_times.size - 1)
    is_there = new_times[place] == times
    is_same = equal_rows(values, new_values[place])
    return Changes(times[is_there & ~is_same], withdrawn=times[~is_there], new=added)
