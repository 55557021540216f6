"""Probabilistic PCA: the start of the linear paths, and the baseline beside the VAE."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vae_anomaly.domain import FloatArray

MIN_NOISE_VARIANCE = 1e-4
LATENT_RANGE = (2, 32)


@dataclass(frozen=True)
class PPCA:
    """x = B z + mean + noise, with z standard normal and noise N(0, noise_variance).

    Attributes:
        mean: Shape `(width,)`.
        loadings: B, one column per latent direction. Shape `(width, latent)`.
        noise_variance: Variance of what the latent directions leave.
        eigenvalues: Of the covariance, largest first. Shape `(width,)`.
    """

    mean: FloatArray
    loadings: FloatArray
    noise_variance: float
    eigenvalues: FloatArray

    @property
    def projection(self) -> FloatArray:
        """Posterior mean map A: z = A (x - mean). Shape `(latent, width)`."""
        signal = np.sum(self.loadings**2, axis=0) + self.noise_variance
        projection: FloatArray = (self.loadings / signal).T
        return projection

    @property
    def latent_sigma(self) -> FloatArray:
        """Posterior standard deviation of z. Shape `(latent,)`."""
        signal = np.sum(self.loadings**2, axis=0) + self.noise_variance
        sigma: FloatArray = np.sqrt(self.noise_variance / signal)
        return sigma

    def nll(self, scaled: FloatArray) -> FloatArray:
        """Return the exact NLL per row, in nats of the scaled unit.

        Args:
            scaled: Complete rows. Shape `(rows, width)`.

        Source:
            Tipping and Bishop (1999), equation 6.
        """
        width, latent = self.loadings.shape
        centred = scaled - self.mean
        signal = np.sum(self.loadings**2, axis=0) + self.noise_variance
        directions = self.loadings / np.linalg.norm(self.loadings, axis=0)
        inside = centred @ directions
        outside = np.sum(centred**2, axis=1) - np.sum(inside**2, axis=1)
        energy = np.sum(inside**2 / signal, axis=1) + outside / self.noise_variance
        log_volume = np.sum(np.log(signal)) + (width - latent) * math.log(self.noise_variance)
        nats: FloatArray = 0.5 * (energy + log_volume + width * math.log(2 * math.pi))
        return nats


def choose_latent_size(scaled: FloatArray, *, explained_variance: float) -> int:
    """Count the principal components that explain a share of the standardised variance.

    Args:
        scaled: Training rows without NaN. Shape `(rows, width)`.
        explained_variance: Share in (0, 1).

    Returns:
        The count, within `LATENT_RANGE` and not above the width.
    """
    deviation = scaled.std(axis=0)
    standardised = (scaled - scaled.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)
    eigenvalues = np.linalg.eigvalsh(standardised.T @ standardised)[::-1]
    shares = np.cumsum(eigenvalues) / max(float(eigenvalues.sum()), np.finfo(float).tiny)
    count = int(np.searchsorted(shares, explained_variance) + 1)
    return min(max(count, LATENT_RANGE[0]), LATENT_RANGE[1], int(scaled.shape[1]))


def fit_ppca(scaled: FloatArray, *, latent: int) -> PPCA:
    """Fit probabilistic PCA in closed form.

    Args:
        scaled: Training rows without NaN. Shape `(rows, width)`.
        latent: Latent directions, at most the width.

    Returns:
        The fit; every direction's sign makes its largest loading positive.

    Source:
        Tipping and Bishop (1999), equations 7 and 8.
    """
    mean = scaled.mean(axis=0)
    centred = scaled - mean
    eigenvalues, vectors = np.linalg.eigh(centred.T @ centred / len(scaled))
    eigenvalues, vectors = eigenvalues[::-1].clip(0.0), vectors[:, ::-1]
    left = eigenvalues[latent:]
    noise = max(float(left.mean()) if len(left) else 0.0, MIN_NOISE_VARIANCE)
    kept = vectors[:, :latent]
    kept = kept * np.sign(kept[np.abs(kept).argmax(axis=0), np.arange(latent)])
    strength = np.sqrt(np.maximum(eigenvalues[:latent] - noise, 1e-6))
    return PPCA(mean, kept * strength, noise, eigenvalues)
