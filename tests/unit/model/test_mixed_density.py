"""One network with a sensor of every likelihood: saved, loaded, in other units, with gaps."""

import keras
import numpy as np
import pytest

from tests.unit.model.mixed_readings import SENSORS, make_mixed
from vae_anomaly.config import ModelConfig
from vae_anomaly.domain import Sensor
from vae_anomaly.errors import ConfigError
from vae_anomaly.model.channels import CHANGE_NATS
from vae_anomaly.model.density import FitOptions, fit_density
from vae_anomaly.model.engine import (
    KERAS_FILE,
    NUMBERS,
    ONNX_FILE,
    Engine,
    decode_windows,
    load_vae,
)
from vae_anomaly.model.windows import gather_windows
from vae_anomaly.readings.quality import profile_sensors

NUM_ROWS = 400
WANTED = {name: name for name in SENSORS}
UNITS = {
    "gaussian": -4.0,
    "student_t": 2.0**-17,
    "laplace": 1024.0,
    "quantised": -0.5,
    "log_normal": 2.0,
    "bernoulli": 8.0,
}
"""A factor for each sensor that has a unit; powers of two leave no rounding."""


def fit(values: np.ndarray, *, window: int = 1, wanted=WANTED):
    settings = ModelConfig(
        window=window,
        hidden=8,
        layers=1,
        latent=2,
        min_training_steps=20,
        max_training_steps=20,
        likelihoods=wanted,
    )
    starts = np.zeros(len(values), dtype=np.int64)
    options = FitOptions(held_out=values[:50], held_out_start=starts[:50])
    profiles = profile_sensors(values, sensors=[Sensor(name) for name in SENSORS])
    return fit_density(values, starts, profiles, settings=settings, options=options)


def score(fitted, values: np.ndarray):
    return fitted.density.score(values, np.zeros(len(values), dtype=np.int64))


@pytest.fixture(scope="module")
def fitted():
    return fit(make_mixed())


def test_the_choice_is_kept_with_what_it_needs_to_know(fitted):
    chosen = dict(zip(SENSORS, fitted.density.roles.likelihoods, strict=True))
    assert {name: one.name for name, one in chosen.items()} == WANTED
    assert chosen["bernoulli"].levels == (3.0, 7.0)
    assert chosen["categorical"].levels == (0.0, 10.0, 20.0, 30.0)
    assert chosen["quantised"].step == pytest.approx(0.5)
    dense = [SENSORS[i] for i in fitted.density.roles.dense]
    assert dense == ["gaussian", "laplace", "log_normal", "student_t", "quantised"]
    assert np.isfinite(fitted.curves.nll + fitted.curves.held_out_nll).all()


@pytest.mark.parametrize("window", [1, 3])
def test_the_saved_files_score_as_the_network_did(fitted, window):
    density = (fitted if window == 1 else fit(make_mixed(), window=window)).density
    vae, onnx = load_vae(density.files[KERAS_FILE]), Engine(density.files[ONNX_FILE])
    channels = density.roles.channels
    assert vae.settings["likelihoods"] == channels.likelihoods
    values = make_mixed(64, seed=1)
    values[np.random.default_rng(0).random(values.shape) < 0.2] = np.nan
    windows = gather_windows(
        channels.encode(values), np.zeros(64, dtype=np.int64), np.arange(64), window=window
    )
    by_keras, fast = vae.predict_on_batch(windows), decode_windows(onnx, windows)
    for name in NUMBERS:
        np.testing.assert_allclose(getattr(fast, name), by_keras[name], rtol=1e-4, atol=1e-4)
    assert (fast.contribution[np.isnan(windows[:, -1])] == 0).all()


def test_contributions_and_kl_add_up_and_missing_values_have_none(fitted):
    values = make_mixed(seed=2)
    values[np.random.default_rng(0).random(values.shape) < 0.2] = np.nan
    scores = score(fitted, values)
    np.testing.assert_allclose(scores.nll, scores.contribution.sum(axis=1) + scores.kl)
    assert np.isfinite(scores.nll).all()
    for costs in (scores.contribution, scores.energy):
        assert (costs[np.isnan(values)] == 0).all()
    assert (scores.energy >= 0).all()
    assert np.isfinite(scores.mean).all()
    assert (scores.sigma > 0).all()


def test_an_impossible_reading_costs_the_nats_of_a_change(fitted):
    values = make_mixed(seed=2)[:1]
    possible = score(fitted, values)
    for name, wrong in (("poisson", -1.0), ("log_normal", 0.0), ("bernoulli", 5.0)):
        changed, place = values.copy(), SENSORS.index(name)
        changed[0, place] = wrong
        scores = score(fitted, changed)
        assert scores.contribution[0, place] == scores.energy[0, place] == CHANGE_NATS
        assert scores.num_observed[0] == possible.num_observed[0]


def test_units_do_not_matter(fitted):
    factors = np.array([UNITS.get(name, 1.0) for name in SENSORS])
    values = make_mixed(seed=3)
    here, there = score(fitted, values), score(fit(make_mixed() * factors), values * factors)
    shift = np.log(np.abs(factors))
    shift[[SENSORS.index("bernoulli")]] = 0.0  # a probability has no unit
    np.testing.assert_allclose(there.energy, here.energy, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(
        there.contribution - here.contribution, shift + 0 * values, atol=1e-3
    )
    np.testing.assert_allclose(there.mean, here.mean * factors, rtol=1e-3, atol=1e-3)


def test_a_missing_state_is_filled_between_its_two_values(fitted):
    vae = load_vae(fitted.density.files[KERAS_FILE])
    low, high = (np.asarray(keras.ops.convert_to_numpy(one)) for one in vae.find_fill_limits())
    names = np.array(fitted.density.roles.channels.likelihoods)
    states = np.isin(names, ["bernoulli", "categorical"])
    scale = np.abs(np.asarray(keras.ops.convert_to_numpy(vae.affine.scale.value)))
    np.testing.assert_allclose((high - low)[states], 1 / scale[states], rtol=1e-5)
    assert (high[~states] == -low[~states]).all()


def test_a_likelihood_for_a_sensor_that_there_is_not_is_refused():
    with pytest.raises(ConfigError, match="Cannot give sensor 'flow' the laplace likelihood"):
        fit(make_mixed(), wanted={"flow": "laplace"})
