import keras
import numpy as np
import pytest
from scipy import integrate, stats

from vae_anomaly.model.likelihoods import gaussian_nll, squared_error_sigma, standard_normal_kl


def nll_of(values, mean: float, sigma: float) -> np.ndarray:
    residual = (np.asarray(values, dtype=np.float64) - mean) / sigma
    log_sigma = np.full_like(residual, np.log(sigma))
    return np.asarray(keras.ops.convert_to_numpy(gaussian_nll(residual, log_sigma)))


def kl_of(mean: list[float], sigma: list[float]) -> float:
    rows = (np.array([mean], dtype=np.float64), np.array([sigma], dtype=np.float64))
    return float(keras.ops.convert_to_numpy(standard_normal_kl(*rows))[0])


CASES = [(0.0, 1.0), (3.0, 0.01), (-2e5, 4e4), (1e7, 3.0)]


@pytest.mark.parametrize(("mean", "sigma"), CASES)
def test_the_gaussian_nll_is_minus_the_log_density_of_scipy(mean, sigma):
    values = mean + sigma * np.linspace(-30, 30, 301)
    expected = -stats.norm.logpdf(values, mean, sigma)
    np.testing.assert_allclose(nll_of(values, mean, sigma), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("mean", "sigma"), CASES)
def test_the_density_integrates_to_one(mean, sigma):
    values = mean + sigma * np.linspace(-12, 12, 4001)
    assert integrate.trapezoid(np.exp(-nll_of(values, mean, sigma)), values) == pytest.approx(1.0)


def test_the_nll_is_negative_where_the_density_exceeds_one():
    assert nll_of([0.0], 0.0, 0.01)[0] < 0


@pytest.mark.parametrize(("mean", "sigma"), [(0.0, 1.0), (2.0, 0.3), (-8.0, 1.7), (0.5, 1e-3)])
def test_the_kl_equals_its_integral(mean, sigma):
    posterior, prior = stats.norm(mean, sigma), stats.norm()
    codes = mean + sigma * np.linspace(-12, 12, 20_001)
    gap = posterior.pdf(codes) * (posterior.logpdf(codes) - prior.logpdf(codes))
    assert kl_of([mean], [sigma]) == pytest.approx(integrate.trapezoid(gap, codes), abs=1e-6)


def test_the_kl_adds_up_over_latent_units():
    apart = [kl_of([m], [s]) for m, s in ((1.0, 0.5), (-3.0, 2.0), (0.0, 1.0))]
    assert kl_of([1.0, -3.0, 0.0], [0.5, 2.0, 1.0]) == pytest.approx(sum(apart))


def test_the_kl_is_zero_at_the_prior_alone_and_is_never_clamped():
    # PyOD clamps the KL to 0 by default: the code is then free and nothing is regularised
    assert kl_of([0.0], [1.0]) == 0.0
    assert kl_of([1e-2], [1.0]) == pytest.approx(0.5e-4)
    assert kl_of([9.0], [1.0]) == pytest.approx(40.5)
    assert kl_of([1e4], [1.0]) == pytest.approx(0.5e8)


def test_a_mean_squared_error_with_a_weighted_kl_is_a_gaussian_of_one_sigma():
    rng, beta, width = np.random.default_rng(0), 1e-2, 6
    sigma = squared_error_sigma(width, beta=beta)
    differences = []
    for _ in range(5):
        error, kl = rng.normal(size=width), float(rng.exponential())
        likelihood = nll_of(error, 0.0, sigma).sum() + kl
        squared = np.mean(error**2) + beta * kl
        differences.append(squared - 2 * sigma**2 / width * likelihood)
    np.testing.assert_allclose(differences, differences[0])  # a constant, whatever the error
