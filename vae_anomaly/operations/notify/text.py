"""The words of a message: for a person who was woken by it."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from jinja2.sandbox import ImmutableSandboxedEnvironment

from vae_anomaly.config import ChannelConfig
from vae_anomaly.errors import NotifyError
from vae_anomaly.operations.notify.outbox import OPENED
from vae_anomaly.wording import format_plural

MAX_NAME_LETTERS = 120
MAX_EVENTS = 20
"""Events that a message spells out; of more, it says how many there are."""

MAX_SENSORS = 5

HEADLINES = {
    OPENED: "{severity} alert on {asset}",
    "resolved": "Resolved: alert on {asset}",
    "dismissed": "Dismissed: alert on {asset}",
    "superseded": "Withdrawn: alert on {asset}, later readings do not bear it out",
    "test": "Test message of vae-anomaly; nothing happened on {asset}",
}

DEFAULT_TEMPLATE = """\
{% for event in events %}\
{{ event.headline }}
  Since    {{ event.since }}, {{ event.duration }} so far
{% if event.ratio %}\
  Score    {{ event.ratio }} times the threshold at {{ event.peak }}
{% endif %}\
{% if event.sensors %}\
  Sensors  {{ event.sensors }}
{% endif %}\
{% if event.reasons %}\
  Reasons  {{ event.reasons }}
{% endif %}\
{% if event.what == "opened" %}\
  Acknowledge with: vae-anomaly alerts ack {{ event.alert_id }}
{% else %}\
  Alert    {{ event.thread }}
{% endif %}\

{% endfor %}\
{% if num_more %}and {{ num_more }} more: vae-anomaly notify list

{% endif %}\
Report: {{ report }}
"""

SAMPLE_EVENT = {
    "what": "test",
    "alert_id": "0000000000000000",
    "thread": "0000000000000000",
    "group_id": "",
    "asset": "no asset",
    "severity": "low",
    "status": "open",
    "start": "2026-01-01T00:00:00Z",
    "end": "2026-01-01T00:10:00Z",
    "peak": "2026-01-01T00:05:00Z",
    "peak_score": 2.0,
    "threshold": 1.0,
    "ratio": 2.0,
    "top_sensors": ["sensor"],
    "top_shares": [1.0],
    "reasons": [],
    "model_name": "vae-anomaly",
    "model_version": "0",
}
"""What a test message tells of, and what a template is tried on."""


def check_template(name: str, channel: ChannelConfig) -> None:
    """Try the template of a channel.

    Raises:
        NotifyError: It cannot be used.
    """
    if not channel.template:
        return
    try:
        _render(channel.template, channel, [SAMPLE_EVENT], report="report.html")
    except Exception as error:  # templates are written by users and may raise anything
        raise NotifyError(
            f"Cannot use channel '{name}': its template fails: {type(error).__name__}: {error}. "
            f"Check 'template' in [notify.channels.{name}]."
        ) from error


def write_title(events: Sequence[dict[str, Any]]) -> str:
    """Write one line that says what a message is about; names are made harmless."""
    if len(events) == 1:
        return _headline(events[0])
    kinds: dict[str, int] = {}
    for event in events:
        kinds[event["what"]] = kinds.get(event["what"], 0) + 1
    counts = ", ".join(f"{count} {what}" for what, count in kinds.items())
    assets = {event["asset"] for event in events}
    return f"{format_plural(len(events), 'alert')} on {format_plural(len(assets), 'asset')}: " + (
        counts
    )


def write_text(events: Sequence[dict[str, Any]], channel: ChannelConfig, *, report: str) -> str:
    """Write the text of a message.

    A template that fails on these events gives way to the usual text: nobody is left untold.

    Args:
        events: Alert events as their payloads have them.
        channel: Settings of the channel.
        report: Where the report is.

    Returns:
        Text, or HTML where the channel asks for it.
    """
    if channel.template:
        try:
            return _render(channel.template, channel, events, report=report)
        except Exception as error:  # noqa: BLE001 - templates may raise anything
            note = f"(The template failed: {type(error).__name__}.)\n\n"
            return _as_asked(note, channel) + _write_usual(events, channel, report=report)
    return _write_usual(events, channel, report=report)


def clean_name(text: object) -> str:
    r"""Make a name from the data harmless: control characters become visible, and it ends.

    Example:
        >>> clean_name("pump\r\nBcc: x")
        'pump\\r\\nBcc: x'
    """
    shown = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in str(text))
    return shown if len(shown) <= MAX_NAME_LETTERS else shown[: MAX_NAME_LETTERS - 1] + "…"


def _write_usual(events: Sequence[dict[str, Any]], channel: ChannelConfig, *, report: str) -> str:
    plain = channel.model_copy(update={"format": "text"})
    return _as_asked(_render(DEFAULT_TEMPLATE, plain, events, report=report), channel)


def _as_asked(text: str, channel: ChannelConfig) -> str:
    return f"<pre>{html.escape(text)}</pre>" if channel.format == "html" else text


def _render(
    template: str, channel: ChannelConfig, events: Sequence[dict[str, Any]], *, report: str
) -> str:
    environment = ImmutableSandboxedEnvironment(autoescape=channel.format == "html")
    return environment.from_string(template).render(
        title=write_title(events),
        events=[_describe(event) for event in events[:MAX_EVENTS]],
        num_more=max(len(events) - MAX_EVENTS, 0),
        report=report,
    )


def _describe(event: dict[str, Any]) -> dict[str, Any]:
    """Prepare an event for a template: the payload with clean names, and words for people."""
    cleaned = json.loads(json.dumps(event), object_hook=_clean_texts)
    sensors = zip(event["top_sensors"], event["top_shares"], strict=False)
    shown = [
        f"{clean_name(sensor)} {share:.0%}" if share is not None else clean_name(sensor)
        for sensor, share in list(sensors)[:MAX_SENSORS]
    ]
    ratio = event["ratio"]
    return {
        **cleaned,
        "headline": _headline(event),
        "since": _show_time(event["start"]),
        "peak": _show_time(event["peak"]),
        "duration": _show_duration(event["start"], event["end"]),
        "ratio": f"{ratio:.1f}" if ratio is not None else "",
        "sensors": ", ".join(shown),
        "reasons": ", ".join(map(clean_name, event["reasons"])),
    }


def _clean_texts(content: dict[str, Any]) -> dict[str, Any]:
    def clean(value: Any) -> Any:
        if isinstance(value, list):
            return [clean(item) for item in value]
        return clean_name(value) if isinstance(value, str) else value

    return {name: clean(value) for name, value in content.items()}


def _headline(event: dict[str, Any]) -> str:
    return HEADLINES[event["what"]].format(
        severity=str(event["severity"]).upper(), asset=clean_name(event["asset"])
    )


def _show_time(text: str) -> str:
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M:%S} UTC"


def _show_duration(start: str, end: str) -> str:
    seconds = (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= 2 * length:
            return format_plural(round(seconds / length), unit)
    return format_plural(round(seconds), "second")
