"""Alert events that there were, against those that were promised."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from vae_anomaly.detector.calibration import poisson_interval
from vae_anomaly.detector.record import DetectorRecord
from vae_anomaly.domain import MICROSECONDS_PER_S, SECONDS_PER_WEEK
from vae_anomaly.operations.alerting.silence import FOLLOW_UP
from vae_anomaly.operations.pipeline_alerts import read_live_alerts
from vae_anomaly.operations.pipeline_tables import LakeView
from vae_anomaly.operations.registry import ModelVersion
from vae_anomaly.readings.layout import TIME

MUTE = "mute"
"""Column of `alerts` that says why an event calls nobody; empty where it does."""


@dataclass(frozen=True)
class AlertRate:
    """Alert events of one asset since its detector is live.

    Attributes:
        asset: The asset.
        num_events: Alert events, those that call nobody left out.
        weeks: Weeks of readings, gaps not counted.
        budget_per_week: What was promised, None where a share of steps was.
        low: Lower end of the 90 % interval of events per week.
        high: Its upper end.
    """

    asset: str
    num_events: int
    weeks: float
    budget_per_week: float | None
    low: float
    high: float

    @property
    def per_week(self) -> float:
        """Alert events per week."""
        return self.num_events / self.weeks


def find_alert_rates(
    view: LakeView,
    record: DetectorRecord,
    model: ModelVersion,
    *,
    since_us: int,
    until_us: int,
) -> tuple[AlertRate, ...]:
    """Count alert events per asset and week; only statistics of files and `alerts` are read.

    Args:
        view: The lake.
        record: What the detector knows.
        model: Its model version.
        since_us: From when on the version is live.
        until_us: Events that start later are left out.

    Returns:
        The rates of assets with readings since then.
    """
    counts = _count_events(view, model, since_us=since_us, until_us=until_us)
    rates = []
    for asset in view.readings.assets:
        steps = view.readings.timeline_of(asset).count(since_us, until_us)
        weeks = steps * view.period_us / MICROSECONDS_PER_S / SECONDS_PER_WEEK
        if weeks <= 0:
            continue
        low, high = poisson_interval(counts[asset])
        budget = record.calibration_of(asset).budget_per_week
        rates.append(
            AlertRate(asset, counts[asset], weeks, budget, low=low / weeks, high=high / weeks)
        )
    return tuple(rates)


def _count_events(
    view: LakeView, model: ModelVersion, *, since_us: int, until_us: int
) -> Counter[str]:
    alerts = read_live_alerts(view.lake, model_name=model.model_name)
    alerts = alerts.filter(
        pc.and_(
            pc.greater_equal(alerts["start"], pa.scalar(since_us, TIME)),
            pc.less(alerts["start"], pa.scalar(until_us, TIME)),
        )
    )
    if MUTE in alerts.column_names:
        mute = pc.fill_null(alerts[MUTE], "")
        # follow-ups call nobody, but the budget is one of alert events
        counts = pc.or_(pc.equal(mute, ""), pc.starts_with(mute, FOLLOW_UP))
        alerts = alerts.filter(counts)
    found = pc.value_counts(alerts["asset"]).to_pylist()
    return Counter({row["values"]: row["counts"] for row in found})
