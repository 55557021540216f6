"""The scores of one model version as they are now: opened once, read part by part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from vae_anomaly.domain import IntArray, State
from vae_anomaly.readings import delta
from vae_anomaly.readings.data_files import DataFile, list_data_files
from vae_anomaly.readings.layout import SCORES, rename_fields
from vae_anomaly.readings.pinned import group_by_asset
from vae_anomaly.readings.rows import EARLIEST_US, LATEST_US
from vae_anomaly.readings.selection import Selection
from vae_anomaly.readings.tables import Lake
from vae_anomaly.readings.timeline import Timeline

_EMPTY = SCORES.append(pa.field("contribution", pa.struct([]))).empty_table()


class PinnedScores:
    """The scores of a model version, pinned to what there is when this is made.

    Args:
        lake: The lake.
        model_name: Registered model.
        model_version: Its version.
        between: Start and end, exclusive, of the scores that count, microseconds since 1970.

    Raises:
        TableError: The table cannot be read.
    """

    def __init__(
        self,
        lake: Lake,
        *,
        model_name: str,
        model_version: str,
        between: tuple[int, int] = (EARLIEST_US, LATEST_US),
    ) -> None:
        self._lake = lake
        self._between = between
        self._uri = lake.uri("scores")
        self._selection = Selection(model_name=model_name, model_version=model_version)
        self._table = DeltaTable(self._uri) if delta.has_table(self._uri) else None
        version = self._table.version() if self._table is not None else None
        self._files = group_by_asset(list_data_files(self._uri, version=version))

    @property
    def assets(self) -> tuple[str, ...]:
        """Assets that have scores, of this version or another, in order."""
        return tuple(sorted(self._files))

    def files_of(self, asset: str) -> tuple[DataFile, ...]:
        """Return the files that scores of an asset lie in, of this version or another."""
        return self._files.get(asset, ())

    def timeline_of(self, asset: str) -> Timeline:
        """Return how the scores of an asset lie in time, those of other versions counted too."""
        return Timeline.of(self.files_of(asset))

    def read(self, asset: str, *, start_us: int, end_us: int, columns: Sequence[str]) -> pa.Table:
        """Read scores of an asset in `[start_us, end_us)`.

        Args:
            asset: The asset.
            start_us: First time, microseconds since 1970.
            end_us: Time after the last.
            columns: Columns of `scores`; the fields of `contribution` are sensors.

        Returns:
            timestamp and the columns, in order of time.
        """
        names = ["timestamp", *columns]
        start_us, end_us = max(start_us, self._between[0]), min(end_us, self._between[1])
        if self._table is None or start_us >= end_us:
            return _EMPTY.select(names)
        selection = replace(self._selection, assets=[asset], start_us=start_us, end_us=end_us)
        table = delta.read_table(self._uri, columns=names, selection=selection, table=self._table)
        if "contribution" in columns:
            k = names.index("contribution")
            sensors = {name: sensor for sensor, name in self._lake.score_columns().items()}
            table = table.set_column(k, names[k], rename_fields(table[names[k]], sensors))
        return table.sort_by("timestamp")

    def read_times(self, asset: str, *, start_us: int, end_us: int) -> IntArray:
        """Read the times of the scores of an asset in `[start_us, end_us)`, ascending."""
        if not any(file.touches(start_us, end_us - 1) for file in self.files_of(asset)):
            return np.zeros(0, dtype=np.int64)
        table = self.read(asset, start_us=start_us, end_us=end_us, columns=())
        times: IntArray = table["timestamp"].cast(pa.int64()).to_numpy()
        return times

    def count_states(self) -> dict[State, int]:
        """Count the rows of each state, without holding them."""
        counts = dict.fromkeys(State, 0)
        if self._table is None:
            return counts
        with delta.explain_table_errors("read", self._uri):
            wanted = replace(self._selection, start_us=self._between[0], end_us=self._between[1])
            dataset = self._table.to_pyarrow_dataset(file_pruning_predicate=wanted.files())
            batches = dataset.to_batches(columns=["state"], filter=wanted.rows())
            for batch in batches:
                for row in pc.value_counts(batch["state"]).to_pylist():
                    counts[State(row["values"])] += row["counts"]
        return counts
