import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.operations.report_inputs import make_report_input
from vae_anomaly.operations.report_data import (
    decimate,
    find_timed,
    make_line,
    merge_intervals,
    read_labels,
    split_assets,
)

lines = st.lists(st.one_of(st.floats(-1e9, 1e9), st.just(float("nan"))), min_size=1, max_size=400)


@given(lines, st.integers(4, 60))
def test_decimation_keeps_the_largest_and_the_smallest_value(values, max_points):
    column = np.array(values)
    kept = decimate(column, max_points=max_points)
    if np.isfinite(column).any():
        assert np.nanmax(column[kept]) == np.nanmax(column)
        assert np.nanmin(column[kept]) == np.nanmin(column)


@given(st.integers(1, 3), st.integers(1, 500), st.integers(8, 60), st.integers(0, 9))
def test_decimation_keeps_few_rows_in_order_with_every_peak(num_lines, rows, max_points, seed):
    columns = np.random.default_rng(seed).normal(size=(rows, num_lines))
    kept = decimate(columns, max_points=max_points)
    assert kept.size <= max(max_points, 2 * num_lines + 2)
    assert (np.diff(kept) > 0).all()
    assert kept[0] == 0
    assert kept[-1] == rows - 1
    assert (columns[kept].max(axis=0) == columns.max(axis=0)).all()


def test_decimation_keeps_short_lines_whole():
    assert decimate(np.arange(9.0), max_points=9).tolist() == list(range(9))


def test_decimation_of_a_line_without_values_keeps_its_ends():
    assert decimate(np.full(100, np.nan), max_points=10).tolist() == [0, 99]


@settings(max_examples=30)
@given(st.lists(st.integers(1, 1000), min_size=1, max_size=300), st.integers(12, 50))
def test_a_line_with_many_gaps_stays_small_and_keeps_its_peak(steps, max_points):
    times = np.cumsum(np.array(steps, dtype=np.int64)) * 1_000_000
    values = np.sin(np.arange(times.size) * 1.7)
    line = make_line(times, values[:, None], max_points=max_points, period_s=1.0)
    assert line.times_ms.size <= max_points
    assert np.nanmax(line.columns) == values.max()
    assert (np.diff(line.times_ms) >= 0).all()


def test_a_line_is_broken_at_a_long_gap_only():
    times = np.array([0, 1, 2, 60, 61, 63], dtype=np.int64) * 1_000_000
    line = make_line(times, np.ones((6, 1)), max_points=300, period_s=1.0)
    assert np.flatnonzero(np.isnan(line.columns[:, 0])).tolist() == [3]


def test_a_sensor_that_reports_rarely_is_still_a_line():
    values = np.full((1000, 1), np.nan)
    values[::50] = 1.0
    times = np.arange(1000, dtype=np.int64) * 1_000_000
    line = make_line(times, values, max_points=300, period_s=1.0)
    assert line.times_ms.size == 20
    assert not np.isnan(line.columns).any()


def test_a_line_without_values_has_no_points():
    times = np.arange(3, dtype=np.int64)
    line = make_line(times, np.full((3, 2), np.nan), max_points=30, period_s=1.0)
    assert line.times_ms.shape == (0,)
    assert line.columns.shape == (0, 2)


@given(
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 3000)), max_size=200),
    st.integers(2, 40),
)
def test_merged_intervals_are_few_apart_and_cover_everything(pairs, max_intervals):
    pairs.sort()
    intervals = np.array([(s, s + n) for s, n in pairs], dtype=np.int64).reshape(-1, 2)
    merged = merge_intervals(intervals, span_us=10_000, max_intervals=max_intervals)
    assert merged.shape[0] <= max_intervals
    assert (merged[1:, 0] > merged[:-1, 1]).all()
    for start, end in intervals:
        assert ((merged[:, 0] <= start) & (merged[:, 1] >= end)).any()


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
    found = read_labels(pa.table({"label_anomaly": labels}))
    assert (None if found is None else found.tolist()) == expected


def test_scores_without_labels_have_none():
    assert read_labels(pa.table({"score": [1.0]})) is None


def test_rows_of_a_reset_clock_are_not_drawn():
    report = make_report_input()
    reason = report.scores["reason"].to_pylist()
    reason[0] = "implausible_time"
    at = report.scores.column_names.index("reason")
    scores = report.scores.set_column(at, "reason", pa.array(reason, pa.string()))
    timed = find_timed(report.readings, scores)
    assert not timed[0]
    assert timed[1:].all()
    assert all(0 not in asset.rows for asset in split_assets(report.readings, scores))
