"""What one channel was told of each alert event, and what it is to be told next."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import final

from vae_anomaly.config import ChannelConfig
from vae_anomaly.domain import MICROSECONDS_PER_DAY, MICROSECONDS_PER_S
from vae_anomaly.operations.notify.events import (
    ENDS,
    OPEN,
    RESOLVED,
    SEVERITIES,
    SUPERSEDED,
    AlertState,
    make_payload,
)
from vae_anomaly.operations.notify.outbox import OPENED, Arrived, Entry, Status, make_key

US_PER_H = 3_600 * MICROSECONDS_PER_S
PERIODS_US = {"hourly": US_PER_H, "daily": MICROSECONDS_PER_DAY}


@final
class ChannelBook:
    """The rows of one channel, and how they follow from alert events.

    An event is told as opened, then perhaps as ended; if it comes back after that, the next
    round begins. Late readings may give an event another start, and so another id: the old one
    is superseded, and one that overlaps it is there. Where people may know of the old one, the
    other goes on in its thread and is not told again.
    """

    def __init__(
        self, name: str, channel: ChannelConfig, entries: Iterable[Entry], *, max_age_h: float
    ) -> None:
        self._name = name
        self._channel = channel
        self._max_age_us = int(max_age_h * US_PER_H)
        self._entries = {entry.key: entry for entry in entries}
        self._heads: dict[str, Entry] = {}
        for entry in sorted(self._entries.values(), key=lambda item: item.position):
            if not (entry.is_end and entry.status == Status.CANCELLED):
                self._heads[entry.alert_id] = entry

    def update(self, alerts: Sequence[AlertState], *, now_us: int) -> list[Entry]:
        """Compare with the alert events there are.

        Args:
            alerts: The alert events, superseded ones included, in order of time.
            now_us: The time, microseconds since 1970.

        Returns:
            New and changed rows.
        """
        live = _by_asset(alert for alert in alerts if alert.status != SUPERSEDED)
        successors = {
            alert.alert_id: _find_overlapping(live.get(alert.asset, []), alert)
            for alert in alerts
            if alert.status == SUPERSEDED and alert.alert_id in self._heads
        }
        changed = list(self._join(alerts, successors, now_us=now_us))
        self._heads |= {entry.alert_id: entry for entry in changed}
        for alert in alerts:
            goes_on = bool(successors.get(alert.alert_id))
            changed += self._decide(alert, goes_on=goes_on, now_us=now_us)
        return changed

    def _join(
        self,
        alerts: Sequence[AlertState],
        successors: dict[str, list[AlertState]],
        *,
        now_us: int,
    ) -> Iterator[Entry]:
        """Let events that go on with one that people know of stand in its thread."""
        joined = set()
        for alert in alerts:
            head = self._heads.get(alert.alert_id)
            if head is None or head.is_end or not head.may_be_told:
                continue
            for successor in successors.get(alert.alert_id, []):
                known = self._heads.get(successor.alert_id)
                is_new = known is None or known.status in {Status.EXPIRED, Status.CANCELLED}
                if is_new and successor.alert_id not in joined:
                    joined.add(successor.alert_id)
                    entry = self._make(successor, OPENED, now_us=now_us, thread=head.thread)
                    reason = f"goes on with {alert.alert_id}, which was told"
                    yield replace(entry, status=Status.SKIPPED, reason=reason)

    def _decide(self, alert: AlertState, *, goes_on: bool, now_us: int) -> list[Entry]:
        head = self._heads.get(alert.alert_id)
        waiting = [] if head is None or head.status != Status.PENDING else [head]
        if alert.mute:
            return [_cancel(item, "muted") for item in waiting]
        # one that was over before anybody looked is told of, too: files come by the hour or day
        if alert.status == OPEN or (alert.status == RESOLVED and head is None):
            if self._wants(alert):
                return self._decide_open(alert, head, now_us=now_us)
            return [_cancel(item, "no longer asked for") for item in waiting if not item.is_end]
        if head is None or head.is_end:
            return []
        return self._decide_over(alert, head, goes_on=goes_on, now_us=now_us)

    def _decide_over(
        self, alert: AlertState, head: Entry, *, goes_on: bool, now_us: int
    ) -> list[Entry]:
        is_waiting = head.status == Status.PENDING
        cancelled = [_cancel(head, alert.status)] if is_waiting else []
        if alert.status not in ENDS:  # acknowledged: somebody is at it
            return cancelled
        if alert.status == RESOLVED and is_waiting:  # it is told all the same, and then its end
            return []
        if goes_on:  # in another event, which is told where this one was not
            return [] if head.may_be_told else cancelled
        if head.may_be_told:
            return [*cancelled, self._make_end(alert, head, now_us=now_us)]
        return cancelled

    def _decide_open(self, alert: AlertState, head: Entry | None, *, now_us: int) -> list[Entry]:
        if head is None:
            return self._open(alert, round_=1, now_us=now_us)
        is_unsettled = head.status == Status.PENDING and not head.message
        if head.is_end:
            if head.status == Status.PENDING and head.arrived == Arrived.NO:
                return [_cancel(head, "the alert event was there again")]
            return self._open(alert, round_=head.round + 1, now_us=now_us)
        if head.status in {Status.EXPIRED, Status.CANCELLED}:
            is_fresh = self._is_fresh(alert, now_us=now_us)
            return self._open(alert, round_=head.round, now_us=now_us) if is_fresh else []
        payload = make_payload(alert, thread=head.thread) if is_unsettled else ""
        if is_unsettled and head.payload != payload:
            return [
                replace(
                    head,
                    payload=payload,
                    severity=alert.severity,
                    group_id=alert.group_id,
                )
            ]
        return []

    def _open(self, alert: AlertState, *, round_: int, now_us: int) -> list[Entry]:
        entry = self._make(alert, OPENED, now_us=now_us, round_=round_)
        if self._is_fresh(alert, now_us=now_us):
            return [entry]
        hours = self._max_age_us / US_PER_H
        reason = f"ended more than {hours:g} h before it was seen (notify.max_age_h)"
        return [replace(entry, status=Status.EXPIRED, reason=reason)]

    def _is_fresh(self, alert: AlertState, *, now_us: int) -> bool:
        return not self._max_age_us or alert.end_us >= now_us - self._max_age_us

    def _make_end(self, alert: AlertState, head: Entry, *, now_us: int) -> Entry:
        entry = self._make(
            alert, alert.status, now_us=now_us, round_=head.round, thread=head.thread
        )
        reason = ""
        if alert.status not in self._channel.what:
            reason = "the channel does not ask for it"
        elif alert.status == SUPERSEDED and not self._is_fresh(alert, now_us=now_us):
            reason = "of an event that was over long ago (notify.max_age_h)"  # as of a rescoring
        return replace(entry, status=Status.SKIPPED, reason=reason) if reason else entry

    def _make(
        self, alert: AlertState, what: str, *, now_us: int, round_: int = 1, thread: str = ""
    ) -> Entry:
        """Make a row that waits to be sent; one of its key that was there is put in line again."""
        key = make_key(self._name, alert.alert_id, what, round_)
        period_us = PERIODS_US.get(self._channel.digest, 0)
        due_us = (now_us // period_us + 1) * period_us if period_us else now_us
        thread = thread or alert.alert_id
        entry = Entry(
            key=key,
            channel=self._name,
            alert_id=alert.alert_id,
            what=what,
            round=round_,
            thread=thread,
            asset=alert.asset,
            group_id=alert.group_id,
            severity=alert.severity,
            status=Status.PENDING,
            reason="",
            created_us=now_us,
            due_us=due_us,
            payload=make_payload(alert, what=what, thread=thread),
        )
        before = self._entries.get(key)
        if before is None:
            return entry
        # Alone it goes out under its own key again. The key of a message that others were in is
        # used up: a receiver that has it would take the next for the same.
        message = before.message if before.message == key else ""
        return replace(
            entry,
            created_us=before.created_us,
            attempts=before.attempts,
            arrived=before.arrived,
            message=message,
            sealed_us=now_us if message else None,
        )

    def _wants(self, alert: AlertState) -> bool:
        least = SEVERITIES.index(self._channel.min_severity)
        if SEVERITIES.index(alert.severity) < least:
            return False
        patterns = self._channel.assets
        return not patterns or any(fnmatchcase(alert.asset, pattern) for pattern in patterns)


def _cancel(entry: Entry, reason: str) -> Entry:
    return replace(entry, status=Status.CANCELLED, reason=f"{reason} before it was sent")


def _by_asset(alerts: Iterable[AlertState]) -> dict[str, list[AlertState]]:
    found: dict[str, list[AlertState]] = {}
    for alert in alerts:
        found.setdefault(alert.asset, []).append(alert)
    return found


def _find_overlapping(live: Sequence[AlertState], alert: AlertState) -> list[AlertState]:
    """Find events, in order of time and apart from one another, that overlap another one."""
    found = []
    for k in range(bisect_left(live, alert.end_us, key=lambda item: item.start_us) - 1, -1, -1):
        if live[k].end_us <= alert.start_us:
            break
        found.append(live[k])
    return found[::-1]
