from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_anomaly.detector.adaptation import (
    NUM_BLOCKS,
    WIDENING,
    Track,
    adapt,
    block_steps,
    find_drift,
    memory_steps,
    memory_us,
)
from vae_anomaly.model.channels import ChosenLikelihood
from vae_anomaly.model.density import StepScores

STEP_US = 1_000_000
GAUSSIAN_SENSOR = [(0, ChosenLikelihood())]


def make_track(num: int, *, adaptation_steps: int = 40, first: int = 0, codes=None) -> Track:
    times = (np.arange(num) + first) * STEP_US
    codes = np.zeros(num, dtype=np.int64) if codes is None else np.asarray(codes)
    return Track(times, codes, 1.0, adaptation_steps)


def column(*parts: tuple[float, int]) -> np.ndarray:
    return np.concatenate([np.full(num, value) for value, num in parts])[:, None]


def find_level(residual: np.ndarray, track: Track) -> np.ndarray:
    drift = find_drift(residual, track)
    return drift.at_steps(drift.level)


def find_width(residual: np.ndarray, track: Track) -> np.ndarray:
    drift = find_drift(residual, track)
    return drift.at_steps(drift.width)


def adapt_copy(scores: StepScores, *arguments, **options) -> StepScores:
    """What `adapt` makes of scores, which stay as they are."""
    copy = deepcopy(scores)
    adapt(copy, *arguments, **options)
    return copy


def test_a_change_shorter_than_half_of_the_memory_leaves_no_trace():
    residual = column((0.0, 40), (9.0, 18), (0.0, 100))
    assert not find_level(residual, make_track(len(residual))).any()


def test_a_change_that_lasts_becomes_the_level_and_so_does_the_way_back():
    residual = column((0.0, 40), (9.0, 60), (0.0, 60))
    level = find_level(residual, make_track(160))[:, 0]
    assert level[[59, 62, 99, 119, 122, 159]].tolist() == [0, 9, 9, 9, 0, 0]


def test_before_the_first_reading_everything_counts_as_normal():
    level = find_level(column((5.0, 60)), make_track(60))[:, 0]
    assert (level[:20] == 0).all()
    assert level[-1] == 5


def test_a_long_pause_counts_as_normal():
    track = replace(
        make_track(120), timestamps=np.arange(120) * STEP_US + (np.arange(120) >= 60) * 10**9
    )
    level = find_level(column((5.0, 120)), track)[:, 0]
    assert level[59] == 5
    assert (level[60:75] == 0).all()


def test_assets_have_levels_of_their_own():
    codes = np.repeat([0, 1], 60)
    residual = column((5.0, 60), (0.0, 60))
    track = Track(np.tile(np.arange(60), 2) * STEP_US, codes, 1.0, 40)
    level = find_level(residual, track)[:, 0]
    assert level[59] == 5
    assert not level[60:].any()


def test_missing_values_do_not_count():
    residual = column((5.0, 60))
    residual[::2] = np.nan
    assert find_level(residual, make_track(60))[-1, 0] == 5
    assert not find_level(np.full((60, 1), np.nan), make_track(60)).any()


def test_one_broken_value_does_not_become_the_level():
    residual = column((0.0, 100))
    residual[50] = 1e300
    assert not find_level(residual, make_track(100)).any()


def test_no_steps_and_no_adaptation_have_no_level():
    assert find_level(np.empty((0, 2)), make_track(0)).shape == (0, 2)
    assert not find_level(column((5.0, 90)), make_track(90, adaptation_steps=0)).any()


