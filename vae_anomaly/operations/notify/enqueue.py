"""From alert events to rows of the outbox: who is to be told what, decided once."""

from __future__ import annotations

import time
from dataclasses import dataclass

from vae_anomaly.config import PipelineConfig
from vae_anomaly.operations.notify.book import ChannelBook
from vae_anomaly.operations.notify.events import read_alert_states
from vae_anomaly.operations.notify.outbox import Entry, Outbox, Status
from vae_anomaly.readings.lock import hold_lock
from vae_anomaly.readings.tables import Lake

ENQUEUE = "enqueue"
"""Lock that is held from reading the outbox to writing it."""


@dataclass(frozen=True)
class EnqueueResult:
    """What one look at the alert events came to.

    Attributes:
        num_new: Rows that are to be sent now.
        num_expired: Rows of alert events that were over too long ago to be told.
        num_cancelled: Rows that are no longer to be sent.
    """

    num_new: int = 0
    num_expired: int = 0
    num_cancelled: int = 0


def read_clock() -> int:
    """Return the time, microseconds since 1970, UTC."""
    return time.time_ns() // 1_000


def enqueue_messages(config: PipelineConfig, *, now_us: int | None = None) -> EnqueueResult:
    """Bring the outbox in line with the alert events; sends nothing.

    It compares what channels were told with what there is. So it may run as often as one likes,
    after a scoring that was broken off too: each happening gets one row per channel.

    Args:
        config: The pipeline.
        now_us: The time, microseconds since 1970; None for now.

    Returns:
        What was enqueued; nothing without channels.

    Raises:
        TableError: The lake cannot be read or written.
    """
    if not config.notify.channels:
        return EnqueueResult()
    lake = Lake(config.lake.root)
    outbox = Outbox(lake.root)
    with hold_lock(lake.root, ENQUEUE):
        now_us = read_clock() if now_us is None else now_us
        alerts = read_alert_states(lake, model_name=config.registry.model_name)
        known = outbox.read() if alerts else ()
        changed: list[Entry] = []
        for name, channel in config.notify.channels.items():
            mine = [entry for entry in known if entry.channel == name]
            book = ChannelBook(name, channel, mine, max_age_h=config.notify.max_age_h)
            changed += book.update(alerts, now_us=now_us)
        outbox.write(changed)
    return _count(changed, {entry.key: entry.status for entry in known})


def _count(changed: list[Entry], before: dict[str, str]) -> EnqueueResult:
    moved = [entry for entry in changed if before.get(entry.key) != entry.status]
    counts = {status: sum(entry.status == status for entry in moved) for status in Status}
    return EnqueueResult(
        num_new=counts[Status.PENDING],
        num_expired=counts[Status.EXPIRED],
        num_cancelled=counts[Status.CANCELLED],
    )
