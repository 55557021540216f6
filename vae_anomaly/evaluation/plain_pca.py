"""The simplest detector to beat: probabilistic PCA, its nats smoothed as the detector's are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vae_anomaly.config import ModelConfig
from vae_anomaly.detector.smoothing import smooth
from vae_anomaly.domain import BoolArray, FloatArray, IntArray
from vae_anomaly.model.affine import Affine, fit_affine
from vae_anomaly.model.ppca import PPCA, choose_latent_size, fit_ppca


@dataclass(frozen=True)
class PlainPCA:
    """A fitted PCA that scores rows.

    Attributes:
        affine: Scales the sensors that move.
        ppca: The density of their scaled values; a missing one is taken for the usual one.
        moves: Whether a sensor moved in training. Shape `(sensors,)`.
        normal_level: Median nats of the training rows.
    """

    affine: Affine
    ppca: PPCA
    moves: BoolArray
    normal_level: float

    def score(self, values: FloatArray, segment_start: IntArray, *, span: int) -> FloatArray:
        """Score rows in order of asset and time; higher is stranger. Shape `(rows,)`.

        Args:
            values: Raw values. Shape `(rows, sensors)`.
            segment_start: First row of the stretch that each row is in. Shape `(rows,)`.
            span: Span of the moving average, in steps.
        """
        scaled = np.nan_to_num(self.affine.apply(values[:, self.moves]))
        nats = self.ppca.nll(scaled)
        return smooth(nats, segment_start, span=span, normal_level=self.normal_level)


def fit_plain_pca(training: FloatArray) -> PlainPCA | None:
    """Fit PCA to normal rows.

    Args:
        training: Raw values. Shape `(rows, sensors)`.

    Returns:
        The fit; None where no two sensors move.
    """
    moves = np.zeros(training.shape[1], dtype=bool)
    if training.shape[0]:
        known = np.isfinite(training).any(axis=0)
        moves[known] = np.nanmax(training[:, known], axis=0) > np.nanmin(
            training[:, known], axis=0
        )
    if moves.sum() < 2:
        return None
    affine = fit_affine(training[:, moves])
    scaled = np.nan_to_num(affine.apply(training[:, moves]))
    latent = choose_latent_size(scaled, explained_variance=ModelConfig().explained_variance)
    ppca = fit_ppca(scaled, latent=min(latent, int(moves.sum()) - 1))
    return PlainPCA(affine, ppca, moves, float(np.median(ppca.nll(scaled))))
