"""What the steps of the pipeline did, in words and tables."""

from __future__ import annotations

from vae_anomaly.cli import tables
from vae_anomaly.cli.output import add_row, make_table, print_lines, print_notes, print_table
from vae_anomaly.errors import ReadingsError
from vae_anomaly.operations.monitoring.monitor import MonitorResult
from vae_anomaly.operations.notify.deliver import NotifyResult
from vae_anomaly.operations.pipeline_results import ScoreResult, TrainResult
from vae_anomaly.operations.promotion.promote import PromotionResult
from vae_anomaly.operations.report_text import format_count, format_time
from vae_anomaly.readings.ingest import IngestResult
from vae_anomaly.wording import format_plural

StepResult = (
    IngestResult | TrainResult | PromotionResult | ScoreResult | NotifyResult | MonitorResult
)

TITLES = {
    "ingest": "Files taken in",
    "train": "Training, in steps",
    "promote": "Comparing",
    "score": "Rows scored",
    "notify": "Messages sent",
    "monitor": "Comparing with the calibration",
}
"""What the progress of each step counts."""

MAX_DRIFTS = 30
"""Drifts listed; the table has them all."""


def print_step(result: StepResult) -> None:
    """Print what a step did."""
    print_lines(describe_step(result))
    if isinstance(result, IngestResult):
        _print_failed(result)
        print_notes(result.notes)
    elif isinstance(result, TrainResult) and not result.skipped:
        comparison = tables.describe_baseline(result.baseline)
        print_lines(result.decision, f"Held-out NLL: {comparison}")
        tables.print_thresholds(result.calibrations)
        tables.print_health(result.health)
    elif isinstance(result, MonitorResult):
        _print_drifts(result)


def describe_step(result: StepResult) -> str:
    """Say in a sentence or two what a step did."""
    if isinstance(result, IngestResult):
        return _describe_ingest(result)
    if isinstance(result, TrainResult):
        return _describe_train(result)
    if isinstance(result, PromotionResult):
        return describe_promotion(result)
    if isinstance(result, NotifyResult):
        return _describe_notify(result)
    if isinstance(result, MonitorResult):
        return _describe_check(result)
    return _describe_score(result)


def require_success(result: StepResult) -> None:
    """Fail where every file that could have been taken in was refused.

    Raises:
        ReadingsError: Nothing came in.
    """
    if isinstance(result, IngestResult) and result.failed and result.num_new_files == 0:
        raise ReadingsError(
            f"Cannot take in new readings: {_files(len(result.failed))} refused, first "
            f"'{result.failed[0].name}': {result.failed[0].reason}"
        )


def is_done(result: StepResult) -> bool:
    """Whether there was nothing to do."""
    if isinstance(result, IngestResult):
        return result.num_new_files == 0 and not result.failed
    if isinstance(result, NotifyResult):
        return not (result.num_sent or result.num_again or result.num_failed)
    return result.skipped


def _describe_ingest(result: IngestResult) -> str:
    if is_done(result):
        return f"Nothing to ingest: {_files(result.num_files)} known already."
    return (
        f"Ingested {result.num_new_files} of {_files(result.num_files)}: "
        f"{format_plural(result.num_rows, 'row')}, of them {format_count(result.num_kept)} kept, "
        f"{format_count(result.num_quarantined)} to quarantine, "
        f"{format_plural(result.num_duplicates, 'duplicate')}.{_describe_corrections(result)}"
    )


def _describe_corrections(result: IngestResult) -> str:
    if not result.num_withdrawn:
        return ""
    return (
        f" Files that were written anew took away {format_plural(result.num_withdrawn, 'row')} "
        "that they had given before."
    )


def _describe_train(result: TrainResult) -> str:
    name = f"{result.model_name} version {result.model_version}"
    if result.skipped:
        return f"Nothing to train: {name} comes from these readings and settings already."
    rows = format_plural(result.num_rows, "row")
    if result.num_rows < result.num_period_rows:
        rows = (
            f"{format_count(result.num_rows)} of {format_plural(result.num_period_rows, 'row')} "
            f"in {format_plural(result.num_blocks, 'block')}"
        )
    return f"Trained on {rows}, registered as {name}."


def describe_promotion(result: PromotionResult) -> str:
    """Say what was decided about the champion, and why."""
    name = f"{result.model_name} version {result.challenger}"
    if result.decision in {"promoted", "rolled_back"} and result.champion == result.challenger:
        start = f"Champion is now {name}."
    else:
        start = f"Champion stays {result.model_name} version {result.champion or '(none)'}."
    again = " Decided before, on the same readings." if result.decision != "nothing" else ""
    return f"{start}{again if result.skipped else ''} {result.reason}"


def _describe_score(result: ScoreResult) -> str:
    name = f"{result.model_name} version {result.model_version}"
    states = (
        f"{format_count(result.num_ok)} ok, {format_count(result.num_anomalous)} anomalous, "
        f"{format_count(result.num_unscorable)} unscorable"
    )
    if result.skipped:
        start = f"Nothing to score: {name} has scored every reading already"
    else:
        start = f"Scored {format_plural(result.num_new_rows, 'row')} with {name}"
    return (
        f"{start}. In all {format_plural(result.num_rows, 'row')}: {states}; "
        f"{format_plural(result.num_events, 'alert event')}, {result.num_new_events} of them new."
    )


def _describe_notify(result: NotifyResult) -> str:
    left_out = ""
    if result.num_expired:
        left_out = (
            f" {format_plural(result.num_expired, 'notification')} of events that were over too "
            "long ago (notify.max_age_h): see 'vae-anomaly notify list'."
        )
    if is_done(result):
        return f"Nothing to send; {result.num_waiting:,} waiting.{left_out}"
    return (
        f"Sent {format_plural(result.num_sent, 'message')}; {result.num_again:,} to be tried "
        f"again, {result.num_failed:,} given up.{left_out}"
    )


def _describe_check(result: MonitorResult) -> str:
    again = " These blocks were compared before." if result.skipped else ""
    return (
        f"Compared {format_plural(result.num_series, 'figure')} of {result.model_name} version "
        f"{result.model_version} with its calibration, up to {format_time(result.until_us)}: "
        f"{format_plural(len(result.drifts), 'drift')}; of {format_count(result.num_unknown)} "
        f"nothing can be said.{again}"
    )


def _print_drifts(result: MonitorResult) -> None:
    if result.drifts:
        table = make_table("Drift", ("asset", "statistic", "what was found"))
        for drift in result.drifts[:MAX_DRIFTS]:
            add_row(table, drift.asset, drift.statistic, drift.reason)
        print_table(table)
        if len(result.drifts) > MAX_DRIFTS:
            print_lines(f"... and {len(result.drifts) - MAX_DRIFTS} more, in the table drift")


def _print_failed(result: IngestResult) -> None:
    if result.failed:
        table = make_table("Files left out", ("file", "why"))
        for failed in result.failed:
            add_row(table, failed.name, failed.reason)
        print_table(table)


def _files(count: int) -> str:
    return format_plural(count, "file")
