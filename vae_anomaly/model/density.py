"""The density of one asset's readings: the VAE for sensors that move, a change rule for others."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from vae_anomaly.config import ModelConfig
from vae_anomaly.domain import (
    FloatArray,
    IntArray,
    SensorKind,
    SensorProfile,
    TrainingCurves,
)
from vae_anomaly.errors import ConfigError, TrainingError
from vae_anomaly.model.affine import fit_affine
from vae_anomaly.model.channels import (
    CHANGE_NATS,
    Channels,
    add_up,
)
from vae_anomaly.model.choice import (
    DEFAULT_LIKELIHOODS,
    choose_likelihoods,
    require_known_sensors,
)
from vae_anomaly.model.engine import (
    ONNX_FILE,
    Decoded,
    Engine,
    chunk_rows,
    decode_chunk,
    save_vae,
)
from vae_anomaly.model.ppca import choose_latent_size
from vae_anomaly.model.roles import SensorRoles, as_columns, weigh_sensors
from vae_anomaly.model.windows import gather_windows
from vae_anomaly.wording import ask_nearest

if TYPE_CHECKING:
    from vae_anomaly.model.training import TrainingPlan, TrainingRows
    from vae_anomaly.model.vae import VAE

QUESTION_LATENT = 5
MAX_HELD_OUT_ROWS = 2048


@dataclass(frozen=True)
class StepScores:
    """What the density says of each step.

    Attributes:
        contribution: Nats per sensor, raw units, 0 where missing. Shape `(steps, sensors)`.
        kl: Nats per step. Shape `(steps,)`.
        energy: log p(mode) - log p(x) per sensor, for a Gaussian half the squared standardised
            residual, 0 where missing; for a constant sensor the nats of the change rule.
            Shape `(steps, sensors)`.
        num_observed: Scored sensors present at each step. Shape `(steps,)`.
        mean: Expected values, raw units, NaN for empty sensors. Shape `(steps, sensors)`.
        sigma: Their standard deviations, 0 for constant sensors. Shape `(steps, sensors)`.
    """

    contribution: FloatArray
    kl: FloatArray
    energy: FloatArray
    num_observed: IntArray
    mean: FloatArray
    sigma: FloatArray

    @cached_property
    def nll(self) -> FloatArray:
        """Nats per step: the contributions and the KL term, added up. Shape `(steps,)`."""
        return add_up(self.contribution) + self.kl

    @classmethod
    def empty(cls, shape: tuple[int, int]) -> StepScores:
        """Make room for the scores of `(steps, sensors)`; each sensor's numbers lie together."""
        num_steps = shape[0]
        return cls(
            contribution=np.empty(shape, order="F"),
            kl=np.empty(num_steps),
            energy=np.empty(shape, order="F"),
            num_observed=np.empty(num_steps, dtype=np.int64),
            mean=np.empty(shape, order="F"),
            sigma=np.empty(shape, order="F"),
        )

    def take(self, steps: slice) -> StepScores:
        """Return some of the steps, without a copy."""
        return StepScores(*(getattr(self, field.name)[steps] for field in fields(self)))


@dataclass(frozen=True)
class Density:
    """A fitted density, ready to score.

    Attributes:
        roles: How each sensor is scored.
        window: Steps per window.
        files: The saved VAE, contents by file name.
        engine: What runs it.
    """

    roles: SensorRoles
    window: int
    files: dict[str, bytes]
    engine: Engine

    def score(
        self, values: FloatArray, segment_start: IntArray, *, room: StepScores | None = None
    ) -> StepScores:
        """Score every step from the window that ends there.

        Args:
            values: Raw values in step order, NaN where missing. Shape `(steps, sensors)`.
            segment_start: As in `Steps`. Shape `(steps,)`.
            room: Where to write the scores; memory that was used before is far quicker to write
                to than new memory.

        Returns:
            One score per step, a function of its window alone.
        """
        whole = StepScores.empty(values.shape) if room is None else room.take(slice(len(values)))
        channels = self.roles.channels
        columns, window = as_columns(self.roles.modelled), self.window
        chunk = chunk_rows(window * channels.num_channels)

        for start in range(0, len(values), chunk):
            stop, first = min(start + chunk, len(values)), max(start - window + 1, 0)
            inputs = channels.encode(values[first:stop, columns])
            windows = inputs[:, None, :]
            if window > 1:
                steps, starts = np.arange(start - first, stop - first), segment_start[first:stop]
                windows = gather_windows(inputs, starts - first, steps, window=window)
            decoded = decode_chunk(self.engine, windows, chunk)
            self._describe(values[start:stop], decoded, channels, whole.take(slice(start, stop)))
        return whole

    def _describe(
        self, values: FloatArray, decoded: Decoded, channels: Channels, out: StepScores
    ) -> None:
        """Write what the network and the change rule say of some steps."""
        present = ~np.isnan(values)
        empty, constant = list(self.roles.empty), list(self.roles.constant)
        context = list(self.roles.context)
        out.kl[:] = decoded.kl
        out.num_observed[:] = present.sum(axis=1) - present[:, empty + context].sum(axis=1)
        out.mean[:, empty] = out.sigma[:, empty] = np.nan
        out.contribution[:, empty] = out.energy[:, empty] = 0.0
        known = np.array(self.roles.constant_values)
        # a constant that went through float32 somewhere is still the same constant
        same = values[:, constant].astype(np.float32) == known.astype(np.float32)
        changed = np.where(present[:, constant] & ~same, CHANGE_NATS, 0.0)
        out.contribution[:, constant] = out.energy[:, constant] = changed
        out.mean[:, constant], out.sigma[:, constant] = known, 0.0
        modelled = as_columns(self.roles.modelled)
        found = channels.describe(
            values[:, modelled], decoded.contribution, decoded.mean, decoded.sigma
        )
        for field in fields(found):
            getattr(out, field.name)[:, modelled] = getattr(found, field.name)
        out.contribution[:, context] = out.energy[:, context] = 0.0


