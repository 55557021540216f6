import numpy as np
import pytest

from vae_anomaly.detector.drift import (
    LEVEL,
    MIN_BLOCKS,
    SPREAD,
    WINDOWS,
    compare,
    count_base,
    find_decorrelation,
    join_sums,
    judge_alert_rate,
    share_alarms,
    sum_blocks,
    summarise,
)

STEPS = 50
US = 10


def make_series(num_blocks, *, seed=0, level=0.0, spread=1.0):
    """Independent values, so many steps a block."""
    rng = np.random.default_rng(seed)
    values = level + spread * rng.normal(size=(num_blocks * STEPS, 1))
    return np.arange(len(values)) * US, values


def sums_of(times, values, *, first_block=0):
    sums = sum_blocks(times, values, block_us=STEPS * US)
    return type(sums)(sums.block + first_block, sums.count, sums.mean, sums.squares)


def refer(num_blocks=30, **options):
    return summarise(
        sums_of(*make_series(num_blocks, **options)), 0, decorrelation_steps=1.0, num_base=1
    )


def compare_with(reference, num_blocks=7, *, min_shift=0.5, until=None, **options):
    sums = sums_of(*make_series(num_blocks, seed=99, **options), first_block=100)
    return compare(reference, sums, 0, until_block=until or 100 + num_blocks, min_shift=min_shift)


def test_sums_of_parts_are_the_sums_of_the_whole_whatever_the_cut():
    rng = np.random.default_rng(1)
    times = np.sort(rng.choice(10_000, size=800, replace=False)) + 5
    values = rng.normal(size=(800, 3)) * [1, 1e-3, 1e5] + [0, 5, 1e9]
    values[rng.random(values.shape) < 0.1] = np.nan
    whole = sum_blocks(times, values, block_us=900)
    for cut in (1, 377, 799):
        parts = [
            sum_blocks(times[:cut], values[:cut], block_us=900),
            sum_blocks(times[cut:], values[cut:], block_us=900),
        ]
        joined = join_sums(parts)
        assert joined.block.tolist() == whole.block.tolist()
        np.testing.assert_array_equal(joined.count, whole.count)
        np.testing.assert_allclose(joined.mean, whole.mean, rtol=1e-12)
        np.testing.assert_allclose(joined.squares, whole.squares, rtol=1e-6)


def test_sums_are_those_of_numpy_and_base_blocks_become_longer_ones():
    times, values = make_series(6)
    values[7] = np.nan
    sums = join_sums([sums_of(times, values)], num_base=3)
    assert sums.block.tolist() == [0, 1]
    for position, part in enumerate(np.split(values[:, 0], 2)):
        assert sums.count[position, 0] == np.isfinite(part).sum()
        assert sums.mean[position, 0] == pytest.approx(np.nanmean(part))
        assert sums.squares[position, 0] == pytest.approx(np.nanvar(part) * sums.count[position])


def test_no_steps_are_no_blocks():
    nothing = sum_blocks(np.zeros(0, np.int64), np.zeros((0, 2)), block_us=5)
    assert nothing.block.size == 0
    assert join_sums([nothing, nothing]).count.shape == (0, 2)
    assert not summarise(nothing, 0, decorrelation_steps=1.0, num_base=1).is_enough


def test_what_stays_alike_for_long_needs_long_blocks():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=20_000)
    alike = np.zeros_like(noise)
    for step in range(1, len(noise)):
        alike[step] = 0.98 * alike[step - 1] + noise[step]
    assert find_decorrelation(noise) == pytest.approx(1.0, abs=0.2)
    assert 60 < find_decorrelation(alike) < 150  # (1 + phi) / (1 - phi) = 99
    assert find_decorrelation(np.full(10, np.nan)) == 1.0
    assert count_base(1.0, period_us=60, base_us=86_400) == 1
    assert count_base(200.0, period_us=60, base_us=86_400) == 2


