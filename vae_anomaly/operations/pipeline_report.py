"""The report page of what was scored."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vae_anomaly.config import PipelineConfig
from vae_anomaly.domain import IntArray, Problem, Quality
from vae_anomaly.errors import ReportError
from vae_anomaly.operations.pipeline_live import read_live_periods
from vae_anomaly.operations.pipeline_plan import plan_stretches
from vae_anomaly.operations.pipeline_results import ReportResult
from vae_anomaly.operations.pipeline_scorer import read_stretches
from vae_anomaly.operations.pipeline_tables import LakeView, name_as_raw, open_lake, parse_time
from vae_anomaly.operations.registry import CHAMPION, ModelVersion, open_registry
from vae_anomaly.operations.report import ReportInput, write_report
from vae_anomaly.operations.report_promotions import make_promotion_lines
from vae_anomaly.readings.promotions import read_promotions
from vae_anomaly.readings.quarantine import WHOLE_FILE
from vae_anomaly.readings.rows import LATEST_US
from vae_anomaly.wording import format_plural

if TYPE_CHECKING:
    from vae_anomaly.detector.detector import Detector

logger = logging.getLogger(__name__)

MAX_REPORT_ROWS = 500_000
"""Most rows on one page; of more than that it shows the latest."""

LEDGER_COUNTS = ("num_rows", "num_kept", "num_duplicates", "num_quarantined")


def make_pipeline_report(config: PipelineConfig, *, reference: str = CHAMPION) -> ReportResult:
    """Write the report page of the readings from `training.end` on.

    Of the champion, from when it is live on, where there are readings since.

    Args:
        config: The pipeline.
        reference: Alias, number or address of the model version.

    Returns:
        Where the page lies, and what is on it.

    Raises:
        TableError: Nothing was ingested yet, or the lake cannot be read.
        RegistryError: There is no such model version.
        ReportError: There is nothing to show, or the page cannot be written.
    """
    view = open_lake(config, verb="make the report")
    start_us = parse_time(config.training.end, setting="training.end")
    steps = view.read_steps()
    live_us = _find_live_start(view, config, reference, default=start_us)
    first_us, num_rows, num_left_out = _choose_period(steps, start_us=live_us)
    if num_rows == 0:
        first_us, num_rows, num_left_out = _choose_period(steps, start_us=start_us)
    if num_rows == 0:
        raise ReportError(
            "Cannot make the report: expected readings after the end of the training period "
            f"'{config.training.end}', got none. Ingest newer files, or correct training.end."
        )
    detector, model = open_registry(config.registry).load(reference)
    view.require_rules_of(detector)
    report = _examine(view, detector, model, steps, first_us=first_us, num_left_out=num_left_out)
    path = write_report(report, config.report)
    return ReportResult(
        path=path,
        model_name=model.model_name,
        model_version=model.version,
        num_rows=report.scores.num_rows,
        num_events=len(report.events),
        num_left_out=num_left_out,
    )


def _find_live_start(
    view: LakeView, config: PipelineConfig, reference: str, *, default: int | None
) -> int | None:
    """Find from when on a version speaks, if it is the champion that has scored."""
    model_name = config.registry.model_name
    periods = read_live_periods(view.lake, model_name=model_name)
    if reference != CHAMPION or not periods or periods[-1].start_us is None:
        return default
    return periods[-1].start_us


def _choose_period(steps: dict[str, IntArray], *, start_us: int | None) -> tuple[int, int, int]:
    """Return the first time to show, the rows to show, and the earlier rows left out."""
    times = np.sort(np.concatenate(list(steps.values())))
    if start_us is not None:
        times = times[times >= start_us]
    if times.size == 0:
        return 0, 0, 0
    first_us = int(times[-MAX_REPORT_ROWS]) if times.size > MAX_REPORT_ROWS else int(times[0])
    num_left_out = int(np.searchsorted(times, first_us))
    return first_us, times.size - num_left_out, num_left_out


def _examine(
    view: LakeView,
    detector: Detector,
    model: ModelVersion,
    steps: dict[str, IntArray],
    *,
    first_us: int,
    num_left_out: int,
) -> ReportInput:
    stretches = tuple(
        stretch
        for asset, times in steps.items()
        for stretch in plan_stretches(
            asset,
            times,
            times,
            reach=detector.reach,
            between=(first_us, LATEST_US),
            max_steps=MAX_REPORT_ROWS,
        )
        if stretch.num_steps
    )
    if not stretches:
        raise ReportError(
            f"Cannot make the report: expected more than "
            f"{format_plural(detector.lookahead_steps, 'reading')} of an asset, "
            "as many as a score waits for (latency), got no more. Ingest newer files."
        )
    table, is_shown = read_stretches(view, stretches)
    record = detector.record
    raw = name_as_raw(table, detector.contract, asset=record.config.readings.asset)
    seen = detector.examine(raw, model_name=model.model_name)
    scores = seen.scores.filter(pa.array(is_shown))
    return ReportInput(
        title=f"{model.model_name}, version {model.version}",
        model_name=model.model_name,
        model_version=model.version,
        contract=seen.checked.contract,
        readings=seen.checked.readings.take(is_shown),
        scores=scores,
        mean=seen.mean[is_shown],
        sigma=seen.sigma[is_shown],
        events=detector.find_events(scores, model_name=model.model_name),
        calibrations=record.calibrations,
        curves=record.curves,
        health=record.health,
        quality=_add_ledger(view, seen.checked.quality, num_left_out=num_left_out),
        baseline=record.baseline,
        likelihoods=record.likelihoods,
        promotions=make_promotion_lines(read_promotions(view.lake, model_name=model.model_name)),
    )


def _add_ledger(view: LakeView, quality: Quality, *, num_left_out: int) -> Quality:
    """Say of the raw files what the lake knows; gaps and sensors are of the rows shown."""
    ledger, quarantine = view.lake.read_ledger(), view.lake.read_quarantine()
    rows = quarantine.filter(pc.not_equal(quarantine["row"], WHOLE_FILE))
    counts = {name: pc.sum(ledger[name]).as_py() or 0 for name in LEDGER_COUNTS}
    problems = Counter(rows["reason"].to_pylist())
    problems[Problem.DUPLICATE.value] += counts["num_duplicates"]
    notes = [f"counts of rows are of all files, {ledger.num_rows} of them"]
    if num_left_out:
        left_out = format_plural(num_left_out, "earlier one is", "earlier ones are")
        notes.append(f"the page shows the latest rows; {left_out} left out")
    return replace(
        quality,
        num_rows=counts["num_rows"],
        num_usable=counts["num_kept"],
        num_duplicates=counts["num_duplicates"],
        num_quarantined=counts["num_quarantined"],
        problems=dict(sorted(problems.items())),
        notes=(*quality.notes, *notes),
    )
