"""Alerts against labelled anomalies: which are found, how late, and which alerts are false."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vae_anomaly.domain import (
    MICROSECONDS_PER_S,
    SECONDS_PER_DAY,
    AlertEvent,
    BoolArray,
    FloatArray,
    IntArray,
)
from vae_anomaly.evaluation.metrics import (
    Intervals,
    count_overlaps,
    find_delays_s,
    find_intervals,
)
from vae_anomaly.evaluation.rows import UNLABELLED, ScoredRows, make_intervals


@dataclass(frozen=True)
class AlertCounts:
    """Alerts against labelled anomalies, of one asset or of all.

    Attributes:
        delays_s: Seconds from the start of each anomaly to its first alert, NaN where there
            is none. Shape `(anomalies,)`.
        num_alerts: Alerts that lie over a labelled row.
        num_false: Those of them that lie on no anomaly.
        num_rows: Labelled rows.
        num_covered: Those of them that an alert lies over.
        normal_s: Seconds of scorable normal rows.
    """

    delays_s: FloatArray
    num_alerts: int
    num_false: int
    num_rows: int
    num_covered: int
    normal_s: float

    @property
    def event_recall(self) -> float:
        """Share of anomalies with an alert; NaN where there are none."""
        return float(np.mean(np.isfinite(self.delays_s))) if self.delays_s.size else math.nan

    @property
    def covered_share(self) -> float:
        """Share of the labelled rows under an alert; 0 where there are none."""
        return self.num_covered / self.num_rows if self.num_rows else 0.0

    @property
    def median_delay_s(self) -> float:
        """Median delay over the anomalies found; NaN where there are none."""
        found = self.delays_s[np.isfinite(self.delays_s)]
        return float(np.median(found)) if found.size else math.nan

    @property
    def false_alarms_per_day(self) -> float:
        """False alerts per day of scorable normal rows; NaN where there are none."""
        return self.num_false / (self.normal_s / SECONDS_PER_DAY) if self.normal_s else math.nan


def count_alerts(
    rows: ScoredRows, truth: IntArray, events: Sequence[AlertEvent] | None
) -> AlertCounts:
    """Count alerts on and off the labelled anomalies, asset by asset.

    Args:
        rows: The rows.
        truth: 1 anomalous, 0 normal, -1 unlabelled. Shape `(rows,)`.
        events: Alert events; None to take runs of flagged rows for them.

    Returns:
        The counts over all assets.
    """
    parts = []
    for code, own in rows.split_assets():
        period_us = rows.find_period_us(own)
        known = own[truth[own] != UNLABELLED]
        times = rows.timestamps_us[known]
        if events is None:
            alerts = find_intervals(times, rows.flags[known], period_us=period_us)
        else:
            alerts = make_intervals(rows.pick_alerts(events, code))
        anomalous = truth[known] == 1
        num_normal = int((~anomalous & rows.scorable[known]).sum())
        normal_s = num_normal * period_us / MICROSECONDS_PER_S
        parts.append(_compare(times, anomalous, alerts, period_us=period_us, normal_s=normal_s))
    return AlertCounts(
        delays_s=np.concatenate([np.empty(0), *(part.delays_s for part in parts)]),
        num_alerts=sum(part.num_alerts for part in parts),
        num_false=sum(part.num_false for part in parts),
        num_rows=sum(part.num_rows for part in parts),
        num_covered=sum(part.num_covered for part in parts),
        normal_s=sum(part.normal_s for part in parts),
    )


def _compare(
    times_us: IntArray,
    anomalous: BoolArray,
    alerts: Intervals,
    *,
    period_us: int,
    normal_s: float,
) -> AlertCounts:
    anomalies = find_intervals(times_us, anomalous, period_us=period_us)
    first = np.searchsorted(times_us, alerts.starts_us, side="left")
    last = np.searchsorted(times_us, alerts.ends_us, side="left")
    over_labelled = last > first
    is_false = over_labelled & (count_overlaps(alerts, anomalies) == 0)
    return AlertCounts(
        delays_s=find_delays_s(anomalies, alerts),
        num_alerts=int(over_labelled.sum()),
        num_false=int(is_false.sum()),
        num_rows=times_us.size,
        num_covered=_count_covered(first, last),
        normal_s=normal_s,
    )


def _count_covered(first: IntArray, last: IntArray) -> int:
    """Count the rows in any of the ranges `[first, last)`, each once."""
    rows = [np.arange(one, other) for one, other in zip(first, last, strict=True)]
    return int(np.unique(np.concatenate(rows)).size) if rows else 0
