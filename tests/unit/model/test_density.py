from dataclasses import replace

import keras
import numpy as np
import pytest
from scipy import stats

from tests.unit.model.small_vae import make_rows
from vae_anomaly.config import ModelConfig
from vae_anomaly.domain import Sensor, SensorKind, SensorProfile
from vae_anomaly.errors import TrainingError
from vae_anomaly.model import density as density_module
from vae_anomaly.model import engine
from vae_anomaly.model.density import (
    CHANGE_NATS,
    MAX_HELD_OUT_ROWS,
    FitOptions,
    fit_density,
    sigma_floor,
)
from vae_anomaly.model.likelihoods import squared_error_sigma
from vae_anomaly.model.vae import VAE
from vae_anomaly.readings.quality import profile_sensors

NAMES = ("flow", "dead", "pressure", "fixed", "valve")
SETTINGS = ModelConfig(
    window=2, hidden=8, layers=1, min_training_steps=20, max_training_steps=20, latent=2
)
FLOW, DEAD, PRESSURE, FIXED, VALVE = range(5)


def make_values(num_rows: int = 300) -> np.ndarray:
    rng = np.random.default_rng(0)
    load = rng.normal(size=num_rows)
    return np.column_stack(
        [
            load + 0.1 * rng.normal(size=num_rows),
            np.full(num_rows, np.nan),
            1e5 * (load + 0.1 * rng.normal(size=num_rows)),
            np.full(num_rows, 7.5),
            (load > 0).astype(float),
        ]
    )


def profiles_of(values: np.ndarray):
    return profile_sensors(values, sensors=[Sensor(name) for name in NAMES])


def starts(num_rows: int) -> np.ndarray:
    return np.zeros(num_rows, dtype=np.int64)


@pytest.fixture(scope="module")
def fitted():
    values = make_values()
    options = FitOptions(held_out=values[:50], held_out_start=starts(50))
    return fit_density(
        values, starts(300), profiles_of(values), settings=SETTINGS, options=options
    )


@pytest.fixture(scope="module")
def scored(fitted):
    return fitted.density.score(make_values(), starts(300))


def test_sensors_are_given_roles_by_what_they_did_in_training(fitted):
    roles = fitted.density.roles
    assert roles.modelled == (FLOW, PRESSURE, VALVE)
    assert roles.constant == (FIXED,)
    assert roles.constant_values == (7.5,)
    assert roles.empty == (DEAD,)
    assert len(roles.log_scale) == 3
    assert roles.num_scored == 4
    assert fitted.latent == 2
    assert fitted.density.window == 2


def test_contributions_are_those_of_the_decoded_gaussian(scored):
    for sensor in (FLOW, PRESSURE, VALVE):
        expected = -stats.norm.logpdf(
            make_values()[:, sensor], scored.mean[:, sensor], scored.sigma[:, sensor]
        )
        np.testing.assert_allclose(scored.contribution[:, sensor], expected, rtol=1e-5, atol=1e-5)
        residual = (make_values()[:, sensor] - scored.mean[:, sensor]) / scored.sigma[:, sensor]
        np.testing.assert_allclose(scored.energy[:, sensor], residual**2 / 2)


def test_contributions_and_kl_add_up_to_the_nll(scored):
    np.testing.assert_array_equal(scored.nll, scored.contribution.sum(axis=1) + scored.kl)


def test_an_empty_sensor_counts_for_nothing_even_when_it_wakes_up(fitted, scored):
    values = make_values()
    values[:, DEAD] = 12.0
    woken = fitted.density.score(values, starts(300))
    np.testing.assert_array_equal(woken.nll, scored.nll)
    assert np.isnan(woken.mean[:, DEAD]).all()
    assert (woken.num_observed == 4).all()


def test_a_constant_sensor_costs_nothing_until_it_changes(fitted, scored):
    assert (scored.contribution[:, FIXED] == 0).all()
    assert (scored.sigma[:, FIXED] == 0).all()
    assert (scored.mean[:, FIXED] == 7.5).all()
    values = make_values()
    values[3, FIXED], values[4, FIXED] = 7.6, np.nan
    changed = fitted.density.score(values, starts(300))
    assert changed.contribution[3, FIXED] == changed.energy[3, FIXED] == CHANGE_NATS
    assert changed.contribution[4, FIXED] == changed.energy[4, FIXED] == 0
    assert changed.num_observed[4] == 3


