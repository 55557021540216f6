"""Alert events kept up to date with the scores they come from."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from vae_anomaly.config import PipelineConfig
from vae_anomaly.detector.alerts import make_alert_id
from vae_anomaly.domain import AlertEvent
from vae_anomaly.operations.pipeline_results import Alert
from vae_anomaly.operations.pipeline_scored import PinnedScores
from vae_anomaly.operations.pipeline_tables import ASSET, EPOCH, TIMESTAMP
from vae_anomaly.operations.pipeline_traces import EventTraces
from vae_anomaly.readings import delta
from vae_anomaly.readings.lock import hold_lock
from vae_anomaly.readings.rows import EARLIEST_US, LATEST_US
from vae_anomaly.readings.spans import Span
from vae_anomaly.readings.tables import Lake

if TYPE_CHECKING:
    from vae_anomaly.detector.detector import Detector

OPEN = "open"
SUPERSEDED = "superseded"
"""Status of an event that later scores do not bear out."""

LOCK = "update of alerts"
"""Name of the lock on the tables of alerts: scorings and people write them."""

MAX_EVENTS = 1_000
"""Alert events that are written at once, about."""

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
            mute=row["mute"] or "",
            group_id=row["group_id"] or "",
        )
        for row in alerts.to_pylist()
    )


def update_alerts(
    lake: Lake,
    detector: Detector,
    spans: Iterable[Span],
    *,
    model_name: str,
    model_version: str,
    between: tuple[int, int] = (EARLIEST_US, LATEST_US),
) -> None:
    """Bring the alert events in line with the scores, where these changed.

    Only scores in and around the spans are read: back and ahead to where no event can reach over,
    and of long spans a part at a time. Events that there are now are written, and open. Events
    that were there, start where the scores were read, and are no more, become superseded; no event
    is ever deleted.

    Args:
        lake: The lake.
        detector: The detector that scored.
        spans: Where scores changed, came or went, in any order.
        model_name: Registered model.
        model_version: Its version.
        between: Start and end, exclusive, of what the version speaks for; events outside of it are
            another's.
    """
    names = {"model_name": model_name, "model_version": model_version}
    grouped: dict[str, list[tuple[int, int]]] = {}
    for span in spans:
        grouped.setdefault(span.asset, []).append((span.start_us, span.end_us))
    if not grouped:
        return
    scores, findings = PinnedScores(lake, **names, between=between), []
    for asset in sorted(grouped):
        traces = EventTraces(scores, detector, asset)
        for trace in traces.read(grouped[asset]):
            events = find_trace_events(detector, trace.scores, asset=asset, model_name=model_name)
            start_us, end_us = max(trace.start_us, between[0]), min(trace.end_us, between[1])
            findings.append(_Finding(asset, events, start_us, end_us))
            if sum(len(finding.events) for finding in findings) > MAX_EVENTS:
                _write(lake, findings, **names)
                findings = []
    _write(lake, findings, **names)


def _write(
    lake: Lake, findings: Collection[_Finding], *, model_name: str, model_version: str
) -> None:
    found = [event for finding in findings for event in finding.events]
    if found or delta.has_table(lake.uri("alerts")):
        with hold_lock(lake.root, LOCK):
            lake.write_alerts(found, model_name=model_name, model_version=model_version)
            _update_status(lake, findings, model_name=model_name)


def find_trace_events(
    detector: Detector, trace: pa.Table | None, *, asset: str, model_name: str
) -> tuple[AlertEvent, ...]:
    """Find the alert events in scores of one asset.

    Args:
        detector: The detector that scored.
        trace: Scores under the names of the lake; None where nothing is above the threshold.
        asset: The asset.
        model_name: Registered model.
    """
    if trace is None:
        return ()
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
    if not findings:
        return
    alerts = lake.read_alerts(
        assets=sorted({finding.asset for finding in findings}),
        start_us=min(finding.start_us for finding in findings),
        end_us=max(finding.end_us for finding in findings),
    )
    findings_of: dict[str, list[_Finding]] = {}
    for finding in findings:
        findings_of.setdefault(finding.asset, []).append(finding)
    there = {event.alert_id for finding in findings for event in finding.events}
    changed = []
    for row in alerts.filter(pc.equal(alerts["model_name"], model_name)).to_pylist():
        start_us = _microseconds(row["start"])
        if not any(
            finding.start_us <= start_us < finding.end_us
            for finding in findings_of.get(row["asset"], ())
        ):
            continue
        is_there, is_superseded = row["alert_id"] in there, row["status"] == SUPERSEDED
        if is_there == is_superseded:
            changed.append(row | {"status": OPEN if is_there else SUPERSEDED})
    if changed:
        rows = pa.Table.from_pylist(changed, schema=alerts.schema)
        delta.upsert(lake.uri("alerts"), rows, keys=("alert_id",))


def _microseconds(time: datetime) -> int:
    return (time - EPOCH) // timedelta(microseconds=1)
