"""Fitting the VAE: start at probabilistic PCA, plain negative ELBO, averaged weights."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from vae_anomaly.domain import FloatArray, IntArray, TrainingCurves
from vae_anomaly.errors import TrainingError
from vae_anomaly.model.affine import Affine
from vae_anomaly.model.likelihoods import QUESTION_BETA, squared_error_sigma
from vae_anomaly.model.ppca import PPCA, fit_ppca
from vae_anomaly.model.trainer import Trainer
from vae_anomaly.model.vae import LATENT_SIGMA_OFFSET, MAX_SCALED, MIN_LATENT_SIGMA, VAE
from vae_anomaly.model.windows import gather_windows

logger = logging.getLogger(__name__)

FINAL_RATE_SHARE = 0.02
PASSES = (4, 20)
"""Fewest and most passes: points of the training curves and levels of the learning rate."""

STEPS_PER_PASS = 50
"""Beginning a pass costs about as much as 50 steps, so short trainings have fewer."""

MAX_CURVE_ROWS = 2048
ACTIVE_VARIANCE = 0.01
"""Variance of a posterior mean over rows above which its unit is active (Burda et al. 2016)."""

MEAN_HEAD_GAIN = 0.1
SIGMA_HEAD_GAIN = 0.01
MIN_RESIDUAL = 0.05

Progress = Callable[[int, int], None]
"""Called with optimiser steps done and in all."""


@dataclass(frozen=True)
class TrainingRows:
    """What the network is fitted to.

    Attributes:
        values: Values of the channels in step order. Shape `(steps, channels)`.
        segment_start: As in `Steps`. Shape `(steps,)`.
        affine: The affine of these channels.
        floor: Lower bound of sigma per channel, in affine units. Shape `(channels,)`.
        step: Quantisation step per channel, in affine units; needed where not all channels are
            Gaussian. Shape `(channels,)`.
        likelihoods: As in `VAE`.
        groups: As in `VAE`.
    """

    values: FloatArray
    segment_start: IntArray
    affine: Affine
    floor: FloatArray
    step: FloatArray | None = None
    likelihoods: tuple[str, ...] = ()
    groups: tuple[int, ...] = ()


@dataclass(frozen=True)
class TrainingPlan:
    """How long and how fast; see `ModelConfig` for the meanings."""

    batch_rows: int
    num_steps: int
    learning_rate: float
    max_skipped_share: float
    seed: int


@dataclass(frozen=True)
class FittedVAE:
    """A trained VAE with its history."""

    vae: VAE
    curves: TrainingCurves
    num_steps: int
    num_skipped: int


def count_training_steps(
    num_rows: int, *, epochs: int, batch_rows: int, least: int, most: int
) -> int:
    """Return the optimiser steps for a number of epochs, kept within two limits.

    Example:
        >>> count_training_steps(500, epochs=50, batch_rows=64, least=500, most=10_000)
        500
    """
    return min(max(math.ceil(epochs * num_rows / batch_rows), least), most)


def fit_vae(
    trainer: Trainer,
    rows: TrainingRows,
    *,
    plan: TrainingPlan,
    held_out: FloatArray | None = None,
    progress: Progress | None = None,
) -> FittedVAE:
    """Train a VAE from its start to its averaged weights.

    Args:
        trainer: With the fresh weights of a VAE.
        rows: The training rows.
        plan: Steps, batch and rate.
        held_out: Raw windows whose NLL is recorded. Shape `(rows, window, channels)`.
        progress: Told of every pass.

    Returns:
        The trained VAE; the same rows, plan and seed give the same weights on one backend.

    Raises:
        TrainingError: Too many steps had no finite gradient.
    """
    vae = trainer.vae
    start_weights(vae, rows)
    trainer.restart()
    steps_per_pass = math.ceil(plan.num_steps / count_passes(plan.num_steps))
    num_passes = math.ceil(plan.num_steps / steps_per_pass)
    num_steps = num_passes * steps_per_pass
    recorder = _Recorder(vae, rows, held_out)
    batches = _ShuffledRows(rows, vae.window, plan.seed)
    for index in range(num_passes):
        # the order of rows is ours, and arrays keep every step free of Python
        windows = batches.take(steps_per_pass * plan.batch_rows)
        rate = plan.learning_rate * cosine_share((index + 0.5) / num_passes)
        history = trainer.run(windows, batch_rows=plan.batch_rows, learning_rate=rate)
        done = (index + 1) * steps_per_pass
        recorder.record(history, num_rows=done * plan.batch_rows)
        if progress:
            progress(done, num_steps)
    num_skipped = trainer.finish()
    check_skipped(num_skipped, num_steps, max_share=plan.max_skipped_share)
    recorder.replace_last()
    return FittedVAE(vae, recorder.curves(), num_steps, num_skipped)


def count_passes(num_steps: int) -> int:
    """Return the number of passes for a number of optimiser steps."""
    return min(max(num_steps // STEPS_PER_PASS, PASSES[0]), PASSES[1])


def cosine_share(done: float) -> float:
    """Return the share of the peak learning rate after a share of the training.

    Example:
        >>> cosine_share(0.0), cosine_share(1.0)
        (1.0, 0.02)
    """
    fall = 0.5 * (1.0 + math.cos(math.pi * done))
    return FINAL_RATE_SHARE + (1.0 - FINAL_RATE_SHARE) * fall


def check_skipped(num_skipped: int, num_steps: int, *, max_share: float) -> None:
    """Refuse a training of which too many steps had no finite gradient; log a few.

    Args:
        num_skipped: Optimiser steps without a finite gradient.
        num_steps: All optimiser steps.
        max_share: Largest share of them to accept.

    Raises:
        TrainingError: There were more.
    """
    if num_skipped > max_share * num_steps:
        raise TrainingError(
            f"Cannot train on these readings: expected at most {max_share:.0%} of {num_steps} "
            f"steps without a finite gradient, got {num_skipped}. Look at the readings with "
            "'vae-anomaly check', or lower the learning rate."
        )
    if num_skipped:
        logger.info("%d of %d training steps had no finite gradient", num_skipped, num_steps)


def sample_windows(rows: TrainingRows, window: int) -> FloatArray:
    """Return `MAX_CURVE_ROWS` raw windows spread evenly over the training rows."""
    steps = np.linspace(0, len(rows.values) - 1, MAX_CURVE_ROWS).astype(np.int64)
    return gather_windows(rows.values, rows.segment_start, steps, window=window)


def start_weights(vae: VAE, rows: TrainingRows) -> None:
    """Give a fresh VAE its affine, its floors and, on linear paths, the PPCA solution.

    The nonlinear heads start small, so that training starts at the linear model.

    Args:
        vae: Built, with fresh weights.
        rows: The training rows.
    """
    vae.affine.set_affine(rows.affine)
    vae.floor.assign(rows.floor)
    if vae.parts and rows.step is not None:
        vae.half_step.assign(0.5 * rows.step)
    scaled = np.nan_to_num(rows.affine.apply(rows.values))
    windows = gather_windows(scaled, rows.segment_start, np.arange(len(scaled)), window=vae.window)
    flat = np.nan_to_num(windows.reshape(len(scaled), -1))
    if vae.linear:
        _start_linear_paths(vae, fit_ppca(flat, latent=vae.latent), flat)
    elif not vae.learned_sigma:
        _fix_sigma(vae, squared_error_sigma(flat.shape[1], beta=QUESTION_BETA))
    else:
        _scale_kernel(vae.log_sigma, SIGMA_HEAD_GAIN)
        vae.log_sigma.bias.assign(np.log(np.maximum(flat.std(axis=0), MIN_RESIDUAL)))


def count_active_units(vae: VAE, windows: FloatArray) -> int:
    """Count latent units whose posterior mean varies over rows.

    Args:
        vae: The model.
        windows: Raw windows. Shape `(rows, window, channels)`.

    Returns:
        Units with a variance of the mean above `ACTIVE_VARIANCE`.

    Source:
        Burda, Grosse and Salakhutdinov (2016), section 5.2.
    """
    latent = np.asarray(vae.predict_on_batch(windows)["latent_mean"])
    with np.errstate(over="ignore", invalid="ignore"):  # weights that blew up have none
        return int(np.sum(latent.var(axis=0) > ACTIVE_VARIANCE))


def _start_linear_paths(vae: VAE, ppca: PPCA, flat: FloatArray) -> None:
    projection = ppca.projection
    vae.linear_encoder.kernel.assign(projection.T)
    vae.linear_encoder.bias.assign(-projection @ ppca.mean)
    vae.linear_decoder.kernel.assign(ppca.loadings.T)
    vae.linear_decoder.bias.assign(ppca.mean)
    residual = flat - ppca.mean - (flat - ppca.mean) @ projection.T @ ppca.loadings.T
    vae.log_sigma.bias.assign(np.log(np.maximum(residual.std(axis=0), MIN_RESIDUAL)))
    softplus_input = np.log(np.expm1(np.maximum(ppca.latent_sigma - MIN_LATENT_SIGMA, 1e-3)))
    vae.latent_scale.bias.assign(softplus_input - LATENT_SIGMA_OFFSET)
    for head in (vae.latent_mean, vae.mean):
        _scale_kernel(head, MEAN_HEAD_GAIN)
    for head in (vae.latent_scale, vae.log_sigma):
        _scale_kernel(head, SIGMA_HEAD_GAIN)


def _fix_sigma(vae: VAE, sigma: float) -> None:
    """Give every channel one sigma, in affine units, whatever the code says."""
    vae.floor.assign(np.zeros(vae.channels, dtype=np.float32))
    _scale_kernel(vae.log_sigma, 0.0)
    vae.log_sigma.bias.assign(np.full(vae.log_sigma.units, math.log(sigma), dtype=np.float32))


def _scale_kernel(head: Any, gain: float) -> None:
    head.kernel.assign(head.kernel.value * gain)


class _ShuffledRows:
    """Scaled windows in an order that is a function of the seed alone, epoch after epoch."""

    def __init__(self, rows: TrainingRows, window: int, seed: int) -> None:
        scaled = np.clip(rows.affine.apply(rows.values), -MAX_SCALED, MAX_SCALED)
        self.scaled = scaled.astype(np.float32)
        self.segment_start, self.window = rows.segment_start, window
        self.candidates = np.flatnonzero(np.isfinite(rows.values).any(axis=1))
        self.random = np.random.default_rng(seed)
        self.queue = np.empty(0, dtype=np.int64)

    def take(self, num_rows: int) -> np.ndarray:
        """Return the next windows, flattened. Shape `(num_rows, window * channels)`."""
        while len(self.queue) < num_rows:
            epoch = self.random.permutation(self.candidates)
            self.queue = np.concatenate([self.queue, epoch])
        chosen, self.queue = self.queue[:num_rows], self.queue[num_rows:]
        windows = gather_windows(self.scaled, self.segment_start, chosen, window=self.window)
        return windows.reshape(num_rows, -1)


class _Recorder:
    """Collects the training curves, one point per pass."""

    def __init__(self, vae: VAE, rows: TrainingRows, held_out: FloatArray | None) -> None:
        self.vae, self.held_out = vae, held_out
        self.num_rows = len(rows.values)
        self.sample = sample_windows(rows, vae.window)
        self.log_scale = np.log(np.abs(rows.affine.scale))
        for likelihood, part in vae.parts:
            self.log_scale[part] *= likelihood.is_density
        self.points: list[tuple[float, float, float, float, int]] = []

    def record(self, history: dict[str, float], *, num_rows: int) -> None:
        self.points.append(
            (
                round(num_rows / self.num_rows, 2),
                history["nll"],
                history["kl"],
                self._held_out_nll(),
                count_active_units(self.vae, self.sample),
            )
        )

    def replace_last(self) -> None:
        """Judge the last point again, on the averaged weights: those are the ones kept."""
        passes, nll, kl, _, _ = self.points[-1]
        active = count_active_units(self.vae, self.sample)
        self.points[-1] = (passes, nll, kl, self._held_out_nll(), active)

    def curves(self) -> TrainingCurves:
        columns = list(zip(*self.points, strict=True))
        held_out = columns[3] if self.held_out is not None else ()
        return TrainingCurves(columns[0], columns[1], columns[2], held_out, columns[4])

    def _held_out_nll(self) -> float:
        """NLL plus KL per row in affine units, on the current weights."""
        if self.held_out is None:
            return math.nan
        scored = self.vae.predict_on_batch(self.held_out)
        nats = np.asarray(scored["contribution"]).sum(axis=1) + np.asarray(scored["kl"])
        seen = np.isfinite(self.held_out[:, -1, :])
        return float(np.mean(nats - (seen * self.log_scale).sum(axis=1)))
