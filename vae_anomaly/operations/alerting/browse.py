"""Alerts as people look through them."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow.compute as pc

from vae_anomaly.config import PipelineConfig
from vae_anomaly.operations.alerting.entries import read_entries
from vae_anomaly.operations.alerting.events import Change, find_event, read_changes
from vae_anomaly.operations.alerting.overlaps import Overlaps
from vae_anomaly.operations.alerting.states import SUPERSEDED
from vae_anomaly.operations.alerting.times import to_time, to_us
from vae_anomaly.readings.tables import Lake

PLAIN = (
    "alert_id",
    "asset",
    "model_name",
    "model_version",
    "peak_score",
    "threshold",
    "num_steps",
    "severity",
    "status",
)
"""Columns that are shown as they are."""


@dataclass(frozen=True)
class ListedAlert:
    """One alert as it stands; times in microseconds since 1970.

    Attributes:
        alert_id: Its identity.
        asset: Its asset.
        model_name: Registered model.
        model_version: The version that found it last.
        start_us: First flagged step.
        end_us: End of the last step, exclusive.
        peak_us: Step with the highest score.
        peak_score: The highest score; higher is stranger.
        threshold: The limit it crossed.
        num_steps: Flagged steps.
        severity: `low`, `medium` or `high`.
        status: What has become of it.
        mute: Why nobody is called for it; empty where somebody is.
        group_id: The first of the events that belong together.
        label: `anomaly` or `normal` where somebody said so, else empty.
        top_sensors: Sensors to blame, the most to blame first.
        top_shares: Their shares of the excess.
        reasons: Reasons of its steps that name a sensor.
    """

    alert_id: str
    asset: str
    model_name: str
    model_version: str
    start_us: int
    end_us: int
    peak_us: int
    peak_score: float
    threshold: float
    num_steps: int
    severity: str
    status: str
    mute: str
    group_id: str
    label: str
    top_sensors: tuple[str, ...]
    top_shares: tuple[float, ...]
    reasons: tuple[str, ...]


def find_alerts(
    config: PipelineConfig, *, asset: str = "", status: str = "", since_us: int | None = None
) -> tuple[ListedAlert, ...]:
    """Find the alerts of the pipeline's model, in order of their start.

    Args:
        config: The pipeline.
        asset: Those of this asset; empty for all.
        status: Those of this status; empty for all but superseded ones.
        since_us: Those that end after this time; None for all.

    Raises:
        TableError: The lake cannot be read.
    """
    lake = Lake(config.lake.root)
    table = lake.read_alerts(assets=[asset] if asset else None)
    table = table.filter(pc.equal(table["model_name"], config.registry.model_name))
    if status:
        table = table.filter(pc.equal(table["status"], status))
    else:
        table = table.filter(pc.not_equal(table["status"], SUPERSEDED))
    if since_us is not None:
        table = table.filter(pc.greater(table["end"], to_time(since_us)))
    labels = Overlaps(read_entries(lake, "labels").values())
    alerts = []
    for row in table.to_pylist():
        span = (to_us(row["start"]), to_us(row["end"]))
        kinds = {entry.variant for entry in labels.find(row["asset"], *span)}
        alerts.append(
            ListedAlert(
                **{name: row[name] for name in PLAIN},
                start_us=span[0],
                end_us=span[1],
                peak_us=to_us(row["peak"]),
                mute=row["mute"] or "",
                group_id=row["group_id"] or "",
                label=" and ".join(sorted(kinds)),
                top_sensors=tuple(row["top_sensors"]),
                top_shares=tuple(row["top_shares"]),
                reasons=tuple(row["reasons"] or ()),
            )
        )
    return tuple(alerts)


def show_alert(config: PipelineConfig, alert_id: str) -> tuple[ListedAlert, tuple[Change, ...]]:
    """Return an alert and the history of its status.

    Args:
        config: The pipeline.
        alert_id: The alert, or the beginning of its id.

    Raises:
        AlertingError: There is no such alert.
        TableError: The lake cannot be read.
    """
    lake = Lake(config.lake.root)
    event = find_event(lake, alert_id, model_name=config.registry.model_name)
    mine = find_alerts(config, asset=event.asset, status=event.status)
    alert = next(one for one in mine if one.alert_id == event.alert_id)
    history = tuple(one for one in read_changes(lake) if one.alert_id == event.alert_id)
    return alert, history
