"""Which rows of the outbox go out together, in one message."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vae_anomaly.config import ChannelConfig
from vae_anomaly.operations.notify.book import US_PER_H
from vae_anomaly.operations.notify.events import SEVERITIES
from vae_anomaly.operations.notify.outbox import Arrived, Entry, Status, make_key


def seal_messages(
    entries: Sequence[Entry], channel: ChannelConfig, *, now_us: int
) -> tuple[list[Entry], int]:
    """Settle which due rows make up which message, before any of it is sent.

    It is written down first, so that a message that is sent again after a kill has the same rows
    and the same key, whatever was enqueued in between.

    Args:
        entries: The rows of one channel, of all statuses.
        channel: Its settings.
        now_us: The time, microseconds since 1970.

    Returns:
        The rows that have a message now, and how many wait since the hour has had its messages.
    """
    due = [
        entry
        for entry in entries
        if entry.status == Status.PENDING and not entry.message and entry.due_us <= now_us
    ]
    due.sort(key=lambda entry: (-SEVERITIES.index(entry.severity), entry.created_us, entry.key))
    bundles = _join_excess(_bundle(due, channel), entries, channel, now_us=now_us)
    sealed = [
        replace(entry, message=key, sealed_us=now_us, tries=0, arrived=Arrived.UNKNOWN)
        for key, bundle in ((_name_message(bundle), bundle) for bundle in bundles)
        for entry in bundle
    ]
    return sealed, len(due) - len(sealed)


def _bundle(due: Sequence[Entry], channel: ChannelConfig) -> list[list[Entry]]:
    """Put together what belongs together: all of a digest, else what is of one group."""
    if channel.digest:
        return [list(due)] if due else []
    bundles: dict[str, list[Entry]] = {}
    for entry in due:
        is_grouped = channel.group and entry.group_id
        name = f"{entry.what} {entry.group_id}" if is_grouped else f"row {entry.key}"
        bundles.setdefault(name, []).append(entry)
    return list(bundles.values())


def _join_excess(
    bundles: list[list[Entry]], entries: Sequence[Entry], channel: ChannelConfig, *, now_us: int
) -> list[list[Entry]]:
    """Keep to the messages of an hour: the last that is left takes all the rest."""
    if not channel.max_per_hour or channel.digest:
        return bundles
    recent = {
        entry.message
        for entry in entries
        if entry.message and entry.sealed_us is not None and entry.sealed_us > now_us - US_PER_H
    }
    left = channel.max_per_hour - len(recent)
    if len(bundles) <= left:
        return bundles
    if left <= 0:
        return []
    rest = [entry for bundle in bundles[left - 1 :] for entry in bundle]
    return [*bundles[: left - 1], rest]


def _name_message(bundle: Sequence[Entry]) -> str:
    keys = sorted(entry.key for entry in bundle)
    return keys[0] if len(keys) == 1 else make_key("message", *keys)
