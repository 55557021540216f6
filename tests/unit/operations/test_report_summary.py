from dataclasses import replace

import pyarrow as pa
import pytest

from tests.unit.operations.report_inputs import START_US, make_calibration, make_report_input
from vae_anomaly.domain import NO_TIME, AlertEvent
from vae_anomaly.operations import report_text as text
from vae_anomaly.operations.report_data import split_assets
from vae_anomaly.operations.report_events import rank_events
from vae_anomaly.operations.report_input import ReportInput
from vae_anomaly.operations.report_summary import (
    describe_request,
    find_expectation,
    make_headline,
)


@pytest.fixture(scope="module")
def report() -> ReportInput:
    return make_report_input()


def without_events(report):
    return replace(report, events=())


def with_state(report, state):
    states = pa.array([state] * report.scores.num_rows)
    place = report.scores.column_names.index("state")
    return replace(report, scores=report.scores.set_column(place, "state", states))


@pytest.mark.parametrize(
    ("change", "tone", "verdict"),
    [
        (lambda r: r, "bad", "2 alert events in 2 d 22 h, 1 of high severity."),
        (
            lambda r: replace(r, events=(replace(r.events[0], severity="low"),)),
            "watch",
            "1 alert event in 2 d 22 h: so few can be chance; look at each.",
        ),
        (
            lambda r: replace(r, events=r.events * 5),
            "bad",
            (
                "10 alert events in 2 d 22 h, 5 of high severity: "
                "more than normal readings would give."
            ),
        ),
        (
            lambda r: replace(r, events=r.events[1:], calibrations={}),
            "watch",
            "1 alert event in 2 d 22 h.",
        ),
        (
            without_events,
            "good",
            (
                "No alert event in 2 d 22 h. "
                "175 steps crossed the threshold, too few in a row to alert."
            ),
        ),
        (lambda r: with_state(without_events(r), "ok"), "good", "No alert event in 2 d 22 h."),
        (
            lambda r: with_state(r, "unscorable"),
            "unknown",
            "Nothing could be scored: every row is unscorable.",
        ),
    ],
)
def test_the_verdict_is_one_sentence_for_people(report, change, tone, verdict):
    changed = change(report)
    assets = split_assets(changed.readings, changed.scores)
    headline = make_headline(changed, assets)
    assert (headline.tone, headline.verdict) == (tone, verdict)


def test_more_flagged_steps_than_asked_for_exceed_the_expectation(report):
    assets = split_assets(report.readings, report.scores)
    for rate_high, exceeded in ((0.02, True), (0.2, False)):
        calibration = make_calibration(
            budget_per_week=None, false_alarm_rate=0.01, rate_high=rate_high
        )
        changed = replace(report, calibrations={"pump-07": calibration})
        assert find_expectation(changed, assets).exceeded == exceeded


def test_a_calibration_that_asked_for_nothing_promises_nothing(report):
    calibration = make_calibration(budget_per_week=None)
    assets = split_assets(report.readings, report.scores)
    changed = replace(report, calibrations={"pump-07": calibration})
    assert find_expectation(changed, assets).text == ""
    assert describe_request(calibration) == text.NOTHING


def test_the_gravest_event_comes_first():
    def event(severity: str, peak: float, start: int) -> AlertEvent:
        return AlertEvent("id", "a", start, start + 1, start, peak, 5.0, 1, (), (), severity)

    events = (event("low", 99.0, 0), event("high", 7.0, 1), event("high", 9.0, 2))
    assert [e.start_us for e in rank_events(events)] == [2, 1, 0]


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (text.format_number(float("nan")), "–"),  # noqa: RUF001
        (text.format_number(float("inf")), "∞"),
        (text.format_number(float("-inf")), "-∞"),
        (text.format_number(0.0), "0"),
        (text.format_number(-1e-7), "-1e-7"),
        (text.format_number(999_999.6), "1,000,000"),
        (text.format_share(float("nan")), "–"),  # noqa: RUF001
        (text.format_share(0.9999), ">99.9 %"),
        (text.format_share(1.0), "100 %"),
        (text.format_time(NO_TIME), "–"),  # noqa: RUF001
        (text.format_time(START_US), "2024-03-01 00:00:00"),
        (text.format_duration(float("nan")), "–"),  # noqa: RUF001
        (text.format_duration(0.0), "0 s"),
        (text.format_duration(12.5), "12.5 s"),
        (text.format_duration(7200.0), "2 h"),
    ],
)
def test_numbers_read_well(shown, expected):
    assert shown == expected


def test_an_event_without_sensors_is_still_pointed_at(report):
    events = (replace(report.events[0], top_sensors=(), top_shares=()),)
    headline = make_headline(replace(report, events=events), ())
    assert headline.detail == "Look first at 2024-03-02 04:00:00 UTC (high severity)."
