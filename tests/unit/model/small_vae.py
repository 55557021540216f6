"""A small VAE and its rows: raw units from 1e-3 to 1e6, two hidden factors."""

from __future__ import annotations

import keras
import numpy as np

from vae_anomaly.domain import FloatArray
from vae_anomaly.model.affine import fit_affine
from vae_anomaly.model.training import TrainingRows, start_weights
from vae_anomaly.model.vae import VAE

SCALES = np.array([1e-3, 1.0, 50.0, 1e6])
FLOOR = 0.05
NUM_ROWS = 64
"""Rows per call, the same throughout: JAX compiles each operation once per shape."""


def make_values(num_rows: int = 400, *, seed: int = 0) -> FloatArray:
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(7).normal(size=(2, 4))
    rows = rng.normal(size=(num_rows, 2)) @ mixing + 0.2 * rng.normal(size=(num_rows, 4))
    return (rows + 3.0) * SCALES


def make_rows(num_rows: int = 400, *, seed: int = 0) -> TrainingRows:
    values = make_values(num_rows, seed=seed)
    starts = np.zeros(num_rows, dtype=np.int64)
    return TrainingRows(values, starts, fit_affine(values), np.full(4, FLOOR))


def make_vae(*, window: int = 1, linear: bool = True, seed: int = 0) -> VAE:
    """A VAE with fresh weights, affine and floors set."""
    vae = VAE(4, window=window, latent=2, hidden=8, layers=1, linear=linear, seed=seed)
    vae.build(None)
    start_weights(vae, make_rows())
    return vae


def make_windows(num_rows: int = NUM_ROWS, *, window: int = 1, missing: float = 0.0) -> FloatArray:
    """Windows of fresh rows, a share of the values missing."""
    rng = np.random.default_rng(3)
    windows = make_values(num_rows * window, seed=3).reshape(num_rows, window, 4)
    windows[rng.random(windows.shape) < missing] = np.nan
    return windows


def numbers(tensor) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(tensor))


def weights_of(vae: VAE) -> list[np.ndarray]:
    return [numbers(weight.value) for weight in vae.weights]
