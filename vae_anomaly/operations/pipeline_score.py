"""New readings to scores and alert events, by the version that is live where they lie in time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from vae_anomaly.config import PipelineConfig
from vae_anomaly.domain import MICROSECONDS_PER_DAY, State
from vae_anomaly.errors import RegistryError
from vae_anomaly.operations.alerting.settle import settle_alerts
from vae_anomaly.operations.monitoring.logs import log_context
from vae_anomaly.operations.pipeline_alerts import read_live_alerts
from vae_anomaly.operations.pipeline_due import DueWork
from vae_anomaly.operations.pipeline_live import LivePeriod, follow_champion, note_live
from vae_anomaly.operations.pipeline_marks import ScoringMarks
from vae_anomaly.operations.pipeline_plan import make_batches
from vae_anomaly.operations.pipeline_results import ScoreResult
from vae_anomaly.operations.pipeline_scored import PinnedScores
from vae_anomaly.operations.pipeline_scorer import Scorer
from vae_anomaly.operations.pipeline_tables import LakeView, open_lake, parse_time
from vae_anomaly.operations.registry import CHAMPION, ModelVersion, Registry, open_registry
from vae_anomaly.readings.changes import Changes, find_changes
from vae_anomaly.readings.lock import hold_lock

logger = logging.getLogger(__name__)

BATCH_STEPS = 100_000
"""Steps that are scored and written at once: it bounds memory, and keeps commits few."""

MAX_LATENCY_US = MICROSECONDS_PER_DAY
"""Readings this far behind the end of a version's time may still change its last scores."""

ItemT = TypeVar("ItemT")


