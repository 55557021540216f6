"""Measures without a threshold, of flags, and of intervals; none of them adjusts points.

Point adjustment (counting a whole anomaly as found once one of its steps is flagged) makes
random scores look good, so recall counts steps here, and anomalies found are counted apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vae_anomaly.domain import MICROSECONDS_PER_S, BoolArray, FloatArray, IntArray

_UNDEFINED = float("nan")


def average_precision(scores: FloatArray, labels: BoolArray) -> float:
    """Measure the area under the precision-recall curve, summed in steps of recall.

    AP = sum over thresholds of (R_k - R_(k-1)) P_k; equal scores share one threshold.

    Args:
        scores: Higher is stranger. Shape `(steps,)`.
        labels: Whether a step is anomalous. Shape `(steps,)`.

    Returns:
        The measure, in [0, 1], 1 is perfect; NaN where the labels hold one class only.

    Example:
        >>> average_precision(np.array([1.0, 2.0, 3.0]), np.array([False, True, True]))
        1.0
    """
    if not labels.any() or labels.all():
        return _UNDEFINED
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    last_of_equals = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    hits = np.cumsum(labels[order])[last_of_equals]
    precision = hits / (last_of_equals + 1)
    return float(np.diff(hits, prepend=0) @ precision / hits[-1])


def roc_auc(scores: FloatArray, labels: BoolArray) -> float:
    """Measure how often an anomalous step scores above a normal one; ties count half.

    Args:
        scores: Higher is stranger. Shape `(steps,)`.
        labels: Whether a step is anomalous. Shape `(steps,)`.

    Returns:
        The measure, in [0, 1], 0.5 is chance; NaN where the labels hold one class only.

    Example:
        >>> roc_auc(np.array([1.0, 2.0, 2.0]), np.array([False, False, True]))
        0.75
    """
    if not labels.any() or labels.all():
        return _UNDEFINED
    _, group, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(sizes) - (sizes - 1) / 2
    num_anomalous = int(labels.sum())
    num_normal = labels.size - num_anomalous
    rank_sum = float(mean_rank[group.ravel()][labels].sum())
    return (rank_sum - num_anomalous * (num_anomalous + 1) / 2) / (num_anomalous * num_normal)


@dataclass(frozen=True)
class FlagMeasures:
    """How well flags agree with labels, step by step; NaN where a measure is not defined.

    Attributes:
        precision: Share of flags that lie on anomalous steps.
        recall: Share of anomalous steps that are flagged.
        f1: Harmonic mean of the two.
        false_alarm_rate: Share of scorable normal steps that are flagged.
        missed_alarm_rate: Share of anomalous steps that are not flagged.
    """

    precision: float
    recall: float
    f1: float
    false_alarm_rate: float
    missed_alarm_rate: float


def measure_flags(
    flags: BoolArray, labels: BoolArray, *, scorable: BoolArray | None = None
) -> FlagMeasures:
    """Compare flags with labels, step by step.

    An unscorable step is held against the detector where it is anomalous (it is missed) and
    does not count in its favour where it is normal.

    Args:
        flags: Whether a step is flagged. Shape `(steps,)`.
        labels: Whether a step is anomalous. Shape `(steps,)`.
        scorable: Whether a step has a score; None where all have. Shape `(steps,)`.

    Returns:
        The measures.
    """
    flagged = flags if scorable is None else flags & scorable
    normal = ~labels if scorable is None else ~labels & scorable
    hits = int((flagged & labels).sum())
    num_false = int((flagged & normal).sum())
    num_anomalous = int(labels.sum())
    return FlagMeasures(
        precision=_ratio(hits, hits + num_false),
        recall=_ratio(hits, num_anomalous),
        f1=_ratio(2 * hits, hits + num_false + num_anomalous),
        false_alarm_rate=_ratio(num_false, int(normal.sum())),
        missed_alarm_rate=_ratio(num_anomalous - hits, num_anomalous),
    )


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else _UNDEFINED


@dataclass(frozen=True)
class Intervals:
    """Stretches of time of one asset, in order of their starts.

    Attributes:
        starts_us: Microseconds since 1970, UTC. Shape `(intervals,)`.
        ends_us: Their ends, exclusive. Shape `(intervals,)`.
    """

    starts_us: IntArray
    ends_us: IntArray

    @property
    def num_intervals(self) -> int:
        """Number of intervals."""
        return int(self.starts_us.size)

    def extended(self, tolerance_s: float) -> Intervals:
        """Move all ends back by some seconds."""
        return Intervals(self.starts_us, self.ends_us + round(tolerance_s * MICROSECONDS_PER_S))


def find_intervals(timestamps_us: IntArray, inside: BoolArray, *, period_us: int) -> Intervals:
    """Find the runs of steps that are inside something.

    A run ends one period after its last step, or at the next step where that comes sooner.

    Args:
        timestamps_us: Times of the steps, in order. Shape `(steps,)`.
        inside: Whether a step is inside. Shape `(steps,)`.
        period_us: Time between steps.

    Returns:
        The runs.

    Example:
        >>> runs = find_intervals(np.arange(4), np.array([0, 1, 1, 0], dtype=bool), period_us=1)
        >>> runs.starts_us.tolist(), runs.ends_us.tolist()
        ([1], [3])
    """
    edges = np.diff(inside.astype(np.int8), prepend=0, append=0)
    starts, after = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    ends = timestamps_us[after - 1] + max(period_us, 1)
    follows = after < timestamps_us.size
    ends[follows] = np.minimum(ends[follows], timestamps_us[after[follows]])
    return Intervals(timestamps_us[starts], np.maximum(ends, timestamps_us[after - 1] + 1))


def count_overlaps(intervals: Intervals, others: Intervals) -> IntArray:
    """Count, for each interval, how many of the others overlap it.

    Args:
        intervals: The intervals to count for.
        others: The intervals to count; they may overlap each other.

    Returns:
        The counts. Shape `(intervals,)`.
    """
    begun = np.searchsorted(np.sort(others.starts_us), intervals.ends_us, side="left")
    over = np.searchsorted(np.sort(others.ends_us), intervals.starts_us, side="right")
    return (begun - over).astype(np.int64)


def find_delays_s(anomalies: Intervals, alerts: Intervals) -> FloatArray:
    """Measure how long each anomaly lasted before the first alert on it.

    Args:
        anomalies: The labelled anomalies.
        alerts: Flag runs or alert events.

    Returns:
        Seconds from the start of the anomaly, 0 where the alert was already on, NaN where
        no alert overlaps it. Shape `(anomalies,)`.
    """
    found = count_overlaps(anomalies, alerts) > 0
    delays = np.full(anomalies.num_intervals, _UNDEFINED)
    # the first alert not over by the start of the anomaly is the first that overlaps it
    first = np.searchsorted(
        np.maximum.accumulate(alerts.ends_us), anomalies.starts_us[found], side="right"
    )
    late_us = alerts.starts_us[first] - anomalies.starts_us[found]
    delays[found] = np.maximum(late_us, 0) / MICROSECONDS_PER_S
    return delays
