"""The VAE: raw float64 windows in, raw-unit nats out.

| symbol | name in code | shape | unit |
|---|---|---|---|
| x | `windows` | `(rows, window, channels)` | raw |
| h | `scaled` | `(rows, window * channels)` | spreads of each sensor |
| m, s | `latent_mean`, `latent_sigma` | `(rows, latent)` | none |
| mu, sigma | `mean`, `sigma` | `(rows, window * channels)` | spreads of each sensor |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from vae_anomaly.model.affine import Affine
from vae_anomaly.model.likelihoods import (
    GAUSSIAN,
    STATES,
    Reading,
    split_channels,
    standard_normal_kl,
)

MAX_SCALED = 1e4
"""Spreads at which the encoder's input is clamped, against overflow only. Residuals are not."""

LOG_SIGMA_RANGE = (-8.0, 4.0)
MIN_LATENT_SIGMA = 1e-3
LATENT_SIGMA_OFFSET = 0.5
FILL_ROUNDS = 4
"""Rounds of linear reconstruction that fill missing entries before encoding."""

REFINE_ROUNDS = 2
"""Rounds of full reconstruction that follow when scoring. Measured on the sample data: with one
sensor missing, the energy of the others is 1.0 to 2.6 times its usual mean after the linear
rounds alone, and 0.98 to 1.05 times after two full rounds."""


@keras.saving.register_keras_serializable(package="vae_anomaly")
class RawAffine(keras.layers.Layer):
    """float64 affine from raw values to scaled channels, and back.

    The weights are float64 and the layer never casts its input: a pressure of 1e9 Pa that moves
    by 1 Pa keeps its movement.
    """

    def __init__(self, channels: int, **kwargs: Any) -> None:
        super().__init__(trainable=False, dtype="float64", autocast=False, **kwargs)
        self.channels = channels

    def build(self, input_shape: Any) -> None:
        shape = (self.channels,)
        self.loc = self.add_weight(name="loc", shape=shape, initializer="zeros")
        self.scale = self.add_weight(name="scale", shape=shape, initializer="ones")
        self.log_scale = self.add_weight(name="log_scale", shape=shape, initializer="zeros")

    def set_affine(self, affine: Affine) -> None:
        """Take location and signed scale; the log is kept too, exact in float64."""
        self.loc.assign(affine.loc)
        self.scale.assign(affine.scale)
        self.log_scale.assign(np.log(np.abs(affine.scale)))

    def call(self, values: Any) -> Any:
        """Return (x - loc) / scale in float64."""
        return (values - self.loc) / self.scale

    def invert(self, scaled: Any) -> Any:
        """Return loc + scale * h in float64, for affine values of any float type."""
        return self.loc + self.scale * ops.cast(scaled, "float64")

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        for name in ("trainable", "dtype"):
            config.pop(name, None)
        return {**config, "channels": self.channels}


