"""New readings to scores and alert events."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vae_anomaly.config import PipelineConfig
from vae_anomaly.domain import BoolArray, IntArray, State
from vae_anomaly.operations.pipeline_alerts import read_live_alerts, update_alerts
from vae_anomaly.operations.pipeline_plan import (
    Stretch,
    find_due,
    find_neighbours,
    make_batches,
    plan_stretches,
)
from vae_anomaly.operations.pipeline_results import ScoreResult
from vae_anomaly.operations.pipeline_tables import (
    LakeView,
    name_as_lake,
    name_as_raw,
    open_lake,
    parse_time,
    read_scored,
    split_times,
    to_microseconds,
)
from vae_anomaly.operations.registry import CHAMPION, ModelVersion, Registry, open_registry
from vae_anomaly.readings.changes import Changes, find_changes
from vae_anomaly.readings.lock import hold_lock

if TYPE_CHECKING:
    from vae_anomaly.detector.detector import Detector

logger = logging.getLogger(__name__)

BATCH_STEPS = 100_000
"""Steps that are scored and written at once: it bounds memory, and keeps commits few."""


@dataclass(frozen=True)
class _Scorer:
    view: LakeView
    detector: Detector
    model: ModelVersion

    def score(self, batch: tuple[Stretch, ...]) -> None:
        """Score and write a batch.

        The scores are written last: they say that all is done. So a scoring that was broken off
        is done again, and writes the same.
        """
        readings, is_wanted = read_stretches(self.view, batch)
        scores = score_table(self.detector, readings).filter(pa.array(is_wanted))
        name, version = self.model.model_name, self.model.version
        if CHAMPION in self.model.aliases:
            update_alerts(
                self.view.lake, self.detector, scores, model_name=name, model_version=version
            )
        self.view.lake.write_scores(scores, model_name=name, model_version=version)


def score_readings(
    config: PipelineConfig,
    *,
    reference: str = CHAMPION,
    progress: Callable[[int, int], None] | None = None,
) -> ScoreResult:
    """Score the readings from `training.end` on that have no score of this model version yet.

    Readings that came late also change scores after them, which are written again. So the tables
    end as if all readings had come on time. Alert events are those of the champion: another
    version is scored on the side, and calls nobody.

    Args:
        config: The pipeline.
        reference: Alias, number or address of the model version.
        progress: Called with steps done and in all.

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
    steps, scored, alerts = view.read_steps(), _read_scored(view, model), _find_alerts(view, model)
    scored_steps = split_times(scored)
    renewed = _find_renewed(view, model, steps, scored_steps)

    def find_all_due(lookahead_steps: int) -> dict[str, BoolArray]:
        return {
            asset: find_due(
                times,
                scored_steps.get(asset, times[:0]),
                start_us=start_us,
                lookahead_steps=lookahead_steps,
                renewed=renewed.get(asset),
            )
            for asset, times in steps.items()
        }

    scorer = None
    if any(item.any() for item in find_all_due(0).values()):
        scorer = _Scorer(view, _load(registry, model), model)
        view.require_rules_of(scorer.detector)
        due = find_all_due(scorer.detector.lookahead_steps)
    if scorer is None or not any(item.any() for item in due.values()):
        _mark_scored(view, model)
        return _make_result(view, model, _read_scored(view, model), alerts)
    num_new_rows = _score_due(scorer, steps, due, start_us=start_us, progress=progress)
    _mark_scored(view, model)
    alerts_now = _find_alerts(view, model)
    return replace(
        _make_result(view, model, _read_scored(view, model), alerts_now),
        num_new_rows=num_new_rows,
        num_new_events=len(alerts_now - alerts),
        skipped=False,
    )


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


def read_stretches(view: LakeView, stretches: tuple[Stretch, ...]) -> tuple[pa.Table, BoolArray]:
    """Read the steps of stretches, and those around them that their scores depend on.

    Args:
        view: The lake.
        stretches: What to read.

    Returns:
        The readings, and which of them belong to the stretches. Shape `(rows,)`.
    """
    tables = [
        view.read(assets=[item.asset], start_us=item.read_from_us, end_us=item.read_to_us)
        for item in stretches
    ]
    wanted = [
        (to_microseconds(table) >= item.start_us) & (to_microseconds(table) < item.end_us)
        for table, item in zip(tables, stretches, strict=True)
    ]
    return pa.concat_tables(tables), np.concatenate(wanted)