def test_the_level_test_is_students_two_sample_prediction():
    from scipy import stats

    reference = refer()
    found = compare_with(reference, 3)[LEVEL]
    first = make_series(30)[1].reshape(30, STEPS).mean(axis=1)
    latest = make_series(3, seed=99)[1].reshape(3, STEPS).mean(axis=1)
    strength = abs(latest.mean() - first.mean()) / (first.std(ddof=1) * np.sqrt(1 / 30 + 1 / 3))
    by_hand = min(2 * stats.t.sf(strength, 29) * len(WINDOWS), 1.0)
    assert found.p_value == pytest.approx(by_hand)
    assert not found.lasts


@pytest.mark.parametrize(
    ("options", "statistic"), [({"level": 1.0}, LEVEL), ({"spread": 3.0}, SPREAD)]
)
def test_a_change_that_lasts_is_found(options, statistic):
    found = compare_with(refer(), **options)[statistic]
    assert found.lasts
    assert found.p_value < 1e-6
    assert found.shift == pytest.approx(options.get("level") or np.log(3.0), abs=0.2)


def test_a_change_that_does_not_matter_does_not_last():
    found = compare_with(refer(), level=0.6, min_shift=0.8)[LEVEL]
    assert found.p_value < 1e-3
    assert not found.lasts


def test_one_wild_day_is_no_drift():
    times, values = make_series(7, seed=5)
    values[-STEPS:] += 100.0
    sums = sums_of(times, values, first_block=100)
    found = compare(refer(), sums, 0, until_block=107, min_shift=0.5)[LEVEL]
    assert found.p_value < 1e-3
    assert not found.lasts


def test_a_block_that_is_not_over_does_not_count():
    reference = refer()
    assert compare_with(reference, 3, until=102) == {}
    assert compare_with(reference, 3).keys() == {LEVEL, SPREAD}


def test_half_empty_blocks_do_not_count():
    times, values = make_series(3, seed=1)
    values[: 2 * STEPS // 3] = np.nan
    sums = sums_of(times, values, first_block=100)
    assert compare(refer(), sums, 0, until_block=103, min_shift=0.5) == {}


def test_too_few_blocks_say_nothing_and_neither_does_a_constant():
    assert not refer(MIN_BLOCKS - 1).is_enough
    assert refer(MIN_BLOCKS).is_enough
    constant = refer(spread=0.0, level=3.0)
    assert not constant.is_enough
    assert compare_with(constant) == {}


def test_a_sensor_that_stood_still_for_a_day_has_a_spread():
    times, values = make_series(10)
    values[:STEPS] = 0.0
    reference = summarise(sums_of(times, values), 0, decorrelation_steps=1.0, num_base=1)
    assert np.isfinite([reference.spread, reference.spread_spread]).all()
    assert reference.spread_spread < 2.0


def test_the_alarms_of_a_year_are_shared_between_series_and_checks():
    level = share_alarms(1.0, num_series=20, shortest_block_s=86_400)
    assert level * 20 * 365.25 == pytest.approx(1.0)
    assert share_alarms(1.0, num_series=0, shortest_block_s=86_400) < 1.0


def test_alert_events_far_above_the_budget_are_unlikely():
    assert judge_alert_rate(0, weeks=4.0, budget_per_week=1.0) == 1.0
    assert judge_alert_rate(4, weeks=4.0, budget_per_week=1.0) > 0.3
    assert judge_alert_rate(40, weeks=4.0, budget_per_week=1.0) < 1e-20


def test_stationary_fleets_give_no_more_alarms_than_asked_for():
    """A small cut of tests/benchmarks/drift_alarms.py, at a rate that it can see."""
    level, alarms, num_tests = 0.02, 0, 0
    for seed in range(300):
        reference = refer(20, seed=seed)
        sums = sums_of(*make_series(3, seed=10_000 + seed), first_block=100)
        for found in compare(reference, sums, 0, until_block=103, min_shift=0.0).values():
            alarms, num_tests = alarms + (found.p_value < level), num_tests + 1
    assert num_tests == 600
    assert alarms / num_tests < 2 * level
