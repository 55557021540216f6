"""The scores table: row scores as Arrow columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from vae_anomaly.detector.alerts import ScoreTrace
from vae_anomaly.detector.row_scores import RowScores
from vae_anomaly.domain import (
    DEFAULT_ASSET,
    NO_TIME,
    CheckedReadings,
    Contract,
    FloatArray,
    IntArray,
    Readings,
    Texts,
    name_sensor_reasons,
)
from vae_anomaly.errors import ContractError
from vae_anomaly.readings.contract import list_names
from vae_anomaly.readings.rows import take_rows

if TYPE_CHECKING:
    import pyarrow as pa

TIME_ZONE = "UTC"

LEAST_EXCESS = 1.0
"""Nats of blame that a sensor which a reason names gets at least: a small shift or a flat line may
not show in the density of a single step."""


def make_score_table(checked: CheckedReadings, rows: RowScores) -> pa.Table:
    """Put row scores into a table.

    Args:
        checked: The readings.
        rows: Their scores.

    Returns:
        `timestamp`, the asset if the input has one, `nll`, `score`, `threshold`, `state`,
        `reason`, `kl`, `contribution`; null where there is no number.
    """
    import pyarrow as pa

    contract = checked.contract
    columns = {contract.timestamp: make_time_column(checked.readings)}
    if contract.asset is not None:
        columns[contract.asset] = make_asset_column(checked.readings)
    shares = [_nullable(rows.contribution[:, i]) for i in range(len(contract.sensors))]
    columns |= {
        "nll": _nullable(rows.nll),
        "score": _nullable(rows.score),
        "threshold": _nullable(rows.threshold),
        "state": _make_texts(rows.state),
        "reason": _make_texts(rows.reason),
        "kl": _nullable(rows.kl),
        "contribution": pa.StructArray.from_arrays(shares, names=list(contract.sensor_names)),
    }
    return pa.table(columns)


def read_traces(
    scores: pa.Table, contract: Contract, *, normal: FloatArray
) -> Iterator[tuple[str, ScoreTrace]]:
    """Give each asset's scored steps in order of time; equal times count once.

    Args:
        scores: A scores table, rows in any order.
        contract: Names of time, sensors and asset; without an asset column all is one asset.
        normal: Normal contribution of each sensor, in nats. Shape `(sensors,)`.

    Returns:
        Name and trace of one asset after the other, by name.

    Raises:
        ContractError: The table is not one of scores, or of another detector's.
    """
    import pyarrow.compute as pc

    _require_scores(scores, contract)
    if scores["score"].null_count:
        scores = scores.filter(pc.is_valid(scores["score"]))
    times = scores[contract.timestamp].cast("int64").to_numpy()
    score = scores["score"].to_numpy()
    struct = scores["contribution"].combine_chunks()
    excess = np.empty((len(times), len(normal)), order="F")
    for k, name in enumerate(contract.sensor_names):
        share = struct.field(name).to_numpy(zero_copy_only=False)
        np.subtract(share, normal[k], out=excess[:, k])
    reason = _read_reasons(scores["reason"], contract)
    _blame_named(excess, reason)
    for asset, mine in _rows_of_assets(scores, contract.asset):
        rows = mine
        if not np.all(np.diff(times[mine]) > 0):
            _, first = np.unique(times[mine], return_index=True)
            rows = mine[first]
        yield (
            asset,
            ScoreTrace(
                take_rows(times, rows),
                take_rows(score, rows),
                take_rows(excess, rows),
                reason[rows],
            ),
        )


def _require_scores(scores: pa.Table, contract: Contract) -> None:
    needed = {contract.timestamp, "score", "reason", "contribution"}
    missing = sorted(needed - set(scores.column_names))
    if not missing:
        parts = {field.name for field in scores["contribution"].type}
        missing = [f"contribution.{x}" for x in contract.sensor_names if x not in parts]
    if missing:
        raise ContractError(
            "Cannot find alert events: expected the scores of this detector, got columns "
            f"{list_names(scores.column_names)}; missing {list_names(missing)}. Give the whole "
            "table that scoring with it returned."
        )


def _rows_of_assets(scores: pa.Table, column: str | None) -> Iterator[tuple[str, IntArray]]:
    """Give the rows of each asset, by name."""
    if scores.num_rows and column not in scores.column_names:
        yield DEFAULT_ASSET, np.arange(scores.num_rows)
    elif scores.num_rows:
        assets = scores[column].to_numpy()
        for asset in sorted(set(assets)):
            yield asset, np.flatnonzero(assets == asset)


def _read_reasons(reasons: pa.ChunkedArray, contract: Contract) -> Texts:
    """Keep the reasons that name a sensor."""
    import pyarrow as pa
    import pyarrow.compute as pc

    names = ("", *name_sensor_reasons(contract.sensor_names))
    codes = pc.index_in(reasons.cast("string"), value_set=pa.array(names, pa.string()))
    return Texts(pc.fill_null(codes, 0).to_numpy(), names)


def _blame_named(excess: FloatArray, reason: Texts) -> None:
    """Give steps that are anomalous for one sensor alone to that sensor, and to no other."""
    named = np.flatnonzero(reason.codes)
    sensor = (reason.codes[named] - 1) % excess.shape[1]
    total = np.maximum(np.nan_to_num(excess[named]), 0.0).sum(axis=1)
    excess[named] = 0.0
    excess[named, sensor] = np.maximum(total, LEAST_EXCESS)


def make_time_column(readings: Readings) -> pa.Array:
    """Return the times as Arrow timestamps in UTC, null where missing."""
    import pyarrow as pa

    missing = readings.timestamps == NO_TIME
    return pa.array(readings.timestamps, pa.int64(), mask=missing).cast(
        pa.timestamp("us", TIME_ZONE)
    )


def make_asset_column(readings: Readings) -> pa.Array:
    """Return the asset names as Arrow text, null where missing."""
    import pyarrow as pa

    codes = pa.array(readings.asset_codes, pa.int64(), mask=readings.asset_codes < 0)
    return pa.array(readings.asset_names, pa.string()).take(codes)


def _nullable(values: FloatArray) -> pa.Array:
    import pyarrow as pa

    missing = np.isnan(values)
    return pa.array(values, pa.float64(), mask=missing if missing.any() else None)


def _make_texts(texts: Texts) -> pa.Array:
    import pyarrow as pa

    return pa.array(texts.names, pa.string()).take(pa.array(texts.codes))
