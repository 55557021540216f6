import numpy as np
import pytest

from vae_anomaly.domain import MICROSECONDS_PER_S, Readings
from vae_anomaly.model.windows import gather_windows, order_steps


def readings_of(times_s: list[int], assets: list[int]) -> Readings:
    return Readings(
        timestamps=np.array(times_s, dtype=np.int64) * MICROSECONDS_PER_S,
        asset_codes=np.array(assets, dtype=np.int64),
        asset_names=("a", "b"),
        values=np.arange(len(times_s), dtype=np.float64)[:, None],
        sensors=("flow",),
    )


def order(times_s, assets, problems=None, *, gap_steps=2):
    problems = np.array(problems or [""] * len(times_s), dtype=object)
    readings = readings_of(times_s, assets)
    return order_steps(readings, problems == "", period_s=10.0, gap_steps=gap_steps)


def test_steps_come_in_order_of_asset_and_time():
    steps = order([30, 10, 20, 10], [0, 1, 0, 0])
    assert steps.rows.tolist() == [3, 2, 0, 1]
    assert steps.asset_codes.tolist() == [0, 0, 0, 1]
    assert steps.segment_start.tolist() == [0, 0, 0, 3]
    assert steps.num_steps == 4


def test_rows_with_a_problem_are_no_steps():
    steps = order([10, 20, 20, 30], [0] * 4, ["", "", "duplicate", ""])
    assert steps.rows.tolist() == [0, 1, 3]


def test_a_jump_of_more_than_the_allowed_periods_begins_a_segment():
    steps = order([0, 10, 30, 51], [0] * 4, gap_steps=2)
    assert steps.segment_start.tolist() == [0, 0, 0, 3]


def test_no_usable_row_gives_no_step():
    steps = order([10, 20], [0, 0], ["no_asset", "no_asset"])
    assert steps.num_steps == 0
    assert steps.segment_start.shape == (0,)


@pytest.mark.parametrize("window", [1, 3])
def test_windows_are_missing_before_their_segment(window):
    values = np.array([[0.0], [1.0], [2.0], [3.0]])
    starts = np.array([0, 0, 2, 2])
    windows = gather_windows(values, starts, np.arange(4), window=window)
    nan = np.nan
    expected = {
        1: [[0], [1], [2], [3]],
        3: [[nan, nan, 0], [nan, 0, 1], [nan, nan, 2], [nan, 2, 3]],
    }[window]
    np.testing.assert_array_equal(windows[:, :, 0], np.array(expected, dtype=float))


def test_windows_are_gathered_for_the_steps_asked_for_and_leave_the_values_alone():
    values = np.array([[0.0], [1.0], [2.0]], dtype=np.float32)
    windows = gather_windows(values, np.zeros(3, dtype=int), np.array([2, 0]), window=2)
    assert windows.dtype == np.float32
    np.testing.assert_array_equal(windows[:, :, 0], [[1.0, 2.0], [np.nan, 0.0]])
    np.testing.assert_array_equal(values[:, 0], [0.0, 1.0, 2.0])
