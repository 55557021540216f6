"""Results as tables for people, one function per kind of result."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from vae_anomaly.cli.output import add_row, make_table, print_lines, print_table
from vae_anomaly.domain import (
    MICROSECONDS_PER_S,
    AlertEvent,
    Calibration,
    HealthCheck,
    Problem,
    Quality,
    SensorKind,
    SensorProfile,
)
from vae_anomaly.operations.report_summary import describe_rate, describe_request
from vae_anomaly.operations.report_text import (
    NOTHING,
    format_count,
    format_duration,
    format_number,
    format_plural,
    format_share,
    format_time,
)

if TYPE_CHECKING:
    from vae_anomaly.evaluation.evaluate import Evaluation

MAX_EVENTS = 30
"""Alert events listed; the scores file and the report have them all."""

MAX_WHOLE_NAME = 24
"""Longest name that is not broken in a table of several columns."""

MAX_ASSETS = 20
"""Assets listed in a table of thresholds."""

PROBLEMS = {
    Problem.NO_TIMESTAMP: "no time",
    Problem.IMPLAUSIBLE_TIME: "a time before 1980-01-06 or after 2099: a clock that restarted?",
    Problem.NO_ASSET: "no asset, though there is an asset column",
    Problem.DUPLICATE: "same asset, time and values as a row that is kept",
    Problem.CONFLICTING_DUPLICATE: "same asset and time as a row that is kept, other values",
}

REASONS = {
    **PROBLEMS,
    "too_few_sensors": "too few of its sensors have a value",
    "not_finite": "its numbers are beyond what the model can compute",
}

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


def print_quality(quality: Quality) -> None:
    """Print what was found in raw readings."""
    span_s = (quality.last_us - quality.first_us) / MICROSECONDS_PER_S
    table = make_table("Readings", ("what", "found"))
    for what, found in (
        ("rows", f"{format_count(quality.num_rows)}, {_count_rows(quality)}"),
        ("time", f"{format_time(quality.first_us)} to {format_time(quality.last_us)} UTC"),
        ("length", format_duration(span_s)),
        ("period", f"{format_number(quality.period_s)} s, {_describe_steps(quality)}"),
        ("gaps", _describe_gaps(quality)),
        ("out of order", format_plural(quality.num_out_of_order, "row")),
        ("assets", format_count(quality.num_assets)),
    ):
        add_row(table, what, found)
    print_table(table)
    if quality.problems:
        table = make_table("Problems", ("problem", "rows", "meaning"), right=("rows",))
        for name, count in sorted(quality.problems.items(), key=lambda item: -item[1]):
            add_row(table, name, format_count(count), REASONS.get(name, ""))
        print_table(table)
    _print_sensors(quality.sensors)
    print_notes(quality.notes)


def print_ignored(ignored: Mapping[str, str]) -> None:
    """Print the columns that are no sensors, with the reason for each."""
    if ignored:
        table = make_table("Columns left out", ("column", "why"))
        for name, reason in ignored.items():
            add_row(table, name, reason)
        print_table(table)


def print_notes(notes: Sequence[str]) -> None:
    """Print notes, one line each, after an empty line."""
    if notes:
        print_lines("", *(f"note: {note}" for note in notes))


def describe_kinds(profiles: Sequence[SensorProfile]) -> str:
    """Say how many sensors there are of each kind; name those that never move.

    Returns:
        Text such as `10 continuous, 1 binary, 1 constant (spare_input)`.
    """
    names: dict[SensorKind, list[str]] = {kind: [] for kind in SensorKind}
    for profile in profiles:
        names[profile.kind].append(profile.name)
    named = (SensorKind.CONSTANT, SensorKind.EMPTY)
    return ", ".join(
        f"{len(found)} {kind.value}" + (f" ({', '.join(found)})" if kind in named else "")
        for kind, found in names.items()
        if found
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
        print_lines(f"... and {len(calibrations) - MAX_ASSETS} more assets")
    for asset, item in sorted(calibrations.items()):
        if item.provisional:
            print_lines("", _warn_provisional(asset, item), style="bold yellow")


def print_health(checks: Sequence[HealthCheck]) -> None:
    """Print the figures of a detector's health with their limits."""
    table = make_table("Health", ("figure", "value", "limit", "", "meaning"), right=("value",))
    for check in checks:
        verdict = ("passed" if check.passed else "FAILED") if check.limit else ""
        cells = (check.name.replace("_", " "), format_number(check.value, 3), check.limit)
        style = "" if check.passed else "bold red"
        add_row(table, *cells, verdict, check.meaning, style=style)
    print_table(table)


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


