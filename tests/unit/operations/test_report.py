"""The report page: what it says, what it draws, and that nothing in the data can harm it."""

import base64
import hashlib
import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import plotly.graph_objects as go
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.operations.report_inputs import (
    PERIOD_S,
    START_US,
    STEP_US,
    make_calibration,
    make_report_input,
    make_scores,
)
from vae_anomaly.domain import NO_TIME, AlertEvent, TrainingCurves
from vae_anomaly.errors import ReportError
from vae_anomaly.operations import report_data, report_events, report_page, report_summary
from vae_anomaly.operations import report_text as text
from vae_anomaly.operations.report import ReportInput, make_report, write_report
from vae_anomaly.operations.report_figures import make_curve_figure, make_sensor_figure
from vae_anomaly.operations.report_plotly import encode, make_trace
from vae_anomaly.operations.report_score_figure import (
    choose_stretch,
    make_score_figure,
    make_stretched_ticks,
    stretch,
)

EVIL = (
    "<script>alert(1)</script>",
    "a\"b'c",
    "</script><img src=x onerror=alert(2)>",
    "%{x}$x^2$",
    "<b>bold</b>&amp;",
    "{{ 7 * 7 }}",
    "valve " * 30,
    "@accent",
)

lines = st.lists(st.one_of(st.floats(-1e9, 1e9), st.just(float("nan"))), min_size=1, max_size=400)


@pytest.fixture(scope="module")
def report() -> ReportInput:
    return make_report_input()


@pytest.fixture(scope="module")
def page(report) -> str:
    return make_report(report)


