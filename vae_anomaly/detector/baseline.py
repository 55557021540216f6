"""The PCA baseline: probabilistic PCA on the same rows, in the same nats."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vae_anomaly.domain import FloatArray
from vae_anomaly.model.affine import fit_affine
from vae_anomaly.model.ppca import fit_ppca


@dataclass(frozen=True)
class BaselineFit:
    """Held-out fit of both models on complete rows, modelled sensors with a density only.

    Attributes:
        pca_nll: Mean NLL of probabilistic PCA, in nats per row, raw units; NaN without rows.
        vae_nll: Mean NLL of the VAE on the same rows, its KL included.
        num_rows: Complete held-out rows compared.
    """

    pca_nll: float
    vae_nll: float
    num_rows: int


def compare_with_pca(
    training: FloatArray, held_out: FloatArray, held_out_nll: FloatArray, *, latent: int
) -> BaselineFit:
    """Fit PCA on the training rows and compare it with the VAE on the held-out rows.

    Args:
        training: Raw training values of the modelled sensors. Shape `(steps, sensors)`.
        held_out: Raw held-out values of the same sensors. Shape `(rows, sensors)`.
        held_out_nll: NLL of the VAE per held-out row, raw units. Shape `(rows,)`.
        latent: Latent size of the VAE, given to PCA too (at most the sensors less one).

    Returns:
        Both means; lower is better.
    """
    complete = np.isfinite(held_out).all(axis=1)
    if not complete.any() or not training.shape[1]:
        return BaselineFit(float("nan"), float("nan"), 0)
    affine = fit_affine(training)
    scaled = np.nan_to_num(affine.apply(training))
    ppca = fit_ppca(scaled, latent=max(min(latent, scaled.shape[1] - 1), 1))
    nats = ppca.nll(affine.apply(held_out[complete])) + np.log(np.abs(affine.scale)).sum()
    return BaselineFit(
        pca_nll=float(nats.mean()),
        vae_nll=float(held_out_nll[complete].mean()),
        num_rows=int(complete.sum()),
    )
