"""What people make of alerts: they acknowledge, dismiss, reopen and label them."""

from __future__ import annotations

from dataclasses import dataclass

from vae_anomaly.config import PipelineConfig
from vae_anomaly.errors import AlertingError
from vae_anomaly.operations.alerting.entries import Entry, add_entries, withdraw_entries
from vae_anomaly.operations.alerting.events import (
    Change,
    Event,
    append_changes,
    find_event,
    list_last,
    read_changes,
)
from vae_anomaly.operations.alerting.settle import settle_held
from vae_anomaly.operations.alerting.silence import KINDS
from vae_anomaly.operations.alerting.states import SYSTEM, check_transition
from vae_anomaly.operations.alerting.times import now_us
from vae_anomaly.operations.pipeline_alerts import LOCK
from vae_anomaly.readings.lock import hold_lock
from vae_anomaly.readings.tables import Lake

NO_LABEL = "none"
"""Asked for instead of a kind, it takes the label back."""


@dataclass(frozen=True)
class Deed:
    """Who does something, why and when.

    Attributes:
        by: The person.
        reason: Why; may be empty.
        at_us: When, microseconds since 1970; None for now.
    """

    by: str
    reason: str = ""
    at_us: int | None = None

    def __post_init__(self) -> None:
        if not self.by.strip() or self.by.strip() == SYSTEM:
            raise AlertingError(
                f"Cannot change an alert as '{self.by}': expected the name of a person, got "
                f"{'none' if not self.by.strip() else 'the one of the program'}. Give one with "
                "--by."
            )

    @property
    def time_us(self) -> int:
        """When, microseconds since 1970."""
        return now_us() if self.at_us is None else self.at_us


def decide(config: PipelineConfig, alert_id: str, status: str, *, deed: Deed) -> Event:
    """Acknowledge, dismiss or reopen an alert.

    Args:
        config: The pipeline.
        alert_id: The alert, or the beginning of its id.
        status: `acknowledged`, `dismissed`, or `open` to take either back.
        deed: Who, why, when.

    Returns:
        The alert as it is then; one that has ended stays resolved when it is acknowledged.

    Raises:
        AlertingError: There is no such alert, or it cannot become that.
        TableError: The lake cannot be read or written.
    """
    lake, model_name = Lake(config.lake.root), config.registry.model_name
    with hold_lock(lake.root, LOCK):
        settle_held(config)  # what was broken off is put right first
        event = find_event(lake, alert_id, model_name=model_name)
        check_transition(event.alert_id, event.status, status)
        number = list_last(read_changes(lake))[event.alert_id].number + 1
        change = Change.of(
            event, number, status, at_us=deed.time_us, by=deed.by.strip(), reason=deed.reason
        )
        append_changes(lake, [change])
        settle_held(config)
        return find_event(lake, event.alert_id, model_name=model_name)


def label_alert(config: PipelineConfig, alert_id: str, kind: str, *, deed: Deed) -> Event:
    """Say what the span of an alert really was; it replaces what was said of it before.

    Args:
        config: The pipeline.
        alert_id: The alert, or the beginning of its id.
        kind: `anomaly`, `normal`, or `none` to take the label back.
        deed: Who, why, when.

    Returns:
        The alert as it is then.

    Raises:
        AlertingError: There is no such alert or kind.
        TableError: The lake cannot be read or written.
    """
    if kind not in (*KINDS, NO_LABEL):
        raise AlertingError(
            f"Cannot label alert '{alert_id}': expected {', '.join(KINDS)} or {NO_LABEL}, got "
            f"'{kind}'."
        )
    lake, model_name = Lake(config.lake.root), config.registry.model_name
    with hold_lock(lake.root, LOCK):
        event = find_event(lake, alert_id, model_name=model_name)
        entry = Entry(event.asset, event.start_us, event.end_us, deed.by, deed.reason, kind)
        if kind == NO_LABEL:
            withdraw_entries(
                lake,
                "labels",
                [entry.id_in("labels")],
                by=deed.by,
                reason=deed.reason,
                at_us=deed.time_us,
            )
        else:
            add_entries(lake, "labels", [entry], at_us=deed.time_us)
        settle_held(config)
        return find_event(lake, event.alert_id, model_name=model_name)