class _Tags(HTMLParser):
    """Collects start tags with their attributes, and the text outside scripts and styles."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text = [], ""
        self._is_code = False
        self.feed(page.split("\n<script>")[0])

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._is_code = tag in ("script", "style")

    def handle_endtag(self, tag):
        self._is_code = False

    def handle_data(self, data):
        self.text += "" if self._is_code else " ".join(data.split()) + " "


def read_figures(page):
    found = re.findall(r'<script type="application/json" id="([^"]+)">(.*?)</script>', page)
    return {key: json.loads(figure) for key, figure in found}


def unpack(array):
    return np.frombuffer(base64.b64decode(array["bdata"]), dtype=array["dtype"])


def without_events(report):
    return replace(report, events=())


def take(report, rows):
    return replace(
        report,
        readings=report.readings.take(rows),
        scores=report.scores.take(pa.array(rows)),
        mean=report.mean[rows],
        sigma=report.sigma[rows],
    )


def with_state(report, state):
    states = pa.array([state] * report.scores.num_rows)
    place = report.scores.column_names.index("state")
    return replace(report, scores=report.scores.set_column(place, "state", states))


def rename(report, names):
    """Give every name in a report to somebody who means harm."""
    old = report.readings.sensors
    contribution = report.scores["contribution"].combine_chunks()
    place = report.scores.column_names.index("contribution")
    structs = pa.StructArray.from_arrays(contribution.flatten(), names=list(names))
    sensors = tuple(
        replace(sensor, name=name)
        for sensor, name in zip(report.contract.sensors, names, strict=True)
    )
    profiles = tuple(
        replace(profile, name=name, unit="<i>°C")
        for profile, name in zip(report.quality.sensors, names, strict=True)
    )
    return replace(
        report,
        title=names[0],
        model_name=names[2],
        contract=replace(report.contract, sensors=sensors, ignored={names[1]: names[2]}),
        readings=replace(report.readings, sensors=names),
        scores=report.scores.set_column(place, "contribution", structs),
        quality=replace(report.quality, sensors=profiles, notes=(names[0],)),
        events=tuple(
            replace(event, top_sensors=tuple(names[old.index(name)] for name in event.top_sensors))
            for event in report.events
        ),
    )


# --- few points, no peak lost ---------------------------------------------------------------


@given(lines, st.integers(4, 60))
def test_decimation_keeps_the_largest_and_the_smallest_value(values, max_points):
    column = np.array(values)
    kept = report_data.decimate(column, max_points=max_points)
    if np.isfinite(column).any():
        assert np.nanmax(column[kept]) == np.nanmax(column)
        assert np.nanmin(column[kept]) == np.nanmin(column)


@given(st.integers(1, 3), st.integers(1, 500), st.integers(8, 60), st.integers(0, 9))
def test_decimation_keeps_few_rows_in_order_with_every_peak(num_lines, rows, max_points, seed):
    columns = np.random.default_rng(seed).normal(size=(rows, num_lines))
    kept = report_data.decimate(columns, max_points=max_points)
    assert kept.size <= max(max_points, 2 * num_lines + 2)
    assert (np.diff(kept) > 0).all()
    assert kept[0] == 0
    assert kept[-1] == rows - 1
    assert (columns[kept].max(axis=0) == columns.max(axis=0)).all()


def test_decimation_keeps_short_lines_whole():
    assert report_data.decimate(np.arange(9.0), max_points=9).tolist() == list(range(9))


def test_decimation_of_a_line_without_values_keeps_its_ends():
    assert report_data.decimate(np.full(100, np.nan), max_points=10).tolist() == [0, 99]


@settings(max_examples=30)
@given(st.lists(st.integers(1, 1000), min_size=1, max_size=300), st.integers(12, 50))
def test_a_line_with_many_gaps_stays_small_and_keeps_its_peak(steps, max_points):
    times = np.cumsum(np.array(steps, dtype=np.int64)) * 1_000_000
    values = np.sin(np.arange(times.size) * 1.7)
    line = report_data.make_line(times, values[:, None], max_points=max_points, period_s=1.0)
    assert line.times_ms.size <= max_points
    assert np.nanmax(line.columns) == values.max()
    assert (np.diff(line.times_ms) >= 0).all()


def test_a_line_is_broken_at_a_long_gap_only():
    times = np.array([0, 1, 2, 60, 61, 63], dtype=np.int64) * 1_000_000
    line = report_data.make_line(times, np.ones((6, 1)), max_points=300, period_s=1.0)
    assert np.flatnonzero(np.isnan(line.columns[:, 0])).tolist() == [3]


def test_a_sensor_that_reports_rarely_is_still_a_line():
    values = np.full((1000, 1), np.nan)
    values[::50] = 1.0
    times = np.arange(1000, dtype=np.int64) * 1_000_000
    line = report_data.make_line(times, values, max_points=300, period_s=1.0)
    assert line.times_ms.size == 20
    assert not np.isnan(line.columns).any()


def test_a_line_without_values_has_no_points():
    times = np.arange(3, dtype=np.int64)
    line = report_data.make_line(times, np.full((3, 2), np.nan), max_points=30, period_s=1.0)
    assert line.times_ms.shape == (0,)
    assert line.columns.shape == (0, 2)


@given(
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 3000)), max_size=200),
    st.integers(2, 40),
)
def test_merged_intervals_are_few_apart_and_cover_everything(pairs, max_intervals):
    pairs.sort()
    intervals = np.array([(s, s + n) for s, n in pairs], dtype=np.int64).reshape(-1, 2)
    merged = report_data.merge_intervals(intervals, span_us=10_000, max_intervals=max_intervals)
    assert merged.shape[0] <= max_intervals
    assert (merged[1:, 0] > merged[:-1, 1]).all()
    for start, end in intervals:
        assert ((merged[:, 0] <= start) & (merged[:, 1] >= end)).any()


def test_a_point_between_two_gaps_gets_a_dot():
    nan = float("nan")
    trace = make_trace(np.arange(5.0), np.array([1.0, 2.0, nan, 3.0, nan]), "score", "@accent")
    assert trace["mode"] == "lines+markers"
    assert unpack(trace["marker"]["size"]).tolist() == [0, 0, 0, 4, 0]


@given(st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=20))
def test_packed_numbers_are_as_good_as_the_eye(values):
    numbers = np.array(values)
    room = 1e-3 * np.ptp(numbers)
    assert np.abs(unpack(encode(numbers)).astype(np.float64) - numbers).max() <= room


# --- the page -------------------------------------------------------------------------------


def test_the_page_has_its_sections_in_order(page):
    sections = [attrs.get("id") for tag, attrs in _Tags(page).tags if tag == "section"]
    assert sections == [
        "headline",
        "scores",
        "events",
        "sensors",
        "training",
        "quality",
        "health",
        "calibration",
        "reading",
    ]


def test_the_page_says_what_was_scored(page):
    said = _Tags(page).text
    for words in (
        "2 alert events in 2 d 22 h, 1 of high severity.",
        "Budget: 1 a week for each asset, so about 0.39 in this period.",
        "4,000",
        "168 rows labelled as anomaly.",
        "2024-03-01 00:00:00",
        "4,031 raw rows = 4,000 usable + 24 duplicates + 7 set aside.",
        "40 rows unscorable: too few sensors present",
        "1 check failed.",
        "0.1 to 2.3",
        "carried by the data",
        "perhaps -999",
    ):
        assert words in said, words
    assert "PROVISIONAL" not in said


def test_the_same_input_gives_the_same_page(page):
    assert make_report(make_report_input()) == page


def test_every_figure_is_one_that_plotly_accepts(page):
    figures = read_figures(page)
    assert len(figures) == 1 + 2 * 2 + 7 + 4  # the dead sensor has nothing to draw
    for figure in figures.values():
        painted = re.sub(r'"@[a-z]+"', '"red"', json.dumps(figure))
        go.Figure(json.loads(painted))


def test_the_score_chart_shows_peaks_threshold_events_and_labels(report, page):
    traces = {trace["name"]: trace for trace in read_figures(page)["score-1"]["data"]}
    assert set(traces) == {"score", "threshold", "alert event", "labelled anomaly", "not scored"}
    drawn = unpack(traces["score"]["customdata"])
    assert np.nanmax(drawn) == pytest.approx(report.scores["score"].to_pandas().max())
    assert unpack(traces["threshold"]["y"]).size == 2
    assert unpack(traces["alert event"]["x"])[0] == report.events[0].start_us / 1000


def test_an_event_names_the_sensors_that_added_most(page):
    figure = read_figures(page)["event-1-blame"]
    assert figure["layout"]["yaxis"]["ticktext"][-2:] == ["discharge_pressure", "flow"]
    assert unpack(figure["data"][0]["x"])[-1] > 30


def test_the_band_is_two_sigmas_to_either_side(report):
    rows = slice(0, 50)
    figure = make_sensor_figure(
        ("flow",),
        report.readings.timestamps[rows],
        tuple(c[rows, 2:3] for c in (report.readings.values, report.mean, report.sigma)),
        period_s=PERIOD_S,
    )
    outline = unpack(figure["data"][1]["y"])
    mean, sigma = report.mean[rows, 2], report.sigma[rows, 2]
    assert outline[:50] == pytest.approx(mean - 2 * sigma, rel=1e-6)
    assert outline[50:100] == pytest.approx((mean + 2 * sigma)[::-1], rel=1e-6)


def test_the_size_does_not_grow_with_the_rows(page):
    many = make_report(make_report_input(num_rows=150_000))
    assert len(many) < len(page) + 300_000
    for key, figure in read_figures(many).items():
        for trace in figure["data"]:
            if trace["type"] == "scatter" and trace.get("fill") is None:
                assert unpack(trace["x"]).size <= report_data.MAX_POINTS, key


def test_names_are_shown_and_harmless(report):
    page = make_report(rename(make_report_input(assets=EVIL[:3]), EVIL))
    found = _Tags(page)
    assert {tag for tag, _ in found.tags if tag in ("img", "b", "i", "u")} == set()
    assert all(attrs.get("type") == "application/json" for t, attrs in found.tags if t == "script")
    assert not any(name.startswith("on") for _, attrs in found.tags for name in attrs)
    for name in EVIL[:-2]:
        assert name in found.text
    assert "49" not in re.findall(r"\{\{.*?\}\}|49", found.text)
    labels = read_figures(page)["event-1-blame"]["layout"]["yaxis"]["ticktext"]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in labels
    assert "%{x}&#36;x^2&#36;" in labels


def test_the_page_allows_itself_two_scripts_and_no_network(page):
    policy = next(a["content"] for t, a in _Tags(page).tags if t == "meta" and "content" in a)
    assert policy.startswith("default-src 'none'")
    scripts = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    assert len(scripts) == 2
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    links = [
        a.get("href") or a.get("src") for _, a in _Tags(page).tags if "href" in a or "src" in a
    ]
    assert all(link.startswith(("#", "data:")) for link in links)


def test_a_provisional_threshold_is_shouted(report):
    calibration = make_calibration(
        provisional=True,
        budget_per_week=None,
        false_alarm_rate=0.01,
        expected_rate=0.01,
        rate_low=0.004,
        rate_high=0.02,
    )
    said = _Tags(make_report(replace(report, calibrations={"pump-07": calibration}))).text
    assert "PROVISIONAL THRESHOLD." in said
    assert "Asked for 1 % of normal steps above the threshold; 4.4 % are." in said
    assert "0.4 % to 2 %" in said


def test_several_assets_have_a_block_each():
    said = _Tags(make_report(make_report_input(num_rows=400, assets=("north", "south"))))
    keys = [attrs["id"] for tag, attrs in said.tags if attrs.get("class") == "plot"]
    assert {"score-1", "score-2", "sensor-1-1", "sensor-2-1"} <= set(keys)
    assert len(keys) == len(set(keys))
    assert "Event 1 on north" in said.text


def test_many_assets_and_events_are_cut_and_the_page_says_so():
    few = make_report_input(num_rows=60, assets=tuple(f"pump-{n:02d}" for n in range(14)))
    events = tuple(
        replace(event, start_us=event.start_us + n * STEP_US, severity="low")
        for n in range(10)
        for event in few.events
    )
    found = _Tags(make_report(replace(few, events=events)))
    assert "Drawn: 12 of 14 assets" in found.text
    assert "The 200 gravest of 280 alert events. The 20 gravest have charts below." in found.text
    assert sum(attrs.get("class") == "card event" for _, attrs in found.tags) == 20


def test_many_sensors_are_cut_and_the_page_says_so(report, monkeypatch):
    monkeypatch.setattr(report_page, "MAX_SENSORS", 3)
    assert "Drawn: the first 3 of 8 sensors." in _Tags(make_report(report)).text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without_events, "No alert event in this period."),
        (lambda r: replace(r, calibrations={}), "No calibration was recorded."),
        (lambda r: replace(r, health=(), baseline={}), "No health checks were recorded."),
        (lambda r: replace(r, health=r.health[:1]), "All checks passed."),
        (
            lambda r: replace(r, curves=TrainingCurves((), (), (), (), ())),
            "No training curves were recorded.",
        ),
        (lambda r: with_state(r, "unscorable"), "No row of this asset could be scored."),
        (lambda r: take(r, np.arange(0)), "No row has both a time and an asset."),
        (lambda r: take(without_events(r), np.arange(1)), "No alert event in 0 s."),
    ],
)
def test_what_is_not_there_is_said(report, change, words):
    assert words in _Tags(make_report(change(report))).text


def test_rows_without_a_time_or_an_asset_are_not_drawn(report):
    times, codes = report.readings.timestamps.copy(), report.readings.asset_codes.copy()
    times[:5], codes[5:9] = NO_TIME, -1
    readings = replace(report.readings, timestamps=times, asset_codes=codes)
    (asset,) = report_data.split_assets(readings, report.scores)
    assert asset.rows[0] == 9
    assert "2024-03-01 00:05:00" in make_report(replace(report, readings=readings))


def test_an_event_of_an_unknown_asset_or_time_or_sensor_is_listed(report):
    first = report.events[0]
    strangers = (
        replace(first, asset="elsewhere"),
        replace(first, start_us=0, end_us=STEP_US),
        replace(first, top_sensors=("gone",), severity="unheard of"),
        replace(first, top_sensors=(), top_shares=()),
    )
    found = _Tags(make_report(replace(report, events=strangers)))
    assert sum(attrs.get("class") == "card event" for _, attrs in found.tags) == 3
    assert "elsewhere" in found.text


# --- words ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "tone", "verdict"),
    [
        (lambda r: r, "bad", "2 alert events in 2 d 22 h, 1 of high severity."),
        (
            lambda r: replace(r, events=(replace(r.events[0], severity="low"),)),
            "watch",
            "1 alert event in 2 d 22 h: as few as normal readings can give by chance; "
            "look at each.",
        ),
        (
            lambda r: replace(r, events=r.events * 5),
            "bad",
            "10 alert events in 2 d 22 h, 5 of high severity: more than normal readings would "
            "give.",
        ),
        (
            lambda r: replace(r, events=r.events[1:], calibrations={}),
            "watch",
            "1 alert event in 2 d 22 h.",
        ),
        (
            without_events,
            "good",
            "No alert event in 2 d 22 h. 175 steps crossed the threshold, too few in a row to "
            "alert.",
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
    assets = report_data.split_assets(changed.readings, changed.scores)
    headline = report_summary.make_headline(changed, assets)
    assert (headline.tone, headline.verdict) == (tone, verdict)


def test_more_flagged_steps_than_asked_for_exceed_the_expectation(report):
    assets = report_data.split_assets(report.readings, report.scores)
    for rate_high, exceeded in ((0.02, True), (0.2, False)):
        calibration = make_calibration(
            budget_per_week=None, false_alarm_rate=0.01, rate_high=rate_high
        )
        changed = replace(report, calibrations={"pump-07": calibration})
        assert report_summary.find_expectation(changed, assets).exceeded == exceeded


def test_a_calibration_that_asked_for_nothing_promises_nothing(report):
    calibration = make_calibration(budget_per_week=None)
    assets = report_data.split_assets(report.readings, report.scores)
    changed = replace(report, calibrations={"pump-07": calibration})
    assert report_summary.find_expectation(changed, assets).text == ""
    assert report_summary.describe_request(calibration) == text.NOTHING


def test_the_gravest_event_comes_first():
    def event(severity: str, peak: float, start: int) -> AlertEvent:
        return AlertEvent("id", "a", start, start + 1, start, peak, 5.0, 1, (), (), severity)

    events = (event("low", 99.0, 0), event("high", 7.0, 1), event("high", 9.0, 2))
    assert [e.start_us for e in report_events.rank_events(events)] == [2, 1, 0]


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


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (pa.array([True, False, None]), [True, False, False]),
        (pa.array([0, 3, None]), [False, True, False]),
        (pa.array([0.0, 1.0, float("nan")]), [False, True, False]),
        (pa.array(["yes", "no", "no"]), None),
    ],
)
def test_labels_of_any_kind_are_read(labels, expected):
    found = report_data.read_labels(pa.table({"label_anomaly": labels}))
    assert (None if found is None else found.tolist()) == expected


def test_scores_without_labels_have_none():
    assert report_data.read_labels(pa.table({"score": [1.0]})) is None


# --- the score axis -------------------------------------------------------------------------


def test_a_plain_axis_is_kept_where_it_shows_everything():
    score = np.array([1.0, 2.0, 3.0, 9.0])
    assert choose_stretch(score, np.full(4, 5.0))[1] == 0
    assert choose_stretch(np.full(3, np.nan), np.full(3, 5.0))[1] == 0
    assert choose_stretch(np.full(3, 2.0), np.full(3, np.nan))[1] == 0
    assert stretch(score, 0.0, 0.0) is score


@settings(max_examples=50)
@given(st.floats(-1e3, 1e3), st.floats(0.01, 1e3), st.floats(1e4, 1e12))
def test_stretched_ticks_stand_where_their_values_are(centre, spread, peak):
    limits = tuple(stretch(np.array([centre - spread, centre + peak]), centre, spread).tolist())
    ticks = make_stretched_ticks(limits, centre, spread)
    assert 3 <= len(ticks["tickvals"]) <= 6
    assert (np.diff(ticks["tickvals"]) > 0).all()
    for place, label in zip(ticks["tickvals"], ticks["ticktext"], strict=True):
        value = float(label.replace(",", "").replace("\N{MINUS SIGN}", "-"))
        assert place == pytest.approx(
            float(stretch(np.array(value), centre, spread)), abs=0.1, rel=0.1
        )


def test_a_towering_peak_stretches_the_axis(report):
    assets = report_data.split_assets(report.readings, report.scores)
    score = assets[0].score.copy()
    score[77] = 3e9
    figure = make_score_figure(replace(assets[0], score=score), (), period_s=PERIOD_S)
    axis = figure["layout"]["yaxis"]
    assert axis["title"]["text"] == "score (nats), stretched"
    assert axis["range"][1] < 30
    assert np.nanmax(unpack(figure["data"][1]["customdata"])) == pytest.approx(3e9)


def test_a_threshold_that_changes_is_drawn_at_its_changes(report):
    (asset,) = report_data.split_assets(report.readings, report.scores)
    threshold = np.where(np.arange(asset.rows.size) < 1000, 10.0, 20.0)
    threshold[:10] = np.nan
    figure = make_score_figure(replace(asset, threshold=threshold), (), period_s=PERIOD_S)
    drawn = unpack(figure["data"][2]["customdata"])
    np.testing.assert_array_equal(drawn, [np.nan, 10.0, 20.0, 20.0])


def test_one_pass_of_training_is_a_dot():
    figure = make_curve_figure((1,), {"training": (3.0,), "held out": ()})
    assert figure["data"][0]["mode"] == "lines+markers"


# --- writing --------------------------------------------------------------------------------


def test_the_page_is_written_whole_and_nothing_else(report, page, tmp_path):
    file = write_report(report, tmp_path / "new" / "report.html")
    assert file.read_bytes().decode("utf-8") == page
    write_report(report, file)
    assert [entry.name for entry in file.parent.iterdir()] == ["report.html"]


def test_a_file_that_cannot_be_written_is_a_clear_error(report, tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(ReportError, match=r"Cannot write the report to '.*folder': .*\. Choose"):
        write_report(report, tmp_path / "folder")
    (tmp_path / "file").touch()
    with pytest.raises(ReportError, match="Cannot write the report"):
        write_report(report, tmp_path / "file" / "report.html")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "folder"]


def test_parts_that_do_not_fit_together_are_a_clear_error(report):
    with pytest.raises(ReportError, match=r"expected as many scores .* got 7 scores of 4000 rows"):
        make_report(replace(report, scores=report.scores.slice(0, 7)))
    with pytest.raises(ReportError, match=r"expected sigma of shape \(4000, 8\), got \(4000, 1\)"):
        make_report(replace(report, sigma=report.sigma[:, :1]))


def test_scores_may_lack_contributions_and_an_asset_column(report):
    scores = make_scores(report.readings, np.zeros((4000, 8)), kl=np.ones(4000)).drop_columns(
        ["asset", "label_anomaly"]
    )
    empty = pa.array([{}] * 4000, pa.struct([]))
    scores = scores.set_column(scores.column_names.index("contribution"), "contribution", empty)
    assert "event-1-blame" not in read_figures(make_report(replace(report, scores=scores)))


def test_importing_the_report_loads_neither_plotly_nor_jinja():
    code = (
        "import sys, vae_anomaly.operations.report; "
        "print({'plotly', 'jinja2', 'mlflow', 'keras', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
