"""Alerts and maintenance windows as tables for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vae_anomaly.cli.output import add_row, make_table, print_lines, print_table
from vae_anomaly.domain import MICROSECONDS_PER_S
from vae_anomaly.operations.report_text import (
    NOTHING,
    format_duration,
    format_multiple,
    format_time,
)
from vae_anomaly.wording import format_plural

if TYPE_CHECKING:
    from vae_anomaly.operations.alerting.browse import ListedAlert
    from vae_anomaly.operations.alerting.events import Change
    from vae_anomaly.operations.alerting.maintenance import Window

SHORT_ID = 8
"""Letters of an id that tell alerts apart in all but the largest tables."""

MINUTE = len("2026-01-01 00:00")
MAX_ALERTS = 50
"""Alerts listed; `--json` has them all."""


def print_alerts(alerts: Sequence[ListedAlert]) -> None:
    """Print alerts, the latest last."""
    if not alerts:
        print_lines("No alert.")
        return
    latest = alerts[-MAX_ALERTS:]
    ids = _shorten([alert.alert_id for alert in alerts])
    title = format_plural(len(alerts), "alert")
    if len(latest) < len(alerts):
        title += f", the latest {len(latest)}"
    columns = ("id", "asset", "start (UTC)", "duration", "severity", "status", "group", "muted")
    table = make_table(title, columns, whole=("id", "start (UTC)", "status"))
    for alert in latest:
        add_row(
            table,
            ids[alert.alert_id],
            alert.asset,
            format_time(alert.start_us)[:MINUTE],
            format_duration((alert.end_us - alert.start_us) / MICROSECONDS_PER_S),
            alert.severity,
            alert.status,
            ids.get(alert.group_id, "") if alert.group_id != alert.alert_id else "",
            alert.mute,
        )
    print_table(table)
    print_lines("group: the first alert of those that began together", style="dim")


def print_alert(alert: ListedAlert, history: Sequence[Change]) -> None:
    """Print an alert with its sensors and its history."""
    start, end, peak = (
        format_time(time) for time in (alert.start_us, alert.end_us, alert.peak_us)
    )
    shares = zip(alert.top_sensors, alert.top_shares, strict=True)
    figures = {
        "asset": alert.asset,
        "from (UTC)": start,
        "to (UTC)": end,
        "peak": f"{format_multiple(alert.peak_score / alert.threshold)} the threshold, {peak}",
        "flagged": format_plural(alert.num_steps, "step"),
        "severity": alert.severity,
        "status": alert.status,
        "muted": alert.mute or "no",
        "label": alert.label or NOTHING,
        "group": alert.group_id,
        "sensors": ", ".join(f"{name} {share:.0%}" for name, share in shares) or NOTHING,
        "reasons": ", ".join(alert.reasons) or NOTHING,
        "model": f"{alert.model_name} version {alert.model_version}",
    }
    table = make_table(f"Alert {alert.alert_id}", ("what", "value"), whole=("what",))
    for name, value in figures.items():
        add_row(table, name, value)
    print_table(table)
    columns = ("status", "at (UTC)", "by", "reason")
    table = make_table("History", columns, whole=("status", "at (UTC)"))
    for change in history:
        add_row(table, change.status, format_time(change.at_us), change.by, change.reason)
    print_table(table)
    print_lines("changes by the system bear the time of the event", style="dim")


def print_windows(windows: Sequence[Window]) -> None:
    """Print maintenance windows in order of time."""
    if not windows:
        print_lines("No maintenance window.")
        return
    columns = ("id", "asset", "from (UTC)", "to (UTC)", "reason", "by", "source")
    whole = ("id", "from (UTC)", "to (UTC)")
    table = make_table(format_plural(len(windows), "window"), columns, whole=whole)
    ids = _shorten([window.window_id for window in windows])
    for window in windows:
        add_row(
            table,
            ids[window.window_id],
            "all" if window.asset == "*" else window.asset,
            format_time(window.start_us)[:MINUTE],
            format_time(window.end_us)[:MINUTE],
            window.reason,
            window.by,
            window.source,
        )
    print_table(table)


def _shorten(ids: Sequence[str]) -> dict[str, str]:
    """Cut ids to as many letters as tell them apart, `SHORT_ID` at least."""
    length = SHORT_ID
    while len({one[:length] for one in ids}) < len(set(ids)):
        length += 1
    return {one: one[:length] for one in ids}
