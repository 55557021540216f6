import math

import numpy as np
import pytest
from scipy import stats

from vae_anomaly.detector.channels import (
    MAX_MARGIN,
    MIN_ENERGY,
    ChannelLimits,
    combine,
    set_limits,
)

NONE = np.zeros(1000)
ONES = np.ones((1, 1000))


def limit_energy(energy, *, rate):
    """Limit of energies that are not averaged, beside no shift."""
    limits = set_limits(
        energy[None], np.zeros(len(energy)), smoothing_steps=1, false_alarm_rate=rate
    )
    return limits.energy[0]


def test_the_score_is_one_where_either_channel_reaches_its_limit():
    limits = [ChannelLimits(energy=(4.0,), shift=6.0)]
    score, is_shift = combine(np.array([[4.0, 0.0, 2.0]]), np.array([0.0, 6.0, 12.0]), limits)
    np.testing.assert_allclose(score, [1.0, 1.0, 4.0])
    assert is_shift.tolist() == [False, True, True]


def test_every_asset_is_measured_by_its_own_limits():
    limits = [ChannelLimits((1.0,), 10.0), ChannelLimits((2.0,), 5.0)]
    score, _ = combine(np.array([[4.0, 4.0]]), np.array([0.0, -3.0]), limits, np.array([0, 1]))
    np.testing.assert_allclose(score, [4.0, 2.0])


def test_the_span_that_is_farthest_over_its_limit_counts():
    limits = [ChannelLimits((4.0, 2.0, 1.0), 9.0), ChannelLimits((4.0, 2.0), 9.0)]
    energy = np.array([[8.0, 4.0, 8.0], [2.0, 4.0, 1.0], [1.0, 3.0, 5.0]])
    score, _ = combine(energy, np.zeros(3), limits, np.array([0, 0, 1]))
    np.testing.assert_allclose(score, [2.0, 3.0, 2.0])  # the second asset has no third limit


def test_a_long_span_has_a_limit_where_enough_is_held_out():
    few, many = (np.ones((3, size)) for size in (499, 500))
    assert len(set_limits(few, few[0], smoothing_steps=20, false_alarm_rate=0.01).energy) == 2
    assert len(set_limits(many, many[0], smoothing_steps=20, false_alarm_rate=0.01).energy) == 3


def test_what_cannot_be_scored_stays_so():
    score, is_shift = combine(
        np.array([[np.nan], [np.nan]]), np.array([np.nan]), [ChannelLimits((1.0,), 1.0)]
    )
    assert np.isnan(score[0])
    assert not is_shift[0]


def test_the_shift_needs_no_held_out_rows_to_have_a_limit():
    limits = set_limits(ONES, NONE, smoothing_steps=1, false_alarm_rate=0.01)
    assert limits.shift == pytest.approx(-math.log(0.005))


def test_held_out_shifts_raise_their_limit():
    shift = np.linspace(0.0, 100.0, num=1001)
    assert (
        set_limits(np.ones((1, 1001)), shift, smoothing_steps=1, false_alarm_rate=0.1).shift > 94.0
    )


def test_independent_energies_get_the_limit_of_their_distribution():
    energy = np.exp(np.random.default_rng(0).normal(1.0, 0.5, size=20_000))
    limit = limit_energy(energy, rate=0.02)
    assert limit == pytest.approx(math.exp(1.0 + 0.5 * stats.norm.isf(0.01)), rel=0.05)


def test_few_independent_energies_get_a_higher_limit():
    random = np.random.default_rng(1)
    size = random.normal(size=50)
    few = np.exp(np.repeat(size, 20))  # 1,000 steps, but 50 to learn from
    many = np.exp(np.tile(size, 20)[random.permutation(1000)])
    low = limit_energy(many, rate=0.01)
    assert limit_energy(few, rate=0.01) > 1.05 * low


def test_the_share_that_exceeds_the_limits_is_the_share_asked_for():
    random = np.random.default_rng(2)
    exceeded = []
    for _ in range(200):
        held, later = np.exp(random.normal(size=(2, 40)))
        limit = limit_energy(held, rate=0.1)
        exceeded.append(float(np.mean(later > limit)))
    assert np.mean(exceeded) == pytest.approx(0.05, abs=0.02)  # half of the rate is the shift's


def test_energies_of_nothing_have_a_limit_above_nothing():
    assert limit_energy(NONE, rate=0.01) >= MIN_ENERGY


def test_a_part_whose_noise_changes_once_does_not_switch_the_energy_off():
    random = np.random.default_rng(4)
    energy = np.exp(0.2 * random.normal(size=300))
    energy[-100:] *= 16.0
    limit = limit_energy(energy, rate=0.01)
    assert limit <= MAX_MARGIN * np.quantile(energy, 0.999)


def test_spans_share_the_rate_of_their_channel():
    energy = np.random.default_rng(0).gamma(2.0, size=20_000)
    shift = np.zeros(energy.size)
    spans, alone = np.tile(energy, (3, 1)), energy[None]
    shared = set_limits(spans, shift, smoothing_steps=20, false_alarm_rate=0.06).energy
    [one] = set_limits(alone, shift, smoothing_steps=1, false_alarm_rate=0.02).energy
    assert shared == (one,) * 3
