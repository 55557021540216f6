"""New readings to scores and alert events."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vae_anomaly.config import PipelineConfig
from vae_anomaly.domain import BoolArray, IntArray, State
from vae_anomaly.operations.pipeline_alerts import read_live_alerts, update_alerts
from vae_anomaly.operations.pipeline_due import DueWork
from vae_anomaly.operations.pipeline_marks import ScoringMarks
from vae_anomaly.operations.pipeline_plan import Stretch, make_batches
from vae_anomaly.operations.pipeline_results import ScoreResult
from vae_anomaly.operations.pipeline_scored import PinnedScores
from vae_anomaly.operations.pipeline_tables import (
    LakeView,
    name_as_lake,
    name_as_raw,
    open_lake,
    parse_time,
    to_microseconds,
)
from vae_anomaly.operations.registry import CHAMPION, ModelVersion, open_registry
from vae_anomaly.readings.changes import find_changes
from vae_anomaly.readings.lock import hold_lock
from vae_anomaly.readings.rows import EARLIEST_US
from vae_anomaly.readings.spans import Span

if TYPE_CHECKING:
    from vae_anomaly.detector.detector import Detector

logger = logging.getLogger(__name__)

BATCH_STEPS = 100_000
"""Steps that are scored and written at once: it bounds memory, and keeps commits few."""

NEAR_STEPS = 4_000
"""Stretches no further apart are read at once: to read so many steps costs less than to read
twice."""

MAX_READ_STEPS = 500_000
"""Steps that are read at once, those between near stretches included."""

ItemT = TypeVar("ItemT")


@dataclass(frozen=True)
class _Scorer:
    """Scores stretches, writes them, and brings alert events in line.

    Attributes:
        view: The lake.
        detector: The detector.
        model: Its model version.
        pending: Spans that were scored, of which the alert events are not in line yet.
        first_us: Earlier steps are not scored.
        is_new: Whether the alert events there are come from another version, or from none.
    """

    view: LakeView
    detector: Detector
    model: ModelVersion
    first_us: int
    is_new: bool
    pending: list[Span] = field(default_factory=list)

    @property
    def names(self) -> dict[str, str]:
        return {"model_name": self.model.model_name, "model_version": self.model.version}

    @property
    def is_alerting(self) -> bool:
        return CHAMPION in self.model.aliases

    def score(self, batch: Sequence[Stretch]) -> None:
        """Score and write a batch; the assets before that of its end have their alerts then."""
        scored = [item for item in batch if item.num_steps]
        spans = [Span(item.asset, item.start_us, item.end_us) for item in batch]
        if scored:
            readings, is_wanted = read_stretches(self.view, scored)
            scores = score_table(self.detector, readings).filter(pa.array(is_wanted))
            self.view.lake.write_scores(scores, **self.names, spans=spans)
        else:
            self.view.lake.remove_scores(spans, **self.names)
        if self.is_alerting:
            self.pending.extend(spans)
            self.raise_alerts(until=batch[-1].asset)

    def raise_alerts(self, *, until: str | None = None) -> None:
        """Bring the alert events in line with the scores, but for one asset."""
        spans = [span for span in self.pending if span.asset != until]
        self.pending[:] = [span for span in self.pending if span.asset == until]
        if self.is_new:  # all scores count then, at the end
            return
        update_alerts(self.view.lake, self.detector, spans, **self.names)

    def finish(self) -> None:
        """Bring in line what is left."""
        if not self.is_alerting:
            return
        if self.is_new:
            scores = PinnedScores(self.view.lake, **self.names)
            lines = {asset: scores.timeline_of(asset) for asset in scores.assets}
            spans = [
                Span(asset, max(line.start_us, self.first_us), line.end_us)
                for asset, line in lines.items()
                if line.end_us > self.first_us
            ]
            update_alerts(self.view.lake, self.detector, spans, **self.names)
        else:
            self.raise_alerts()


def score_readings(
    config: PipelineConfig,
    *,
    reference: str = CHAMPION,
    progress: Callable[[int, int], None] | None = None,
) -> ScoreResult:
    """Score the readings from `training.end` on that came or changed since the last scoring.

    Readings that came late also change scores around them, which are written again; scores of
    readings that are no more go. So the tables end as if all readings had come on time. Only what
    changed is read, and a bounded part of it at a time. Alert events are those of the champion:
    another version is scored on the side, and calls nobody.

    The order is scores, alert events, and then the mark that says which version of the readings
    was scored: what was broken off is done again, and ends the same.

    Args:
        config: The pipeline.
        reference: Alias, number or address of the model version.
        progress: Called with steps done and in all, the latter an estimate until the end.

    Returns:
        What was done, and what there is now.

    Raises:
        TableError: Nothing was ingested yet, or the lake cannot be read or written.
        RegistryError: There is no such model version.
        ContractError: The lake and the model version have different sensors.
    """
    open_lake(config, verb="score")  # what is missing is said before anything is made
    with hold_lock(config.lake.root, "score"):
        return _score_readings(config, reference=reference, progress=progress)


def _score_readings(
    config: PipelineConfig,
    *,
    reference: str,
    progress: Callable[[int, int], None] | None,
) -> ScoreResult:
    view = open_lake(config, verb="score")
    start_us = parse_time(config.training.end, setting="training.end")
    registry = open_registry(config.registry)
    model = registry.find(reference)
    marks = ScoringMarks.of(view, model, start_us=start_us)
    alerts = _find_alerts(view, model)
    changes = find_changes(view.lake, since=marks.find_scored(), until=view.version)
    is_new = CHAMPION in model.aliases and not marks.have_alerts()
    num_new_rows = 0
    if changes.assets or changes.is_everything or is_new:
        # exactly the version that was found, wherever its alias points by now
        scorer = _Scorer(view, registry.load(model.uri)[0], model, start_us or EARLIEST_US, is_new)
        view.require_rules_of(scorer.detector)
        work = DueWork(
            view=view,
            changes=changes,
            scores=PinnedScores(view.lake, **scorer.names),
            reach=scorer.detector.reach,
            start_us=start_us,
            max_steps=BATCH_STEPS,
        )
        num_new_rows = _score_due(scorer, work, progress)
        scorer.finish()
    marks.write(with_alerts=CHAMPION in model.aliases)
    return _make_result(view, model, alerts, num_new_rows=num_new_rows)


def score_table(detector: Detector, readings: pa.Table) -> pa.Table:
    """Score readings of the lake.

    Args:
        detector: The detector.
        readings: Readings of the lake.

    Returns:
        asset, timestamp and what the detector says, row by row.
    """
    contract, settings = detector.contract, detector.record.config.readings
    raw = name_as_raw(readings, contract, asset=settings.asset)
    return name_as_lake(detector.score(raw), readings, contract)


def read_stretches(view: LakeView, stretches: Sequence[Stretch]) -> tuple[pa.Table, BoolArray]:
    """Read the steps of stretches, and those around them that their scores depend on.

    Args:
        view: The lake.
        stretches: What to read, in order of asset and time.

    Returns:
        The readings, each once, and which of them belong to the stretches. Shape `(rows,)`.
    """
    tables, wanted = [], []
    for group in _join_reads(stretches, period_us=view.period_us):
        bounds = np.array(
            [(item.read_from_us, item.start_us, item.end_us, item.read_to_us) for item in group]
        )
        read_from, starts, ends, read_to = bounds.T
        table = view.read(group[0].asset, start_us=int(read_from[0]), end_us=int(read_to.max()))
        is_read = _are_within(to_microseconds(table), read_from, np.maximum.accumulate(read_to))
        table = table.filter(pa.array(is_read))
        wanted.append(_are_within(to_microseconds(table), starts, ends))
        tables.append(table)
    return pa.concat_tables(tables), np.concatenate(wanted)


def _join_reads(stretches: Sequence[Stretch], *, period_us: int) -> Iterator[list[Stretch]]:
    """Gather stretches of an asset that are read at once: they share readings, or are near."""

    def is_near(group: Sequence[Stretch], item: Stretch) -> bool:
        gap_us = item.read_from_us - group[-1].read_to_us
        length_us = item.read_to_us - group[0].read_from_us
        return gap_us <= 0 or (
            gap_us <= NEAR_STEPS * period_us and length_us <= MAX_READ_STEPS * period_us
        )

    group: list[Stretch] = []
    for item in stretches:
        if group and (item.asset != group[-1].asset or not is_near(group, item)):
            yield group
            group = []
        group.append(item)
    if group:
        yield group


def _are_within(times: IntArray, starts: IntArray, ends: IntArray) -> BoolArray:
    """Tell which times are in `[start, end)` of the last span that begins before them."""
    place = np.searchsorted(starts, times, side="right") - 1
    inside: BoolArray = (place >= 0) & (times < ends[np.maximum(place, 0)])
    return inside


def _score_due(scorer: _Scorer, work: DueWork, progress: Callable[[int, int], None] | None) -> int:
    total, num_done = work.estimate_steps(), 0
    for batch, is_last in _mark_last(make_batches(work.plan(), max_steps=BATCH_STEPS)):
        scorer.score(batch)
        num_done += sum(stretch.num_steps for stretch in batch)
        logger.info("scored %d readings", num_done)
        if progress is not None:
            progress(num_done, num_done if is_last else max(total, num_done))
    return num_done


def _mark_last(items: Iterable[ItemT]) -> Iterator[tuple[ItemT, bool]]:
    remaining = iter(items)
    try:
        item = next(remaining)
    except StopIteration:
        return
    for following in remaining:
        yield item, False
        item = following
    yield item, True


def _find_alerts(view: LakeView, model: ModelVersion) -> set[str]:
    alerts = read_live_alerts(view.lake, model_name=model.model_name)
    mine = alerts.filter(pc.equal(alerts["model_version"], model.version))
    return set(mine["alert_id"].to_pylist())


def _make_result(
    view: LakeView, model: ModelVersion, alerts_before: set[str], *, num_new_rows: int
) -> ScoreResult:
    scores = PinnedScores(view.lake, model_name=model.model_name, model_version=model.version)
    states, alerts = scores.count_states(), _find_alerts(view, model)
    num_new_events = len(alerts - alerts_before)
    return ScoreResult(
        model_name=model.model_name,
        model_version=model.version,
        num_rows=sum(states.values()),
        num_ok=states[State.OK],
        num_anomalous=states[State.ANOMALOUS],
        num_unscorable=states[State.UNSCORABLE],
        num_events=len(alerts),
        num_new_rows=num_new_rows,
        num_new_events=num_new_events,
        readings_version=view.version,
        skipped=not num_new_rows and not num_new_events,
    )
