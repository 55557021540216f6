import numpy as np
import pytest

from vae_anomaly.readings.grid import find_grid, merge_levels


def test_values_closer_than_noise_are_one_level() -> None:
    levels, counts = merge_levels(np.array([0.0, 1.0, 1.0 + 1e-9, 1.0 + 1e-9, 2.0]))
    np.testing.assert_allclose(levels, [0.0, 1.0, 2.0], atol=1e-8)
    assert counts.tolist() == [1, 3, 1]


def test_no_values_have_no_levels() -> None:
    levels, counts = merge_levels(np.array([]))
    assert levels.size == counts.size == 0


def test_smallest_gap_is_the_step_where_others_are_multiples_of_it() -> None:
    assert find_grid(np.array([0.0, 0.25, 0.5, 1.5, 2.0, 7.25])) == pytest.approx(0.25)


def test_step_smaller_than_every_gap_is_not_guessed() -> None:
    assert find_grid(np.array([0.0, 2.0, 5.0, 9.0, 12.0, 14.0, 17.0])) == 0.0


def test_random_levels_lie_on_no_grid() -> None:
    rng = np.random.default_rng(0)
    for size in (3, 5, 10, 100, 10_000):
        assert find_grid(np.sort(rng.normal(size=size))) == 0.0


def test_grid_finer_than_a_ten_thousandth_of_the_spread_is_none() -> None:
    assert find_grid(np.arange(10_001.0)) == pytest.approx(1.0)
    assert find_grid(np.arange(20_001.0)) == 0.0


def test_two_levels_are_too_few_for_a_grid() -> None:
    assert find_grid(np.array([1.0, 2.0])) == 0.0


def test_three_levels_do_not_convince() -> None:
    assert find_grid(np.array([1.0, 2.37, 5.1])) == 0.0


def test_jump_longer_than_the_step_can_count_is_left_out() -> None:
    levels = np.concatenate([np.arange(6) * 1e-3, 9.5003 + np.arange(6) * 1e-3])
    assert find_grid(levels) == pytest.approx(1e-3)
