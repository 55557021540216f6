"""Maintenance windows and silence, given from the command line."""

from __future__ import annotations

from dataclasses import dataclass

from vae_anomaly.config import PipelineConfig
from vae_anomaly.errors import AlertingError
from vae_anomaly.operations.alerting.calendars import SOURCE_PREFIX, sync_calendars
from vae_anomaly.operations.alerting.entries import (
    Entry,
    add_entries,
    read_entries,
    withdraw_entries,
)
from vae_anomaly.operations.alerting.settle import settle_held
from vae_anomaly.operations.alerting.silence import MUTE_SOURCE
from vae_anomaly.operations.alerting.times import now_us
from vae_anomaly.operations.pipeline_alerts import LOCK
from vae_anomaly.readings.lock import hold_lock
from vae_anomaly.readings.tables import Lake

CLI_SOURCE = "cli"


@dataclass(frozen=True)
class Window:
    """A maintenance window that stands.

    Attributes:
        window_id: Its identity.
        asset: The asset, `*` for all.
        start_us: Microseconds since 1970.
        end_us: Microseconds since 1970, exclusive.
        by: Who asked for it.
        reason: Why.
        source: `cli`, `mute`, or `calendar:` and the name of the file.
    """

    window_id: str
    asset: str
    start_us: int
    end_us: int
    by: str
    reason: str
    source: str

    @classmethod
    def of(cls, entry: Entry) -> Window:
        """Make it from its entry."""
        return cls(
            entry.id_in("maintenance"),
            entry.asset,
            entry.start_us,
            entry.end_us,
            entry.by,
            entry.reason,
            entry.variant,
        )


def add_window(config: PipelineConfig, entry: Entry) -> Window:
    """Add a maintenance window; events that overlap it are muted, past ones too.

    Args:
        config: The pipeline.
        entry: The window; its variant is `cli`, or `mute` for silence without maintenance.

    Returns:
        The window; the one that stands where it was there already.

    Raises:
        AlertingError: It ends before it starts, or a calendar cannot be read.
        TableError: The lake cannot be read or written.
    """
    lake = Lake(config.lake.root)
    with hold_lock(lake.root, LOCK):
        add_entries(lake, "maintenance", [entry], at_us=now_us())
        settle_held(config)
    return Window.of(entry)


def mute_asset(
    config: PipelineConfig, asset: str, *, until_us: int, by: str, reason: str = ""
) -> Window:
    """Call nobody for an asset from now until a time; what it does is not excluded from training.

    Raises:
        AlertingError: The time is over.
        TableError: The lake cannot be read or written.
    """
    entry = Entry(asset, now_us(), until_us, by, reason, MUTE_SOURCE)
    return add_window(config, entry)


def list_windows(config: PipelineConfig) -> tuple[Window, ...]:
    """List the windows that stand, those of the calendars as they are now, in order of time.

    Raises:
        AlertingError: A calendar cannot be read.
        TableError: The lake cannot be read or written.
    """
    lake = Lake(config.lake.root)
    with hold_lock(lake.root, LOCK):
        sync_calendars(lake, config.alerting)
        return tuple(map(Window.of, read_entries(lake, "maintenance").values()))


def remove_window(config: PipelineConfig, window_id: str, *, by: str, reason: str = "") -> Window:
    """Withdraw a window; events that it muted are no longer muted by it.

    Args:
        config: The pipeline.
        window_id: Its id, or as much of it as no other has.
        by: Who withdraws it.
        reason: Why.

    Raises:
        AlertingError: There is no such window, there are several, or it is of a calendar.
        TableError: The lake cannot be read or written.
    """
    lake = Lake(config.lake.root)
    with hold_lock(lake.root, LOCK):
        found = _find_window(lake, window_id)
        withdraw_entries(
            lake, "maintenance", [found.window_id], by=by, reason=reason, at_us=now_us()
        )
        settle_held(config)
    return found


def _find_window(lake: Lake, window_id: str) -> Window:
    begin = window_id.strip().lower()
    standing = map(Window.of, read_entries(lake, "maintenance").values())
    found = [window for window in standing if begin and window.window_id.startswith(begin)]
    if len(found) != 1:
        got = ", ".join(window.window_id for window in found[:5]) or "none"
        raise AlertingError(
            f"Cannot withdraw the window '{window_id}': expected one window whose id begins so, "
            f"got {got}. See 'vae-anomaly maintenance list'."
        )
    if found[0].source.startswith(SOURCE_PREFIX):
        raise AlertingError(
            f"Cannot withdraw the window '{window_id}': expected one from the command line, got "
            f"one of the {found[0].source}. Take it out of that calendar."
        )
    return found[0]
