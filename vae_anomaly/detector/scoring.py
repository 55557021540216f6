"""Ordered steps to what both channels and the rules say of each, before a threshold."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vae_anomaly.config import ThresholdConfig
from vae_anomaly.detector.adaptation import Track, adapt
from vae_anomaly.detector.rules import RuleLimits, RuleSteps, find_breaches
from vae_anomaly.detector.shift import AssetSteps, ShiftModel, find_shifts
from vae_anomaly.detector.smoothing import average_ahead, list_spans, memory_steps, smooth
from vae_anomaly.detector.stretches import (
    MAX_VALUES_AT_A_TIME,
    Stretch,
    run_side_by_side,
    split_into_stretches,
)
from vae_anomaly.domain import (
    PROBLEMS,
    BoolArray,
    CheckedReadings,
    FloatArray,
    IntArray,
    Texts,
)
from vae_anomaly.model.channels import add_up
from vae_anomaly.model.density import Density, StepScores
from vae_anomaly.model.windows import Steps
from vae_anomaly.readings.rows import take_rows

TOO_FEW_SENSORS = "too_few_sensors"
"""Reason of a row with too small a share of its sensors present."""

NOT_FINITE = "not_finite"
"""Reason of a row whose NLL is not a finite number."""

REASONS = (*PROBLEMS, TOO_FEW_SENSORS, NOT_FINITE)
"""Every reason; those of rows come first, in their own order."""


@dataclass(frozen=True)
class Expected:
    """What was expected of each sensor.

    Attributes:
        mean: Expected values, raw units, NaN where there is none. Shape `(steps, sensors)`, or
            `(rows, sensors)`.
        sigma: Their standard deviations. Same shape.
    """

    mean: FloatArray
    sigma: FloatArray

    @classmethod
    def nothing(cls, num_sensors: int) -> Expected:
        """Return expectations of no step."""
        return cls(*(np.empty((0, num_sensors)) for _ in range(2)))


@dataclass(frozen=True)
class ScoredSteps:
    """Scored steps before a threshold.

    Attributes:
        steps: The steps.
        contribution: Nats per sensor, raw units, 0 where missing. Shape `(steps, sensors)`.
        kl: Nats per step. Shape `(steps,)`.
        nll: Nats per step, contributions and KL added up. Shape `(steps,)`.
        energy: log p(mode) - log p(x), for a Gaussian half the squared standardised residual,
            times the weights of the sensors, summed over them and scaled up for missing ones; NaN
            where unscorable.
            Shape `(steps,)`.
        shift: -log p of the most shifted sensor. Shape `(steps,)`.
        shift_sensor: Which sensor that is, by its position in the contract. Shape `(steps,)`.
        reason: "" or why a step is unscorable. Shape `(steps,)`.
        breach: "" or which rule fires for which sensor. Shape `(steps,)`.
        expected: What was expected, where that was asked for.
    """

    steps: Steps
    contribution: FloatArray
    kl: FloatArray
    nll: FloatArray
    energy: FloatArray
    shift: FloatArray
    shift_sensor: IntArray
    reason: Texts
    breach: Texts
    expected: Expected | None = None

    def take(self, steps: Steps, chosen: BoolArray) -> ScoredSteps:
        """Return some of the steps, without what was expected."""
        return ScoredSteps(
            steps,
            self.contribution[chosen],
            self.kl[chosen],
            self.nll[chosen],
            self.energy[chosen],
            self.shift[chosen],
            self.shift_sensor[chosen],
            self.reason[chosen],
            self.breach[chosen],
        )


@dataclass(frozen=True)
class Scorer:
    """What scores steps.

    Attributes:
        density: The fitted density.
        offsets: Offset of each sensor, raw units, by asset; see `find_offsets`.
        shift_model: What a shifted sensor is, or None to look for none.
        rule_limits: Where the rules beside the density fire.
        settings: How slowly a level may drift, and which share of its sensors a step needs.
    """

    density: Density
    offsets: dict[str, tuple[float, ...]]
    shift_model: ShiftModel | None
    rule_limits: RuleLimits
    settings: ThresholdConfig

    def offsets_of(self, asset_names: Sequence[str], num_sensors: int) -> FloatArray | None:
        """Return the offsets by code of the asset, or None where there are none.

        Shape `(assets, sensors)`.
        """
        if not self.offsets:
            return None
        none = (0.0,) * num_sensors
        return np.array([self.offsets.get(name, none) for name in asset_names])


def score_steps(
    checked: CheckedReadings, steps: Steps, scorer: Scorer, *, with_expected: bool = False
) -> ScoredSteps:
    """Score ordered steps.

    Args:
        checked: The readings.
        steps: Their usable rows in order of asset and time.
        scorer: What scores them.
        with_expected: Whether to keep what was expected of each sensor.

    Returns:
        What both channels and the rules say of each step.
    """
    readings, settings = checked.readings, scorer.settings
    values = take_rows(readings.values, steps.rows)
    track = Track(
        take_rows(readings.timestamps, steps.rows),
        steps.asset_codes,
        checked.contract.period_s,
        settings.adaptation_steps,
    )
    shift_steps = memory_steps(settings.shift_steps) if scorer.shift_model else 1
    lookback = max(scorer.density.window, shift_steps) - 1
    num_sensors = values.shape[1]
    stretches = split_into_stretches(track, lookback, num_sensors=num_sensors)
    num_read = max((stretch.num_read for stretch in stretches), default=0)
    out = _make_room(steps, num_sensors, with_expected=with_expected)
    offsets = scorer.offsets_of(readings.asset_names, num_sensors)
    rooms = threading.local()

    def score(stretch: Stretch) -> None:
        if not hasattr(rooms, "mine"):
            rooms.mine = StepScores.empty((num_read, num_sensors))
        near, there = slice(stretch.first, stretch.stop), slice(stretch.start, stretch.stop)
        start = np.maximum(steps.segment_start[near] - stretch.first, 0)
        levelled = values[near]
        if offsets is not None:
            levelled = levelled - offsets[steps.asset_codes[near]]
        mine = AssetSteps(levelled, start, track.take(near), readings.asset_names)
        _score_stretch(stretch, mine, scorer, room=rooms.mine, out=out)
        if offsets is not None and out.expected is not None:
            out.expected.mean[there] += offsets[steps.asset_codes[there]]

    most = max(MAX_VALUES_AT_A_TIME // max(num_read * num_sensors, 1), 1)
    run_side_by_side(score, stretches, most=most)
    ruled = RuleSteps(values, steps.segment_start, track.timestamps, track.period_s)
    return replace(out, breach=find_breaches(ruled, scorer.rule_limits, checked.contract))


def _make_room(steps: Steps, num_sensors: int, *, with_expected: bool) -> ScoredSteps:
    """Make room for the scores of all steps; each sensor's numbers lie together."""
    num_steps = steps.num_steps

    def make_wide() -> FloatArray:
        return np.empty((num_steps, num_sensors), order="F")

    return ScoredSteps(
        steps,
        contribution=make_wide(),
        kl=np.empty(num_steps),
        nll=np.empty(num_steps),
        energy=np.empty(num_steps),
        shift=np.zeros(num_steps),
        shift_sensor=np.zeros(num_steps, dtype=np.int64),
        reason=Texts(np.zeros(num_steps, dtype=np.int8), REASONS),
        breach=Texts(np.zeros(num_steps, dtype=np.int8), REASONS),
        expected=Expected(make_wide(), make_wide()) if with_expected else None,
    )


