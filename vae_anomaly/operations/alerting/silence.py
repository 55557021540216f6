"""Who is not called: maintenance, labels, follow-ups; and which events belong together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vae_anomaly.operations.alerting.entries import Entry
from vae_anomaly.operations.alerting.events import Event
from vae_anomaly.operations.alerting.overlaps import Overlaps

NORMAL, ANOMALY = "normal", "anomaly"
KINDS = (ANOMALY, NORMAL)

MUTE_SOURCE = "mute"
"""Source of windows that silence an asset without anything being done to it."""

FOLLOW_UP = "follow-up of"
"""What the mute of such an event begins with."""


def find_mutes(
    events: Sequence[Event],
    *,
    windows: Iterable[Entry],
    labels: Iterable[Entry],
    cooldown_us: int,
) -> dict[str, str]:
    """Say of each event why nobody is called for it; empty where somebody is.

    Events in a window, and normal ones, neither begin nor prolong a cool-down: an event after
    them has called nobody yet.

    Args:
        events: The live events.
        windows: Maintenance windows.
        labels: What is known of spans.
        cooldown_us: An event that starts earlier than this after the end of the one before is
            a follow-up of the first of them. 0 makes none.

    Returns:
        Reasons by alert id.
    """
    silent = Overlaps(windows)
    normal = Overlaps(label for label in labels if label.variant == NORMAL)
    mutes: dict[str, str] = {}
    first: dict[str, str] = {}
    until_us: dict[str, int] = {}
    for event in sorted(events, key=lambda one: (one.start_us, one.alert_id)):
        span = (event.asset, event.start_us, event.end_us)
        why = sorted({_describe_window(window) for window in silent.find(*span)})
        why += sorted({f"labelled normal by {label.by}" for label in normal.find(*span)})
        mutes[event.alert_id] = "; ".join(why)
        if why:
            continue
        is_follow_up = event.start_us < until_us.get(event.asset, event.start_us)
        if is_follow_up:
            mutes[event.alert_id] = f"{FOLLOW_UP} {first[event.asset]}"
        else:
            first[event.asset] = event.alert_id
        end_us = event.end_us + cooldown_us if cooldown_us else event.start_us
        until_us[event.asset] = max(until_us.get(event.asset, end_us), end_us)
    return mutes


def find_groups(events: Sequence[Event], *, group_us: int) -> dict[str, str]:
    """Put together the events that start near one another, whatever their asset.

    A group begins with an event that no group reaches, and reaches `group_us` from its start.

    Args:
        events: The live events, in any order.
        group_us: Reach of a group, in microseconds.

    Returns:
        The first event of the group by alert id.
    """
    groups: dict[str, str] = {}
    first: Event | None = None
    for event in sorted(events, key=lambda one: (one.start_us, one.asset, one.alert_id)):
        if first is None or event.start_us - first.start_us > group_us:
            first = event
        groups[event.alert_id] = first.alert_id
    return groups


def _describe_window(window: Entry) -> str:
    kind = "muted" if window.variant == MUTE_SOURCE else "maintenance"
    return f"{kind}: {window.reason}" if window.reason else kind