@dataclass(frozen=True)
class FitOptions:
    """What a fit needs beside readings and settings.

    Attributes:
        preset: As in `DetectorConfig`.
        seed: Seed of weights, order of batches and sampling.
        held_out: Raw values of held-out steps for the curves. Shape `(steps, sensors)`.
        held_out_start: Their segment starts.
        progress: Called with optimiser steps done and in all.
    """

    preset: str = "default"
    seed: int = 0
    held_out: FloatArray | None = None
    held_out_start: IntArray | None = None
    progress: Callable[[int, int], None] | None = None

    def held_out_windows(self, modelled: tuple[int, ...], window: int) -> FloatArray | None:
        """Return up to `MAX_HELD_OUT_ROWS` windows spread over the held-out steps."""
        if self.held_out is None or self.held_out_start is None or not len(self.held_out):
            return None
        num_rows = min(len(self.held_out), MAX_HELD_OUT_ROWS)
        steps = np.linspace(0, len(self.held_out) - 1, num_rows).astype(np.int64)
        values = self.held_out[:, list(modelled)]
        return gather_windows(values, self.held_out_start, steps, window=window)


@dataclass(frozen=True)
class FittedDensity:
    """A density with how its training went."""

    density: Density
    curves: TrainingCurves
    num_steps: int
    num_skipped: int
    latent: int
    backend: str


def fit_density(
    values: FloatArray,
    segment_start: IntArray,
    profiles: tuple[SensorProfile, ...],
    *,
    settings: ModelConfig,
    options: FitOptions,
) -> FittedDensity:
    """Fit the density of training readings.

    Args:
        values: Raw training values in step order, NaN where missing.
            Shape `(steps, sensors)`.
        segment_start: As in `Steps`. Shape `(steps,)`.
        profiles: What these values look like, one per sensor.
        settings: The network and its training.
        options: Preset, seed, held-out steps and progress.

    Returns:
        The fitted density.

    Raises:
        TrainingError: No sensor moves, or training met too many non-finite steps.
    """
    import keras

    from vae_anomaly.model.precision import use_full_precision
    from vae_anomaly.model.trainer import borrow_trainer
    from vae_anomaly.model.training import fit_vae, sample_windows

    use_full_precision()
    modelled, constant, empty, context = _assign_roles(profiles, settings.context)
    require_known_sensors(settings.likelihoods, [one.name for one in profiles])
    moving, mine = values[:, list(modelled)], tuple(profiles[i] for i in modelled)
    by_kind = DEFAULT_LIKELIHOODS if options.preset == "default" else {}
    chosen = choose_likelihoods(moving, mine, wanted=settings.likelihoods, by_kind=by_kind)
    channels = Channels(chosen)
    rows = _prepare_rows(moving, segment_start, mine, channels, settings)
    held_out = options.held_out_windows(modelled, settings.window)
    with borrow_trainer(_build_vae(rows, settings, options)) as trainer:
        fitted = fit_vae(
            trainer,
            rows,
            plan=_make_plan(len(values), settings, options.seed),
            held_out=None if held_out is None else channels.encode(held_out),
            progress=options.progress,
        )
        files = save_vae(fitted.vae, sample_windows(rows, settings.window))
    roles = SensorRoles(
        modelled=modelled,
        constant=constant,
        constant_values=tuple(profiles[i].median for i in constant),
        empty=empty,
        log_scale=tuple(np.log(np.abs(rows.affine.scale))[channels.first_channels].tolist()),
        likelihoods=chosen,
        context=context,
        weights=weigh_sensors(moving, mine, chosen),
    )
    return FittedDensity(
        density=Density(roles, settings.window, files, Engine(files[ONNX_FILE])),
        curves=fitted.curves,
        num_steps=fitted.num_steps,
        num_skipped=fitted.num_skipped,
        latent=fitted.vae.latent,
        backend=keras.backend.backend(),
    )


