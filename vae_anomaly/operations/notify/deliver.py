"""Emptying the outbox: each message at least once, its outcome written after the answer."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from vae_anomaly.config import ChannelConfig, PipelineConfig
from vae_anomaly.errors import NotifyError
from vae_anomaly.operations.notify.backoff import find_delay_us
from vae_anomaly.operations.notify.book import US_PER_H
from vae_anomaly.operations.notify.channels import (
    Answer,
    Channel,
    OutgoingMessage,
    open_channel,
)
from vae_anomaly.operations.notify.enqueue import ENQUEUE, enqueue_messages, read_clock
from vae_anomaly.operations.notify.events import SEVERITIES
from vae_anomaly.operations.notify.messages import seal_messages
from vae_anomaly.operations.notify.outbox import Arrived, Attempt, Entry, Outbox, Status
from vae_anomaly.operations.notify.text import write_text, write_title
from vae_anomaly.readings.lock import hold_lock

DELIVER = "notify"
"""Lock of the one process that delivers."""

WAIT_S = 60.0
"""Seconds to wait for another that does."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class NotifyResult:
    """What one delivery did.

    Attributes:
        num_enqueued: Rows of the outbox that are new.
        num_expired: Rows of alert events that were over too long ago to be told.
        num_sent: Messages that their receivers took.
        num_failed: Messages that were given up.
        num_again: Messages that are tried again later.
        num_waiting: Rows that still wait to be sent, those of `num_again` included.
        problems: Channels that cannot send, and why.
    """

    num_enqueued: int = 0
    num_expired: int = 0
    num_sent: int = 0
    num_failed: int = 0
    num_again: int = 0
    num_waiting: int = 0
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Line:
    """One channel, ready to send."""

    name: str
    settings: ChannelConfig
    channel: Channel
    outbox: Outbox
    config: PipelineConfig
    clock: Callable[[], int]

    @property
    def root(self) -> str:
        return self.config.lake.root


def deliver_messages(
    config: PipelineConfig, *, clock: Callable[[], int] = read_clock
) -> NotifyResult:
    """Bring the outbox in line with the alert events, and send what is due.

    A message is sent again until its receiver answers, always with the same key. One that was
    sent by a process that was killed before it could write that down is sent again too: who
    receives can tell by the key. A receiver that cannot be reached does not keep the others
    waiting.

    Args:
        config: The pipeline.
        clock: Returns the time, microseconds since 1970.

    Returns:
        What was done.

    Raises:
        TableError: The lake cannot be read or written, or another process is delivering.
    """
    enqueued = enqueue_messages(config, now_us=clock())
    if not config.notify.channels:
        return NotifyResult()
    outbox, counts, problems = Outbox(config.lake.root), Counter[Status](), []
    with hold_lock(config.lake.root, DELIVER, wait_s=WAIT_S):
        for name, settings in config.notify.channels.items():
            try:
                channel = open_channel(name, settings)
            except NotifyError as error:
                problems.append(str(error))
                continue
            counts += _empty(_Line(name, settings, channel, outbox, config, clock))
        waiting = outbox.read(statuses=[Status.PENDING])
    return NotifyResult(
        num_enqueued=enqueued.num_new,
        num_expired=enqueued.num_expired,
        num_sent=counts[Status.SENT],
        num_failed=counts[Status.FAILED],
        num_again=counts[Status.PENDING],
        num_waiting=len(waiting),
        problems=tuple(problems),
    )


def make_message(
    entries: Sequence[Entry], settings: ChannelConfig, *, report: str
) -> OutgoingMessage:
    """Put rows of the outbox into the words of one message.

    Args:
        entries: Rows of one message.
        settings: Settings of its channel.
        report: Where the report is.
    """
    events = [json.loads(entry.payload) for entry in sorted(entries, key=lambda row: row.key)]
    return OutgoingMessage(
        key=entries[0].message,
        channel=entries[0].channel,
        title=write_title(events),
        text=write_text(events, settings, report=report),
        events=events,
        report=report,
    )


