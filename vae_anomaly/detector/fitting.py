"""Readings to a detector: fit the density, calibrate on held-out steps, judge its health."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version

import numpy as np

from vae_anomaly.config import DetectorConfig, ModelConfig
from vae_anomaly.detector.adaptation import Track
from vae_anomaly.detector.alerts import AlertRules
from vae_anomaly.detector.attribution import measure_attribution
from vae_anomaly.detector.baseline import BaselineFit, compare_with_pca
from vae_anomaly.detector.calibration import HeldOut, calibrate, require_held_out
from vae_anomaly.detector.channels import ChannelLimits, combine, set_limits
from vae_anomaly.detector.health import HeldOutFit, check_health
from vae_anomaly.detector.record import FORMAT, DetectorRecord, TrainingFacts
from vae_anomaly.detector.rules import RuleLimits, set_rule_limits
from vae_anomaly.detector.scoring import (
    ScoredSteps,
    Scorer,
    find_normal_level,
    score_steps,
    smooth_channels,
)
from vae_anomaly.detector.shift import AssetSteps, ShiftModel, fit_shift_model
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
from vae_anomaly.model.density import (
    Density,
    FitOptions,
    FittedDensity,
    StepScores,
    fit_density,
    sigma_floor,
)
from vae_anomaly.model.roles import SensorRoles
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
            `calibration_share` of each asset's steps is held out, the threshold is set on what
            a density fitted without them says of them, and the final density is fitted to all.
        config: All settings.
        seed: Seed of the fit.
        progress: Called with optimiser steps done and in all.

    Returns:
        The detector's parts.

    Raises:
        TrainingError: Too few rows, or no sensor moves.
        CalibrationError: Too few held-out steps for what is asked.
    """
    networks = fit_networks(training, calibration, config=config, seed=seed, progress=progress)
    return judge_networks(networks, config=config, seed=seed)


@dataclass(frozen=True)
class Networks:
    """What is fitted, before a threshold is set.

    Attributes:
        first: Fitted without the held-out steps; it is judged on them.
        final: What the detector scores with.
        held_part: The held-out steps.
    """

    first: _FittedPart
    final: _FittedPart
    held_part: Part


