"""Which events are over, by the steps that were scored after them."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow.compute as pc

from vae_anomaly.config import PipelineConfig
from vae_anomaly.domain import MICROSECONDS_PER_S
from vae_anomaly.operations.alerting.events import Event
from vae_anomaly.operations.pipeline_live import read_live_periods
from vae_anomaly.operations.pipeline_scored import PinnedScores
from vae_anomaly.operations.pipeline_tables import to_microseconds
from vae_anomaly.readings.rows import EARLIEST_US, LATEST_US
from vae_anomaly.readings.tables import Lake

FIRST_LOOK_STEPS = 1_000
"""Scores that are read first to find the last that there is; then more and more."""


def find_ended(lake: Lake, events: Iterable[Event], *, config: PipelineConfig) -> set[str]:
    """Find the events after which a step was scored that is too late to be merged with them.

    Rows without a score say nothing: an event is not over because a sensor died in it.

    Args:
        lake: The lake.
        events: The events.
        config: Says how far apart flags are merged.

    Returns:
        Their ids.

    Raises:
        TableError: The scores cannot be read.
    """
    contract = lake.read_contract()
    if contract is None:
        return set()
    period_us = round(contract.period_s * MICROSECONDS_PER_S)
    merge_us = config.detector.alerts.merge_steps * period_us
    by_asset: dict[tuple[str, str], list[Event]] = {}
    for event in events:
        by_asset.setdefault((event.model_name, event.asset), []).append(event)
    sources: dict[str, list[PinnedScores]] = {}
    ended = set()
    for (name, asset), mine in by_asset.items():
        if name not in sources:
            sources[name] = _open_scores(lake, name, {event.model_version for event in mine})
        over_after = {event.alert_id: event.end_us - period_us + merge_us for event in mine}
        last_us = after_us = min(over_after.values())
        for scores in sources[name]:
            last_us = _find_last_scored(scores, asset, after_us=after_us, period_us=period_us)
            if last_us > after_us:
                break
        ended |= {alert_id for alert_id, over_us in over_after.items() if last_us > over_us}
    return ended


def _open_scores(lake: Lake, model_name: str, versions: set[str]) -> list[PinnedScores]:
    """Open the scores that speak for a time, those of the last time first.

    After a new champion, the end of an event of the version before is in the scores of the new.
    """
    periods = read_live_periods(lake, model_name=model_name)
    spoken = [(period.model_version, period.bounds) for period in reversed(periods)]
    if not spoken:
        spoken = [(version, (EARLIEST_US, LATEST_US)) for version in sorted(versions)]
    return [
        PinnedScores(lake, model_name=model_name, model_version=version, between=bounds)
        for version, bounds in spoken
    ]


def _find_last_scored(scores: PinnedScores, asset: str, *, after_us: int, period_us: int) -> int:
    """Find the last step with a score, `after_us` where none is later.

    Args:
        scores: Scores of the model version.
        asset: The asset.
        after_us: What is not later does not matter.
        period_us: Microseconds between steps.
    """
    until_us = scores.timeline_of(asset).end_us
    steps = FIRST_LOOK_STEPS
    while until_us > after_us + 1:
        from_us = max(until_us - steps * period_us, after_us + 1)
        table = scores.read(asset, start_us=from_us, end_us=until_us, columns=("score",))
        times = to_microseconds(table.filter(pc.is_valid(table["score"])))
        if times.size:
            return int(times[-1])
        until_us, steps = from_us, steps * 4
    return after_us
