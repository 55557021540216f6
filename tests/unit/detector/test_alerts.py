import numpy as np
import pytest

from vae_anomaly.detector.alerts import (
    AlertRules,
    ScoreTrace,
    Span,
    find_spans,
    make_alert_events,
    make_alert_id,
)
from vae_anomaly.domain import Texts

MINUTE_US = 60_000_000
SENSORS = ("flow", "pressure", "temperature")


def rules(**changes) -> AlertRules:
    settings = {
        "merge_steps": 2,
        "min_steps": 1,
        "release_fraction": 0.5,
        "top_sensors": 2,
        "period_s": 60.0,
        "gap_steps": 5,
    }
    return AlertRules(**(settings | changes))


def minutes(*ticks: int) -> np.ndarray:
    return np.array(ticks, dtype=np.int64) * MINUTE_US


def spans(scores: list[float], *, ticks=None, **changes) -> list[tuple[int, int]]:
    times = minutes(*(ticks or range(len(scores))))
    found = find_spans(times, np.array(scores), threshold=10.0, rules=rules(**changes))
    return [(span.first, span.last) for span in found]


def events(scores, excess=None, *, reasons=None, threshold=10.0, **changes):
    excess = np.zeros((len(scores), 3)) if excess is None else np.array(excess)
    names = tuple(dict.fromkeys(["", *(reasons or ())]))
    codes = np.array([names.index(name) for name in reasons or [""] * len(scores)], np.int32)
    trace = ScoreTrace(minutes(*range(len(scores))), np.array(scores), excess, Texts(codes, names))
    return make_alert_events(
        trace,
        asset="pump-07",
        model_name="station",
        sensors=SENSORS,
        threshold=threshold,
        rules=rules(**changes),
    )


def test_nothing_above_the_threshold_is_no_event():
    assert spans([9.0, 10.0, 9.9]) == []
    assert spans([]) == []


def test_an_event_is_held_until_the_score_falls_to_its_release():
    assert spans([0, 11, 6, 5.1, 5.0, 9, 0], merge_steps=0) == [(1, 3)]
    assert spans([0, 11, 6, 0], release_fraction=1.0) == [(1, 1)]


def test_an_event_begins_with_a_flag_not_with_a_held_step():
    assert spans([6, 6, 11, 0]) == [(2, 2)]


def test_close_events_are_one_and_far_ones_two():
    assert spans([11, 0, 11, 0, 0, 11]) == [(0, 2), (5, 5)]
    assert spans([11, 0, 11, 0, 0, 11], merge_steps=3) == [(0, 5)]
    assert spans([11, 11], ticks=[0, 1], merge_steps=0) == [(0, 1)]


def test_short_events_are_dropped_after_merging():
    assert spans([11, 0, 11, 0, 0, 0, 11], min_steps=2) == [(0, 2)]
    # held steps are no flags
    assert spans([11, 6, 6, 6, 0], min_steps=2) == []


def test_an_outage_ends_an_event():
    # two flags with a week between them are neighbours in the trace, but not one event
    assert spans([11, 11, 11], ticks=[0, 1, 10_000]) == [(0, 1), (2, 2)]
    assert spans([11, 6, 6], ticks=[0, 1, 10_000]) == [(0, 1)]
    assert spans([11, 6, 6], ticks=[0, 5, 10]) == [(0, 2)]


def test_an_event_says_where_it_begins_ends_and_peaks():
    (event,) = events([0, 11, 40, 6, 11, 0])
    assert event.asset == "pump-07"
    assert (event.start_us, event.end_us) == (MINUTE_US, 5 * MINUTE_US)
    assert (event.peak_us, event.peak_score) == (2 * MINUTE_US, 40.0)
    assert (event.threshold, event.peak_ratio) == (10.0, 4.0)
    assert event.num_steps == 3
    assert event.alert_id == make_alert_id("pump-07", "station", MINUTE_US)


@pytest.mark.parametrize(
    ("peak", "severity"), [(11, "low"), (20, "medium"), (49, "medium"), (50, "high")]
)
def test_the_severity_follows_the_peak(peak, severity):
    assert events([0, peak, 0])[0].severity == severity


def test_a_threshold_of_zero_is_no_division_by_zero():
    # held-out steps on which only constant sensors are present all score 0
    (event,) = events([0, 1, 0], threshold=0.0)
    assert (event.severity, event.peak_ratio) == ("high", np.inf)


def test_the_sensors_with_most_excess_are_to_blame():
    excess = [[9, 9, 9], [1, 5, 0], [1, 5, -50], [9, 9, 9]]
    (event,) = events([0, 11, 11, 0], excess)
    assert event.top_sensors == ("pressure", "flow")
    assert event.top_shares == (5 / 6, 1 / 6)
    (alone,) = events([0, 11, 11, 0], excess, top_sensors=1)
    assert alone.top_sensors == ("pressure",)


def test_an_event_names_the_reasons_of_its_flagged_steps_those_of_rules_first():
    shift, flat, other = "shift: flow", "flat_line: level", "shift: level"
    reasons = [other, shift, "", shift, other, flat, "change: flow"]
    (event,) = events([0, 11, 11, 11, 11, 11, 6], reasons=reasons, top_sensors=3)
    assert event.reasons == (flat, shift, other)
    (first,) = events([0, 11, 11, 11, 11, 11, 6], reasons=reasons, top_sensors=1)
    assert first.reasons == (flat,)
    (none,) = events([0, 11, 0], reasons=[shift, "", shift])
    assert none.reasons == ()


def test_without_any_excess_nobody_is_to_blame():
    (event,) = events([0, 11, 0], [[0, 0, 0], [-1, 0, np.nan], [0, 0, 0]])
    assert event.top_sensors == ()
    assert event.top_shares == ()


def test_alert_ids_tell_asset_model_and_start_apart():
    ids = {
        make_alert_id(asset, model, start)
        for asset in ("a", "b")
        for model in ("m", "n")
        for start in (1, 2)
    }
    assert len(ids) == 8
    assert make_alert_id("a", "bc", 1) != make_alert_id("ab", "c", 1)


def test_spans_are_values():
    assert Span(1, 2) == Span(1, 2)
