"""What a flow run shows of its results on Prefect's pages: progress, tables, Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast
from uuid import UUID

from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from vae_anomaly.domain import MICROSECONDS_PER_S, Calibration
from vae_anomaly.wording import format_plural, name_figure

if TYPE_CHECKING:
    from vae_anomaly.operations.monitoring.monitor import MonitorResult
    from vae_anomaly.operations.notify.deliver import NotifyResult
    from vae_anomaly.operations.pipeline import (
        Alert,
        IngestResult,
        PromotionResult,
        ReportResult,
        ScoreResult,
        TrainResult,
    )

PROGRESS_PERCENT = 10.0
"""Progress is sent no more often than this: each time costs a request."""

MAX_ROWS = 200
"""Most rows of a table; of more, the latest are shown."""


_listeners: list[Callable[[int, int], None]] = []


@contextmanager
def listen(listener: Callable[[int, int], None]) -> Iterator[None]:
    """Also tell someone in this process, such as a bar on the terminal, of all progress.

    Args:
        listener: Called with what is done and what there is in all.
    """
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


class Progress:
    """A progress bar on the page of the flow run; it appears with the first step."""

    def __init__(self, key: str, description: str) -> None:
        self._key = key
        self._description = description
        self._artifact_id: UUID | None = None
        self._shown = 0.0

    def update(self, done: int, total: int) -> None:
        """Show that `done` of `total` are done."""
        for listener in _listeners:
            listener(done, total)
        percent = 100.0 * done / max(total, 1)
        if self._artifact_id is None:
            created = create_progress_artifact(
                percent, key=self._key, description=self._description
            )
            self._artifact_id = cast("UUID", created)  # a coroutine only in asynchronous flows
        elif percent - self._shown >= PROGRESS_PERCENT or (done == total and self._shown < 100.0):
            update_progress_artifact(self._artifact_id, percent)
        else:
            return
        self._shown = percent


def publish_ingest(result: IngestResult) -> str:
    """Show the counts of an ingest; return it as one line."""
    counts = {
        "files found": result.num_files,
        "files taken in": result.num_new_files,
        "files left out": len(result.failed),
        "rows": result.num_rows,
        "rows kept": result.num_kept,
        "rows quarantined": result.num_quarantined,
        "duplicates": result.num_duplicates,
    }
    lines: list[tuple[str, int | str]] = list(counts.items())
    lines += [(f"left out {file.name}", file.reason) for file in result.failed]
    lines += [("note", note) for note in result.notes]
    create_table_artifact(
        [{"what": what, "count": count} for what, count in lines],
        key="ingest",
        description="What was ingested",
    )
    if not result.num_new_files and not result.failed:
        return f"No new files among {result.num_files}."
    return (
        f"Took in {result.num_new_files} of {format_plural(result.num_files, 'file')}, "
        f"{result.num_kept:,} of {format_plural(result.num_rows, 'row')}; left out "
        f"{format_plural(len(result.failed), 'file')}."
    )


def _describe_rows(result: TrainResult) -> str:
    rows = format_plural(result.num_rows, "reading")
    if result.num_rows == result.num_period_rows:
        return rows
    return f"{rows} of {result.num_period_rows:,}, in {format_plural(result.num_blocks, 'block')}"


def publish_training(result: TrainResult) -> str:
    """Show thresholds and health of a detector; return the outcome as one line."""
    name = f"{result.model_name} version {result.model_version}"
    if result.skipped:
        return f"Nothing to train: {name} comes from the same readings and settings."
    role = "champion" if result.is_champion else "challenger"
    lines = [
        f"# {name}",
        f"{role.capitalize()}: {result.decision}" if result.decision else role.capitalize(),
        (
            f"{_describe_rows(result)} "
            f"(table version {result.readings_version}), run `{result.run_id}`."
        ),
        "## Thresholds",
        *_make_table(
            ("asset", "threshold", "expected", "90 % interval", "held-out steps", "provisional"),
            [(asset, *_calibration_cells(item)) for asset, item in result.calibrations.items()],
        ),
        "## Health",
        *_make_table(
            ("check", "value", "limit", "passed", "meaning"),
            [
                (
                    name_figure(item.name),
                    f"{item.value:.4g}",
                    item.limit,
                    _word(item.passed),
                    item.meaning,
                )
                for item in result.health
            ],
        ),
    ]
    create_markdown_artifact(
        "\n\n".join(lines), key="training", description=f"Thresholds and health of {name}"
    )
    return f"Registered {name} as {role}."


def publish_promotion(result: PromotionResult) -> str:
    """Show the decision about the champion and its figures; return it as one line."""
    name = f"{result.model_name} version {result.challenger}"
    lines = [
        f"# {name}: {result.decision.replace('_', ' ')}",
        result.reason,
        *_make_table(
            ("figure", "value"),
            [(key.replace("_", " "), f"{value:.4g}") for key, value in result.figures.items()],
        ),
    ]
    create_markdown_artifact(
        "\n\n".join(lines if result.figures else lines[:2]),
        key="promotion",
        description=f"Whether {name} becomes champion",
    )
    again = "Decided before: " if result.skipped else ""
    return f"{again}{name}, {result.decision.replace('_', ' ')}: {result.reason}"


def publish_scores(result: ScoreResult, alerts: Sequence[Alert]) -> str:
    """Show states and alert events; return the outcome as one line."""
    name = f"{result.model_name} version {result.model_version}"
    create_table_artifact(
        [
            {"state": "ok", "rows": result.num_ok},
            {"state": "anomalous", "rows": result.num_anomalous},
            {"state": "unscorable", "rows": result.num_unscorable},
        ],
        key="states",
        description=f"Rows scored by {name}",
    )
    create_table_artifact(
        [_alert_cells(alert) for alert in alerts[-MAX_ROWS:]],
        key="alert-events",
        description=f"Alert events, the latest of {len(alerts)}",
    )
    if result.skipped:
        return f"Nothing to score: {name} has scored every reading already."
    return (
        f"Scored {format_plural(result.num_new_rows, 'reading')} with {name}: "
        f"{format_plural(result.num_new_events, 'new alert event')}, "
        f"{result.num_events:,} in all."
    )


def publish_notify(result: NotifyResult) -> str:
    """Show what was sent, and which channels cannot send; return the outcome as one line."""
    lines: list[tuple[str, int | str]] = [
        ("newly enqueued", result.num_enqueued),
        ("too old to be told", result.num_expired),
        ("messages sent", result.num_sent),
        ("messages tried again later", result.num_again),
        ("messages given up", result.num_failed),
        ("rows that wait", result.num_waiting),
        *(("problem", problem) for problem in result.problems),
    ]
    create_table_artifact(
        [{"what": what, "count": count} for what, count in lines],
        key="notifications",
        description="What was told",
    )
    return (
        f"Sent {format_plural(result.num_sent, 'message')}; {result.num_again} to be tried "
        f"again, {result.num_failed} given up."
    )


def publish_report(result: ReportResult) -> str:
    """Show where the report lies; return it as one line."""
    create_markdown_artifact(
        f"[Report on {format_plural(result.num_rows, 'reading')}]({result.path.as_uri()}), "
        f"{format_plural(result.num_events, 'alert event')}: `{result.path}`",
        key="report",
        description="The report page",
    )
    return f"Wrote the report to {result.path}."


def publish_check(result: MonitorResult) -> str:
    """Show what drifted; return the outcome as one line."""
    name = f"{result.model_name} version {result.model_version}"
    create_table_artifact(
        [
            {
                "asset": drift.asset,
                "sensor": drift.sensor,
                "statistic": drift.statistic,
                "value": drift.value,
                "what": drift.reason,
            }
            for drift in result.drifts[:MAX_ROWS]
        ],
        key="drift",
        description=f"What drifted since {name} was calibrated",
    )
    return (
        f"{format_plural(len(result.drifts), 'drift')} among {result.num_series:,} series of "
        f"{name}; of {result.num_unknown:,} nothing can be said."
    )


def _calibration_cells(item: Calibration) -> tuple[str, ...]:
    unit = "of steps" if item.budget_per_week is None else "a week"
    return (
        f"{item.threshold:.4g}",
        f"{item.expected_rate:.3g} {unit}",
        f"{item.rate_low:.3g} to {item.rate_high:.3g}",
        str(item.num_steps),
        _word(item.provisional),
    )


def _alert_cells(alert: Alert) -> dict[str, str | float]:
    event = alert.event
    return {
        "asset": event.asset,
        "start": _format_time(event.start_us),
        "end": _format_time(event.end_us),
        "severity": event.severity,
        "peak, multiple of the threshold": round(event.peak_ratio, 1),
        "sensors": ", ".join(event.top_sensors),
        "reason": ", ".join(event.reasons),
        "status": alert.status,
        "model version": alert.model_version,
    }


def _format_time(time_us: int) -> str:
    return f"{datetime.fromtimestamp(time_us / MICROSECONDS_PER_S, tz=UTC):%Y-%m-%d %H:%M:%S}"


def _word(yes: bool) -> str:  # noqa: FBT001
    return "yes" if yes else "no"


def _make_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a Markdown table, one string; a bar in a name does not end a cell."""
    lines = [header, ["---"] * len(header), *rows]
    return [
        "\n".join(
            "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
        )
    ]
