import numpy as np
import pytest
from scipy import stats

from vae_anomaly.model.ppca import MIN_NOISE_VARIANCE, choose_latent_size, fit_ppca


def three_factors(num_rows: int = 4000, *, noise: float = 0.3) -> np.ndarray:
    rng = np.random.default_rng(0)
    mixing = np.random.default_rng(9).normal(size=(3, 8))
    rows = rng.normal(size=(num_rows, 3)) @ mixing + noise * rng.normal(size=(num_rows, 8))
    return rows + np.arange(8)


@pytest.mark.parametrize("latent", [1, 3, 7])
def test_the_nll_is_that_of_the_normal_distribution_it_stands_for(latent):
    rows = three_factors()
    ppca = fit_ppca(rows, latent=latent)
    covariance = ppca.loadings @ ppca.loadings.T + ppca.noise_variance * np.eye(8)
    expected = -stats.multivariate_normal(ppca.mean, covariance).logpdf(rows)
    np.testing.assert_allclose(ppca.nll(rows), expected, rtol=1e-9, atol=1e-9)


def test_the_fit_finds_the_factors_and_the_noise():
    ppca = fit_ppca(three_factors(), latent=3)
    assert ppca.noise_variance == pytest.approx(0.09, rel=0.05)
    assert ppca.loadings.shape == (8, 3)
    np.testing.assert_allclose(
        ppca.loadings @ ppca.loadings.T + ppca.noise_variance * np.eye(8),
        np.cov(three_factors().T),
        atol=0.05,
    )


def test_the_posterior_is_that_of_the_linear_model():
    ppca = fit_ppca(three_factors(), latent=3)
    inner = ppca.loadings.T @ ppca.loadings + ppca.noise_variance * np.eye(3)
    np.testing.assert_allclose(ppca.projection, np.linalg.solve(inner, ppca.loadings.T))
    posterior = ppca.noise_variance * np.linalg.inv(inner)
    np.testing.assert_allclose(ppca.latent_sigma**2, np.diag(posterior))


def test_signs_do_not_hang_on_the_eigenvalue_solver():
    loadings = fit_ppca(three_factors(), latent=3).loadings
    largest = loadings[np.abs(loadings).argmax(axis=0), np.arange(3)]
    assert (largest > 0).all()


def test_as_many_directions_as_sensors_leave_the_smallest_noise():
    rows = three_factors()
    assert fit_ppca(rows, latent=8).noise_variance == MIN_NOISE_VARIANCE
    assert np.isfinite(fit_ppca(rows, latent=8).nll(rows)).all()


def test_redundant_sensors_do_not_drive_the_noise_to_zero():
    rows = np.repeat(np.random.default_rng(0).normal(size=(500, 1)), 6, axis=1)
    ppca = fit_ppca(rows, latent=2)
    assert ppca.noise_variance == MIN_NOISE_VARIANCE
    assert np.isfinite(ppca.nll(rows)).all()
    assert np.isfinite(ppca.projection).all()


def test_the_latent_size_counts_the_components_that_explain_enough():
    rows = three_factors(noise=0.05)
    assert choose_latent_size(rows, explained_variance=0.95) == 3
    assert choose_latent_size(rows, explained_variance=0.5) == 2


@pytest.mark.parametrize("width", [1, 2])
def test_the_latent_size_is_never_above_the_width(width):
    rows = np.random.default_rng(0).normal(size=(100, width))
    assert choose_latent_size(rows, explained_variance=0.99) == width


def test_the_latent_size_is_at_least_two_and_at_most_thirty_two():
    copies = np.repeat(np.random.default_rng(0).normal(size=(100, 1)), 5, axis=1)
    assert choose_latent_size(copies, explained_variance=0.8) == 2
    many = np.random.default_rng(0).normal(size=(500, 60))
    assert choose_latent_size(many, explained_variance=0.99) == 32


def test_a_channel_that_never_moves_has_no_say_in_the_latent_size():
    rows = np.column_stack([np.random.default_rng(0).normal(size=(100, 3)), np.zeros(100)])
    assert choose_latent_size(rows, explained_variance=0.9) == 3