def fit_networks(
    training: CheckedReadings,
    calibration: CheckedReadings | None,
    *,
    config: DetectorConfig,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> Networks:
    """Fit what scores and what is judged; see `fit_detector`."""
    fit_part, held_part = _split(training, calibration, config)
    rules = make_alert_rules(config, training.contract.period_s)
    _require_steps(fit_part, held_part, rules, config)
    num_fits = 1 if calibration is not None else 2
    options = FitOptions(
        preset=config.preset,
        seed=seed,
        held_out=held_part.values,
        held_out_start=held_part.steps.segment_start,
        progress=_tell_share(progress, 0, num_fits),
    )
    first = final = _fit_part(fit_part, config.model, options, config)
    if calibration is None:
        # of the same latent size, so that both networks have one shape and are compiled once
        settings = config.model.model_copy(update={"latent": first.fitted.latent})
        options = FitOptions(
            preset=config.preset, seed=seed, progress=_tell_share(progress, 1, num_fits)
        )
        whole = Part(training, _order(training, training.usable, config))
        final = _fit_part(whole, settings, options, config)
    return Networks(first, final, held_part)


def judge_networks(networks: Networks, *, config: DetectorConfig, seed: int) -> FittedDetector:
    """Set limits and thresholds, and judge the health of what was fitted.

    Args:
        networks: What was fitted, under settings that differ in `latency` at most.
        config: All settings.
        seed: Seed of the fit.

    Returns:
        The detector's parts.
    """
    first, held_part = networks.first, networks.held_part
    judged = _without_new_movers(first.fitted.density, networks.final.fitted.density.roles)
    held = _score_held_out(held_part, judged, first, config)
    still = first.fitted.density.score(held_part.values, held_part.steps.segment_start)
    outcome = _Outcome(first, networks.final, held_part, held, still, config)
    return FittedDetector(networks.final.fitted.density, _make_record(outcome, seed=seed))


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
    steps = _order(training, training.usable, config)
    if calibration is not None:
        held = _order(calibration, calibration.usable, config)
        return Part(training, steps), Part(calibration, held)
    later = np.zeros(steps.num_steps, dtype=bool)
    for code in np.unique(steps.asset_codes):
        mine = np.flatnonzero(steps.asset_codes == code)
        later[mine[round(len(mine) * (1 - config.threshold.calibration_share)) :]] = True
    in_training, in_held_out = training.usable, training.usable
    in_training[steps.rows[later]] = False
    in_held_out[steps.rows[~later]] = False
    return (
        Part(training, _order(training, in_training, config)),
        Part(training, _order(training, in_held_out, config)),
    )


def _order(checked: CheckedReadings, usable: BoolArray, config: DetectorConfig) -> Steps:
    return order_steps(
        checked.readings,
        usable,
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
class _FittedPart:
    """A density with the steps it was fitted to."""

    part: Part
    profiles: tuple[SensorProfile, ...]
    fitted: FittedDensity
    shift_model: ShiftModel | None
    rule_limits: RuleLimits


@dataclass(frozen=True)
class _Outcome:
    """What a fit leaves to be judged and written down.

    Attributes:
        first: Fitted without the held-out steps; it is judged on them.
        final: What the detector scores with.
        held_part: The held-out steps.
        held: What `first` says of them, as in use.
        still: What `first` says of them without following a drift: what it has learnt.
        config: All settings.
    """

    first: _FittedPart
    final: _FittedPart
    held_part: Part
    held: ScoredSteps
    still: StepScores
    config: DetectorConfig


def _fit_part(
    part: Part, settings: ModelConfig, options: FitOptions, config: DetectorConfig
) -> _FittedPart:
    profiles = profile_sensors(
        part.values,
        sensors=part.checked.contract.sensors,
        asset_codes=part.steps.asset_codes,
    )
    start = part.steps.segment_start
    rule_limits = set_rule_limits(part.values, start, profiles, settings=config.rules)
    fitted = fit_density(part.values, start, profiles, settings=settings, options=options)
    return _FittedPart(part, profiles, fitted, _fit_shift_model(part, fitted, config), rule_limits)


def _fit_shift_model(
    part: Part, fitted: FittedDensity, config: DetectorConfig
) -> ShiftModel | None:
    span, roles = config.threshold.shift_steps, fitted.density.roles
    if not span or not roles.dense:
        return None
    steps = part.steps
    track = Track(
        part.timestamps,
        steps.asset_codes,
        part.checked.contract.period_s,
        config.threshold.adaptation_steps,
    )
    values = roles.take_dense(part.values)
    names = part.checked.readings.asset_names
    return fit_shift_model(
        AssetSteps(values, steps.segment_start, track, names), latent=fitted.latent, span=span
    )


def _tell_share(
    progress: Callable[[int, int], None] | None, number: int, num_fits: int
) -> Callable[[int, int], None] | None:
    """Tell the progress of one of several fits as a share of them all."""
    if progress is None:
        return None
    return lambda done, total: progress(number * total + done, num_fits * total)


def _without_new_movers(density: Density, final: SensorRoles) -> Density:
    """Leave out constants that move in the held-out steps.

    The final density has them in its network, so the nats of the change rule would set a
    threshold that has nothing to do with it.
    """
    roles = density.roles
    still = [i for i, sensor in enumerate(roles.constant) if sensor in final.constant]
    return replace(
        density,
        roles=replace(
            roles,
            constant=tuple(roles.constant[i] for i in still),
            constant_values=tuple(roles.constant_values[i] for i in still),
            empty=tuple(sorted({*roles.empty, *roles.constant} - set(final.constant))),
        ),
    )


def _score_held_out(
    held_part: Part, density: Density, fit: _FittedPart, config: DetectorConfig
) -> ScoredSteps:
    """Score held-out steps as they are scored in use: after the steps that came before them."""
    checked, mine = held_part.checked, held_part.steps
    steps = _order(checked, checked.usable, config)
    scorer = Scorer(density, fit.shift_model, fit.rule_limits, config.threshold)
    scored = score_steps(checked, steps, scorer)
    return scored.take(mine, np.isin(steps.rows, mine.rows))


def _make_record(outcome: _Outcome, *, seed: int) -> DetectorRecord:
    first, final, config = outcome.first, outcome.final, outcome.config
    held_part, held = outcome.held_part, outcome.held
    scorable = ~np.isnan(held.energy)
    normal_level = find_normal_level(held.energy)
    limits, calibrations = _calibrate_assets(held_part, held, config, normal_level=normal_level)
    # the nats of a state or a count are no density, which is all that PCA has
    dense = list(first.fitted.density.roles.dense)
    still = outcome.still  # PCA does not follow a drift, so neither does what it is compared with
    baseline = compare_with_pca(
        first.part.values[:, dense],
        held_part.values[:, dense],
        still.contribution[:, dense].sum(axis=1) + still.kl,
        latent=first.fitted.latent,
    )
    return DetectorRecord(
        format=FORMAT,
        config=config,
        contract=final.part.checked.contract,
        profiles=final.profiles,
        roles=final.fitted.density.roles,
        normal_level=normal_level,
        normal_contribution=tuple(
            np.mean(held.contribution[scorable], axis=0).tolist()
            if scorable.any()
            else [0.0] * len(final.profiles)
        ),
        shift_model=final.shift_model,
        rule_limits=final.rule_limits,
        limits=limits,
        calibrations=calibrations,
        fallback=min(calibrations, key=lambda asset: calibrations[asset].threshold),
        health=_judge(outcome, baseline),
        baseline={
            "pca_nll_nats": baseline.pca_nll,
            "vae_nll_nats": baseline.vae_nll,
            "num_rows": float(baseline.num_rows),
        },
        curves=first.fitted.curves,
        facts=_list_facts(outcome, seed=seed),
        files={
            name: hashlib.sha256(content).hexdigest()
            for name, content in final.fitted.density.files.items()
        },
    )


def _list_facts(outcome: _Outcome, *, seed: int) -> TrainingFacts:
    final, held_part = outcome.final, outcome.held_part
    times = final.part.timestamps
    return TrainingFacts(
        seed=seed,
        backend=final.fitted.backend,
        latent=final.fitted.latent,
        num_rows=final.part.steps.num_steps,
        num_held_out=held_part.steps.num_steps,
        num_steps=final.fitted.num_steps,
        num_skipped=final.fitted.num_skipped,
        first_us=int(times.min()),
        last_us=int(held_part.timestamps.max(initial=times.max())),
        versions={name: version(name) for name in LIBRARIES},
    )


def _calibrate_assets(
    part: Part, held: ScoredSteps, config: DetectorConfig, *, normal_level: float
) -> tuple[dict[str, ChannelLimits], dict[str, Calibration]]:
    settings = config.threshold
    energy, shift = smooth_channels(held, settings=settings, normal_level=normal_level)
    rules = make_alert_rules(config, part.checked.contract.period_s)
    limits, calibrations = {}, {}
    ruled = held.breach.codes != 0
    for asset in part.count_steps():
        mine = part.rows_of(asset) & ~np.isnan(shift)
        score = np.empty(0)
        if mine.any():
            free = mine & ~ruled if (mine & ~ruled).any() else mine
            limits[asset] = set_limits(
                energy[:, free],
                shift[free],
                smoothing_steps=settings.smoothing_steps,
                false_alarm_rate=settings.false_alarm_rate,
            )
            score, _ = combine(energy[:, mine], shift[mine], [limits[asset]])
        calibrations[asset] = calibrate(
            HeldOut(asset, part.timestamps[mine], score, ruled[mine]),
            rules=rules,
            budget_per_week=settings.alert_budget_per_week,
            false_alarm_rate=settings.false_alarm_rate,
            provisional=settings.provisional,
        )
    return limits, calibrations


def _judge(outcome: _Outcome, baseline: BaselineFit) -> tuple[HealthCheck, ...]:
    first = outcome.first
    roles = first.fitted.density.roles
    modelled = list(roles.modelled)
    scale = np.exp(np.array(roles.log_scale))
    scores = outcome.still
    floor = sigma_floor(
        scale,
        tuple(first.profiles[i] for i in modelled),
        fraction=outcome.config.model.floor_fraction,
    )
    if outcome.config.preset == "question-squared-error":
        floor = np.zeros_like(floor)  # its sigma is given, and has no lower bound
    floor = roles.channels.find_floors(floor)
    fit = HeldOutFit(
        outcome.held_part.values[:, modelled],
        scores.mean[:, modelled],
        scores.sigma[:, modelled],
        floor,
    )
    scorable = ~np.isnan(outcome.held.energy)
    attribution = measure_attribution(
        first.fitted.density,
        outcome.held_part.values,
        outcome.held_part.steps.segment_start,
        normal_contribution=np.mean(scores.contribution[scorable], axis=0)
        if scorable.any()
        else np.zeros(len(first.profiles)),
    )
    return check_health(
        fit, baseline, attribution, active_units=first.fitted.curves.active_units[-1]
    )
