"""A period scored by another version beside the champion: what would change, calling nobody."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from vae_anomaly.config import PipelineConfig
from vae_anomaly.domain import AlertEvent, State
from vae_anomaly.errors import TableError
from vae_anomaly.evaluation.metrics import count_overlaps
from vae_anomaly.evaluation.rows import make_intervals
from vae_anomaly.operations.pipeline_alerts import find_trace_events
from vae_anomaly.operations.pipeline_plan import Stretch, make_batches, plan_stretches
from vae_anomaly.operations.pipeline_score import BATCH_STEPS
from vae_anomaly.operations.pipeline_scored import PinnedScores
from vae_anomaly.operations.pipeline_scorer import read_stretches, score_table
from vae_anomaly.operations.pipeline_tables import LakeView, open_lake, parse_time
from vae_anomaly.operations.pipeline_traces import EventTraces
from vae_anomaly.operations.registry import CHAMPION, ModelVersion, open_registry
from vae_anomaly.readings.lock import hold_lock
from vae_anomaly.readings.rows import EARLIEST_US, LATEST_US
from vae_anomaly.readings.spans import Span

if TYPE_CHECKING:
    from vae_anomaly.detector.detector import Detector

SECONDS_PER_WEEK = 7 * 86_400


@dataclass(frozen=True)
class ShadowResult:
    """The change in alert events that another version would bring.

    Attributes:
        model_name: Registered model.
        champion: Version that is champion.
        version: The other one.
        start_us: First step that both scored, microseconds since 1970, UTC.
        end_us: Last one.
        num_steps: Steps that both scored.
        weeks: Asset-weeks that they are.
        states: Steps by state of the champion, then of the other version.
        both: Events of the champion that the other version has, too.
        only_champion: Events that would be no more.
        only_version: Events that would be new.
        num_champion: Events of the champion.
        num_version: Events of the other version.
    """

    model_name: str
    champion: str
    version: str
    start_us: int
    end_us: int
    num_steps: int
    weeks: float
    states: dict[str, dict[str, int]]
    both: tuple[AlertEvent, ...]
    only_champion: tuple[AlertEvent, ...]
    only_version: tuple[AlertEvent, ...]
    num_champion: int
    num_version: int

    @property
    def agreement(self) -> float:
        """Share of steps that have the same state; NaN without steps."""
        same = sum(row.get(state, 0) for state, row in self.states.items())
        return same / self.num_steps if self.num_steps else float("nan")

    def find_rate(self, num_events: int) -> float:
        """Return events per asset and week; NaN without steps."""
        return num_events / self.weeks if self.weeks else float("nan")


@dataclass(frozen=True)
class _Side:
    """One of the two versions."""

    detector: Detector
    model: ModelVersion


def compare_scores(
    config: PipelineConfig,
    reference: str,
    *,
    start_us: int | None = None,
    end_us: int | None = None,
) -> ShadowResult:
    """Score a period with a version and with the champion, and compare states and alert events.

    Scores of both are written to the table `scores` by their versions.
    The table `alerts` is left alone: nobody is called. As scoring begins at `training.end`, so
    does the period at the earliest.

    Args:
        config: The pipeline.
        reference: Alias, number or address of the other version.
        start_us: First time, microseconds since 1970; None from the first reading.
        end_us: Time after the last; None to the last reading.

    Returns:
        What would change.

    Raises:
        TableError: There are no readings in the period, or the lake cannot be read or written.
        RegistryError: There is no champion, or no such version.
        ContractError: The lake has other sensors than a detector.
    """
    open_lake(config, verb="compare scores")
    with hold_lock(config.lake.root, "score"):
        view = open_lake(config, verb="compare scores")
        registry = open_registry(config.registry)
        sides = []
        for name in (CHAMPION, reference):
            detector, model = registry.load(registry.find(name).uri)
            view.require_rules_of(detector)
            sides.append(_Side(detector, model))
        first_us = parse_time(config.training.end, setting="training.end")
        between = (
            max(start_us or EARLIEST_US, first_us or EARLIEST_US),
            LATEST_US if end_us is None else end_us,
        )
        for side in sides:
            _score(view, side, between)
        result = _compare(view, sides[0], sides[1], between)
    if not result.num_steps:
        raise TableError(
            "Cannot compare scores: expected readings in the period, after the end of the "
            f"training period '{config.training.end}', got none. Give another --start and --end, "
            "or ingest the files that hold it."
        )
    return result


def _score(view: LakeView, side: _Side, between: tuple[int, int]) -> None:
    """Write the scores of a period, a bounded part at a time."""
    for batch in make_batches(_plan(view, side.detector, between), max_steps=BATCH_STEPS):
        readings, is_wanted = read_stretches(view, batch)
        scores = score_table(side.detector, readings).filter(pa.array(is_wanted))
        spans = [Span(item.asset, item.start_us, item.end_us) for item in batch]
        view.lake.write_scores(
            scores,
            model_name=side.model.model_name,
            model_version=side.model.version,
            spans=spans,
        )


def _plan(view: LakeView, detector: Detector, between: tuple[int, int]) -> Iterator[Stretch]:
    """Cut the period into stretches of a bounded number of steps, asset by asset."""
    reach = detector.reach
    for asset in view.readings.assets:
        line = view.readings.timeline_of(asset)
        first, end = max(between[0], line.start_us), min(between[1], line.end_us + view.period_us)
        for part in line.cut(first, end, max_rows=BATCH_STEPS) if first < end else ():
            inside = view.read_times(asset, start_us=part[0], end_us=part[1])
            before = view.read_times_before(asset, part[0], num_steps=reach.window_steps)
            after = view.read_times_from(asset, part[1], num_steps=reach.lookahead_steps)
            times = np.concatenate([before, inside, after])
            yield from (
                stretch
                for stretch in plan_stretches(
                    asset, times, times, reach=reach, between=part, max_steps=BATCH_STEPS
                )
                if stretch.num_steps
            )


def _compare(
    view: LakeView, champion: _Side, other: _Side, between: tuple[int, int]
) -> ShadowResult:
    pinned = [
        PinnedScores(view.lake, model_name=side.model.model_name, model_version=side.model.version)
        for side in (champion, other)
    ]
    states: dict[str, dict[str, int]] = {}
    bounds: list[int] = []
    found: list[list[AlertEvent]] = [[], [], [], [], []]
    for asset in view.readings.assets:
        bounds += _count_states(pinned, asset, between, states)
        events = [
            _find_events(scores, side, asset, between)
            for scores, side in zip(pinned, (champion, other), strict=True)
        ]
        for place, part in enumerate((*events, *_split(*events))):
            found[place] += part
    num_steps = sum(sum(row.values()) for row in states.values())
    return ShadowResult(
        model_name=champion.model.model_name,
        champion=champion.model.version,
        version=other.model.version,
        start_us=min(bounds, default=between[0]),
        end_us=max(bounds, default=between[1]),
        num_steps=num_steps,
        weeks=num_steps * view.contract.period_s / SECONDS_PER_WEEK,
        states=states,
        both=tuple(found[2]),
        only_champion=tuple(found[3]),
        only_version=tuple(found[4]),
        num_champion=len(found[0]),
        num_version=len(found[1]),
    )


def _count_states(
    pinned: list[PinnedScores],
    asset: str,
    between: tuple[int, int],
    states: dict[str, dict[str, int]],
) -> list[int]:
    """Count pairs of states of an asset; return its first and last step that both scored."""
    bounds: list[int] = []
    line = pinned[0].timeline_of(asset)
    first, end = max(between[0], line.start_us), min(between[1], line.end_us)
    for part in line.cut(first, end, max_rows=BATCH_STEPS) if first < end else ():
        tables = [
            scores.read(asset, start_us=part[0], end_us=part[1], columns=["state"])
            for scores in pinned
        ]
        times = [table["timestamp"].cast(pa.int64()).to_numpy() for table in tables]
        shared, ours, theirs = np.intersect1d(
            times[0], times[1], assume_unique=True, return_indices=True
        )
        bounds += [int(shared[0]), int(shared[-1])] if shared.size else []
        pair = pa.table({"a": tables[0]["state"].take(ours), "b": tables[1]["state"].take(theirs)})
        for row in pair.group_by(["a", "b"]).aggregate([([], "count_all")]).to_pylist():
            of_state = states.setdefault(row["a"], dict.fromkeys(map(str, State), 0))
            of_state[row["b"]] += row["count_all"]
    return bounds


def _find_events(
    scores: PinnedScores, side: _Side, asset: str, between: tuple[int, int]
) -> list[AlertEvent]:
    """Find the events that begin in the period."""
    line = scores.timeline_of(asset)
    first, end = max(between[0], line.start_us), min(between[1], line.end_us)
    if first >= end:
        return []
    return [
        event
        for trace in EventTraces(scores, side.detector, asset).read([(first, end)])
        for event in find_trace_events(
            side.detector, trace.scores, asset=asset, model_name=side.model.model_name
        )
        if first <= event.start_us < end
    ]


def _split(
    ours: list[AlertEvent], theirs: list[AlertEvent]
) -> tuple[list[AlertEvent], list[AlertEvent], list[AlertEvent]]:
    """Split events of an asset by overlap: of both, of the first only, of the second only."""
    ours = sorted(ours, key=lambda event: event.start_us)
    theirs = sorted(theirs, key=lambda event: event.start_us)
    is_shared = count_overlaps(make_intervals(ours), make_intervals(theirs)) > 0
    has_match = count_overlaps(make_intervals(theirs), make_intervals(ours)) > 0
    return (
        [event for event, there in zip(ours, is_shared, strict=True) if there],
        [event for event, there in zip(ours, is_shared, strict=True) if not there],
        [event for event, there in zip(theirs, has_match, strict=True) if not there],
    )
