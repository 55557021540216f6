import numpy as np
import pytest
from scipy import stats

from vae_anomaly.detector.baseline import compare_with_pca
from vae_anomaly.model.affine import fit_affine
from vae_anomaly.model.ppca import fit_ppca

SCALES = np.array([0.1, 1.0, -40.0, 30.0])


def readings(num_rows: int, *, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    load = rng.normal(size=(num_rows, 1))
    return (load + 0.3 * rng.normal(size=(num_rows, 4)) + 5) * SCALES


def test_pca_is_measured_in_nats_of_the_raw_units():
    training, held_out = readings(2000, seed=0), readings(500, seed=1)
    found = compare_with_pca(training, held_out, np.full(500, 7.0), latent=1)
    affine = fit_affine(training)
    ppca = fit_ppca(affine.apply(training), latent=1)
    covariance = ppca.loadings @ ppca.loadings.T + ppca.noise_variance * np.eye(4)
    scale = np.diag(affine.scale)
    density = stats.multivariate_normal(
        affine.loc + affine.scale * ppca.mean, scale @ covariance @ scale
    )
    assert found.pca_nll == pytest.approx(-density.logpdf(held_out).mean(), rel=1e-6)
    assert (found.vae_nll, found.num_rows) == (7.0, 500)


def test_only_complete_rows_are_compared():
    held_out = readings(4, seed=1)
    held_out[[0, 2], [1, 3]] = np.nan
    found = compare_with_pca(readings(200, seed=0), held_out, np.arange(4.0), latent=2)
    assert found.num_rows == 2
    assert found.vae_nll == 2.0


def test_without_a_complete_row_there_is_no_comparison():
    held_out = np.full((3, 4), np.nan)
    found = compare_with_pca(readings(200, seed=0), held_out, np.arange(3.0), latent=2)
    assert found.num_rows == 0
    assert np.isnan([found.pca_nll, found.vae_nll]).all()


@pytest.mark.parametrize("latent", [1, 9])
def test_a_single_sensor_and_a_large_latent_size_are_no_trouble(latent):
    alone = readings(300, seed=0)[:, :1]
    found = compare_with_pca(alone, alone, np.zeros(300), latent=latent)
    assert np.isfinite(found.pca_nll)