def find_report(config: PipelineConfig) -> str:
    """Return where people find the report."""
    return config.notify.report_link or config.report


def _empty(line: _Line) -> Counter[Status]:
    """Send what is due on one channel, until its receiver has trouble; count messages."""
    counts = Counter[Status]()
    now_us = line.clock()
    messages: dict[str, list[Entry]] = {}
    for entry in _seal(line, now_us=now_us):
        messages.setdefault(entry.message, []).append(entry)
    if any((row.hold_us or 0) > now_us for rows in messages.values() for row in rows):
        return counts  # the receiver asked for time
    first = _find_first(row for rows in messages.values() for row in rows)
    for rows in messages.values():
        is_early = max(row.due_us for row in rows) > now_us
        if is_early or any(row.position > first[row.alert_id] for row in rows):
            continue
        message = make_message(rows, line.settings, report=find_report(line.config))
        sent_us = line.clock()
        answer = line.channel.send(message, now_us=sent_us)
        done = [_conclude(row, answer, line, now_us=sent_us) for row in rows]
        _write(line, done)
        counts[Status(done[0].status)] += 1
        logger.info("message %s on '%s': %s", message.key, line.name, answer.text)
        if done[0].status == Status.PENDING:
            break  # the others would fare no better now
    return counts


def _find_first(rows: Iterable[Entry]) -> dict[str, tuple[int, bool]]:
    """Find what comes first of each alert event: that it is back must not overtake its end."""
    first: dict[str, tuple[int, bool]] = {}
    for row in rows:
        first[row.alert_id] = min(row.position, first.get(row.alert_id, row.position))
    return first


def _seal(line: _Line, *, now_us: int) -> list[Entry]:
    """Settle what is in which message; return all rows of messages that are not through."""
    with hold_lock(line.root, ENQUEUE):
        rows = line.outbox.read_channel(line.name, sealed_since_us=now_us - US_PER_H)
        sealed, _ = seal_messages(rows, line.settings, now_us=now_us)
        line.outbox.write(sealed)
    merged = {row.key: row for row in (*rows, *sealed)}
    waiting = [row for row in merged.values() if row.status == Status.PENDING and row.message]
    return sorted(waiting, key=_rank)


def _rank(row: Entry) -> tuple[int, int, int, str]:
    """Order rows for sending: what was tried least, then the most severe, then the oldest.

    One that never gets through must not hold up the others, since a failure ends the round.
    """
    return row.tries, -SEVERITIES.index(row.severity), row.sealed_us or 0, row.key


def _write(line: _Line, rows: Sequence[Entry]) -> None:
    with hold_lock(line.root, ENQUEUE):
        line.outbox.write(rows)


def _conclude(row: Entry, answer: Answer, line: _Line, *, now_us: int) -> Entry:
    """Return a row as it stands after a try."""
    attempt = Attempt(now_us, answer.arrived, answer.text)
    attempts = (*row.attempts, attempt)
    done = replace(
        row, tries=row.tries + 1, attempts=attempts, hold_us=None, arrived=_have_arrived(attempts)
    )
    if answer.arrived == Arrived.YES:
        return replace(done, status=Status.SENT, last_error="")
    done = replace(done, last_error=answer.text)
    give_up_us = (row.sealed_us or now_us) + int(line.config.notify.give_up_h * US_PER_H)
    if answer.is_final or now_us >= give_up_us:
        why = "the receiver refused it" if answer.is_final else "given up (notify.give_up_h)"
        return replace(done, status=Status.FAILED, reason=why)
    delay_us = find_delay_us(row.message, tries=done.tries, retry_after_s=answer.retry_after_s)
    hold_us = now_us + delay_us if answer.retry_after_s is not None else None
    return replace(done, due_us=now_us + delay_us, hold_us=hold_us)


def _have_arrived(attempts: Sequence[Attempt]) -> Arrived:
    found = {attempt.arrived for attempt in attempts}
    for kind in (Arrived.YES, Arrived.UNKNOWN):
        if kind in found:
            return kind
    return Arrived.NO