def test_missing_values_have_neither_contribution_nor_energy(fitted):
    values = make_values()
    values[5, [FLOW, VALVE]] = np.nan
    scored = fitted.density.score(values, starts(300))
    assert (scored.contribution[5, [FLOW, VALVE]] == 0).all()
    assert (scored.energy[5, [FLOW, VALVE]] == 0).all()
    assert scored.num_observed[5] == 2
    assert np.isfinite(scored.nll).all()


def test_scoring_in_parts_changes_nothing(fitted, scored, monkeypatch):
    monkeypatch.setattr(engine, "MAX_CHUNK_ROWS", 64)
    monkeypatch.setattr(engine, "MIN_CHUNK_ROWS", 64)
    again = fitted.density.score(make_values(), starts(300))
    np.testing.assert_allclose(again.nll, scored.nll, rtol=1e-6, atol=1e-6)


def test_no_step_gives_no_score(fitted):
    scored = fitted.density.score(np.empty((0, 5)), starts(0))
    assert scored.nll.shape == (0,)
    assert scored.contribution.shape == (0, 5)


def profile_of(values: np.ndarray) -> SensorProfile:
    return profile_sensors(values[:, None], sensors=(Sensor("x"),))[0]


def test_a_quantised_sensor_has_a_floor_of_a_step_over_the_root_of_twelve():
    coarse = profile_of(np.random.default_rng(0).integers(0, 5, 500) * 2.0)
    assert coarse.kind is SensorKind.QUANTISED
    floor = sigma_floor(np.array([3.0]), (coarse,), fraction=0.05)
    assert floor[0] == pytest.approx(2.0 / np.sqrt(12))


def test_two_states_are_no_rounded_readings(fitted):
    from vae_anomaly.model.engine import KERAS_FILE, load_vae

    vae = load_vae(fitted.density.files[KERAS_FILE])
    scale = np.exp(fitted.density.roles.log_scale)
    floors = keras.ops.convert_to_numpy(vae.floor.value) * scale
    np.testing.assert_allclose(floors, SETTINGS.floor_fraction * scale, rtol=1e-5)


@pytest.mark.parametrize(("constant", "empty"), [(2, 3), (5, 0), (0, 5)])
def test_readings_in_which_nothing_moves_cannot_be_trained_on(constant, empty):
    profiles = profiles_of(make_values())
    kinds = [SensorKind.CONSTANT] * constant + [SensorKind.EMPTY] * empty
    still = tuple(replace(p, kind=kind) for p, kind in zip(profiles, kinds, strict=True))
    with pytest.raises(TrainingError) as caught:
        fit_density(make_values(), starts(300), still, settings=SETTINGS, options=FitOptions())
    assert str(caught.value) == (
        "Cannot train on these readings: expected a sensor that moves, got "
        f"{constant} constant and {empty} empty sensors. Choose another training period."
    )


def test_held_out_windows_are_spread_over_the_held_out_steps():
    values = np.arange(10_000, dtype=float)[:, None]
    options = FitOptions(held_out=values, held_out_start=starts(10_000))
    windows = options.held_out_windows((0,), 2)
    assert windows is not None
    assert windows.shape == (MAX_HELD_OUT_ROWS, 2, 1)
    assert windows[0, -1, 0] == 0
    assert windows[-1].ravel().tolist() == [9998.0, 9999.0]
    nothing = FitOptions(held_out=np.empty((0, 1)), held_out_start=starts(0))
    assert FitOptions().held_out_windows((0,), 2) is None
    assert nothing.held_out_windows((0,), 2) is None


def test_the_preset_of_the_question_is_its_small_dense_network():
    def build(**settings) -> VAE:
        options = FitOptions(preset="question")
        return density_module._build_vae(rows, ModelConfig(hidden=32, **settings), options)

    rows = make_rows()
    vae = build(window=2)
    assert len(vae.encoder) == len(vae.decoder) == 1
    assert vae.encoder[0].units == vae.decoder[0].units == 8  # as wide as the input
    assert vae.latent == 5
    assert not vae.linear
    assert vae.activation is keras.activations.leaky_relu
    assert build(latent=3).latent == 3


def test_the_squared_error_preset_keeps_the_sigma_that_its_weight_stands_for():
    values = make_values()
    found = fit_density(
        values,
        starts(300),
        profiles_of(values),
        settings=SETTINGS,
        options=FitOptions(preset="question-squared-error"),
    ).density
    modelled = list(found.roles.modelled)
    sigma = found.score(values, starts(300)).sigma[:, modelled] / np.exp(found.roles.log_scale)
    width = SETTINGS.window * len(modelled)
    np.testing.assert_allclose(sigma, squared_error_sigma(width, beta=1e-4), rtol=1e-5)
