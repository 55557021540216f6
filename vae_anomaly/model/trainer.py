"""The compiled optimiser step of a VAE, kept for the next network of the same shape.

Tracing and compiling take longer than fitting a small network, and pipelines fit many of one
shape: with and without the held-out readings, seed after seed, asset after asset.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
from keras import ops

from vae_anomaly.model.optimiser import AveragingAdamW
from vae_anomaly.model.vae import VAE

WEIGHT_DECAY = 1e-4
GRADIENT_NORM = 5.0
STEPS_PER_EXECUTION = 20
"""Steps per call into the backend: a call costs as much as a step of a small network."""

MAX_KEPT = 8
"""Trainers kept in a process; each holds a compiled function and some tens of megabytes."""


class Trainer:
    """A VAE with its optimiser, compiled at the first step.

    Args:
        vae: Built.
    """

    def __init__(self, vae: VAE) -> None:
        self.vae = vae
        self._optimiser = AveragingAdamW(
            learning_rate=0.0, weight_decay=WEIGHT_DECAY, global_clipnorm=GRADIENT_NORM
        )
        self._optimiser.build(vae.trainable_variables)
        self._model = ElboModel(vae)
        self._model.compile(optimizer=self._optimiser, steps_per_execution=STEPS_PER_EXECUTION)

    def take_weights(self, fresh: VAE) -> None:
        """Take the weights, the state of the sampler and the settings of a fresh VAE."""
        for mine, other in zip(self.vae.variables, fresh.variables, strict=True):
            mine.assign(ops.copy(other.value))
        self.vae.settings = fresh.settings

    def restart(self) -> None:
        """Forget every step taken; the averages start at the present weights."""
        self._optimiser.restart(self.vae.trainable_variables)

    def run(self, windows: Any, *, batch_rows: int, learning_rate: float) -> dict[str, float]:
        """Take one optimiser step per batch.

        Args:
            windows: Scaled, float32, NaN where missing, a whole number of batches.
                Shape `(rows, window * channels)`.
            batch_rows: Rows per step.
            learning_rate: Of these steps.

        Returns:
            Mean `nll` and `kl`, nats per row in affine units.
        """
        self._optimiser.learning_rate = learning_rate
        history = self._model.fit(windows, batch_size=batch_rows, shuffle=False, verbose=0)
        return {name: float(history.history[name][0]) for name in ("nll", "kl")}

    def finish(self) -> int:
        """Give the VAE its averaged weights; return the steps without a finite gradient."""
        self._optimiser.use_averages(self.vae.trainable_variables)
        return int(ops.convert_to_numpy(ops.copy(self._optimiser.skipped.value)))


_kept: dict[str, list[Trainer]] = {}
_lock = threading.Lock()


@contextmanager
def borrow_trainer(fresh: VAE) -> Iterator[Trainer]:
    """Lend a trainer with the weights of a fresh VAE; nobody else has it meanwhile.

    Args:
        fresh: Built; a kept trainer of its shape is used where there is one.

    Yields:
        The trainer. Its VAE is to be saved before it goes back.
    """
    shape = {name: value for name, value in fresh.settings.items() if name != "seed"}
    key = repr(sorted(shape.items()))
    with _lock:
        waiting = _kept.get(key, [])
        trainer = waiting.pop() if waiting else None
    if trainer is None:
        trainer = Trainer(fresh)
    else:
        trainer.take_weights(fresh)
    yield trainer
    with _lock:
        _kept.setdefault(key, []).append(trainer)
        while sum(len(some) for some in _kept.values()) > MAX_KEPT:
            oldest = next(one for one, some in _kept.items() if some)
            _kept[oldest].pop()


class ElboModel(keras.Model):
    """Trains a VAE on scaled windows (float32, NaN where missing) by the plain negative ELBO."""

    def __init__(self, vae: VAE) -> None:
        super().__init__()
        self.vae = vae
        self.nll_tracker = keras.metrics.Mean(name="nll")
        self.kl_tracker = keras.metrics.Mean(name="kl")
        self.built = True

    def call(self, windows: Any, training: bool = False) -> dict[str, Any]:
        missing = ops.isnan(windows)
        scaled = ops.where(missing, ops.zeros_like(windows), windows)
        nll, kl = self.vae.sample_elbo_terms(scaled, ops.cast(missing, "float32"))
        return {"nll": nll, "kl": kl}

    def compute_loss(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """Sum over steps and channels, mean over rows, beta = 1."""
        self.nll_tracker.update_state(y_pred["nll"])
        self.kl_tracker.update_state(y_pred["kl"])
        return ops.mean(y_pred["nll"] + y_pred["kl"])
