import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from vae_anomaly.config import parse_record
from vae_anomaly.detector.adaptation import Track
from vae_anomaly.detector.shift import (
    AssetSteps,
    ShiftModel,
    find_shifts,
    fit_shift_model,
    log_two_sided_t,
)
from vae_anomaly.detector.smoothing import memory_steps

SPAN = 20
NUM_SENSORS = 4
LIMIT = 6.0


def make_steps(values, codes=None, *, names=("a", "b"), adaptation_steps=0) -> AssetSteps:
    codes = np.zeros(len(values), dtype=np.int64) if codes is None else codes
    start = np.maximum.accumulate(
        np.where(np.diff(codes, prepend=-1) != 0, np.arange(len(codes)), 0)
    )
    times = np.arange(len(values)) * 1_000_000
    return AssetSteps(values, start, Track(times, codes, 1.0, adaptation_steps), names)


def make_values(seed: int, num_steps: int = 2000) -> np.ndarray:
    """Four sensors of one hidden factor, in very different units, with noise of their own."""
    random = np.random.default_rng(seed)
    factor = random.normal(size=(num_steps, 1))
    noise = 0.3 * random.normal(size=(num_steps, NUM_SENSORS))
    return (factor + noise) * [1e6, 1.0, 1e-3, -10.0] + [1e9, 0.0, 1.0, 5.0]


def make_model(**options) -> ShiftModel:
    return fit_shift_model(make_steps(make_values(0)), latent=1, span=SPAN, **options)


@pytest.mark.parametrize("freedom", [1.0, 2.3, 17.0, 1e4])
def test_the_tail_is_that_of_scipy(freedom):
    size = np.array([0.0, 0.5, 2.0, 6.0])
    expected = math.log(2) + stats.t.logsf(size, freedom)
    np.testing.assert_allclose(log_two_sided_t(size, freedom=freedom), expected, atol=1e-9)


@pytest.mark.parametrize("freedom", [1.0, 50.0, 1e4, 1e6])
def test_the_tail_goes_on_falling_where_doubles_end(freedom):
    size = np.concatenate([np.linspace(0, 300, 3001), np.geomspace(300, 1e200, 50)])
    tail = log_two_sided_t(size, freedom=freedom)
    assert np.isfinite(tail[size < 1e100]).all()
    assert (np.diff(tail) <= 1e-6).all()


@pytest.mark.parametrize("freedom", [1.0, 3.3, 5.0])
def test_the_table_says_what_the_tail_says(freedom):
    model = replace(make_model(), freedom=freedom)
    size = np.concatenate([np.linspace(0, 30, 5000), np.geomspace(30, 1e20, 500)])
    expected = -log_two_sided_t(size, freedom=freedom) - math.log(NUM_SENSORS)
    np.testing.assert_allclose(model.find_nats(size), expected, atol=1e-5)
    assert np.isfinite(model.find_nats(np.array([1e300]))).all()


def test_nats_of_normal_steps_are_those_of_their_probability():
    model = make_model()
    nats = find_shifts(model, make_steps(make_values(1, 40_000))).nats
    for limit in (2.0, 4.0):
        assert float(np.mean(nats > limit)) < 1.2 * math.exp(-limit)


def test_a_small_lasting_shift_is_found_and_its_sensor_named():
    values = make_values(2, 600)
    values[300:, 2] += 1e-3  # one spread
    shifts = find_shifts(make_model(), make_steps(values))
    assert shifts.nats[380:].min() > LIMIT
    assert set(shifts.channel[380:].tolist()) == {2}
    assert shifts.nats[:300].max() < LIMIT


def test_a_sensor_alone_is_its_own_residual():
    values = np.random.default_rng(0).normal(size=(1000, 1))
    model = fit_shift_model(make_steps(values), latent=2, span=SPAN)
    moved = np.concatenate([values[:100], values[:200] + 2.0])
    assert find_shifts(model, make_steps(moved)).nats[200:].min() > LIMIT


def test_a_shift_is_less_sure_after_few_normal_steps():
    long = make_model()
    short = fit_shift_model(make_steps(make_values(0, 100)), latent=1, span=SPAN)
    values = make_values(3, 400)
    values[100:, 0] += 1e6
    steps = make_steps(values)
    assert find_shifts(short, steps).nats[200:].max() < find_shifts(long, steps).nats[200:].min()


def test_every_asset_has_its_own_level_and_an_unknown_one_that_of_all():
    values = make_values(4, 4000)
    codes = np.repeat([0, 1], 2000)
    values[codes == 1, 1] += 1.0
    model = fit_shift_model(make_steps(values, codes), latent=1, span=SPAN)
    assert find_shifts(model, make_steps(values, codes)).nats.max() < LIMIT
    swapped = make_steps(values, codes, names=("b", "a"))
    assert np.median(find_shifts(model, swapped).nats) > LIMIT
    unknown = find_shifts(model, make_steps(values[:50], names=("c", "d")))
    assert unknown.nats.max() < np.median(find_shifts(model, swapped).nats)


def test_missing_values_are_no_shift_and_hide_none():
    values = make_values(5, 600)
    values[300:, 0] += 1e6
    values[::3, 1] = values[1::5, 3] = np.nan
    values[50:100] = np.nan
    shifts = find_shifts(make_model(), make_steps(values))
    assert np.isfinite(shifts.nats).all()
    assert shifts.nats[:300].max() < LIMIT
    assert set(shifts.channel[380:].tolist()) == {0}


def test_a_step_depends_on_its_window_alone():
    values, model = make_values(6, 700), make_model()
    whole = find_shifts(model, make_steps(values)).nats
    memory = memory_steps(SPAN)
    part = find_shifts(model, make_steps(values[400 - memory : 401])).nats
    assert part[-1] == whole[400]


def test_a_change_of_units_changes_nothing():
    values, scale = make_values(7, 1000), np.array([2.0, -4.0, 0.5, 1.0])
    plain = fit_shift_model(make_steps(values[:800]), latent=1, span=SPAN)
    other = fit_shift_model(make_steps(values[:800] * scale), latent=1, span=SPAN)
    np.testing.assert_allclose(
        find_shifts(plain, make_steps(values)).nats,
        find_shifts(other, make_steps(values * scale)).nats,
        rtol=1e-6,
        atol=1e-6,
    )


def test_a_lasting_shift_becomes_normal_with_adaptation():
    values = make_values(8, 3000)
    values[500:, 0] += 1e6
    followed = find_shifts(make_model(), make_steps(values, adaptation_steps=1000)).nats
    assert followed[600:800].min() > LIMIT
    assert followed[2500:].max() < LIMIT


def test_a_redundant_sensor_is_not_blamed_for_rounding():
    values = make_values(9)
    values[:, 3] = values[:, 0]
    model = fit_shift_model(make_steps(values), latent=3, span=SPAN)
    values[:, 3] *= 1 + 1e-9
    assert find_shifts(model, make_steps(values)).nats.max() < LIMIT


def test_no_steps_give_no_shifts():
    assert find_shifts(make_model(), make_steps(np.empty((0, NUM_SENSORS)))).nats.shape == (0,)


def test_the_model_survives_being_written_down():
    from dataclasses import asdict

    model = make_model()
    again = parse_record(ShiftModel, asdict(model))
    assert again == replace(model)