def print_events(
    events: Sequence[AlertEvent], *, planted: Sequence[str] | None = None
) -> None:
    """Print alert events in order of time.

    Args:
        events: The events.
        planted: What is known to have happened during each, None where nothing is known.
    """
    if not events:
        print_lines("", "No alert event.")
        return
    names_assets = len({event.asset for event in events}) > 1
    columns = ["start (UTC)", "duration", "severity", "peak", "sensors to blame"]
    columns = ["asset", *columns] if names_assets else columns
    columns = columns if planted is None else [*columns, "planted there"]
    table = make_table(f"{format_plural(len(events), 'alert event')}", columns, right=("peak",))
    for position, event in enumerate(events[:MAX_EVENTS]):
        cells = _describe_event(event)
        cells = (event.asset, *cells) if names_assets else cells
        add_row(table, *cells, *(() if planted is None else (planted[position],)))
    print_table(table)
    if len(events) > MAX_EVENTS:
        print_lines(f"... and {len(events) - MAX_EVENTS} more")
    print_lines("peak: highest score as a multiple of the threshold", style="dim")


def print_evaluation(evaluation: Evaluation, *, counted: str) -> None:
    """Print measures against labels.

    Args:
        evaluation: The measures.
        counted: What was counted as one alert.
    """
    labelled = evaluation.num_rows - evaluation.num_unlabelled_rows
    title = (
        f"{format_plural(evaluation.num_anomalies, 'labelled anomaly').replace('ys', 'ies')}, "
        f"{format_count(evaluation.num_anomalous_rows)} of {format_count(labelled)} labelled rows"
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
    print_lines(f"an alert is {counted}", style="dim")
    print_notes(evaluation.notes)


def count_kinds(profiles: Sequence[SensorProfile]) -> dict[str, int]:
    """Count sensors by kind."""
    return dict(Counter(profile.kind.value for profile in profiles))


def _count_rows(quality: Quality) -> str:
    return (
        f"of them {format_count(quality.num_usable)} usable, "
        f"{format_count(quality.num_duplicates)} duplicates, "
        f"{format_count(quality.num_quarantined)} to quarantine"
    )


def _describe_steps(quality: Quality) -> str:
    if not quality.irregular_share > 0:
        return "every step regular"
    return f"{format_share(quality.irregular_share)} of steps irregular"


def _describe_gaps(quality: Quality) -> str:
    if not quality.num_gaps:
        return "none"
    return f"{format_count(quality.num_gaps)}, the longest {format_duration(quality.longest_gap_s)}"


def _print_sensors(profiles: Sequence[SensorProfile]) -> None:
    columns = ("sensor", "kind", "missing", "minimum", "median", "maximum", "remarks")
    right = ("missing", "minimum", "median", "maximum")
    whole = _whole("sensor", (item.name for item in profiles))
    table = make_table("Sensors, in raw units", columns, right=right, whole=(*whole, "kind"))
    for item in profiles:
        values = (format_number(x, 5) for x in (item.minimum, item.median, item.maximum))
        missing = format_share(item.missing_share)
        add_row(table, item.name, item.kind.value, missing, *values, _remark(item))
    print_table(table)


def _whole(column: str, names: Iterable[str]) -> tuple[str, ...]:
    """Keep a column of names unbroken, unless a name is so long that nothing else would fit."""
    return (column,) if max(map(len, names), default=0) <= MAX_WHOLE_NAME else ()


def _remark(item: SensorProfile) -> str:
    remarks = [f"in {item.unit}"] if item.unit else []
    if item.num_infinite:
        remarks.append(f"{format_count(item.num_infinite)} infinite")
    if item.num_sentinel:
        remarks.append(format_plural(item.num_sentinel, "sentinel"))
    if item.suggested_sentinels:
        values = ", ".join(format_number(value, 7) for value in item.suggested_sentinels)
        remarks.append(f"sentinel? {values}")
    if item.kind is SensorKind.QUANTISED:
        remarks.append(f"steps of {format_number(item.step)}")
    return "; ".join(remarks)


def _warn_provisional(asset: str, item: Calibration) -> str:
    return (
        f"PROVISIONAL: {format_duration(item.duration_s)} of held-out readings of asset "
        f"'{asset}' are too little to carry {describe_request(item)}. Treat its alerts as "
        "unproven; use a longer training period for a threshold that holds."
    )


def _describe_event(event: AlertEvent) -> tuple[str, ...]:
    shares = zip(event.top_sensors, event.top_shares, strict=True)
    return (
        format_time(event.start_us)[:16],
        format_duration((event.end_us - event.start_us) / MICROSECONDS_PER_S),
        event.severity,
        f"{format_number(event.peak_score / event.threshold, 2)} x",
        ", ".join(f"{name} {format_share(share)}" for name, share in shares) or NOTHING,
    )
