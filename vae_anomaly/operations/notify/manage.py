"""What an operator does with the outbox: look, test a channel, put messages in line again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from vae_anomaly.config import PipelineConfig
from vae_anomaly.errors import NotifyError
from vae_anomaly.operations.notify.channels import Answer, OutgoingMessage, open_channel
from vae_anomaly.operations.notify.deliver import find_report
from vae_anomaly.operations.notify.enqueue import ENQUEUE, read_clock
from vae_anomaly.operations.notify.outbox import Entry, Outbox, Status, make_key
from vae_anomaly.operations.notify.text import SAMPLE_EVENT, write_text, write_title
from vae_anomaly.readings.lock import hold_lock
from vae_anomaly.wording import ask_nearest

AGAIN = (Status.FAILED, Status.EXPIRED)
"""Statuses from which a row can be put in line again."""


@dataclass(frozen=True)
class ChannelCheck:
    """Whether a channel could send.

    Attributes:
        name: The channel.
        problem: What is wrong with it, "" where nothing is.
    """

    name: str
    problem: str


def check_channels(config: PipelineConfig) -> tuple[ChannelCheck, ...]:
    """Look whether each channel has what it needs to send; nothing is sent.

    Args:
        config: The pipeline.
    """
    checks = []
    for name, settings in config.notify.channels.items():
        problem = ""
        try:
            open_channel(name, settings)
        except NotifyError as error:
            problem = str(error)
        checks.append(ChannelCheck(name, problem))
    return tuple(checks)


def list_messages(config: PipelineConfig) -> tuple[Entry, ...]:
    """List the outbox in order of creation.

    Args:
        config: The pipeline.

    Raises:
        TableError: The table cannot be read.
    """
    return Outbox(config.lake.root).read()


def send_test(
    config: PipelineConfig, name: str, *, clock: Callable[[], int] = read_clock
) -> Answer:
    """Send a test message through a channel, now; nothing is written to the outbox.

    Args:
        config: The pipeline.
        name: The channel.
        clock: Returns the time, microseconds since 1970.

    Returns:
        What the receiver answered.

    Raises:
        NotifyError: There is no such channel, or it cannot send.
    """
    settings = config.notify.channels.get(name)
    if settings is None:
        known = config.notify.channels
        there = ", ".join(map(repr, known)) or "none"
        raise NotifyError(
            f"Cannot test channel '{name}': expected one of the settings, got another name; there "
            f"is {there}{ask_nearest(name, known).rstrip('?')}. Add [notify.channels.{name}]."
        )
    channel, now_us, report = open_channel(name, settings), clock(), find_report(config)
    message = OutgoingMessage(
        key=make_key("test", name, now_us),
        channel=name,
        title=write_title([SAMPLE_EVENT]),
        text=write_text([SAMPLE_EVENT], settings, report=report),
        events=[SAMPLE_EVENT],
        report=report,
    )
    return channel.send(message, now_us=now_us)


def retry_messages(
    config: PipelineConfig, *, key: str = "", clock: Callable[[], int] = read_clock
) -> tuple[Entry, ...]:
    """Put messages in line again; they go out with the next delivery, under their old key.

    Args:
        config: The pipeline.
        key: Key of a failed or expired row, or its beginning; empty for all failed ones.
        clock: Returns the time, microseconds since 1970.

    Returns:
        The rows that wait again.

    Raises:
        NotifyError: There is no such row, or it cannot be put in line again.
        TableError: The lake cannot be read or written.
    """
    outbox = Outbox(config.lake.root)
    with hold_lock(config.lake.root, ENQUEUE):
        rows = outbox.read()
        chosen = _choose(rows, key) if key else [row for row in rows if row.status == "failed"]
        messages = {row.message for row in chosen if row.message}
        chosen += [
            row
            for row in rows
            if row.message in messages and row.status == Status.FAILED and row not in chosen
        ]
        now_us = clock()
        again = [_put_in_line(row, now_us=now_us) for row in chosen]
        outbox.write(again)
    return tuple(again)


def _choose(rows: Sequence[Entry], key: str) -> list[Entry]:
    found = [row for row in rows if row.key.startswith(key)]
    if len(found) != 1:
        raise NotifyError(
            f"Cannot send '{key}' again: expected the key of one row of the outbox, got that of "
            f"{len(found) or 'none'}. See 'vae-anomaly notify list' for the keys."
        )
    if found[0].status not in AGAIN:
        raise NotifyError(
            f"Cannot send '{found[0].key}' again: expected a row that failed or expired, got one "
            f"that is {found[0].status}. Nothing needs to be done."
        )
    return found


def _put_in_line(row: Entry, *, now_us: int) -> Entry:
    return replace(
        row,
        status=Status.PENDING,
        reason="",
        due_us=now_us,
        hold_us=None,
        tries=0,
        sealed_us=now_us if row.message else None,
    )
