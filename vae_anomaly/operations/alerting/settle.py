"""Status, silence and groups of alert events brought in line with all that is known.

What the table says depends on the events that the scores bear out, on how far they were scored,
on what people decided, and on windows, labels and settings: not on the order in which these came.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from vae_anomaly.config import PipelineConfig
from vae_anomaly.domain import MICROSECONDS_PER_S
from vae_anomaly.operations.alerting.calendars import sync_calendars
from vae_anomaly.operations.alerting.ended import find_ended
from vae_anomaly.operations.alerting.entries import read_entries
from vae_anomaly.operations.alerting.events import (
    Change,
    Event,
    append_changes,
    list_last,
    read_changes,
    read_events,
    write_settled,
)
from vae_anomaly.operations.alerting.overlaps import Overlaps
from vae_anomaly.operations.alerting.silence import find_groups, find_mutes
from vae_anomaly.operations.alerting.states import (
    DISMISSED,
    OPEN,
    RESOLVED,
    SUPERSEDED,
    SYSTEM,
    find_status,
)
from vae_anomaly.operations.pipeline_alerts import LOCK
from vae_anomaly.readings.lock import hold_lock
from vae_anomaly.readings.tables import Lake

REASONS = {
    OPEN: "the scores show it",
    RESOLVED: "the scores show that it is over",
    SUPERSEDED: "later scores do not bear it out",
}


def settle_alerts(config: PipelineConfig) -> int:
    """Bring status, mute and group of all alert events in line with all that is known.

    Changes of status go to the history first, then to the table: what was broken off between is
    put right by the next call.

    Args:
        config: The pipeline.

    Returns:
        How many alerts changed.

    Raises:
        AlertingError: A calendar cannot be read.
        TableError: The lake cannot be read or written.
    """
    with hold_lock(config.lake.root, LOCK):
        return settle_held(config)


def settle_held(config: PipelineConfig) -> int:
    """Do what `settle_alerts` does, where the lock is held already."""
    lake, model_name = Lake(config.lake.root), config.registry.model_name
    sync_calendars(lake, config.alerting)
    events = read_events(lake, model_name=model_name)
    if not events:
        return 0
    history = [one for one in read_changes(lake) if one.model_name == model_name]
    decided = _find_decisions(events, history)
    statuses = _find_statuses(lake, events, decided, config=config)
    append_changes(lake, _list_changes(events, statuses, decided, last=list_last(history)))
    settled = _settle_silence(lake, events, statuses, config=config)
    changed = {one.alert_id: one for one, was in zip(settled, events, strict=True) if one != was}
    write_settled(lake, changed)
    return len(changed)


def _find_decisions(events: Sequence[Event], history: Sequence[Change]) -> dict[str, Change]:
    """Find what people decided last on each live event, or on one of before that overlaps it."""
    decisions = Overlaps(change for change in history if change.is_decision)
    found = {}
    for event in events:
        on_it = decisions.find(event.asset, event.start_us, event.end_us)
        if event.is_live and on_it:
            found[event.alert_id] = max(
                on_it, key=lambda one: (one.at_us, one.alert_id, one.number)
            )
    return found


def _find_statuses(
    lake: Lake, events: Sequence[Event], decided: Mapping[str, Change], *, config: PipelineConfig
) -> dict[str, str]:
    decision_of = {alert_id: change.status for alert_id, change in decided.items()}
    in_question = [
        event for event in events if event.is_live and decision_of.get(event.alert_id) != DISMISSED
    ]
    ended = find_ended(lake, in_question, config=config)
    return {
        event.alert_id: find_status(
            is_live=event.is_live,
            has_ended=event.alert_id in ended,
            decision=decision_of.get(event.alert_id, ""),
        )
        for event in events
    }


def _list_changes(
    events: Sequence[Event],
    statuses: Mapping[str, str],
    decided: Mapping[str, Change],
    *,
    last: Mapping[str, Change],
) -> list[Change]:
    """List what the history lacks: of a new event that it was opened, then what it is now."""
    changes = []
    for event in events:
        known, status = last.get(event.alert_id), statuses[event.alert_id]
        number = known.number if known else 0
        if known is None:
            number += 1
            changes.append(_change_by_data(event, number, OPEN, at_us=event.start_us))
        if status == (known.status if known else OPEN):
            continue
        decision = decided.get(event.alert_id)
        if decision is not None and decision.status == status:
            changes.append(_carry_over(event, number + 1, decision))
        else:
            changes.append(_change_by_data(event, number + 1, status, at_us=event.end_us))
    return changes


def _change_by_data(event: Event, number: int, status: str, *, at_us: int) -> Change:
    return Change.of(event, number, status, at_us=at_us, by=SYSTEM, reason=REASONS[status])


def _carry_over(event: Event, number: int, decision: Change) -> Change:
    said = f" ({decision.reason})" if decision.reason else ""
    reason = f"{decision.by} decided so on alert {decision.alert_id}{said}"
    return Change.of(
        event, number, decision.status, at_us=decision.at_us, by=SYSTEM, reason=reason
    )


def _settle_silence(
    lake: Lake, events: Sequence[Event], statuses: Mapping[str, str], *, config: PipelineConfig
) -> list[Event]:
    live = [event for event in events if event.is_live]
    settings = config.alerting
    mutes = find_mutes(
        live,
        windows=read_entries(lake, "maintenance").values(),
        labels=read_entries(lake, "labels").values(),
        cooldown_us=round(settings.cooldown_s * MICROSECONDS_PER_S),
    )
    groups = find_groups(live, group_us=round(settings.group_s * MICROSECONDS_PER_S))
    return [
        replace(
            event,
            status=statuses[event.alert_id],
            mute=mutes.get(event.alert_id, ""),
            group_id=groups.get(event.alert_id, ""),
        )
        for event in events
    ]
