import keras
import numpy as np
import pytest
from scipy import stats

from tests.unit.model.small_vae import (
    FLOOR,
    NUM_ROWS,
    SCALES,
    make_rows,
    make_vae,
    make_windows,
    numbers,
)
from vae_anomaly.model.affine import Affine
from vae_anomaly.model.engine import KERAS_FILE, load_vae
from vae_anomaly.model.training import start_weights
from vae_anomaly.model.vae import MIN_LATENT_SIGMA, VAE, RawAffine


def score(vae: VAE, windows: np.ndarray) -> dict[str, np.ndarray]:
    return {name: numbers(value) for name, value in vae(windows).items()}


def test_the_affine_keeps_a_small_movement_on_a_large_pressure():
    layer = RawAffine(1)
    layer.build(None)
    layer.set_affine(Affine(loc=np.array([1e9]), scale=np.array([-0.5])))
    values = np.array([[[1e9 + 1.0]], [[1e9 - 1e-3]]])
    scaled = layer(values)
    np.testing.assert_allclose(numbers(scaled)[:, 0, 0], [-2.0, 2e-3], rtol=1e-4)
    np.testing.assert_array_equal(numbers(layer.invert(scaled)), values)
    assert numbers(layer.log_scale.value)[0] == np.log(0.5)


def test_contributions_are_minus_the_log_densities_in_raw_units():
    windows = make_windows()
    scored = score(make_vae(), windows)
    expected = -stats.norm.logpdf(windows[:, -1, :], scored["mean"], scored["sigma"])
    np.testing.assert_allclose(scored["contribution"], expected, rtol=1e-6, atol=1e-6)
    assert scored["contribution"].dtype == scored["kl"].dtype == np.float64


def test_the_kl_is_that_of_the_code():
    vae, windows = make_vae(), make_windows()
    scored = score(vae, windows)
    _, sigma = vae.encode(*vae._prepare(windows, np.ones(windows.shape, dtype=np.float32)))
    mean, sigma = scored["latent_mean"], numbers(sigma)
    expected = 0.5 * (mean**2 + sigma**2 - 1 - 2 * np.log(sigma)).sum(axis=1)
    np.testing.assert_allclose(scored["kl"], expected, rtol=1e-4)
    assert (scored["kl"] > 0.1).any()  # a KL of 0 is the mark of a clamp or of a collapse


def test_a_code_is_scored_at_its_mean_so_that_equal_rows_score_equally():
    vae, windows = make_vae(), make_windows()
    windows[NUM_ROWS // 2 :] = windows[: NUM_ROWS // 2]
    first, second = score(vae, windows), score(vae, windows)
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name])
        halves = np.split(value, 2)
        np.testing.assert_allclose(*halves, rtol=1e-6)


def test_sigma_stays_above_its_physical_floor():
    vae = make_vae()
    vae.log_sigma.bias.assign(np.full(4, -50.0))
    floor = FLOOR * np.abs(numbers(vae.affine.scale.value))
    sigma = score(vae, make_windows())["sigma"]
    assert (sigma >= floor * (1 - 1e-6)).all()
    np.testing.assert_allclose(sigma, np.broadcast_to(floor, sigma.shape), rtol=1e-3)


def test_missing_values_leave_the_nll_and_break_nothing():
    windows = make_windows(missing=0.4)
    scored = score(make_vae(), windows)
    missing = np.isnan(windows[:, -1, :])
    assert missing.any()
    assert (scored["contribution"][missing] == 0).all()
    assert all(np.isfinite(value).all() for value in scored.values())


def test_a_missing_value_is_encoded_as_what_the_others_make_of_it():
    vae, windows = make_vae(), make_windows()
    holes = windows.copy()
    holes[:, :, 1] = np.nan
    whole, filled = score(vae, windows)["mean"][:, 1], score(vae, holes)["mean"][:, 1]
    residual = (filled - whole) / SCALES[1]
    assert residual.std() < 0.6 * (whole / SCALES[1]).std()


def test_a_row_without_any_value_costs_nothing_but_its_code():
    scored = score(make_vae(), np.full((NUM_ROWS, 1, 4), np.nan))
    assert (scored["contribution"] == 0).all()
    assert np.isfinite(scored["kl"]).all()


def test_values_beyond_all_reason_give_finite_or_infinite_numbers_but_never_nan():
    windows = make_windows()
    windows[0, 0, :] = 1e29
    scored = score(make_vae(), windows)
    assert not any(np.isnan(value).any() for value in scored.values())
    assert scored["contribution"][0].min() > 1e6


