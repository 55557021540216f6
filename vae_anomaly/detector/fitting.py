"""Readings to a detector: fit the density, calibrate on held-out steps, judge its health."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np

from vae_anomaly.config import DetectorConfig
from vae_anomaly.detector.alerts import AlertRules
from vae_anomaly.detector.baseline import BaselineFit, compare_with_pca
from vae_anomaly.detector.calibration import HeldOut, calibrate, require_held_out
from vae_anomaly.detector.health import HeldOutFit, check_health
from vae_anomaly.detector.record import FORMAT, DetectorRecord, TrainingFacts
from vae_anomaly.detector.scoring import StepEnergy, score_steps
from vae_anomaly.detector.smoothing import smooth
from vae_anomaly.domain import (
    BoolArray,
    Calibration,
    CheckedReadings,
    FloatArray,
    HealthCheck,
    IntArray,
    SensorProfile,
)
from vae_anomaly.errors import TrainingError
from vae_anomaly.model.density import Density, FitOptions, FittedDensity, fit_density
from vae_anomaly.model.windows import Steps, order_steps
from vae_anomaly.readings.quality import profile_sensors

MIN_TRAINING_STEPS = 100
"""Fewest steps a network is fitted to; below it even the affine is a guess."""

LIBRARIES = ("keras", "numpy", "pyarrow", "vae-anomaly")


@dataclass(frozen=True)
class FittedDetector:
    """A fitted density with its record."""

    density: Density
    record: DetectorRecord


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


def fit_detector(
    training: CheckedReadings,
    calibration: CheckedReadings | None,
    *,
    config: DetectorConfig,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> FittedDetector:
    """Fit a detector to normal readings.

    Args:
        training: Normal readings.
        calibration: Other normal readings for the threshold; without them the last
            `calibration_share` of each asset's steps is held out.
        config: All settings.
        seed: Seed of the fit.
        progress: Called with optimiser steps done and in all.

    Returns:
        The detector's parts.

    Raises:
        TrainingError: Too few rows, or no sensor moves.
        CalibrationError: Too few held-out steps for what is asked.
    """
    fit_part, held_part = _split(training, calibration, config)
    rules = make_alert_rules(config, training.contract.period_s)
    _require_steps(fit_part, held_part, rules, config)
    profiles = profile_sensors(
        fit_part.values,
        sensors=training.contract.sensors,
        asset_codes=fit_part.steps.asset_codes,
    )
    fitted = fit_density(
        fit_part.values,
        fit_part.steps.segment_start,
        profiles,
        settings=config.model,
        options=FitOptions(
            preset=config.preset,
            seed=seed,
            held_out=held_part.values,
            held_out_start=held_part.steps.segment_start,
            progress=progress,
        ),
    )
    held = score_steps(
        held_part.checked.readings,
        held_part.steps,
        fitted.density,
        min_observed_share=config.threshold.min_observed_share,
    )
    return FittedDetector(
        fitted.density,
        _make_record(_Outcome(fit_part, held_part, held, fitted, profiles, config), seed=seed),
    )


def make_alert_rules(config: DetectorConfig, period_s: float) -> AlertRules:
    """Return the alert rules of the settings, at a sampling period in seconds."""
    alerts = config.alerts
    return AlertRules(
        merge_steps=alerts.merge_steps,
        min_steps=alerts.min_steps,
        release_fraction=alerts.release_fraction,
        top_sensors=alerts.top_sensors,
        period_s=period_s,
        gap_steps=config.readings.gap_steps,
    )


def _split(
    training: CheckedReadings, calibration: CheckedReadings | None, config: DetectorConfig
) -> tuple[Part, Part]:
    steps = _order(training, training.problems, config)
    if calibration is not None:
        held = _order(calibration, calibration.problems, config)
        return Part(training, steps), Part(calibration, held)
    later = np.zeros(steps.num_steps, dtype=bool)
    for code in np.unique(steps.asset_codes):
        mine = np.flatnonzero(steps.asset_codes == code)
        later[mine[round(len(mine) * (1 - config.threshold.calibration_share)) :]] = True
    in_training, in_held_out = training.problems.copy(), training.problems.copy()
    in_training[steps.rows[later]] = "held out"
    in_held_out[steps.rows[~later]] = "training"
    return (
        Part(training, _order(training, in_training, config)),
        Part(training, _order(training, in_held_out, config)),
    )


def _order(checked: CheckedReadings, problems: np.ndarray, config: DetectorConfig) -> Steps:
    return order_steps(
        checked.readings,
        problems,
        period_s=checked.contract.period_s,
        gap_steps=config.readings.gap_steps,
    )


def _require_steps(fit: Part, held: Part, rules: AlertRules, config: DetectorConfig) -> None:
    if fit.steps.num_steps < MIN_TRAINING_STEPS:
        raise TrainingError(
            f"Cannot train a detector: expected at least {MIN_TRAINING_STEPS} usable rows to "
            f"train on, got {fit.steps.num_steps} (and {held.steps.num_steps} held out for "
            "calibration). Use a longer training period."
        )
    for asset, num_steps in _count_held_out(fit, held).items():
        if num_steps and config.threshold.provisional:
            continue
        require_held_out(
            asset,
            num_steps,
            period_s=rules.period_s,
            budget_per_week=config.threshold.alert_budget_per_week,
            rate=config.threshold.false_alarm_rate,
        )


def _count_held_out(fit: Part, held: Part) -> dict[str, int]:
    """Count the held-out steps of each asset to calibrate.

    Where calibration readings were given, an asset that is not in them is not calibrated.
    """
    counts = held.count_steps()
    if held.checked is fit.checked or not counts:
        return dict.fromkeys(fit.count_steps(), 0) | counts
    return counts


@dataclass(frozen=True)
class _Outcome:
    """What a fit leaves to be judged and written down."""

    fit: Part
    held_part: Part
    held: StepEnergy
    fitted: FittedDensity
    profiles: tuple[SensorProfile, ...]
    config: DetectorConfig


def _make_record(outcome: _Outcome, *, seed: int) -> DetectorRecord:
    fit, held_part, held = outcome.fit, outcome.held_part, outcome.held
    fitted, profiles, config = outcome.fitted, outcome.profiles, outcome.config

    scorable = ~np.isnan(held.energy)
    normal_level = float(np.median(held.energy[scorable])) if scorable.any() else 0.0
    calibrations = _calibrate_assets(held_part, held, config, normal_level=normal_level)
    modelled = list(fitted.density.roles.modelled)
    baseline = compare_with_pca(
        fit.values[:, modelled],
        held_part.values[:, modelled],
        held.scores.contribution[:, modelled].sum(axis=1) + held.scores.kl,
        latent=fitted.latent,
    )
    return DetectorRecord(
        format=FORMAT,
        config=config,
        contract=fit.checked.contract,
        profiles=profiles,
        roles=fitted.density.roles,
        normal_level=normal_level,
        normal_contribution=tuple(
            np.mean(held.scores.contribution[scorable], axis=0).tolist()
            if scorable.any()
            else [0.0] * len(profiles)
        ),
        calibrations=calibrations,
        fallback=min(calibrations, key=lambda asset: calibrations[asset].threshold),
        health=_judge(outcome, baseline),
        baseline={
            "pca_nll_nats": baseline.pca_nll,
            "vae_nll_nats": baseline.vae_nll,
            "num_rows": float(baseline.num_rows),
        },
        curves=fitted.curves,
        facts=TrainingFacts(
            seed=seed,
            backend=fitted.backend,
            latent=fitted.latent,
            num_rows=fit.steps.num_steps,
            num_held_out=held_part.steps.num_steps,
            num_steps=fitted.num_steps,
            num_skipped=fitted.num_skipped,
            first_us=int(fit.timestamps.min()),
            last_us=int(held_part.timestamps.max(initial=fit.timestamps.max())),
            versions={name: version(name) for name in LIBRARIES},
        ),
        files={
            name: hashlib.sha256(content).hexdigest()
            for name, content in fitted.density.files.items()
        },
    )


def _calibrate_assets(
    part: Part, held: StepEnergy, config: DetectorConfig, *, normal_level: float
) -> dict[str, Calibration]:
    score = smooth(
        held.energy,
        part.steps.segment_start,
        span=config.threshold.smoothing_steps,
        normal_level=normal_level,
    )
    rules = make_alert_rules(config, part.checked.contract.period_s)
    calibrations = {}
    for asset in part.count_steps():
        mine = part.rows_of(asset) & ~np.isnan(score)
        calibrations[asset] = calibrate(
            HeldOut(asset, part.timestamps[mine], score[mine]),
            rules=rules,
            budget_per_week=config.threshold.alert_budget_per_week,
            false_alarm_rate=config.threshold.false_alarm_rate,
            provisional=config.threshold.provisional,
        )
    return calibrations


def _judge(outcome: _Outcome, baseline: BaselineFit) -> tuple[HealthCheck, ...]:
    roles = outcome.fitted.density.roles
    modelled = list(roles.modelled)
    scale = np.exp(np.array(roles.log_scale))
    steps = np.array([outcome.profiles[i].step for i in modelled])
    scores = outcome.held.scores
    fit = HeldOutFit(
        outcome.held_part.values[:, modelled],
        scores.mean[:, modelled],
        scores.sigma[:, modelled],
        np.maximum(outcome.config.model.floor_fraction * scale, steps / np.sqrt(12)),
    )
    return check_health(fit, baseline, active_units=outcome.fitted.curves.active_units[-1])
