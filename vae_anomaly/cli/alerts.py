"""Commands on alerts, maintenance windows and silence."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from vae_anomaly.cli.files import DEFAULT_CONFIG, Json
from vae_anomaly.cli.output import format_iso_time, print_json, print_lines, show_progress

if TYPE_CHECKING:
    from vae_anomaly.config import PipelineConfig
    from vae_anomaly.operations.alerting.browse import ListedAlert
    from vae_anomaly.operations.alerting.events import Event
    from vae_anomaly.operations.alerting.maintenance import Window

Status = Literal["open", "acknowledged", "resolved", "dismissed", "superseded"]
Kind = Literal["anomaly", "normal", "none"]
By = Annotated[str, Parameter(name="--by")]

alerts = App(name="alerts", help="Alerts: list and show them, acknowledge, dismiss, label.")
maintenance = App(name="maintenance", help="Maintenance windows: add, list and withdraw them.")


@alerts.command(name="list")
def list_(
    *,
    asset: str = "",
    status: Status | None = None,
    since: str = "",
    config: Path = DEFAULT_CONFIG,
    json: Json = False,
) -> None:
    """List alerts, with why nobody is called and what belongs together.

    Args:
        asset: Those of this asset.
        status: Those of this status; without it all but superseded ones.
        since: Those that end after this time, as in 2026-01-30T00:00:00Z.
        config: The settings of the pipeline.
        json: Print the result for machines.
    """
    from vae_anomaly.operations.alerting.browse import find_alerts
    from vae_anomaly.operations.pipeline_tables import parse_time

    since_us = parse_time(since, setting="--since")
    with show_progress("Reading the alerts"):
        found = find_alerts(_read(config), asset=asset, status=status or "", since_us=since_us)
    if json:
        print_json([_describe_alert(one) for one in found])
        return
    from vae_anomaly.cli.alert_tables import print_alerts

    print_alerts(found)


@alerts.command
def show(alert_id: str, /, *, config: Path = DEFAULT_CONFIG, json: Json = False) -> None:
    """Show an alert: what happened, the sensors to blame, and its history.

    Args:
        alert_id: Its id, or as much of it as no other has.
        config: The settings of the pipeline.
        json: Print the result for machines.
    """
    from vae_anomaly.operations.alerting.browse import show_alert

    with show_progress("Reading the alerts"):
        alert, history = show_alert(_read(config), alert_id)
    if json:
        changes = [
            {
                "status": change.status,
                "at": format_iso_time(change.at_us),
                "by": change.by,
                "reason": change.reason,
            }
            for change in history
        ]
        print_json(_describe_alert(alert) | {"history": changes})
        return
    from vae_anomaly.cli.alert_tables import print_alert

    print_alert(alert, history)


@alerts.command
def ack(
    alert_id: str,
    /,
    *,
    reason: str = "",
    by: By = "",
    config: Path = DEFAULT_CONFIG,
    json: Json = False,
) -> None:
    """Acknowledge an alert: somebody has seen it.

    Args:
        alert_id: Its id, or as much of it as no other has.
        reason: Why; it is kept in its history.
        by: Who; without it the user of this machine.
        config: The settings of the pipeline.
        json: Print the result for machines.
    """
    _decide(alert_id, "acknowledged", (by, reason), config=config, json=json)


@alerts.command
def dismiss(
    alert_id: str,
    /,
    *,
    reason: str = "",
    by: By = "",
    config: Path = DEFAULT_CONFIG,
    json: Json = False,
) -> None:
    """Dismiss an alert: it was none, and the next training takes its readings as normal.

    Args:
        alert_id: Its id, or as much of it as no other has.
        reason: Why; it is kept in its history.
        by: Who; without it the user of this machine.
        config: The settings of the pipeline.
        json: Print the result for machines.
    """
    _decide(alert_id, "dismissed", (by, reason), config=config, json=json)


@alerts.command
def reopen(
    alert_id: str,
    /,
    *,
    reason: str = "",
    by: By = "",
    config: Path = DEFAULT_CONFIG,
    json: Json = False,
) -> None:
    """Take back that an alert was acknowledged or dismissed.

    Args:
        alert_id: Its id, or as much of it as no other has.
        reason: Why; it is kept in its history.
        by: Who; without it the user of this machine.
        config: The settings of the pipeline.
        json: Print the result for machines.
    """
    _decide(alert_id, "open", (by, reason), config=config, json=json)


@alerts.command
def label(
    alert_id: str,
    kind: Kind,
    /,
    *,
    reason: str = "",
    by: By = "",
    config: Path = DEFAULT_CONFIG,
    json: Json = False,
) -> None:
    """Say what the readings of an alert really were: it reaches training and evaluation.

    Args:
        alert_id: Its id, or as much of it as no other has.
        kind: anomaly or normal; none takes the label back.
        reason: Why; it is kept.
        by: Who; without it the user of this machine.
        config: The settings of the pipeline.
        json: Print the result for machines.
    """
    from vae_anomaly.operations.alerting.decisions import Deed, label_alert

    deed = Deed(_name_person(by), reason)
    _act(lambda read: label_alert(read, alert_id, kind, deed=deed), config=config, json=json)


@maintenance.command(name="add")
def add_maintenance(
    asset: str = "*",
    /,
    *,
    start: str,
    end: str,
    reason: str,
    by: By = "",
    config: Path = DEFAULT_CONFIG,
    json: Json = False,
) -> None:
    """Add a window: nobody is called for what overlaps it, and no training takes it as normal.

    Args:
        asset: The asset; without it the window holds for all.
        start: Its start, as in 2026-01-30T00:00:00Z.
        end: Its end.
        reason: Why.
        by: Who; without it the user of this machine.
        config: The settings of the pipeline.
        json: Print the result for machines.
    """
    from vae_anomaly.operations.alerting.entries import Entry
    from vae_anomaly.operations.alerting.maintenance import CLI_SOURCE, add_window

    span = (_parse(start, "--start"), _parse(end, "--end"))
    entry = Entry(asset, *span, _name_person(by), reason, CLI_SOURCE)
    with show_progress("Adding the window"):
        window = add_window(_read(config), entry)
    _print_window(window, "Added", json=json)


@maintenance.command(name="list")
def list_maintenance(*, config: Path = DEFAULT_CONFIG, json: Json = False) -> None:
    """List the windows that stand, those of the calendars too.

    Args:
        config: The settings of the pipeline.
        json: Print the result for machines.
    """
    from vae_anomaly.operations.alerting.maintenance import list_windows

    with show_progress("Reading the windows"):
        windows = list_windows(_read(config))
    if json:
        print_json([_describe_window(window) for window in windows])
        return
    from vae_anomaly.cli.alert_tables import print_windows

    print_windows(windows)


@maintenance.command(name="remove")
def remove_maintenance(
    window_id: str,
    /,
    *,
    reason: str = "",
    by: By = "",
    config: Path = DEFAULT_CONFIG,
    json: Json = False,
) -> None:
    """Withdraw a window; nothing is deleted.

    Args:
        window_id: Its id, or as much of it as no other has.
        reason: Why.
        by: Who; without it the user of this machine.
        config: The settings of the pipeline.
        json: Print the result for machines.
    """
    from vae_anomaly.operations.alerting.maintenance import remove_window

    with show_progress("Withdrawing the window"):
        window = remove_window(_read(config), window_id, by=_name_person(by), reason=reason)
    _print_window(window, "Withdrew", json=json)


def mute(
    asset: str,
    /,
    *,
    until: str,
    reason: str = "",
    by: By = "",
    config: Path = DEFAULT_CONFIG,
    json: Json = False,
) -> None:
    """Call nobody for an asset from now until a time.

    Args:
        asset: The asset.
        until: The time, as in 2026-01-30T00:00:00Z.
        reason: Why.
        by: Who; without it the user of this machine.
        config: The settings of the pipeline.
        json: Print the result for machines.
    """
    from vae_anomaly.operations.alerting.maintenance import mute_asset

    until_us = _parse(until, "--until")
    with show_progress("Muting the asset"):
        window = mute_asset(
            _read(config), asset, until_us=until_us, by=_name_person(by), reason=reason
        )
    _print_window(window, "Muted", json=json)


def _decide(
    alert_id: str, status: str, said: tuple[str, str], *, config: Path, json: bool
) -> None:
    from vae_anomaly.operations.alerting.decisions import Deed, decide

    deed = Deed(_name_person(said[0]), said[1])
    _act(lambda read: decide(read, alert_id, status, deed=deed), config=config, json=json)


def _act(deed: Callable[[PipelineConfig], Event], *, config: Path, json: bool) -> None:
    with show_progress("Changing the alert"):
        event = deed(_read(config))
    if json:
        names = ("alert_id", "asset", "status", "mute", "group_id")
        print_json({name: getattr(event, name) for name in names})
        return
    muted = f", and muted: {event.mute}" if event.mute else ""
    print_lines(f"Alert {event.alert_id} of asset '{event.asset}' is {event.status}{muted}.")


def _read(config: Path) -> PipelineConfig:
    from vae_anomaly.config import read_pipeline_config

    return read_pipeline_config(config)


def _parse(text: str, option: str) -> int:
    from vae_anomaly.errors import ConfigError
    from vae_anomaly.operations.pipeline_tables import parse_time

    time_us = parse_time(text, setting=option)
    if time_us is None:
        raise ConfigError(
            f"Cannot use {option}: expected a time, got none. Write it like "
            "'2026-01-30T00:00:00Z'."
        )
    return time_us


def _name_person(by: str) -> str:
    return by or getpass.getuser()


def _describe_alert(alert: ListedAlert) -> dict[str, Any]:
    content = asdict(alert)
    times = {
        name.removesuffix("_us"): format_iso_time(content.pop(name))
        for name in ("start_us", "end_us", "peak_us")
    }
    return content | times


def _describe_window(window: Window) -> dict[str, Any]:
    content = asdict(window)
    times = {
        name.removesuffix("_us"): format_iso_time(content.pop(name))
        for name in ("start_us", "end_us")
    }
    return content | times


def _print_window(window: Window, verb: str, *, json: bool) -> None:
    if json:
        print_json(_describe_window(window))
        return
    about = "all assets" if window.asset == "*" else f"asset '{window.asset}'"
    span = f"{format_iso_time(window.start_us)} to {format_iso_time(window.end_us)}"
    print_lines(f"{verb} {about}, {span} (window {window.window_id}).")