def _score_stretch(
    stretch: Stretch, near: AssetSteps, scorer: Scorer, *, room: StepScores, out: ScoredSteps
) -> None:
    """Score the steps of a stretch, given with those before it, and write into their place."""
    density, settings, roles = scorer.density, scorer.settings, scorer.density.roles
    scores = density.score(near.values, near.segment_start, room=room)
    adapt(scores, near.values, near.track, roles.scored)
    here, there = slice(stretch.start - stretch.first, None), slice(stretch.start, stretch.stop)
    if scorer.shift_model is not None:
        dense = replace(near, values=roles.take_dense(near.values))
        shifts = find_shifts(scorer.shift_model, dense)
        out.shift[there] = shifts.nats[here]
        out.shift_sensor[there] = np.array(roles.dense)[shifts.channel[here]]
    scores = scores.take(here)
    num_scored = roles.num_scored
    whole, seen = float(num_scored), scores.num_observed.astype(np.float64)
    for sensor, weight in zip(roles.modelled, roles.weights, strict=False):
        if weight != 1.0 and sensor not in roles.context:
            scores.energy[:, sensor] *= weight
            whole -= 1.0 - weight
            seen -= (1.0 - weight) * ~np.isnan(near.values[here, sensor])
    enough = scores.num_observed >= max(settings.min_observed_share * num_scored, 1)
    energy = add_up(scores.energy) * (whole / np.where(scores.num_observed, seen, 1.0))
    nll = scores.nll
    reason = out.reason.codes[there]
    reason[~(np.isfinite(energy) & np.isfinite(nll))] = REASONS.index(NOT_FINITE)
    reason[~enough] = REASONS.index(TOO_FEW_SENSORS)
    energy[reason != 0] = np.nan
    out.contribution[there] = scores.contribution
    out.kl[there], out.nll[there], out.energy[there] = scores.kl, nll, energy
    if out.expected is not None:
        out.expected.mean[there], out.expected.sigma[there] = scores.mean, scores.sigma


def smooth_channels(
    scored: ScoredSteps, *, settings: ThresholdConfig, normal_level: float
) -> tuple[FloatArray, FloatArray]:
    """Average the energy over spans of steps, and both channels over those to wait for.

    Args:
        scored: Scored steps.
        settings: Span and latency.
        normal_level: Energy of a normal step.

    Returns:
        Energy, shape `(spans, steps)`, and -log p of the most shifted sensor, shape `(steps,)`;
        NaN where unscorable.
    """
    start, span = scored.steps.segment_start, settings.smoothing_steps
    latency_steps = settings.latency_steps
    spans = list_spans(span)
    energy = np.empty((len(spans), scored.steps.num_steps))

    def average(k: int) -> None:
        energy[k] = smooth(
            scored.energy,
            start,
            span=spans[k],
            normal_level=normal_level,
            latency_steps=latency_steps,
            span_ahead=span,
        )

    run_side_by_side(average, range(len(spans)))
    shift = average_ahead(scored.shift, start, span=span, latency_steps=latency_steps)
    return energy, np.where(np.isnan(scored.energy), np.nan, shift)


def find_normal_level(energy: FloatArray) -> float:
    """Return the median energy of normal steps, 0 where none could be scored."""
    scorable = ~np.isnan(energy)
    return float(np.median(energy[scorable])) if scorable.any() else 0.0
