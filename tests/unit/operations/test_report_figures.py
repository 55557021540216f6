import base64
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.operations.report_inputs import PERIOD_S, make_report_input
from vae_anomaly.operations.report_data import split_assets
from vae_anomaly.operations.report_figures import make_curve_figure, make_sensor_figure
from vae_anomaly.operations.report_input import ReportInput
from vae_anomaly.operations.report_plotly import encode, make_trace
from vae_anomaly.operations.report_score_figure import (
    choose_stretch,
    make_score_figure,
    make_stretched_ticks,
    stretch,
)


@pytest.fixture(scope="module")
def report() -> ReportInput:
    return make_report_input()


def unpack(array):
    return np.frombuffer(base64.b64decode(array["bdata"]), dtype=array["dtype"])


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
    assets = split_assets(report.readings, report.scores)
    score = assets[0].score.copy()
    score[77] = 3e9
    figure = make_score_figure(replace(assets[0], score=score), (), period_s=PERIOD_S)
    axis = figure["layout"]["yaxis"]
    assert axis["title"]["text"] == "score, stretched"
    assert axis["range"][1] < 30
    assert np.nanmax(unpack(figure["data"][1]["customdata"])) == pytest.approx(3e9)


def test_a_threshold_that_changes_is_drawn_at_its_changes(report):
    (asset,) = split_assets(report.readings, report.scores)
    threshold = np.where(np.arange(asset.rows.size) < 1000, 10.0, 20.0)
    threshold[[0, 1, 500, 1500]] = np.nan  # unscorable steps have none; the line goes on
    figure = make_score_figure(replace(asset, threshold=threshold), (), period_s=PERIOD_S)
    drawn = unpack(figure["data"][2]["customdata"])
    np.testing.assert_array_equal(drawn, [10.0, 20.0, 20.0])


def test_one_pass_of_training_is_a_dot():
    figure = make_curve_figure((1,), {"training": (3.0,), "held out": ()})
    assert figure["data"][0]["mode"] == "lines+markers"


def test_a_sensor_without_an_expectation_shows_its_readings(report):
    rows = slice(0, 50)
    unknown = np.full((50, 1), np.nan)
    figure = make_sensor_figure(
        ("valve_open",),
        report.readings.timestamps[rows],
        (report.readings.values[rows, 6:7], unknown, unknown),
        period_s=PERIOD_S,
    )
    reading, band, mean = (unpack(trace["y"]).size for trace in figure["data"])
    assert (reading, band, mean) == (50, 0, 0)
    assert figure["layout"]["yaxis"]["range"] == pytest.approx([0.94, 1.06])


def test_a_sensor_without_values_has_no_range_of_its_own():
    nothing = np.full((3, 1), np.nan)
    times = np.arange(3, dtype=np.int64)
    figure = make_sensor_figure(("dead",), times, (nothing, nothing, nothing), period_s=1.0)
    assert "range" not in figure["layout"]["yaxis"]