@pytest.mark.parametrize("linear", [True, False])
def test_a_window_is_scored_at_its_last_step_and_shares_its_kl(linear):
    vae, windows = make_vae(window=3, linear=linear), make_windows(window=3, missing=0.2)
    scored = score(vae, windows)
    last = windows[:, -1, :]
    expected = -stats.norm.logpdf(last, scored["mean"], scored["sigma"])
    np.testing.assert_allclose(
        scored["contribution"], np.where(np.isnan(last), 0.0, expected), rtol=1e-6, atol=1e-6
    )
    alone = make_vae(linear=linear)
    assert scored["kl"].shape == (NUM_ROWS,)
    assert scored["mean"].shape == score(alone, windows[:, -1:, :])["mean"].shape


def test_the_elbo_terms_are_those_of_the_score_on_average():
    vae, windows = make_vae(), make_windows()
    windows[:] = windows[0]
    scaled, missing = vae._prepare(windows, np.ones(windows.shape, dtype=np.float32))
    sampled = [vae.sample_elbo_terms(scaled, missing) for _ in range(20)]
    nll = np.concatenate([numbers(term) for term, _ in sampled])
    scored = score(vae, windows)
    np.testing.assert_allclose(numbers(sampled[0][1]), scored["kl"], rtol=1e-5)
    assert nll.std() > 0.1
    # sampling z adds its own variance to the reconstruction, so the mean lies above the score
    log_scale = np.log(np.abs(make_rows().affine.scale)).sum()
    assert 0 < nll.mean() - (scored["contribution"][0].sum() - log_scale) < 50


def test_missing_entries_leave_the_elbo():
    vae = make_vae()
    scaled, missing = np.zeros((NUM_ROWS, 4), np.float32), np.ones((NUM_ROWS, 4), np.float32)
    nll, _ = vae.sample_elbo_terms(scaled, missing)
    np.testing.assert_array_equal(numbers(nll), 0.0)


@pytest.mark.parametrize("linear", [True, False])
def test_the_settings_survive_a_round_trip(linear):
    vae = VAE(3, window=2, latent=2, hidden=6, layers=3, linear=linear, activation="leaky_relu")
    copy = VAE.from_config(vae.get_config())
    copy.build(None)
    vae.build(None)
    assert copy.get_config() == vae.get_config()
    assert [w.shape for w in copy.weights] == [w.shape for w in vae.weights]
    for mine, other in zip(copy.weights, vae.weights, strict=True):
        np.testing.assert_array_equal(numbers(mine.value), numbers(other.value))


def test_another_seed_gives_other_weights():
    one, two = make_vae(seed=0), make_vae(seed=1)
    assert not np.array_equal(numbers(one.encoder[0].kernel), numbers(two.encoder[0].kernel))


def test_the_raw_affine_round_trips_through_keras():
    layer = RawAffine(2, name="raw")
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert copy.get_config() == layer.get_config()
    assert copy.variable_dtype == "float64"


@pytest.mark.parametrize("window", [1, 3])
def test_a_saved_vae_scores_the_same(tmp_path, window):
    vae, windows = make_vae(window=window), make_windows(window=window, missing=0.2)
    vae.save(tmp_path / KERAS_FILE)
    loaded = load_vae((tmp_path / KERAS_FILE).read_bytes())
    before, after = score(vae, windows), score(loaded, windows)
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value)


def test_the_posterior_scale_is_never_zero():
    vae, windows = make_vae(), make_windows()
    vae.latent_scale.bias.assign(np.full(2, -1e3))
    observed = np.ones(windows.shape, dtype=np.float32)
    _, sigma = vae.encode(*vae._prepare(windows, observed))
    assert (numbers(sigma) >= MIN_LATENT_SIGMA).all()
    assert np.isfinite(score(vae, windows)["kl"]).all()


def test_without_linear_paths_the_spread_of_each_channel_is_the_first_sigma():
    vae = VAE(4, latent=2, hidden=8, layers=1, linear=False)
    vae.build(None)
    rows = make_rows()
    start_weights(vae, rows)
    scaled = rows.affine.apply(rows.values)
    np.testing.assert_allclose(
        numbers(vae.log_sigma.bias), np.log(scaled.std(axis=0)), rtol=1e-5, atol=1e-6
    )
