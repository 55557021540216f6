"""The readings on which detectors are compared: later than all that any of them was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from vae_anomaly.domain import BoolArray, FloatArray, IntArray, Reach
from vae_anomaly.operations.pipeline_sample import read_training_rows
from vae_anomaly.operations.pipeline_tables import ASSET, LakeView, to_microseconds
from vae_anomaly.readings.aligned_tables import align_table
from vae_anomaly.readings.rows import LATEST_US

if TYPE_CHECKING:
    from vae_anomaly.detector.detector import Detector

MIN_ASSET_ROWS = 2_000
"""Rows of an asset that say something of it; of a large fleet so many assets are taken that each
has as many."""

MAX_TRAINING_ROWS = 50_000
"""Rows that PCA is fitted to: it needs no more."""


@dataclass(frozen=True)
class ComparisonRows:
    """Rows of the lake, sorted by asset and time.

    Attributes:
        table: asset, timestamp and sensors.
        is_compared: Rows to compare on; the others are there for scores to look back at, or
            forward. Shape `(rows,)`.
        asset_codes: Asset of each row. Shape `(rows,)`.
        timestamps: Microseconds since 1970. Shape `(rows,)`.
    """

    table: pa.Table
    is_compared: BoolArray
    asset_codes: IntArray
    timestamps: IntArray

    @property
    def sensors(self) -> tuple[str, ...]:
        """Names of the sensors."""
        return tuple(self.table.column_names[2:])

    def values(self) -> FloatArray:
        """Return the raw values, NaN where missing. Shape `(rows, sensors)`."""
        return to_values(self.table)

    def with_values(self, values: FloatArray) -> pa.Table:
        """Return the table with other values."""
        columns = [self.table[name] for name in self.table.column_names[:2]]
        columns += [pa.array(column, from_pandas=True) for column in values.T]
        return pa.table(columns, names=self.table.column_names)

    def find_segment_start(self, *, gap_us: float) -> IntArray:
        """Find the first row of the stretch without a gap that each row is in."""
        starts = np.ones(self.timestamps.size, dtype=bool)
        starts[1:] = (np.diff(self.asset_codes) != 0) | (np.diff(self.timestamps) > gap_us)
        return np.maximum.accumulate(np.where(starts, np.arange(starts.size), 0))


def join_reach(detectors: Sequence[Detector]) -> Reach:
    """Return how far around a step any of some detectors looks."""
    reaches = [detector.reach for detector in detectors]
    return Reach(
        window_steps=max(reach.window_steps for reach in reaches),
        lookahead_steps=max(reach.lookahead_steps for reach in reaches),
        level_us=max(reach.level_us for reach in reaches),
    )


def read_comparison_rows(
    view: LakeView, *, after_us: int, reach: Reach, max_rows: int
) -> ComparisonRows:
    """Read the latest rows after a time, and those before them that scores depend on.

    Args:
        view: The lake.
        after_us: Rows at this time and before were trained on, microseconds since 1970.
        reach: How far scores look.
        max_rows: Rows to compare on at most, about. Of a fleet with more assets than that
            allows `MIN_ASSET_ROWS` each, evenly spread assets are taken.

    Raises:
        TableError: The readings cannot be read.
    """
    assets = view.readings.assets
    num_assets = min(len(assets), max(max_rows // MIN_ASSET_ROWS, 1))
    taken = np.linspace(0, len(assets) - 1, num_assets).astype(np.int64)
    tables = [view.read("", start_us=0, end_us=1)]
    compared: list[BoolArray] = [np.zeros(0, dtype=bool)]
    for asset in (assets[i] for i in taken):
        times = view.read_times_before(asset, LATEST_US, num_steps=max_rows // num_assets)
        times = times[times > after_us][: -reach.lookahead_steps or None]
        if not times.size:
            continue
        before = view.read_times_before(asset, int(times[0]), num_steps=reach.window_steps)
        first_us = int(before[0] if before.size else times[0]) - reach.level_us
        table = view.read(asset, start_us=first_us, end_us=LATEST_US)
        tables.append(table)
        compared.append(
            (to_microseconds(table) >= times[0]) & (to_microseconds(table) <= times[-1])
        )
    table = pa.concat_tables(tables)
    codes = table[ASSET].combine_chunks().dictionary_encode().indices.to_numpy()
    return ComparisonRows(
        table, np.concatenate(compared), codes.astype(np.int64), to_microseconds(table)
    )


def read_trained_values(view: LakeView, detector: Detector) -> FloatArray:
    """Read what a detector was trained on, without the offsets of its assets.

    Args:
        view: The lake.
        detector: The detector.

    Returns:
        Raw values of evenly spread blocks. Shape `(rows, sensors)`.
    """
    facts = detector.record.facts
    rows = read_training_rows(
        view,
        start_us=facts.first_us,
        end_us=facts.last_us + 1,
        max_rows=MAX_TRAINING_ROWS,
        held_share=detector.record.config.threshold.calibration_share,
    )
    table = align_table(rows.table, view.contract, view.settings)
    return level(table, detector)


def level(table: pa.Table, detector: Detector) -> FloatArray:
    """Return the values of rows without the offsets that a detector knows of their assets."""
    from vae_anomaly.detector.offsets import remove_offsets

    encoded = table[ASSET].combine_chunks().dictionary_encode()
    return remove_offsets(
        to_values(table),
        encoded.indices.to_numpy(),
        encoded.dictionary.to_pylist(),
        detector.record.offsets,
    )


def to_values(table: pa.Table) -> FloatArray:
    """Return the sensors of rows as one array. Shape `(rows, sensors)`."""
    names = table.column_names[2:]
    values = np.empty((table.num_rows, len(names)))
    for k, name in enumerate(names):
        values[:, k] = table[name].to_numpy()
    return values
