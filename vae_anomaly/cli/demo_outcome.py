"""What the demo found, beside what is known to have been planted in the sample."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vae_anomaly.cli.inputs import read_files
from vae_anomaly.cli.output import add_row, format_iso_time, make_table, print_lines, print_table
from vae_anomaly.cli.tables import print_events
from vae_anomaly.domain import MICROSECONDS_PER_S, SECONDS_PER_DAY, SECONDS_PER_WEEK, AlertEvent
from vae_anomaly.evaluation.planted import KindFound, planted_kinds_found
from vae_anomaly.operations.pipeline import list_alerts
from vae_anomaly.operations.pipeline_tables import read_scored, to_microseconds
from vae_anomaly.readings.tables import Lake

if TYPE_CHECKING:
    import pyarrow as pa

    from vae_anomaly.config import PipelineConfig
    from vae_anomaly.domain import IntArray, TextArray

KIND = "label_kind"
NOTHING_PLANTED = "false alarm"


@dataclass(frozen=True)
class DemoOutcome:
    """What the demo found.

    Attributes:
        events: Alert events in order of time.
        planted: What was planted during each, in words.
        kinds: How many faults of each kind there are, and how many were found.
        num_false: Alert events on no fault.
        budget_per_week: Alert events a week to allow on normal readings, None without a budget.
        num_rows: Rows scored.
        duration_s: Seconds that they cover.
        report: The report page.
    """

    events: tuple[AlertEvent, ...]
    planted: tuple[str, ...]
    kinds: tuple[KindFound, ...]
    num_false: int
    budget_per_week: float | None
    num_rows: int
    duration_s: float
    report: Path


def find_outcome(config: PipelineConfig, *, model_version: str) -> DemoOutcome:
    """Compare alert events with the truth in the raw files.

    Args:
        config: The pipeline of the demo.
        model_version: The version that scored.

    Returns:
        The comparison.
    """
    lake = Lake(config.lake.root)
    events = tuple(alert.event for alert in list_alerts(config))
    scores = read_scored(lake, model_name=config.registry.model_name, model_version=model_version)
    contract = lake.read_contract()
    period_s = contract.period_s if contract is not None else 0.0
    scores = _append_kinds(scores, config.source)
    settings = config.detector.threshold
    late_s = max(settings.smoothing_steps, settings.shift_steps) * period_s  # it comes down late
    found = planted_kinds_found(scores, events, kind=KIND, tolerance_s=late_s)
    is_false = {id(event) for event in found.false_events}
    times, kinds = to_microseconds(scores), np.array(scores[KIND].to_pylist(), dtype=object)
    return DemoOutcome(
        events=events,
        planted=tuple(
            NOTHING_PLANTED
            if id(event) in is_false
            else name_planted(event, times, kinds, late_s=late_s)
            for event in events
        ),
        kinds=found.kinds,
        num_false=len(found.false_events),
        budget_per_week=config.detector.threshold.alert_budget_per_week,
        num_rows=scores.num_rows,
        duration_s=scores.num_rows * period_s,
        report=Path(config.report),
    )


def print_outcome(outcome: DemoOutcome) -> None:
    """Print alert events, faults found, false alarms and the report."""
    print_events(outcome.events, planted=outcome.planted)
    table = make_table("Planted faults", ("kind", "planted", "found"), right=("planted", "found"))
    for kind in outcome.kinds:
        style = "" if kind.num_found == kind.num_anomalies else "yellow"
        add_row(table, kind.kind, str(kind.num_anomalies), str(kind.num_found), style=style)
    print_table(table)
    print_lines("", describe_false_alarms(outcome), f"Report: {outcome.report}")


def describe_false_alarms(outcome: DemoOutcome) -> str:
    """Say how many alert events were false, and how many the budget allows."""
    days = outcome.duration_s / SECONDS_PER_DAY
    text = f"False alert events: {outcome.num_false} in the {days:.1f} days scored"
    if outcome.budget_per_week is None:
        return f"{text}."
    allowed = outcome.budget_per_week * outcome.duration_s / SECONDS_PER_WEEK
    return f"{text}; the budget of {outcome.budget_per_week:g} a week allows about {allowed:.1f}."


def describe_outcome(outcome: DemoOutcome) -> dict[str, object]:
    """Return the outcome as plain values."""
    return {
        "events": [
            {
                "start": format_iso_time(event.start_us),
                "end": format_iso_time(event.end_us),
                "severity": event.severity,
                "top_sensors": event.top_sensors,
                "planted": planted,
            }
            for event, planted in zip(outcome.events, outcome.planted, strict=True)
        ],
        "planted_kinds": outcome.kinds,
        "num_false": outcome.num_false,
        "budget_per_week": outcome.budget_per_week,
        "num_rows": outcome.num_rows,
        "duration_s": outcome.duration_s,
        "report": outcome.report,
    }


def _append_kinds(scores: pa.Table, source: str) -> pa.Table:
    """Append the kind of fault that the raw files give for each time."""
    import pyarrow as pa

    raw = read_files((source,))
    raw_times, first = np.unique(to_microseconds(raw), return_index=True)
    raw_kinds = np.array(raw[KIND].to_pylist(), dtype=object)[first]
    rows = np.searchsorted(raw_times, to_microseconds(scores))
    return scores.append_column(KIND, pa.array(raw_kinds[rows], pa.string()))


def name_planted(event: AlertEvent, times: IntArray, kinds: TextArray, *, late_s: float) -> str:
    """Name the faults during an event; or the one just before, whose score is coming down."""
    during = (times >= event.start_us) & (times < event.end_us)
    names = sorted(set(kinds[during]) - {""})
    if names:
        return ", ".join(names)
    late_us = late_s * MICROSECONDS_PER_S
    before = (times >= event.start_us - late_us) & (times < event.start_us)
    return "just after " + ", ".join(sorted(set(kinds[before]) - {""}))