@settings(deadline=None)
@given(st.integers(0, 200), st.integers(1, 90), st.integers(0, 2**32 - 1))
def test_the_level_depends_on_its_memory_alone(first, adaptation_steps, seed):
    memory = memory_steps(adaptation_steps)
    assert memory == (NUM_BLOCKS + 1) * block_steps(adaptation_steps) > adaptation_steps
    residual = np.random.default_rng(seed).normal(size=(first + memory + 5, 2))
    track = make_track(len(residual), adaptation_steps=adaptation_steps)
    later = make_track(memory + 5, adaptation_steps=adaptation_steps, first=first)
    for find in (find_level, find_width):
        part, whole = find(residual[first:], later), find(residual, track)
        np.testing.assert_array_equal(part[memory:], whole[first + memory :])


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_where_readings_come_at_any_pace_the_level_depends_on_its_time_alone(steps, seed):
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.integers(STEP_US // 10, 2 * STEP_US, size=400))
    residual, codes = rng.normal(size=(400, 1)), np.zeros(400, dtype=int)
    whole = find_level(residual, Track(times, codes, 1.0, steps))
    row = 300
    kept = times >= times[row] - memory_us(steps, period_s=1.0)
    part = find_level(residual[kept], Track(times[kept], codes[kept], 1.0, steps))
    np.testing.assert_array_equal(part[-100:], whole[row:])


@settings(deadline=None)
@given(st.integers(1, 90), st.integers(0, 2**32 - 1))
def test_the_level_equals_its_naive_twin(adaptation_steps, seed):
    rng = np.random.default_rng(seed)
    times = np.flatnonzero(rng.random(150) < 0.8)
    residual = rng.normal(size=(len(times), 1))
    track = Track(times * STEP_US, np.zeros(len(times), dtype=int), 1.0, adaptation_steps)
    block = block_steps(adaptation_steps)
    levels, widths = (find(3.0 * residual, track)[:, 0] for find in (find_level, find_width))
    for row, level, width in zip(times, levels, widths, strict=True):
        blocks = [
            3.0 * residual[times // block == row // block - back]
            for back in range(1, NUM_BLOCKS + 1)
        ]
        middle = np.median([some.mean() if len(some) else 0.0 for some in blocks])
        spreads = [np.mean((some - middle) ** 2) if len(some) else 0.0 for some in blocks]
        assert level == pytest.approx(middle, abs=1e-12)
        assert width == pytest.approx(max(np.median(spreads), 1.0) ** WIDENING, abs=1e-9)


def test_noise_that_lasts_widens_sigma_and_never_narrows_it():
    noise = np.random.default_rng(0).choice([-1.0, 1.0], size=(300, 1))
    width = find_width(np.concatenate([0.1 * noise, 4.0 * noise]), make_track(600))[:, 0]
    assert (width[:310] == 1.0).all()
    assert width[-1] == pytest.approx(2.0)  # the geometric mean of 1 and 4


def test_what_noise_adds_shorter_than_half_of_the_memory_stays_strange():
    noise = np.random.default_rng(0).choice([-9.0, 9.0], size=(18, 1))
    residual = np.concatenate([np.zeros((60, 1)), noise, np.zeros((60, 1))])
    assert (find_width(residual, make_track(138)) == 1.0).all()


def test_expected_values_move_with_the_level_and_the_nats_add_up():
    values = np.column_stack([np.repeat([100.0, 130.0], [40, 60]), np.ones(100)])
    mean, sigma = np.tile([100.0, 1.0], (100, 1)), np.tile([10.0, 0.0], (100, 1))
    energy = np.column_stack([0.5 * ((values[:, 0] - 100) / 10) ** 2, np.zeros(100)])
    scores = StepScores(
        contribution=energy + np.array([2.0, 0.0]),
        kl=np.ones(100),
        energy=energy,
        num_observed=np.full(100, 2),
        mean=mean,
        sigma=sigma,
    )
    adapted = adapt_copy(scores, values, make_track(100), GAUSSIAN_SENSOR)
    assert adapted.mean[[0, 59, 99], 0].tolist() == [100, 100, 130]
    assert adapted.energy[[50, 99], 0].tolist() == [4.5, 0.0]
    wider = np.log(adapted.sigma[:, 0] / 10.0)
    assert wider.min() == 0.0
    np.testing.assert_allclose((adapted.contribution - adapted.energy)[:, 0], 2.0 + wider)
    np.testing.assert_array_equal(adapted.contribution[:, 1], 0.0)
    np.testing.assert_array_equal(adapted.mean[:, 1], scores.mean[:, 1])


def test_where_nothing_has_moved_the_scores_stay_as_they_are():
    zeros = np.zeros((50, 1))
    scores = StepScores(
        zeros, zeros[:, 0], zeros.copy(), np.ones(50, dtype=int), zeros.copy(), zeros + 1
    )
    adapted = adapt_copy(scores, zeros, make_track(50), GAUSSIAN_SENSOR)
    for name in ("mean", "sigma", "energy", "contribution"):
        np.testing.assert_array_equal(getattr(adapted, name), getattr(scores, name))


def test_states_have_no_level_and_logs_move_in_their_own_unit():
    likelihoods = (
        ChosenLikelihood("bernoulli", levels=(0.0, 1.0)),
        ChosenLikelihood("log_normal"),
    )
    values = np.column_stack([np.ones(100), np.full(100, 30.0)])
    zeros, ones = np.zeros((100, 2)), np.ones((100, 2))
    mean, sigma = np.tile([0.1, 3.0], (100, 1)), np.tile([0.3, 0.3], (100, 1))
    scores = StepScores(ones, zeros[:, 0], ones.copy(), np.full(100, 2), mean, sigma)
    adapted = adapt_copy(scores, values, make_track(100), [*enumerate(likelihoods)])
    for name in ("mean", "sigma", "energy", "contribution"):
        same = getattr(adapted, name)[:, 0], getattr(scores, name)[:, 0]
        np.testing.assert_array_equal(*same)
    assert adapted.mean[99, 1] == pytest.approx(30.0, rel=0.01)
    assert adapted.sigma[99, 1] / adapted.mean[99, 1] == pytest.approx(0.1)  # a share, as before
    assert adapted.contribution[99, 1] < -100


def move_plainly(values, scores, level, width):
    """What `adapt` makes of Gaussian sensors, by the formula."""
    residual = ((values - scores.mean) / scores.sigma - level) / width
    energy = np.nan_to_num(0.5 * residual**2)
    wider = np.where(np.isnan(values), 0.0, np.log(width))
    return energy, scores.contribution + energy - scores.energy + wider


@pytest.mark.parametrize("other", ["gaussian", "student_t", "laplace", "log_normal", "bernoulli"])
def test_gaussian_sensors_move_alike_whatever_is_beside_them(other):
    rng = np.random.default_rng(0)
    values = np.column_stack([rng.normal(3.0, 4.0, 200), np.ones(200)])
    values[::7] = np.nan
    mean, sigma = np.tile([1.0, 0.6], (200, 1)), np.tile([2.0, 0.4], (200, 1))
    energy = np.nan_to_num(0.5 * np.square((values - mean) / sigma))
    scores = StepScores(energy + 1.0, np.zeros(200), energy, np.full(200, 2), mean, sigma)
    likelihoods = (ChosenLikelihood(), ChosenLikelihood(other, levels=(0.0, 1.0)))
    adapted = adapt_copy(scores, values, make_track(200), [*enumerate(likelihoods)])
    residual = ((values - mean) / sigma)[:, :1]
    level, width = (find(residual, make_track(200)) for find in (find_level, find_width))
    assert width.max() > 1.1
    energy, contribution = (
        one[:, 0]
        for one in move_plainly(
            values, scores, *(np.column_stack([one, one]) for one in (level, width))
        )
    )
    np.testing.assert_allclose(adapted.energy[:, 0], energy)
    np.testing.assert_allclose(adapted.contribution[:, 0], contribution)
    np.testing.assert_array_equal(adapted.sigma[:, 0], (width * 2.0)[:, 0])


@pytest.mark.parametrize("name", ["student_t", "laplace"])
def test_the_spread_that_a_likelihood_expects_widens_nothing(name):
    signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(200, 1))
    values, zeros = 2.0 * signs, np.zeros((200, 1))
    scores = StepScores(
        zeros, zeros[:, 0], zeros.copy(), np.ones(200, dtype=int), zeros.copy(), zeros + 2.0
    )
    adapted = adapt_copy(scores, values, make_track(200), [(0, ChosenLikelihood(name))])
    np.testing.assert_array_equal(adapted.sigma, scores.sigma)
