"""`readings` at one version: opened once, read part by part."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from vae_anomaly.domain import IntArray
from vae_anomaly.readings.data_files import DataFile, list_data_files
from vae_anomaly.readings.timeline import Timeline

if TYPE_CHECKING:
    from vae_anomaly.readings.tables import Lake


class PinnedReadings:
    """The readings of a lake at one version, of which parts are read as they are needed.

    Args:
        lake: The lake; it has readings.
        version: Version of its readings.

    Raises:
        TableError: There is no such version.
    """

    def __init__(self, lake: Lake, version: int) -> None:
        self.version = version
        self._columns = lake.reading_columns()
        self._folder = lake.readings_folder()
        self._files = group_by_asset(list_data_files(lake.uri("readings"), version=version))
        self._timelines: dict[str, Timeline] = {}

    @property
    def assets(self) -> tuple[str, ...]:
        """Assets that have readings, in order."""
        return tuple(sorted(self._files))

    def files_of(self, asset: str) -> tuple[DataFile, ...]:
        """Return the files of an asset; none where it has no readings."""
        return self._files.get(asset, ())

    def timeline_of(self, asset: str) -> Timeline:
        """Return how the readings of an asset lie in time."""
        if asset not in self._timelines:
            self._timelines[asset] = Timeline.of(self.files_of(asset))
        return self._timelines[asset]

    def read(
        self, asset: str, *, start_us: int, end_us: int, columns: Sequence[str] | None = None
    ) -> pa.Table:
        """Read readings of one asset in `[start_us, end_us)`.

        Args:
            asset: The asset.
            start_us: First time, microseconds since 1970.
            end_us: Time after the last.
            columns: Sensors to read, None for all.

        Returns:
            asset, timestamp and the sensors, sorted by time.

        Raises:
            TableError: A file of the version is no more, or cannot be read.
        """
        wanted = tuple(self._columns) if columns is None else tuple(columns)
        table = self._folder.read_columns(
            self.files_of(asset),
            [self._columns[name] for name in wanted],
            start_us=start_us,
            end_us=end_us,
        )
        table = table.rename_columns(["timestamp", *wanted]).sort_by("timestamp")
        return table.add_column(0, "asset", pa.repeat(asset, table.num_rows))

    def read_times(self, asset: str, *, start_us: int, end_us: int) -> IntArray:
        """Read the times of the readings of one asset in `[start_us, end_us)`, ascending."""
        table = self._folder.read_columns(
            self.files_of(asset), (), start_us=start_us, end_us=end_us
        )
        times: IntArray = table["timestamp"].cast(pa.int64()).to_numpy()
        return np.sort(times)


def group_by_asset(files: Iterable[DataFile]) -> Mapping[str, tuple[DataFile, ...]]:
    """Group files by asset, in order of time."""
    groups: dict[str, list[DataFile]] = {}
    for file in files:
        groups.setdefault(file.asset, []).append(file)
    return {
        asset: tuple(sorted(mine, key=lambda file: (file.first_us, file.path)))
        for asset, mine in groups.items()
    }
