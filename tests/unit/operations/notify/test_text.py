"""What a person reads, and what names from the data cannot do to it."""

import html
import json
from typing import Any

import pytest

from vae_anomaly.config import ChannelConfig
from vae_anomaly.errors import NotifyError
from vae_anomaly.operations.notify.text import (
    HEADLINES,
    MAX_EVENTS,
    SAMPLE_EVENT,
    check_template,
    clean_name,
    write_text,
    write_title,
)

HOSTILE = '<script>alert("x")</script>\r\nBcc: all@example.com {{ 7 * 7 }} {% raw %}\x1b[2J'


def channel(**options: Any) -> ChannelConfig:
    return ChannelConfig(kind="apprise", url_env="TEST_URL", **options)


def event(**changes: Any) -> dict[str, Any]:
    return SAMPLE_EVENT | {"what": "opened", "asset": "pump-07", "severity": "high"} | changes


def write(*events: dict[str, Any], **options: Any) -> str:
    return write_text(events, channel(**options), report="https://plant.example/report.html")


def test_the_usual_text_answers_what_is_asked_at_three_in_the_morning():
    one = event(
        alert_id="3f2a",
        start="2026-05-01T02:50:00Z",
        end="2026-05-01T03:50:00Z",
        peak="2026-05-01T03:01:00Z",
        ratio=6.21,
        top_sensors=["flow", "pressure"],
        top_shares=[0.62, 0.21],
        reasons=["flat_line: flow"],
    )
    assert write(one) == (
        "HIGH alert on pump-07\n"
        "  Since    2026-05-01 02:50:00 UTC, 60 minutes so far\n"
        "  Score    6.2 times the threshold at 2026-05-01 03:01:00 UTC\n"
        "  Sensors  flow 62%, pressure 21%\n"
        "  Reasons  flat_line: flow\n"
        "  Acknowledge with: vae-anomaly alerts ack 3f2a\n"
        "\n"
        "Report: https://plant.example/report.html"
    )


@pytest.mark.parametrize("what", ["resolved", "dismissed", "superseded"])
def test_an_end_names_the_alert_that_people_know(what):
    text = write(event(what=what, alert_id="new", thread="known"))
    assert text.startswith(write_title([event(what=what)]))
    assert "Alert    known" in text
    assert "ack" not in text


def test_what_is_not_known_is_left_out():
    text = write(event(ratio=None, top_sensors=["flow"], top_shares=[None], reasons=[]))
    assert "Score" not in text
    assert "Sensors  flow\n" in text
    assert "None" not in text
    assert "Sensors" not in write(event(top_sensors=[], top_shares=[]))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(1, "1 second"), (119, "119 seconds"), (600, "10 minutes"), (7200, "2 hours")],
)
def test_lengths_of_time_are_in_words(seconds, words):
    end = f"2026-01-01T{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}Z"
    assert f", {words} so far" in write(event(end=end))
    assert ", 3 days so far" in write(event(end="2026-01-04T00:00:00Z"))


def test_many_events_are_counted():
    events = [event(asset=f"p{k}") for k in range(MAX_EVENTS + 3)] + [event(what="resolved")]
    assert write_title(events) == "24 alerts on 24 assets: 23 opened, 1 resolved"
    text = write(*events)
    assert text.count("Since") == MAX_EVENTS
    assert "and 4 more: vae-anomaly notify list" in text


@pytest.mark.parametrize("what", sorted(HEADLINES))
def test_a_title_is_one_line_whatever_the_asset_is_called(what):
    title = write_title([event(what=what, asset=HOSTILE)])
    assert title.isprintable()


@pytest.mark.parametrize("template", ["", "{{ title }} {{ events[0].asset }} {{ report }}"])
def test_names_in_html_are_escaped(template):
    text = write(event(asset=HOSTILE, top_sensors=[HOSTILE]), format="html", template=template)
    assert "<script>" not in text
    assert html.escape("<script>") in text


def test_names_in_text_are_neither_evaluated_nor_control_characters():
    text = write(event(asset=HOSTILE, reasons=[HOSTILE]), template="{{ events[0].asset }}")
    assert "{{ 7 * 7 }}" in text
    assert text.isprintable()
    usual = write(event(asset=HOSTILE, reasons=[HOSTILE], alert_id=HOSTILE))
    assert all(line.isprintable() for line in usual.split("\n"))


def test_long_names_end():
    assert len(clean_name("x" * 10_000)) == 120


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__ }}{{ ().__class__.__bases__[0].__subclasses__()() }}",
        "{{ events.append(1) }}",
        "{% for",
        "{{ 1 / 0 }}",
        "{% for i in range(10000000) %}x{% endfor %}",
        "{% include 'other' %}",
    ],
)
def test_templates_that_fail_are_refused_before_they_are_needed(template):
    with pytest.raises(NotifyError, match="Cannot use channel 'duty': its template fails"):
        check_template("duty", channel(template=template))


def test_a_template_that_fails_at_night_gives_way_to_the_usual_text():
    template = "{{ 1 / (events[0].top_shares[0] - 0.5) }}"
    check_template("duty", channel(template=template))
    text = write(event(top_shares=[0.5]), template=template)
    assert text.startswith("(The template failed: ZeroDivisionError.)\n\nHIGH alert on pump-07")


def test_the_sample_has_all_that_a_payload_has(desk, duty):
    desk.put("a")
    desk.deliver()
    assert json.loads(desk.rows()[0].payload).keys() == SAMPLE_EVENT.keys()
