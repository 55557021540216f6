"""What detectors say of the same normal rows, and of the same rows with faults injected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vae_anomaly.domain import MICROSECONDS_PER_S, AlertEvent, BoolArray, FloatArray, State
from vae_anomaly.evaluation.injected import FAULT_STEPS, InjectedFault
from vae_anomaly.evaluation.plain_pca import PlainPCA
from vae_anomaly.operations.pipeline_alerts import find_trace_events
from vae_anomaly.operations.pipeline_scorer import score_table
from vae_anomaly.operations.promotion.rows import ComparisonRows, level

if TYPE_CHECKING:
    from vae_anomaly.detector.detector import Detector


@dataclass(frozen=True)
class Scored:
    """Scores of all rows, in their order.

    Attributes:
        score: Higher is stranger, -inf where unscorable. Shape `(rows,)`.
        flagged: Whether the state is `anomalous`. Shape `(rows,)`.
        nll: Nats, NaN where unscorable. Shape `(rows,)`.
    """

    score: FloatArray
    flagged: BoolArray
    nll: FloatArray


ScoreValues = Callable[[pa.Table], Scored]
"""Rows of the lake to scores."""


def score_rows(detector: Detector, table: pa.Table) -> Scored:
    """Score rows with a detector, as the pipeline does."""
    return to_scored(score_table(detector, table))


def to_scored(scores: pa.Table) -> Scored:
    """Take what is compared out of a scores table."""
    score, nll = (scores[name].to_numpy() for name in ("score", "nll"))
    return Scored(
        score=np.where(np.isnan(score), -np.inf, score),
        flagged=pc.equal(scores["state"], State.ANOMALOUS.value).to_numpy(),
        nll=nll,
    )


def score_with_pca(pca: PlainPCA, detector: Detector, rows: ComparisonRows) -> ScoreValues:
    """Make a function that scores rows with PCA, levelled and smoothed as the detector's are."""
    config = detector.record.config
    gap_us = config.readings.gap_steps * detector.contract.period_s * MICROSECONDS_PER_S
    starts = rows.find_segment_start(gap_us=gap_us)

    def score(table: pa.Table) -> Scored:
        values = level(table, detector)
        found = pca.score(values, starts, span=config.threshold.smoothing_steps)
        return Scored(found, np.zeros(found.size, dtype=bool), found)

    return score


def find_events(
    detector: Detector, scores: pa.Table, rows: ComparisonRows, *, model_name: str
) -> tuple[AlertEvent, ...]:
    """Find the alert events of the rows that are compared, asset by asset."""
    wanted = scores.filter(pa.array(rows.is_compared))
    events: list[AlertEvent] = []
    for asset in pc.unique(wanted["asset"]).to_pylist():
        mine = wanted.filter(pc.equal(wanted["asset"], asset))
        events += find_trace_events(detector, mine, asset=asset, model_name=model_name)
    return tuple(events)


def cover(rows: ComparisonRows, events: tuple[AlertEvent, ...]) -> BoolArray:
    """Tell which rows an alert event lies over. Shape `(rows,)`."""
    covered = np.zeros(rows.timestamps.size, dtype=bool)
    names = rows.table["asset"].combine_chunks().dictionary_encode().dictionary.to_pylist()
    for event in events:
        own = np.flatnonzero(rows.asset_codes == names.index(event.asset))
        first, end = np.searchsorted(rows.timestamps[own], [event.start_us, event.end_us])
        covered[own[first:end]] = True
    return covered


def find_found(
    faults: tuple[InjectedFault, ...], faulty: BoolArray, clean: BoolArray
) -> BoolArray:
    """Tell which faults were found: flagged where the same steps without them are not.

    Args:
        faults: The faults of one copy.
        faulty: Flags of that copy. Shape `(rows,)`.
        clean: Flags of the rows as they are. Shape `(rows,)`.

    Returns:
        Shape `(faults,)`.
    """
    before = np.concatenate([[0], np.cumsum(faulty & ~clean)])
    starts = np.array([fault.start for fault in faults], dtype=np.int64)
    found: BoolArray = before[starts + FAULT_STEPS] > before[starts]
    return found