def score_readings(
    config: PipelineConfig,
    *,
    reference: str = CHAMPION,
    progress: Callable[[int, int], None] | None = None,
) -> ScoreResult:
    """Score the readings from `training.end` on that came or changed since the last scoring.

    The champion scores from where the version before it has scored to; readings that come late
    for the time of an earlier version are scored by that one, and its alert events stay.

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


def rescore_readings(
    config: PipelineConfig,
    *,
    start_us: int,
    progress: Callable[[int, int], None] | None = None,
) -> ScoreResult:
    """Let the champion score again from a time on what earlier versions scored.

    Their scores stay in the table; their alert events from there on become superseded where the
    champion does not bear them out.

    Args:
        config: The pipeline.
        start_us: The time, microseconds since 1970.
        progress: As for `score_readings`.

    Returns:
        What was done, and what there is now.

    Raises:
        TableError: As `score_readings` raises it.
        RegistryError: There is no champion.
    """
    view = open_lake(config, verb="score")
    with hold_lock(config.lake.root, "score"):
        champion = open_registry(config.registry).find(CHAMPION)
        periods = follow_champion(view.lake, champion)
        first_us = parse_time(config.training.end, setting="training.end")
        is_all = first_us is not None and start_us <= first_us
        if start_us < periods[-1].bounds[0]:
            note_live(view.lake, champion, start_us=None if is_all else start_us)
        return _score_readings(config, reference=CHAMPION, progress=progress)


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
    is_champion = CHAMPION in model.aliases
    periods = (
        follow_champion(view.lake, model) if is_champion else (LivePeriod(model.version, None),)
    )
    alerts = _find_alerts(view, model.model_name)
    run = _Run(view, registry, start_us, progress)
    num_new_rows = sum(run.score_late(period, model.model_name) for period in periods[:-1])
    num_new_rows += run.score(periods[-1], model, is_alerting=is_champion)
    if is_champion:
        settle_alerts(config)
    ScoringMarks.write_all(run.marks)
    return _make_result(view, model, periods[-1], num_new_rows=num_new_rows, alerts_before=alerts)


@dataclass(frozen=True)
class _Run:
    """One scoring.

    Attributes:
        view: The lake.
        registry: Where model versions are.
        start_us: Where scoring begins; None for the first reading.
        progress: Called with steps done and in all.
        marks: Marks to write when all is done, and whether they are about alert events, too.
    """

    view: LakeView
    registry: Registry
    start_us: int | None
    progress: Callable[[int, int], None] | None
    marks: list[tuple[ScoringMarks, bool]] = field(default_factory=list)
    found: dict[int | None, Changes] = field(default_factory=dict)

    def score(self, period: LivePeriod, model: ModelVersion, *, is_alerting: bool) -> int:
        """Score what is due by the version that is live, or on the side; return the steps."""
        marks = self._name_marks(period, model)
        changes = self._find_changes(marks)
        is_new = is_alerting and not marks.have_alerts()
        self.marks.append((marks, is_alerting))
        if not (changes.assets or changes.is_everything or is_new):
            return 0
        return self._score(period, model, changes, is_alerting=is_alerting, is_new=is_new)

    def score_late(self, period: LivePeriod, model_name: str) -> int:
        """Score what came late or changed in the time of an earlier version; return the steps."""
        try:
            model = self.registry.find(f"models:/{model_name}/{period.model_version}")
        except RegistryError as error:
            logger.warning("late readings of its time cannot be scored: %s", error)
            return 0
        marks = self._name_marks(period, model)
        changes = self._find_changes(marks)
        self.marks.append((marks, False))
        if not changes.is_everything and not _touch(changes, period.bounds[1] + MAX_LATENCY_US):
            return 0
        return self._score(period, model, changes, is_alerting=True, is_new=False)

    def _score(
        self,
        period: LivePeriod,
        model: ModelVersion,
        changes: Changes,
        *,
        is_alerting: bool,
        is_new: bool,
    ) -> int:
        between = self._bound(period)
        # exactly the version that was found, wherever its alias points by now
        detector = self.registry.load(model.uri)[0]
        self.view.require_rules_of(detector)
        scorer = Scorer(self.view, detector, model, between, is_alerting, is_new)
        work = DueWork(
            view=self.view,
            changes=changes,
            scores=_pin(self.view, model, between),
            reach=detector.reach,
            between=between,
            max_steps=BATCH_STEPS,
        )
        with log_context(model_version=model.version):
            num_steps = _score_due(scorer, work, self.progress)
            scorer.finish()
        return num_steps

    def _bound(self, period: LivePeriod) -> tuple[int, int]:
        start_us, end_us = period.bounds
        return start_us if self.start_us is None else max(start_us, self.start_us), end_us

    def _name_marks(self, period: LivePeriod, model: ModelVersion) -> ScoringMarks:
        start_us = self.start_us if period.start_us is None else self._bound(period)[0]
        return ScoringMarks.of(self.view, model, start_us=start_us)

    def _find_changes(self, marks: ScoringMarks) -> Changes:
        since = marks.find_scored()
        if since not in self.found:
            self.found[since] = find_changes(self.view.lake, since=since, until=self.view.version)
        return self.found[since]


def _touch(changes: Changes, before_us: int) -> bool:
    return any(
        first_us < before_us for asset in changes.assets for first_us, _ in changes.spans_of(asset)
    )


def _score_due(scorer: Scorer, work: DueWork, progress: Callable[[int, int], None] | None) -> int:
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


def _pin(view: LakeView, model: ModelVersion, between: tuple[int, int]) -> PinnedScores:
    return PinnedScores(
        view.lake, model_name=model.model_name, model_version=model.version, between=between
    )


def _find_alerts(view: LakeView, model_name: str) -> set[str]:
    return set(read_live_alerts(view.lake, model_name=model_name)["alert_id"].to_pylist())


def _make_result(
    view: LakeView,
    model: ModelVersion,
    period: LivePeriod,
    *,
    num_new_rows: int,
    alerts_before: set[str],
) -> ScoreResult:
    states = _pin(view, model, period.bounds).count_states()
    alerts = _find_alerts(view, model.model_name)
    num_new_events = len(alerts - alerts_before)
    return ScoreResult(
        model_name=model.model_name,
        model_version=model.version,
        num_rows=sum(states.values()),
        num_ok=states[State.OK],
        num_anomalous=states[State.ANOMALOUS],
        num_unscorable=states[State.UNSCORABLE],
        num_events=len(alerts) if CHAMPION in model.aliases else 0,
        num_new_rows=num_new_rows,
        num_new_events=num_new_events,
        readings_version=view.version,
        skipped=not num_new_rows and not num_new_events,
    )
