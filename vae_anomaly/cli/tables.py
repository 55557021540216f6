"""Results as tables for people, one function per kind of result."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from vae_anomaly.cli.doubts import advise
from vae_anomaly.cli.output import (
    add_row,
    clean_text,
    make_table,
    print_lines,
    print_notes,
    print_table,
)
from vae_anomaly.cli.sensor_tables import REASONS
from vae_anomaly.detector.calibration import needed_s
from vae_anomaly.domain import (
    MICROSECONDS_PER_S,
    AlertEvent,
    Calibration,
    HealthCheck,
    SensorProfile,
)
from vae_anomaly.operations.registry import DECISION_TAG
from vae_anomaly.operations.report_summary import describe_rate, describe_request
from vae_anomaly.operations.report_text import (
    NOTHING,
    format_count,
    format_duration,
    format_multiple,
    format_number,
    format_share,
    format_time,
)
from vae_anomaly.wording import format_plural, name_figure

if TYPE_CHECKING:
    from vae_anomaly.evaluation.evaluate import Evaluation
    from vae_anomaly.operations.registry import ModelVersion

MAX_EVENTS = 30
"""Alert events listed; the scores file and the report have them all."""

MIN_SHARE = 0.1
"""Share of the excess from which a second sensor is named."""

MAX_ASSETS = 20
"""Assets listed in a table of thresholds."""

WHOLE_COLUMNS = ("start (UTC)", "duration", "severity")
"""Columns of alert events that are not broken."""

MICROSECONDS_PER_MINUTE = 60 * MICROSECONDS_PER_S

MEASURES = (
    ("vus_pr", "VUS-PR", "scores against labels with some slack in time; 1 is perfect"),
    ("pr_auc", "PR-AUC", "average precision of the scores; 1 is perfect"),
    ("roc_auc", "ROC-AUC", "anomalous rows score above normal ones; 0.5 is chance"),
    ("precision", "precision", "share of flagged rows that are anomalous"),
    ("recall", "recall", "share of anomalous rows that are flagged"),
    ("f1", "F1", "both in one number; 1 is perfect"),
    ("false_alarm_rate", "false-alarm rate", "share of normal rows that are flagged"),
    ("event_recall", "event recall", "share of anomalies with an alert on them"),
    ("median_delay_s", "median delay", "from the start of an anomaly to its alert"),
    ("false_alarms_per_day", "false alarms a day", "alerts on no anomaly"),
)


def print_thresholds(calibrations: Mapping[str, Calibration]) -> None:
    """Print the threshold of each asset with the promise it carries."""
    columns = ("asset", "threshold", "asked for at most", "expected", "90 % interval")
    title = "Threshold: a step with a score above it is flagged"
    table = make_table(title, columns, right=("threshold",))
    for asset, item in sorted(calibrations.items())[:MAX_ASSETS]:
        expected, interval = describe_rate(item)
        threshold = format_number(item.threshold)
        add_row(table, asset, threshold, describe_request(item), expected, interval)
    print_table(table)
    if len(calibrations) > MAX_ASSETS:
        print_lines(f"... and {format_plural(len(calibrations) - MAX_ASSETS, 'more asset')}")
    for asset, item in sorted(calibrations.items()):
        if item.provisional:
            print_lines("", _warn_provisional(asset, item), style="bold yellow")


def print_health(checks: Sequence[HealthCheck], profiles: Sequence[SensorProfile] = ()) -> None:
    """Print the figures of a detector's health with their limits, and what to do about failures.

    Args:
        checks: The figures.
        profiles: What its training readings looked like, where they are known.
    """
    columns = ("figure", "value", "verdict", "meaning")
    table = make_table("Health", columns, right=("value",), whole=("figure", "verdict"))
    for check in checks:
        verdict = ("passed" if check.passed else "FAILED") if check.limit else ""
        meaning = check.meaning + (f" Limit: {check.limit}." if check.limit else "")
        cells = (name_figure(check.name), format_number(check.value, 3), verdict, meaning)
        add_row(table, *cells, style="" if check.passed else "bold red")
    print_table(table)
    print_notes(advise(checks, profiles))


def describe_baseline(baseline: Mapping[str, float]) -> str:
    """Say how the VAE compares with PCA on the held-out rows."""
    vae, pca = baseline.get("vae_nll_nats", math.nan), baseline.get("pca_nll_nats", math.nan)
    if math.isnan(vae) or math.isnan(pca):
        return "no complete held-out row to compare the VAE with PCA on"
    word = "better" if vae < pca else "worse"
    return (
        f"VAE {format_number(vae)} nats a row, PCA {format_number(pca)}: the VAE is "
        f"{format_number(abs(pca - vae), 3)} nats {word} (lower is better)"
    )


def print_states(states: Mapping[str, int], reasons: Mapping[str, int]) -> None:
    """Print rows by state, and why rows are unscorable."""
    total = sum(states.values())
    table = make_table("Rows by state", ("state", "rows", "share"), right=("rows", "share"))
    for state, count in states.items():
        share = format_share(count / total) if total else NOTHING
        add_row(table, state, format_count(count), share)
    print_table(table)
    if reasons:
        table = make_table("Why unscorable", ("reason", "rows", "meaning"), right=("rows",))
        for reason, count in sorted(reasons.items(), key=lambda item: (-item[1], item[0])):
            add_row(table, reason, format_count(count), REASONS.get(reason, ""))
        print_table(table)


def print_latest_events(events: Sequence[AlertEvent]) -> None:
    """Print the latest of the alert events that a pipeline has found so far."""
    latest = events[-MAX_EVENTS:]
    print_events(latest, num_earlier=len(events) - len(latest))


def print_events(
    events: Sequence[AlertEvent], *, planted: Sequence[str] = (), num_earlier: int = 0
) -> None:
    """Print alert events in order of time.

    Args:
        events: The events.
        planted: What is known to have happened during each; shown instead of the peak.
        num_earlier: How many there were before these.
    """
    if not events:
        print_lines("", "No alert event.")
        return
    to_the_minute = all(event.start_us % MICROSECONDS_PER_MINUTE == 0 for event in events)
    length = len("2026-01-01 00:00") if to_the_minute else len("2026-01-01 00:00:00")
    cells = [
        {
            "asset": event.asset,
            **_describe_event(event, length=length),
            **({"planted there": planted[position]} if planted else {}),
        }
        for position, event in enumerate(events[:MAX_EVENTS])
    ]
    hidden = {"peak"} if planted else set()
    if len({event.asset for event in events}) == 1:
        hidden.add("asset")
    columns = [name for name in cells[0] if name not in hidden]
    title = format_plural(num_earlier + len(events), "alert event")
    if num_earlier:
        title += f", the latest {len(events)}"
    table = make_table(title, columns, right=("peak",), whole=WHOLE_COLUMNS)
    for row in cells:
        add_row(table, *(row[name] for name in columns))
    print_table(table)
    if len(events) > MAX_EVENTS:
        print_lines(f"... and {len(events) - MAX_EVENTS} more")
    if not planted:
        print_lines("peak: highest score as a multiple of the threshold", style="dim")
    if any(event.reasons for event in events[:MAX_EVENTS]):
        print_lines("KIND: SENSOR: the reason, where that sensor alone is flagged", style="dim")


def print_evaluation(evaluation: Evaluation, *, counted: str) -> None:
    """Print measures against labels.

    Args:
        evaluation: The measures.
        counted: What was counted as alerts.
    """
    labelled = evaluation.num_rows - evaluation.num_unlabelled_rows
    title = (
        f"{format_plural(evaluation.num_anomalies, 'labelled anomaly', 'labelled anomalies')}, "
        f"{format_count(evaluation.num_anomalous_rows)} of "
        f"{format_plural(labelled, 'labelled row')}"
    )
    table = make_table(title, ("measure", "value", "meaning"), right=("value",))
    for name, words, meaning in MEASURES:
        value: float | None = getattr(evaluation, name)
        if value is None:
            shown = NOTHING
        else:
            shown = format_duration(value) if name.endswith("_s") else format_number(value, 3)
        add_row(table, words, shown, meaning)
    print_table(table)
    print_lines(f"alerts counted here: {counted}", style="dim")
    print_notes(evaluation.notes)


def print_versions(versions: Sequence[ModelVersion]) -> None:
    """Print registered model versions, the newest first."""
    columns = ("version", "aliases", "created (UTC)", "why champion, or why not")
    table = make_table(versions[0].model_name, columns, whole=("version", "created (UTC)"))
    for item in versions:
        created = format_time(item.created_us)[:16]
        decision = item.tags.get(DECISION_TAG, "")
        add_row(table, item.version, ", ".join(item.aliases), created, decision)
    print_table(table)


def _warn_provisional(asset: str, item: Calibration) -> str:
    return (
        f"PROVISIONAL: {format_duration(item.duration_s)} of held-out readings of asset "
        f"'{asset}' are too little to carry {describe_request(item)}: their scores are worth "
        f"{format_plural(round(item.effective_steps), 'independent step')}. About "
        f"{format_duration(needed_s(item))} of them would do. "
        "Until then treat its alerts as unproven."
    )


def _describe_event(event: AlertEvent, *, length: int) -> dict[str, str]:
    reasons = map(clean_text, event.reasons)
    return {
        "start (UTC)": format_time(event.start_us)[:length],
        "duration": format_duration((event.end_us - event.start_us) / MICROSECONDS_PER_S),
        "severity": event.severity,
        "peak": format_multiple(event.peak_ratio),
        "sensors to blame": "\n".join((*_name_sensors(event), *reasons)) or NOTHING,
    }


def _name_sensors(event: AlertEvent) -> list[str]:
    """Name the sensor most to blame, and the others with a share worth a line."""
    pairs = list(zip(event.top_sensors, event.top_shares, strict=True))
    return [
        f"{clean_text(name)} {share:.0%}"
        for position, (name, share) in enumerate(pairs)
        if position == 0 or share >= MIN_SHARE
    ]