def sigma_floor(
    scale: FloatArray, profiles: tuple[SensorProfile, ...], *, fraction: float
) -> FloatArray:
    """Return the lower bound of each sensor's sigma, in raw units.

    A share of the scale, or what rounding to the sensor's step leaves: a uniform error of that
    width. Two states are not rounded readings of something between them.

    Args:
        scale: Spread of each sensor, raw units. Shape `(sensors,)`.
        profiles: What its values look like.
        fraction: The share.

    Returns:
        The bounds. Shape `(sensors,)`.
    """
    steps = np.array([0.0 if one.kind is SensorKind.BINARY else one.step for one in profiles])
    bound: FloatArray = np.maximum(fraction * scale, steps / math.sqrt(12))
    return bound


def _prepare_rows(
    moving: FloatArray,
    segment_start: IntArray,
    profiles: tuple[SensorProfile, ...],
    channels: Channels,
    settings: ModelConfig,
) -> TrainingRows:
    from vae_anomaly.model.training import TrainingRows

    inputs = channels.encode(moving)
    affine = fit_affine(inputs)
    scale, fraction = np.abs(affine.scale), settings.floor_fraction
    of_channels = tuple(profiles[i] for i in channels.sensor_of)
    floor = sigma_floor(scale, of_channels, fraction=fraction)
    step = np.array([chosen.step for chosen in channels.sensors])[channels.sensor_of]
    return TrainingRows(
        inputs,
        segment_start,
        affine,
        np.where(channels.is_on_raw, floor / scale, fraction),
        step / scale,
        channels.likelihoods,
        channels.groups,
    )


def _build_vae(rows: TrainingRows, settings: ModelConfig, options: FitOptions) -> VAE:
    from vae_anomaly.model.vae import VAE

    num_channels = rows.values.shape[1]
    is_question = options.preset != "default"
    latent = settings.latent
    if latent is None and is_question:
        latent = QUESTION_LATENT
    if latent is None:
        scaled = np.nan_to_num(rows.affine.apply(rows.values))
        latent = choose_latent_size(scaled, explained_variance=settings.explained_variance)
    vae = VAE(
        num_channels,
        window=settings.window,
        latent=min(latent, num_channels * settings.window),
        hidden=num_channels * settings.window if is_question else settings.hidden,
        layers=1 if is_question else settings.layers,
        activation="leaky_relu" if is_question else "silu",
        linear=not is_question,
        learned_sigma=options.preset != "question-squared-error",
        seed=options.seed,
        likelihoods=rows.likelihoods,
        groups=rows.groups,
    )
    vae.build(None)
    return vae


def _make_plan(num_rows: int, settings: ModelConfig, seed: int) -> TrainingPlan:
    from vae_anomaly.model.training import TrainingPlan, count_training_steps

    return TrainingPlan(
        batch_rows=settings.batch_rows,
        num_steps=count_training_steps(
            num_rows,
            epochs=settings.epochs,
            batch_rows=settings.batch_rows,
            least=settings.min_training_steps,
            most=settings.max_training_steps,
        ),
        learning_rate=settings.learning_rate,
        max_skipped_share=settings.max_skipped_share,
        seed=seed,
    )


def _assign_roles(
    profiles: tuple[SensorProfile, ...], context: tuple[str, ...]
) -> tuple[tuple[int, ...], ...]:
    """Return the positions of modelled, constant and empty sensors, and of those for context."""
    names = [profile.name for profile in profiles]
    for name in context:
        if name not in names:
            raise ConfigError(
                f"Cannot take sensor '{name}' for context: expected one of {', '.join(names)}, "
                f"got '{name}'. Correct the name in detector.model.context"
                + (ask_nearest(name, names) or ".")
            )
    kinds = [profile.kind for profile in profiles]
    named = {i for i, profile in enumerate(profiles) if profile.name in context}
    fixed = {i for i, kind in enumerate(kinds) if kind is SensorKind.CONSTANT}
    dead = {i for i, kind in enumerate(kinds) if kind is SensorKind.EMPTY}
    modelled = set(range(len(kinds))) - fixed - dead
    if not modelled - named:
        others = f", and {len(modelled)} for context" if modelled else ""
        advice = (
            "Name fewer sensors in detector.model.context."
            if modelled
            else "Choose another training period."
        )
        raise TrainingError(
            f"Cannot train on these readings: expected a sensor that moves, got {len(fixed)} "
            f"constant and {len(dead)} empty sensors{others}. {advice}"
        )
    # context that never moved says nothing
    roles = (modelled, fixed - named, dead | (fixed & named), modelled & named)
    return tuple(tuple(sorted(one)) for one in roles)
