"""Alert events kept up to date with the scores they come from."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vae_anomaly.config import PipelineConfig
from vae_anomaly.detector.alerts import make_alert_id
from vae_anomaly.domain import MICROSECONDS_PER_S, AlertEvent, FloatArray, IntArray
from vae_anomaly.operations.pipeline_results import Alert
from vae_anomaly.operations.pipeline_tables import (
    ASSET,
    EPOCH,
    TIMESTAMP,
    read_scored,
    to_microseconds,
)
from vae_anomaly.readings import delta
from vae_anomaly.readings.tables import Lake

if TYPE_CHECKING:
    from vae_anomaly.detector.detector import Detector

OPEN = "open"
SUPERSEDED = "superseded"
"""Status of an event that later scores do not bear out."""

EVENT_COLUMNS = ("alert_id", "asset", "peak_score", "threshold", "num_steps", "severity")
"""Columns of the table that are fields of an event as they are."""


@dataclass(frozen=True)
class _Finding:
    """What the scores of one asset say of the alert events that start in `[start_us, end_us)`."""

    asset: str
    events: tuple[AlertEvent, ...]
    start_us: int
    end_us: int


def read_live_alerts(lake: Lake, *, model_name: str) -> pa.Table:
    """Read the alert events of a model that are not superseded."""
    alerts = lake.read_alerts()
    mine = pc.and_(
        pc.equal(alerts["model_name"], model_name), pc.not_equal(alerts["status"], SUPERSEDED)
    )
    return alerts.filter(mine)


def list_alerts(config: PipelineConfig) -> tuple[Alert, ...]:
    """List the alert events of the pipeline's model that are not superseded.

    Args:
        config: The pipeline.

    Returns:
        The events in order of time; none before the first scoring.

    Raises:
        TableError: The lake cannot be read.
    """
    alerts = read_live_alerts(Lake(config.lake.root), model_name=config.registry.model_name)
    return tuple(
        Alert(
            event=AlertEvent(
                **{name: row[name] for name in EVENT_COLUMNS},
                start_us=_microseconds(row["start"]),
                end_us=_microseconds(row["end"]),
                peak_us=_microseconds(row["peak"]),
                top_sensors=tuple(row["top_sensors"]),
                top_shares=tuple(row["top_shares"]),
                reasons=tuple(row["reasons"] or ()),
            ),
            **{name: row[name] for name in ("model_name", "model_version", "status")},
        )
        for row in alerts.to_pylist()
    )


def update_alerts(
    lake: Lake, detector: Detector, scores: pa.Table, *, model_name: str, model_version: str
) -> None:
    """Bring the alert events in line with scores that are about to be written.

    Events that there are now are written, and open. Events that were there, start where these
    scores have a say, and are no more, become superseded; no event is ever deleted.

    Args:
        lake: The lake.
        detector: The detector that scored.
        scores: New scores, with asset and time named as in the lake.
        model_name: Registered model.
        model_version: Its version.
    """
    findings = []
    for asset in sorted(pc.unique(scores[ASSET]).to_pylist()):
        mine = scores.filter(pc.equal(scores[ASSET], asset))
        start_us, trace = _read_trace(
            lake, detector, mine, asset=asset, model_name=model_name, model_version=model_version
        )
        events = _find_events(detector, trace, asset=asset, model_name=model_name)
        findings.append(_Finding(asset, events, start_us, int(to_microseconds(trace).max()) + 1))
    found = [event for finding in findings for event in finding.events]
    lake.write_alerts(found, model_name=model_name, model_version=model_version)
    _update_status(lake, findings, model_name=model_name)


def find_quiet_start(
    times: IntArray, score: FloatArray, *, held_above: float, merge_us: int, before_us: int
) -> int:
    """Find the latest time before which no event can reach over.

    Two events are apart where their flags are more than `merge_us` apart and a step that is not
    held lies between.

    Args:
        times: Scored steps before `before_us`, ascending. Shape `(steps,)`.
        score: Higher is stranger, no NaN. Shape `(steps,)`.
        held_above: Score above which a step keeps an event open.
        merge_us: Events closer than this are one, in microseconds.
        before_us: The time must not be later than this.

    Returns:
        Microseconds since 1970. Events found in scores from here on are those found in all.

    Example:
        >>> times, score = np.arange(0, 90, 10), np.array([0, 9, 9, 0, 0, 0, 9, 9, 0])
        >>> find_quiet_start(times, score, held_above=5.0, merge_us=30, before_us=90)
        60
    """
    held = np.append(np.flatnonzero(score > held_above), times.size)
    held_times = np.append(times, before_us)[held]
    is_apart = (np.diff(held_times) > merge_us) & (np.diff(held) > 1)
    last_apart = np.flatnonzero(is_apart)
    return int(held_times[last_apart[-1] + 1 if last_apart.size else 0])


def _read_trace(
    lake: Lake,
    detector: Detector,
    scores: pa.Table,
    *,
    asset: str,
    model_name: str,
    model_version: str,
) -> tuple[int, pa.Table]:
    """Join new scores of one asset with the old ones that can share an event with them."""
    config, first_us = detector.record.config.alerts, int(to_microseconds(scores).min())
    old = read_scored(lake, model_name=model_name, model_version=model_version, assets=[asset])
    old = old.filter(pc.is_valid(old["score"]))
    earlier = old.filter(pa.array(to_microseconds(old) < first_us))
    threshold = detector.record.calibration_of(asset).threshold
    start_us = find_quiet_start(
        to_microseconds(earlier),
        earlier["score"].to_numpy(),
        held_above=config.release_fraction * threshold,
        merge_us=round(config.merge_steps * detector.contract.period_s * MICROSECONDS_PER_S),
        before_us=first_us,
    )
    kept = lake.read_scores(assets=[asset], start_us=start_us, model_version=model_version)
    kept = kept.filter(pc.equal(kept["model_name"], model_name))
    is_replaced = np.isin(to_microseconds(kept), to_microseconds(scores))
    parts = [scores, kept.filter(pa.array(~is_replaced))]
    sensors = detector.contract.sensor_names
    return start_us, pa.concat_tables([_select(part, sensors) for part in parts if part.num_rows])


def _select(scores: pa.Table, sensors: tuple[str, ...]) -> pa.Table:
    """Keep what alert events are made from, laid out alike for old and for new scores."""
    struct = scores["contribution"].combine_chunks()
    shares = [pc.struct_field(struct, name) for name in sensors]
    return pa.table(
        {
            ASSET: scores[ASSET],
            TIMESTAMP: scores[TIMESTAMP],
            "score": scores["score"],
            "reason": scores["reason"].cast(pa.string()),
            "contribution": pa.StructArray.from_arrays(shares, names=list(sensors)),
        }
    )


def _find_events(
    detector: Detector, trace: pa.Table, *, asset: str, model_name: str
) -> tuple[AlertEvent, ...]:
    contract = detector.contract
    names = {ASSET: contract.asset or ASSET, TIMESTAMP: contract.timestamp}
    events = detector.find_events(
        trace.rename_columns([names.get(name, name) for name in trace.column_names]),
        model_name=model_name,
    )
    if contract.asset is not None:
        return events
    return tuple(  # a detector that knows no assets may have scored several
        replace(event, asset=asset, alert_id=make_alert_id(asset, model_name, event.start_us))
        for event in events
    )


def _update_status(lake: Lake, findings: Collection[_Finding], *, model_name: str) -> None:
    alerts = lake.read_alerts()
    finding_of = {finding.asset: finding for finding in findings}
    there = {event.alert_id for finding in findings for event in finding.events}
    changed = []
    for row in alerts.filter(pc.equal(alerts["model_name"], model_name)).to_pylist():
        finding = finding_of.get(row["asset"])
        start_us = _microseconds(row["start"])
        if finding is None or not finding.start_us <= start_us < finding.end_us:
            continue
        is_there, is_superseded = row["alert_id"] in there, row["status"] == SUPERSEDED
        if is_there == is_superseded:
            changed.append(row | {"status": OPEN if is_there else SUPERSEDED})
    if changed:
        rows = pa.Table.from_pylist(changed, schema=alerts.schema)
        delta.upsert(lake.uri("alerts"), rows, keys=("alert_id",))


def _microseconds(time: datetime) -> int:
    return (time - EPOCH) // timedelta(microseconds=1)