def _score_due(
    scorer: _Scorer,
    steps: Mapping[str, IntArray],
    due: Mapping[str, BoolArray],
    *,
    start_us: int | None,
    progress: Callable[[int, int], None] | None,
) -> int:
    stretches = [
        stretch
        for asset, times in steps.items()
        for stretch in plan_stretches(
            asset,
            times,
            due[asset],
            start_us=start_us,
            reach=scorer.detector.reach,
            max_steps=BATCH_STEPS,
        )
    ]
    total, num_done = sum(stretch.num_steps for stretch in stretches), 0
    for batch in make_batches(stretches, max_steps=BATCH_STEPS):
        scorer.score(batch)
        num_done += sum(stretch.num_steps for stretch in batch)
        logger.info("scored %d of %d readings", num_done, total)
        if progress is not None:
            progress(num_done, total)
    return total


def _find_renewed(
    view: LakeView,
    model: ModelVersion,
    steps: Mapping[str, IntArray],
    scored: Mapping[str, IntArray],
) -> dict[str, IntArray]:
    """Find the steps to score again because readings changed or went away since the last time.

    Scores of readings that are no more are removed here; their neighbours are scored again.

    Returns:
        Times per asset, microseconds since 1970.
    """
    since = view.lake.find_scored_version(model.model_name, model.version)
    if since is None:
        return {}
    is_aligned = bool(view.rules)
    changes = find_changes(view.lake, since=since, until=view.version, with_new=is_aligned)
    if changes is None:
        logger.warning("version %d of the readings is no more: scoring all again", since)
        changes = {
            asset: Changes(
                changed=times,
                withdrawn=np.setdiff1d(times, steps.get(asset, times[:0])),
            )
            for asset, times in scored.items()
        }
    renewed = {}
    for asset, found in changes.items():
        times = steps.get(asset, found.changed[:0])
        period_s = view.contract.period_s
        change = found.at_ticks(times, period_s=period_s) if is_aligned else found
        view.lake.remove_scores(
            asset,
            np.intersect1d(change.withdrawn, scored.get(asset, times[:0])),
            model_name=model.model_name,
            model_version=model.version,
        )
        renewed[asset] = np.concatenate([change.changed, find_neighbours(times, change.withdrawn)])
    return renewed


def _mark_scored(view: LakeView, model: ModelVersion) -> None:
    view.lake.mark_scored(
        model_name=model.model_name,
        model_version=model.version,
        readings_version=view.version,
    )


def _load(registry: Registry, model: ModelVersion) -> Detector:
    """Load exactly the version that was found, wherever its alias points by now."""
    return registry.load(model.uri)[0]


def _read_scored(view: LakeView, model: ModelVersion) -> pa.Table:
    return read_scored(view.lake, model_name=model.model_name, model_version=model.version)


def _find_alerts(view: LakeView, model: ModelVersion) -> set[str]:
    alerts = read_live_alerts(view.lake, model_name=model.model_name)
    mine = alerts.filter(pc.equal(alerts["model_version"], model.version))
    return set(mine["alert_id"].to_pylist())


def _make_result(
    view: LakeView, model: ModelVersion, scored: pa.Table, alerts: set[str]
) -> ScoreResult:
    """Say what there is where nothing was done."""
    states = Counter(scored["state"].to_pylist())
    return ScoreResult(
        model_name=model.model_name,
        model_version=model.version,
        num_rows=states.total(),
        num_ok=states[State.OK.value],
        num_anomalous=states[State.ANOMALOUS.value],
        num_unscorable=states[State.UNSCORABLE.value],
        num_events=len(alerts),
        num_new_rows=0,
        num_new_events=0,
        readings_version=view.version,
        skipped=True,
    )
