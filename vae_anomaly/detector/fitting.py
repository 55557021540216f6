"""Readings to fitted networks: one judged on steps held out, one fitted to everything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from vae_anomaly.config import DetectorConfig, ModelConfig
from vae_anomaly.detector.adaptation import Track
from vae_anomaly.detector.calibration import require_held_out
from vae_anomaly.detector.offsets import find_offsets, remove_offsets
from vae_anomaly.detector.rules import (
    RuleLimits,
    RuleSteps,
    declare_limits,
    require_quiet_rules,
    set_rule_limits,
)
from vae_anomaly.detector.shift import AssetSteps, ShiftModel, fit_shift_model
from vae_anomaly.domain import (
    BoolArray,
    CheckedReadings,
    FloatArray,
    IntArray,
    SensorProfile,
)
from vae_anomaly.errors import TrainingError
from vae_anomaly.model.density import FitOptions, FittedDensity, fit_density
from vae_anomaly.model.windows import Steps, order_steps
from vae_anomaly.readings.check import check_readings
from vae_anomaly.readings.quality import profile_sensors
from vae_anomaly.readings.source import RawSource

MIN_TRAINING_STEPS = 100
"""Fewest steps a network is fitted to; below it even the affine is a guess."""


@dataclass(frozen=True)
class Part:
    """Steps of one purpose: training or calibration.

    Attributes:
        checked: Where they come from.
        steps: The steps.
    """

    checked: CheckedReadings
    steps: Steps

    @property
    def values(self) -> FloatArray:
        """Raw values in step order. Shape `(steps, sensors)`."""
        return self.checked.readings.values[self.steps.rows]

    @property
    def timestamps(self) -> IntArray:
        """Microseconds in step order. Shape `(steps,)`."""
        return self.checked.readings.timestamps[self.steps.rows]

    def rows_of(self, asset: str) -> BoolArray:
        """Tell which steps belong to an asset."""
        code = self.checked.readings.asset_names.index(asset)
        mine: BoolArray = self.steps.asset_codes == code
        return mine

    def count_steps(self) -> dict[str, int]:
        """Return the number of steps of each asset that has any."""
        codes, counts = np.unique(self.steps.asset_codes, return_counts=True)
        names = self.checked.readings.asset_names
        return {names[code]: int(count) for code, count in zip(codes, counts, strict=True)}


@dataclass(frozen=True)
class FittedPart:
    """A density with the steps it was fitted to.

    Attributes:
        part: The steps.
        profiles: What their values look like, one per sensor.
        offsets: Offset of each sensor by asset, as in `find_offsets`.
        fitted: The density.
        shift_model: What a shifted sensor is, or None to look for none.
        rule_limits: Where the rules beside the density fire.
    """

    part: Part
    profiles: tuple[SensorProfile, ...]
    offsets: dict[str, tuple[float, ...]]
    fitted: FittedDensity
    shift_model: ShiftModel | None
    rule_limits: RuleLimits

    def level(self, part: Part) -> FloatArray:
        """Return the values of some steps without the offsets of their assets."""
        return _level(part, self.offsets)


@dataclass(frozen=True)
class Networks:
    """What is fitted, before a threshold is set.

    Attributes:
        first: Fitted without the held-out steps; it is judged on them.
        final: What the detector scores with.
        held_part: The held-out steps.
    """

    first: FittedPart
    final: FittedPart
    held_part: Part


def read_normal(
    readings: RawSource, calibration: RawSource | None, *, config: DetectorConfig
) -> tuple[CheckedReadings, CheckedReadings | None]:
    """Read what a detector is fitted to.

    Args:
        readings: Normal readings, as for `check_readings`.
        calibration: Other normal readings for the threshold, or None.
        config: All settings.

    Returns:
        Both, under one contract.

    Raises:
        ReadingsError: The input cannot be read.
        ContractError: It has no time, no sensors, or sensors of the wrong type.
    """
    training = check_readings(readings, config=config.readings, purpose="fit a detector")
    if calibration is None:
        return training, None
    return training, check_readings(
        calibration,
        config=config.readings,
        contract=training.contract,
        purpose="calibrate a detector",
    )


def fit_networks(
    training: CheckedReadings,
    calibration: CheckedReadings | None,
    *,
    config: DetectorConfig,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> Networks:
    """Fit what scores and what is judged.

    Args:
        training: Normal readings.
        calibration: Other normal readings for the threshold; without them the last
            `calibration_share` of each asset's steps is held out, what is judged is fitted
            without them, and what scores is fitted to all.
        config: All settings.
        seed: Seed of the fit.
        progress: Called with optimiser steps done and in all.

    Returns:
        Both, with the held-out steps.

    Raises:
        TrainingError: Too few rows, or no sensor moves.
        CalibrationError: Too few held-out steps for what is asked, or declared rules fire on
            too many of them.
    """
    fit_part, held_part = _split(training, calibration, config)
    _require_steps(fit_part, held_part, config)
    _require_quiet_rules(held_part, config)
    num_fits = 1 if calibration is not None else 2
    options = FitOptions(
        preset=config.preset, seed=seed, progress=_tell_share(progress, 0, num_fits)
    )
    first = final = _fit_part(fit_part, config.model, options, config, held_out=held_part)
    if calibration is None:
        # of the same latent size, so that both networks have one shape and are compiled once; with
        # the same offsets, so that limits set on the one hold for the other
        settings = config.model.model_copy(update={"latent": first.fitted.latent})
        options = replace(options, progress=_tell_share(progress, 1, num_fits))
        whole = make_part(training, training.usable, config)
        final = _fit_part(whole, settings, options, config, offsets=first.offsets)
    return Networks(first, final, held_part)


def make_part(checked: CheckedReadings, usable: BoolArray, config: DetectorConfig) -> Part:
    """Take the rows to use, in order of asset and time."""
    steps = order_steps(
        checked.readings,
        usable,
        period_s=checked.contract.period_s,
        gap_steps=config.readings.gap_steps,
    )
    return Part(checked, steps)


def _split(
    training: CheckedReadings, calibration: CheckedReadings | None, config: DetectorConfig
) -> tuple[Part, Part]:
    whole = make_part(training, training.usable, config)
    if calibration is not None:
        return whole, make_part(calibration, calibration.usable, config)
    steps = whole.steps
    later = np.zeros(steps.num_steps, dtype=bool)
    for code in np.unique(steps.asset_codes):
        mine = np.flatnonzero(steps.asset_codes == code)
        later[mine[round(len(mine) * (1 - config.threshold.calibration_share)) :]] = True
    in_training, in_held_out = training.usable, training.usable
    in_training[steps.rows[later]] = False
    in_held_out[steps.rows[~later]] = False
    return make_part(training, in_training, config), make_part(training, in_held_out, config)


def _require_steps(fit: Part, held: Part, config: DetectorConfig) -> None:
    if fit.steps.num_steps < MIN_TRAINING_STEPS:
        raise TrainingError(
            f"Cannot train a detector: expected at least {MIN_TRAINING_STEPS} usable rows to "
            f"train on, got {fit.steps.num_steps} (and {held.steps.num_steps} held out for "
            "calibration). Use a longer training period."
        )
    counts = _count_held_out(fit, held)
    budget_per_week = config.threshold.budget_of_each(len(counts))
    for asset, num_steps in counts.items():
        if num_steps and config.threshold.provisional:
            continue
        require_held_out(
            asset,
            num_steps,
            period_s=fit.checked.contract.period_s,
            budget_per_week=budget_per_week,
            rate=config.threshold.false_alarm_rate,
        )


def _require_quiet_rules(held: Part, config: DetectorConfig) -> None:
    contract, values = held.checked.contract, held.values
    limits = declare_limits(contract.sensor_names, config.rules)
    for asset in held.count_steps():
        mine = held.rows_of(asset)
        steps = RuleSteps(
            values[mine], held.steps.segment_start[mine], held.timestamps[mine], contract.period_s
        )
        require_quiet_rules(asset, steps, limits, sensors=contract.sensor_names)


def _count_held_out(fit: Part, held: Part) -> dict[str, int]:
    """Count the held-out steps of each asset to calibrate.

    Where calibration readings were given, an asset that is not in them is not calibrated.
    """
    counts = held.count_steps()
    if held.checked is fit.checked or not counts:
        return dict.fromkeys(fit.count_steps(), 0) | counts
    return counts


def _level(part: Part, offsets: dict[str, tuple[float, ...]]) -> FloatArray:
    names = part.checked.readings.asset_names
    return remove_offsets(part.values, part.steps.asset_codes, names, offsets)


def _fit_part(
    part: Part,
    settings: ModelConfig,
    options: FitOptions,
    config: DetectorConfig,
    *,
    held_out: Part | None = None,
    offsets: dict[str, tuple[float, ...]] | None = None,
) -> FittedPart:
    raw, codes, start = part.values, part.steps.asset_codes, part.steps.segment_start
    profiles = profile_sensors(raw, sensors=part.checked.contract.sensors, asset_codes=codes)
    rule_limits = set_rule_limits(
        raw, start, profiles, settings=config.rules, context=settings.context
    )
    if offsets is None:
        names = part.checked.readings.asset_names
        offsets = {}
        if settings.asset_offsets and config.preset == "default":
            offsets = find_offsets(raw, codes, names, profiles, likelihoods=settings.likelihoods)
    values = _level(part, offsets)
    if held_out is not None:
        options = replace(
            options,
            held_out=_level(held_out, offsets),
            held_out_start=held_out.steps.segment_start,
        )
    fitted = fit_density(values, start, profiles, settings=settings, options=options)
    shift_model = _fit_shift_model(part, values, fitted, config)
    return FittedPart(part, profiles, offsets, fitted, shift_model, rule_limits)


def _fit_shift_model(
    part: Part, values: FloatArray, fitted: FittedDensity, config: DetectorConfig
) -> ShiftModel | None:
    span, roles = config.threshold.shift_steps, fitted.density.roles
    context = [k for k, sensor in enumerate(roles.dense) if sensor in roles.context]
    if not span or len(context) == len(roles.dense):
        return None
    steps = part.steps
    track = Track(
        part.timestamps,
        steps.asset_codes,
        part.checked.contract.period_s,
        config.threshold.adaptation_steps,
    )
    names = part.checked.readings.asset_names
    dense = AssetSteps(roles.take_dense(values), steps.segment_start, track, names)
    return fit_shift_model(dense, latent=fitted.latent, span=span, context=context)


def _tell_share(
    progress: Callable[[int, int], None] | None, number: int, num_fits: int
) -> Callable[[int, int], None] | None:
    """Tell the progress of one of several fits as a share of them all."""
    if progress is None:
        return None
    return lambda done, total: progress(number * total + done, num_fits * total)