@keras.saving.register_keras_serializable(package="vae_anomaly")
class VAE(keras.Model):
    """Variational autoencoder with a heteroscedastic decoder, Gaussian unless told otherwise.

    With f and g multilayer perceptrons, and A, B linear paths that start at probabilistic PCA:
    m = A h + a + E f(h); s = softplus(S f(h) + c); z = m + s eps; mu = B z + b + M g(z);
    log sigma = s0 + L g(z), with sigma = sqrt(exp(2 log sigma) + floor^2).

    Args:
        channels: Sensors in the network.
        window: Steps per window; the last one is scored.
        latent: Latent size.
        hidden: Units per hidden layer.
        layers: Hidden layers in encoder and in decoder.
        activation: Activation of the hidden layers.
        linear: Whether the linear paths exist.
        learned_sigma: Whether the decoder learns its sigma; else it stays where it is set.
        seed: Seed of the initial weights and of the sampling.
        likelihoods: Name of the likelihood of each channel, those of one side by side; empty
            where all are Gaussian.
        groups: A number per channel, equal for the states of one sensor; empty likewise.
    """

    def __init__(  # noqa: PLR0913 - plain constructor values, as Keras saves them
        self,
        channels: int,
        *,
        window: int = 1,
        latent: int = 8,
        hidden: int = 64,
        layers: int = 2,
        activation: str = "silu",
        linear: bool = True,
        learned_sigma: bool = True,
        seed: int = 0,
        likelihoods: Sequence[str] = (),
        groups: Sequence[int] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        self.settings = {
            "channels": channels,
            "window": window,
            "latent": latent,
            "hidden": hidden,
            "layers": layers,
            "activation": activation,
            "linear": linear,
            "learned_sigma": learned_sigma,
            "seed": seed,
            "likelihoods": tuple(likelihoods),
            "groups": tuple(groups),
        }
        self.parts = split_channels(tuple(likelihoods))
        self.group = np.equal.outer(groups, groups).astype(np.float64)
        self.channels, self.window, self.latent = channels, window, latent
        self.linear, self.learned_sigma = linear, learned_sigma
        width = channels * window
        seeds = iter(np.random.SeedSequence(seed).generate_state(2 * layers + 8).tolist())

        def dense(units: int, name: str, **options: Any) -> keras.layers.Dense:
            start = keras.initializers.GlorotUniform(seed=int(next(seeds)))
            options.setdefault("kernel_initializer", start)
            return keras.layers.Dense(units, name=name, dtype="float32", **options)

        self.affine = RawAffine(channels, name="affine")
        self.encoder = [dense(hidden, f"encoder_{i}") for i in range(layers)]
        self.encoder_missing = dense(
            hidden, "encoder_missing", use_bias=False, kernel_initializer="zeros"
        )
        self.latent_mean = dense(latent, "latent_mean")
        self.latent_scale = dense(latent, "latent_scale")
        self.decoder = [dense(hidden, f"decoder_{i}") for i in range(layers)]
        self.mean = dense(width, "mean")
        self.log_sigma = dense(width, "log_sigma", trainable=learned_sigma)
        if linear:
            self.linear_encoder = dense(latent, "linear_encoder")
            self.linear_decoder = dense(width, "linear_decoder")
        self.activation = keras.activations.get(activation)
        self.sampler = keras.random.SeedGenerator(int(next(seeds)))

    def build(self, input_shape: Any) -> None:
        """Create all weights; the width of the input is known from the settings."""
        width, latent = self.channels * self.window, self.latent
        self.affine.build((None, self.window, self.channels))
        self.floor = self.add_weight(
            name="floor", shape=(self.channels,), initializer="ones", trainable=False
        )
        if self.parts:
            self.half_step = self.add_weight(
                name="half_step", shape=(self.channels,), initializer="ones", trainable=False
            )
        self.encoder_missing.build((None, width))
        for stack, size in ((self.encoder, width), (self.decoder, latent)):
            for layer, units in zip(
                stack, [size, *(layer.units for layer in stack)], strict=False
            ):
                layer.build((None, units))
        for layer in (self.latent_mean, self.latent_scale):
            layer.build((None, self.encoder[-1].units))
        for layer in (self.mean, self.log_sigma):
            layer.build((None, self.decoder[-1].units))
        if self.linear:
            self.linear_encoder.build((None, width))
            self.linear_decoder.build((None, latent))
        self.built = True

    def encode(self, filled: Any, missing: Any) -> tuple[Any, Any]:
        """Return posterior mean and standard deviation, each of shape `(rows, latent)`."""
        hidden = self.encoder[0](filled) + self.encoder_missing(missing)
        hidden = self.activation(hidden)
        for layer in self.encoder[1:]:
            hidden = self.activation(layer(hidden))
        mean = self.latent_mean(hidden)
        if self.linear:
            mean = mean + self.linear_encoder(filled)
        raw = self.latent_scale(hidden) + LATENT_SIGMA_OFFSET
        return mean, ops.softplus(raw) + MIN_LATENT_SIGMA

    def decode(self, latent: Any) -> tuple[Any, Any]:
        """Return mean and standard deviation in affine units, `(rows, window * channels)`."""
        hidden = latent
        for layer in self.decoder:
            hidden = self.activation(layer(hidden))
        mean = self.mean(hidden)
        if self.linear:
            mean = mean + self.linear_decoder(latent)
        log_sigma = ops.clip(self.log_sigma(hidden), *LOG_SIGMA_RANGE)
        floor = ops.tile(self.floor, [self.window])
        return mean, ops.sqrt(ops.exp(2.0 * log_sigma) + ops.square(floor))

    def call(self, windows: Any) -> dict[str, Any]:
        """Score raw windows, NaN where missing; see `score_observed`."""
        observed = ops.logical_not(ops.isnan(windows))
        values = ops.where(observed, windows, self.affine.loc + ops.zeros_like(windows))
        return self.score_observed(values, ops.cast(observed, "float32"))

    def score_observed(self, values: Any, observed: Any) -> dict[str, Any]:
        """Score windows without NaN; z is the posterior mean, so equal rows score equally.

        Args:
            values: Raw values, anything finite where missing, float64.
                Shape `(rows, window, channels)`.
            observed: 1 where observed, 0 where missing, float32. Same shape.

        Returns:
            All for the last step: `contribution` (nats per channel, raw units, 0 where
            missing), `mean` and `sigma` (location and scale of the likelihood, raw units), each
            `(rows, channels)`, and `kl` `(rows,)`, the code's cost shared evenly among the steps
            of the window.
        """
        scaled, missing = self._prepare(values, observed)
        filled = ops.cond(
            ops.any(missing > 0),
            lambda: self._refine(self._fill(scaled, missing), missing),
            lambda: scaled,
        )
        latent_mean, latent_sigma = self.encode(filled, missing)
        scaled_mean, scaled_sigma = self.decode(latent_mean)
        start = self.channels * (self.window - 1)
        scaled_sigma = scaled_sigma[:, start:]
        mean = self.affine.invert(scaled_mean[:, start:])
        sigma = ops.abs(self.affine.scale) * ops.cast(scaled_sigma, "float64")
        last = values[:, -1, :]
        reading = Reading(
            value=last,
            location=mean,
            residual=(last - mean) / sigma,
            log_sigma=ops.cast(ops.log(scaled_sigma), "float64") + self.affine.log_scale,
            half_step=ops.cast(self.half_step / scaled_sigma, "float64") if self.parts else None,
        )
        kl = standard_normal_kl(ops, latent_mean, latent_sigma)
        return {
            "contribution": ops.cast(observed[:, -1, :], "float64") * self._nll(reading),
            "kl": ops.cast(kl, "float64") / self.window,
            "mean": mean,
            "sigma": sigma,
            "latent_mean": latent_mean,
        }

    def sample_elbo_terms(self, scaled: Any, missing: Any) -> tuple[Any, Any]:
        """Return the two terms of the negative ELBO at one sampled z per row.

        Args:
            scaled: Values in affine units, 0 where missing. Shape `(rows, window * channels)`.
            missing: 1 where missing. Same shape.

        Returns:
            NLL in affine units, summed over steps and channels, and KL; each `(rows,)`.
        """
        latent_mean, latent_sigma = self.encode(self._fill(scaled, missing), missing)
        noise = keras.random.normal(ops.shape(latent_mean), seed=self.sampler, dtype="float32")
        mean, sigma = self.decode(latent_mean + latent_sigma * noise)
        nll = (1.0 - missing) * self._scaled_nll(scaled, mean, sigma)
        return ops.sum(nll, axis=-1), standard_normal_kl(ops, latent_mean, latent_sigma)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, **self.settings}

    def find_fill_limits(self) -> tuple[Any, Any]:
        """Return the affine values between which the model may fill a missing entry.

        Shape `(window * channels,)` each: a state stays between its 0 and its 1.
        """
        highest = np.full(self.channels, MAX_SCALED)
        states = np.zeros(self.channels, dtype=bool)
        for likelihood, part in self.parts:
            states[part] = likelihood.name in STATES
        loc, scale = self.affine.loc, self.affine.scale
        edges = ops.stack([(0.0 - loc) / scale, (1.0 - loc) / scale])
        low = ops.where(states, ops.min(edges, axis=0), -highest)
        high = ops.where(states, ops.max(edges, axis=0), highest)
        return tuple(ops.tile(ops.cast(one, "float32"), [self.window]) for one in (low, high))

    def _nll(self, reading: Reading) -> Any:
        """Return the nats of every channel by its own likelihood, given all of them."""
        if not self.parts:
            return GAUSSIAN.nll(ops, reading)
        found = []
        for likelihood, part in self.parts:
            group = ops.cast(self.group[part, part], reading.value.dtype)
            found.append(likelihood.nll(ops, reading.take(part, group)))
        return ops.concatenate(found, axis=-1)

    def _scaled_nll(self, scaled: Any, mean: Any, sigma: Any) -> Any:
        """Return the nats of windows in affine units. Shape `(rows, window * channels)`."""
        if not self.parts:
            return self._nll(Reading(residual=(scaled - mean) / sigma, log_sigma=ops.log(sigma)))
        shape = (-1, self.window, self.channels)
        scaled, mean, sigma = (ops.reshape(one, shape) for one in (scaled, mean, sigma))
        loc, scale = (ops.cast(one, "float32") for one in (self.affine.loc, self.affine.scale))
        reading = Reading(
            value=loc + scale * scaled,
            location=loc + scale * mean,
            residual=(scaled - mean) / sigma,
            log_sigma=ops.log(sigma),
            half_step=self.half_step / sigma,
        )
        return ops.reshape(self._nll(reading), (-1, self.window * self.channels))

    def _fill(self, scaled: Any, missing: Any) -> Any:
        """Replace missing entries by what the linear paths make of the observed ones."""
        if not self.linear:
            return scaled
        filled = scaled
        for _ in range(FILL_ROUNDS):
            rebuilt = self.linear_decoder(self.linear_encoder(filled))
            filled = (1.0 - missing) * scaled + missing * ops.stop_gradient(rebuilt)
        return filled

    def _refine(self, filled: Any, missing: Any) -> Any:
        """Replace missing entries by what the whole model makes of the observed ones.

        Rows without a missing entry come out bit for bit as they went in.
        """
        for _ in range(REFINE_ROUNDS):
            mean, _ = self.decode(self.encode(filled, missing)[0])
            if self.parts:
                low, high = self.find_fill_limits()
                mean = ops.minimum(ops.maximum(mean, low), high)
            filled = ops.where(missing > 0, ops.clip(mean, -MAX_SCALED, MAX_SCALED), filled)
        return filled

    def _prepare(self, values: Any, observed: Any) -> tuple[Any, Any]:
        width = self.channels * self.window
        missing = 1.0 - ops.reshape(observed, (-1, width))
        exact = ops.clip(self.affine(values), -MAX_SCALED, MAX_SCALED)
        scaled = ops.cast(ops.reshape(exact, (-1, width)), "float32")
        return scaled * (1.0 - missing), missing
