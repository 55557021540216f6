"""The chart of data quality: lanes of sensors that are missing or flat."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.unit.operations.report_inputs import make_quality, make_report_input, make_scores
from tests.unit.operations.test_report import read_figures, unpack
from vae_anomaly.domain import Readings
from vae_anomaly.operations import report_quality
from vae_anomaly.operations.report import ReportInput, make_report
from vae_anomaly.operations.report_data import split_assets
from vae_anomaly.operations.report_plotly import Chart

MINUTE_US = 60_000_000
NUM_ROWS = 2_000


def make_report_of(values: np.ndarray, *, times: np.ndarray | None = None) -> ReportInput:
    report = make_report_input()
    names = report.readings.sensors[: values.shape[1]]
    num_rows = len(values)
    readings = Readings(
        timestamps=np.arange(num_rows) * MINUTE_US if times is None else times,
        asset_codes=np.zeros(num_rows, dtype=np.int64),
        asset_names=("pump",),
        values=values,
        sensors=names,
    )
    return replace(
        report,
        readings=readings,
        scores=make_scores(readings, np.zeros_like(values), kl=np.zeros(num_rows)),
        mean=values,
        sigma=np.ones_like(values),
        events=(),
        quality=make_quality(readings),
        contract=replace(
            report.contract, period_s=60.0, sensors=report.contract.sensors[: len(names)]
        ),
    )


def draw(report: ReportInput) -> Chart:
    (asset,) = split_assets(report.readings, report.scores)
    return report_quality.make_quality_chart(report, asset, key="quality-1")


def find_spans(trace: dict) -> list[tuple[float, float, float]]:
    """Return start and end in minutes, and the lower edge, of each block."""
    times, edges = (unpack(trace[axis]).reshape(-1, 5) for axis in ("x", "y"))
    return [
        (round(x[0] / 60_000), round(x[2] / 60_000), float(y[0]))
        for x, y in zip(times, edges, strict=True)
    ]


@pytest.fixture
def values() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(NUM_ROWS, 3))


def test_sensors_without_faults_have_no_chart(values):
    report = make_report_of(values)
    assert draw(report).figure is None
    assert "Every sensor has a value in every row" in make_report(report)


def test_missing_and_flat_stretches_are_blocks_in_the_lane_of_their_sensor(values):
    values[100:200, 0] = np.nan
    values[500:700, 2] = 7.0
    values[600, 2] = np.nan  # ends no flat line
    values[900:910, 2] = 8.0  # too short to be drawn
    figure = draw(make_report_of(values)).figure
    first, second = figure["layout"]["yaxis"]["ticktext"]
    assert (first, second) == ("suction_pressure", "flow")
    missing = find_spans(figure["data"][0])
    assert missing == [(100, 200, pytest.approx(1.12))]
    flat = next(trace for trace in figure["data"] if trace["name"] == "one value for long")
    spans = find_spans(flat)
    assert (spans[0][0], spans[-1][1]) == (500, 700)


def test_where_no_row_is_the_chart_is_shaded_from_top_to_bottom(values):
    values[10:80, 1] = np.nan
    times = np.arange(NUM_ROWS) * MINUTE_US
    times[1_000:] += 600 * MINUTE_US
    figure = draw(make_report_of(values, times=times)).figure
    gap = next(trace for trace in figure["data"] if trace["name"] == "no row")
    assert find_spans(gap) == [(999, 1_600, 0.0)]
    assert float(np.nanmax(unpack(gap["y"]))) == 1.0


def test_of_many_sensors_those_with_most_to_show_are_drawn(monkeypatch, values):
    monkeypatch.setattr(report_quality, "MAX_LANES", 1)
    values[100:150, 0] = np.nan
    values[100:200, 2] = np.nan
    chart = draw(make_report_of(values))
    assert chart.figure["layout"]["yaxis"]["ticktext"] == ["flow"]
    assert chart.caption == "Drawn: 1 of 2 sensors."
    page = make_report(make_report_of(values))
    assert "Drawn: 1 of 2 sensors." in page
    assert "quality-1" in read_figures(page)
