"""Fitted networks to a detector: limits, thresholds and health from held-out steps, on record."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from importlib.metadata import version

import numpy as np

from vae_anomaly.config import DetectorConfig
from vae_anomaly.detector.alerts import make_alert_rules
from vae_anomaly.detector.attribution import measure_attribution
from vae_anomaly.detector.baseline import BaselineFit, compare_with_pca
from vae_anomaly.detector.calibration import HeldOut, calibrate
from vae_anomaly.detector.channels import ChannelLimits, combine, set_limits
from vae_anomaly.detector.fitting import FittedPart, Networks, Part, make_part
from vae_anomaly.detector.health import HeldOutFit, check_health
from vae_anomaly.detector.record import FORMAT, DetectorRecord, TrainingFacts
from vae_anomaly.detector.scoring import (
    ScoredSteps,
    Scorer,
    find_normal_level,
    score_steps,
    smooth_channels,
)
from vae_anomaly.domain import Calibration, FloatArray, HealthCheck
from vae_anomaly.model.density import Density, StepScores, sigma_floor
from vae_anomaly.model.roles import SensorRoles

LIBRARIES = ("keras", "numpy", "pyarrow", "vae-anomaly")
"""Whose versions are written down."""


@dataclass(frozen=True)
class FittedDetector:
    """A fitted density with its record."""

    density: Density
    record: DetectorRecord


@dataclass(frozen=True)
class _Outcome:
    """What a fit leaves to be judged and written down.

    Attributes:
        networks: What was fitted.
        held: What the first of them says of the held-out steps, as in use.
        still: The same without following a drift: what it has learnt.
        config: All settings.
    """

    networks: Networks
    held: ScoredSteps
    still: StepScores
    config: DetectorConfig


def judge_networks(networks: Networks, *, config: DetectorConfig, seed: int) -> FittedDetector:
    """Set limits and thresholds, and judge the health of what was fitted.

    Args:
        networks: What was fitted, under settings that differ in `latency` at most.
        config: All settings.
        seed: Seed of the fit.

    Returns:
        The detector's parts.

    Raises:
        CalibrationError: The held-out steps cannot carry the alert rate asked for.
    """
    first, held_part = networks.first, networks.held_part
    judged = _without_new_movers(first.fitted.density, networks.final.fitted.density.roles)
    held = _score_held_out(held_part, judged, first, config)
    still = first.fitted.density.score(first.level(held_part), held_part.steps.segment_start)
    outcome = _Outcome(networks, held, still, config)
    return FittedDetector(networks.final.fitted.density, _make_record(outcome, seed=seed))


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
    held_part: Part, density: Density, fit: FittedPart, config: DetectorConfig
) -> ScoredSteps:
    """Score held-out steps as they are scored in use: after the steps that came before them."""
    checked, mine = held_part.checked, held_part.steps
    steps = make_part(checked, checked.usable, config).steps
    scorer = Scorer(density, fit.offsets, fit.shift_model, fit.rule_limits, config.threshold)
    scored = score_steps(checked, steps, scorer)
    return scored.take(mine, np.isin(steps.rows, mine.rows))


def _make_record(outcome: _Outcome, *, seed: int) -> DetectorRecord:
    networks, held, config = outcome.networks, outcome.held, outcome.config
    first, final, held_part = networks.first, networks.final, networks.held_part
    normal_level = find_normal_level(held.energy)
    limits, calibrations = _calibrate_assets(held_part, held, config, normal_level=normal_level)
    baseline = _compare_with_pca(outcome)
    return DetectorRecord(
        format=FORMAT,
        config=config,
        contract=final.part.checked.contract,
        profiles=final.profiles,
        roles=final.fitted.density.roles,
        offsets=final.offsets,
        normal_level=normal_level,
        normal_contribution=tuple(_average_scorable(held.contribution, held).tolist()),
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
        facts=_list_facts(networks, seed=seed),
        files={
            name: hashlib.sha256(content).hexdigest()
            for name, content in final.fitted.density.files.items()
        },
    )


def _average_scorable(contribution: FloatArray, held: ScoredSteps) -> FloatArray:
    """Average over the steps that could be scored; 0 where none could. Shape `(sensors,)`."""
    scorable = ~np.isnan(held.energy)
    return (
        contribution[scorable].mean(axis=0) if scorable.any() else np.zeros(contribution.shape[1])
    )


def _compare_with_pca(outcome: _Outcome) -> BaselineFit:
    """Compare the densities of all sensors: PCA has none of some given the others.

    The nats of a state or a count are no density either. PCA does not follow a drift, so neither
    does what it is compared with.
    """
    first, held_part, still = outcome.networks.first, outcome.networks.held_part, outcome.still
    density, held_out = first.fitted.density, first.level(held_part)
    if density.roles.context:
        whole = replace(density, roles=replace(density.roles, context=()))
        still = whole.score(held_out, held_part.steps.segment_start)
    dense = list(density.roles.dense)
    return compare_with_pca(
        first.level(first.part)[:, dense],
        held_out[:, dense],
        still.contribution[:, dense].sum(axis=1) + still.kl,
        latent=first.fitted.latent,
    )


def _list_facts(networks: Networks, *, seed: int) -> TrainingFacts:
    final, held_part = networks.final, networks.held_part
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
    budget_per_week = settings.budget_of_each(len(part.count_steps()))
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
            budget_per_week=budget_per_week,
            false_alarm_rate=settings.false_alarm_rate,
            provisional=settings.provisional,
        )
    return limits, calibrations


def _judge(outcome: _Outcome, baseline: BaselineFit) -> tuple[HealthCheck, ...]:
    first, held_part = outcome.networks.first, outcome.networks.held_part
    roles = first.fitted.density.roles
    modelled, scored = list(roles.modelled), [sensor for sensor, _ in roles.scored]
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
    held_out = first.level(held_part)
    fit = HeldOutFit(
        held_out[:, scored],
        scores.mean[:, scored],
        scores.sigma[:, scored],
        floor[[modelled.index(sensor) for sensor in scored]],
    )
    attribution = measure_attribution(
        first.fitted.density,
        held_out,
        held_part.steps.segment_start,
        normal_contribution=_average_scorable(scores.contribution, outcome.held),
    )
    return check_health(
        fit, baseline, attribution, active_units=first.fitted.curves.active_units[-1]
    )
