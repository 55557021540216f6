"""What readings and scores were like when a detector was calibrated: read once, kept small."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from vae_anomaly.detector.drift import (
    BlockSums,
    SeriesReference,
    count_base,
    find_decorrelation,
    join_sums,
    sum_blocks,
    summarise,
)
from vae_anomaly.domain import FloatArray
from vae_anomaly.operations.pipeline_scorer import score_table
from vae_anomaly.operations.pipeline_tables import LakeView, to_microseconds
from vae_anomaly.operations.registry import ModelVersion
from vae_anomaly.readings.drift_tables import append_reference, read_reference

if TYPE_CHECKING:
    from vae_anomaly.detector.detector import Detector

SCORE = ""
"""Stands for the score where others name a sensor."""

MAX_BLOCKS = 60
"""Base blocks of reference at most, counted back from the last reading of the training."""

MAX_ROWS = 5_000_000
"""Readings of all assets that a reference is made of, about."""

MIN_ASSET_ROWS = 20_000
"""Readings that an asset gives in any case."""

MAX_VALUES = 4_000_000
"""Values that are held at once."""

LEAST_SCORE = 1e-3
"""Scores below it are alike: the logarithm of none at all says nothing."""

Series = tuple[str, str]
"""Asset and sensor."""


@dataclass(frozen=True)
class ReferenceSource:
    """Where the reference of a model version comes from.

    Attributes:
        view: The lake.
        model: The model version.
        load: Loads its detector; called only where the reference has to be made.
        block_us: Length of a base block, microseconds.
    """

    view: LakeView
    model: ModelVersion
    load: Callable[[], Detector]
    block_us: int


def find_references(source: ReferenceSource) -> dict[Series, SeriesReference]:
    """Return the reference of each series of a model version, making it where there is none.

    It is made of the last readings that the detector came from: those that its thresholds were
    set on, and those before them as far as `MAX_BLOCKS` reach, since held-out readings alone
    often hold too few independent blocks. Scores are those that the detector gives to them.

    Args:
        source: Where it comes from.

    Returns:
        The reference by asset and sensor; the sensor of the score is `SCORE`.

    Raises:
        TableError: The lake cannot be read or written.
    """
    model = source.model
    key = {"model_name": model.model_name, "model_version": model.version}
    block_s = source.block_us / 1e6
    found = read_reference(source.view.lake, **key, block_s=block_s)
    if not found.num_rows:
        rows = [
            {**key, "asset": asset, "sensor": sensor, "block_s": block_s, **asdict(one)}
            for (asset, sensor), one in _make_references(source).items()
        ]
        commit_id = f"reference:{model.model_name}:{model.version}:{block_s:g}"
        append_reference(source.view.lake, rows, commit_id=commit_id)
        found = read_reference(source.view.lake, **key, block_s=block_s)
    names = [item.name for item in fields(SeriesReference)]
    return {
        (row["asset"], row["sensor"]): SeriesReference(**{name: row[name] for name in names})
        for row in found.to_pylist()
    }


def to_values(table: pa.Table) -> FloatArray:
    """Return the columns after asset and timestamp, NaN where null. Shape `(rows, columns)`."""
    columns = [column.to_numpy(zero_copy_only=False) for column in table.columns[2:]]
    values: FloatArray = np.column_stack(columns).astype(np.float64)
    return values


def to_log(score: pa.ChunkedArray) -> FloatArray:
    """Return the logarithm of scores as one column, NaN where unscorable. Shape `(rows, 1)`."""
    values = score.to_numpy(zero_copy_only=False).astype(np.float64)
    logarithm: FloatArray = np.log(np.maximum(values, LEAST_SCORE))[:, None]
    return logarithm


def cut_span(
    view: LakeView, asset: str, start_us: int, end_us: int
) -> tuple[tuple[int, int], ...]:
    """Cut a span into parts of which the readings can be held at once."""
    max_rows = max(MAX_VALUES // (len(view.contract.sensors) + 1), 1)
    return view.readings.timeline_of(asset).cut(start_us, end_us, max_rows=max_rows)


def _make_references(source: ReferenceSource) -> Mapping[Series, SeriesReference]:
    detector, view = source.load(), source.view
    sensors = detector.contract.sensor_names
    known = [asset for asset in view.readings.assets if asset in _list_assets(detector, view)]
    found: dict[Series, SeriesReference] = {}
    for asset in known:
        parts = list(_read_parts(source, detector, asset, max_rows=MAX_ROWS // len(known)))
        if not parts:
            continue
        sums = join_sums([part for part, _ in parts])
        steps = np.max([decorrelation for _, decorrelation in parts], axis=0)
        for position, sensor in enumerate((*sensors, SCORE)):
            num_base = count_base(
                float(steps[position]), period_us=view.period_us, base_us=source.block_us
            )
            found[asset, sensor] = summarise(
                sums, position, decorrelation_steps=float(steps[position]), num_base=num_base
            )
    return found


def _list_assets(detector: Detector, view: LakeView) -> tuple[str, ...]:
    """Return the assets that the detector was calibrated for, as the lake names them."""
    if detector.contract.asset is None and len(view.readings.assets) == 1:
        return view.readings.assets
    return tuple(detector.record.calibrations)


def _read_parts(
    source: ReferenceSource, detector: Detector, asset: str, *, max_rows: int
) -> Iterator[tuple[BlockSums, FloatArray]]:
    """Read the readings of reference of an asset, and score them, a part at a time.

    Yields:
        The sums of a part, and over how many steps each column stays alike.
    """
    view, facts = source.view, detector.record.facts
    end_us = facts.last_us + 1
    timeline = view.readings.timeline_of(asset)
    start_us = max(
        facts.first_us,
        end_us - MAX_BLOCKS * source.block_us,
        timeline.find_back(end_us, max(max_rows, MIN_ASSET_ROWS)),
    )
    for from_us, until_us in cut_span(view, asset, start_us, end_us):
        table = view.read(asset, start_us=from_us, end_us=until_us)
        if not table.num_rows:
            continue
        score = score_table(detector, table)["score"]
        sensors = table.select(["asset", "timestamp", *detector.contract.sensor_names])
        values = np.hstack([to_values(sensors), to_log(score)])
        decorrelation = np.array([find_decorrelation(column) for column in values.T])
        yield sum_blocks(to_microseconds(table), values, block_us=source.block_us), decorrelation
