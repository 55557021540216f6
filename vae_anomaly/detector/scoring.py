"""Checked readings to one score, state and reason per row, in the order the rows came."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace

import numpy as np

from vae_anomaly.config import ThresholdConfig
from vae_anomaly.detector.adaptation import Track, adapt
from vae_anomaly.detector.channels import combine
from vae_anomaly.detector.record import DetectorRecord
from vae_anomaly.detector.rules import RULE_EXCESS, RuleLimits, RuleSteps, find_breaches
from vae_anomaly.detector.shift import AssetSteps, ShiftModel, find_shifts
from vae_anomaly.detector.smoothing import average_ahead, find_spans, memory_steps, smooth
from vae_anomaly.detector.spans import Span, run_side_by_side, split_into_spans
from vae_anomaly.domain import (
    PROBLEMS,
    STATES,
    BoolArray,
    CheckedReadings,
    FloatArray,
    IntArray,
    Problem,
    State,
    Texts,
    name_sensor_reasons,
)
from vae_anomaly.errors import ContractError
from vae_anomaly.model.density import Density, StepScores
from vae_anomaly.model.windows import Steps, order_steps
from vae_anomaly.readings.rows import is_range, take_rows

TOO_FEW_SENSORS = "too_few_sensors"
"""Reason of a row with too small a share of its sensors present."""

MIN_STEPS_TO_JUDGE_PERIOD = 10
MAX_ALONE_SHARE = 0.5

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
class RowScores:
    """One score per row of the input; NaN and a reason where a row is unscorable.

    Attributes:
        nll: Nats. Shape `(rows,)`.
        score: Multiples of what is normal; higher is stranger. Shape `(rows,)`.
        threshold: Limit of `score`. Shape `(rows,)`.
        state: `State` values. Shape `(rows,)`.
        reason: Why the row is unscorable, or which sensor alone makes it anomalous and how, else
            "". Shape `(rows,)`.
        kl: Nats. Shape `(rows,)`.
        contribution: Nats per sensor. Shape `(rows, sensors)`.
        expected: What was expected, where that was asked for.
    """

    nll: FloatArray
    score: FloatArray
    threshold: FloatArray
    state: Texts
    reason: Texts
    kl: FloatArray
    contribution: FloatArray
    expected: Expected | None


@dataclass(frozen=True)
class Scorer:
    """What scores steps.

    Attributes:
        density: The fitted density.
        shift_model: What a shifted sensor is, or None to look for none.
        rule_limits: Where the rules beside the density fire.
        settings: How slowly a level may drift, and which share of its sensors a step needs.
    """

    density: Density
    shift_model: ShiftModel | None
    rule_limits: RuleLimits
    settings: ThresholdConfig


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
    spans = split_into_spans(track, lookback, num_sensors=values.shape[1])
    shape = (max((span.num_read for span in spans), default=0), values.shape[1])
    out = _make_room(steps, values.shape[1], with_expected=with_expected)
    rooms = threading.local()

    def score(span: Span) -> None:
        if not hasattr(rooms, "mine"):
            rooms.mine = StepScores.empty(shape)
        near = slice(span.first, span.stop)
        start = np.maximum(steps.segment_start[near] - span.first, 0)
        mine = AssetSteps(values[near], start, track.take(near), readings.asset_names)
        _score_span(span, mine, scorer, room=rooms.mine, out=out)

    run_side_by_side(score, spans)
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


def _score_span(
    span: Span, near: AssetSteps, scorer: Scorer, *, room: StepScores, out: ScoredSteps
) -> None:
    """Score the steps of a span, given with those before it, and write into their place."""
    density, settings, roles = scorer.density, scorer.settings, scorer.density.roles
    scores = density.score(near.values, near.segment_start, room=room)
    adapt(scores, near.values, near.track, modelled=roles.modelled, likelihoods=roles.likelihoods)
    here, there = slice(span.start - span.first, None), slice(span.start, span.stop)
    if scorer.shift_model is not None:
        dense = replace(near, values=roles.take_dense(near.values))
        shifts = find_shifts(scorer.shift_model, dense)
        out.shift[there] = shifts.nats[here]
        out.shift_sensor[there] = np.array(roles.dense)[shifts.channel[here]]
    scores = scores.take(here)
    for sensor, weight in zip(roles.modelled, roles.weights, strict=False):
        if weight != 1.0:
            scores.energy[:, sensor] *= weight
    num_scored = density.num_scored
    enough = scores.num_observed >= max(settings.min_observed_share * num_scored, 1)
    energy = scores.energy.sum(axis=1) * (num_scored / np.maximum(scores.num_observed, 1))
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
    energy = np.empty((len(find_spans(span)), scored.steps.num_steps))
    for smoothed, one in zip(energy, find_spans(span), strict=True):
        smoothed[:] = smooth(
            scored.energy,
            start,
            span=one,
            normal_level=normal_level,
            latency_steps=latency_steps,
            span_ahead=span,
        )
    shift = average_ahead(scored.shift, start, span=span, latency_steps=latency_steps)
    return energy, np.where(np.isnan(scored.energy), np.nan, shift)


def find_normal_level(energy: FloatArray) -> float:
    """Return the median energy of normal steps, 0 where none could be scored."""
    scorable = ~np.isnan(energy)
    return float(np.median(energy[scorable])) if scorable.any() else 0.0


def score_rows(
    checked: CheckedReadings,
    density: Density,
    record: DetectorRecord,
    *,
    with_expected: bool = False,
) -> RowScores:
    """Score every row of checked readings.

    Args:
        checked: The readings, with a problem or none per row.
        density: The fitted density.
        record: Settings, limits and thresholds.
        with_expected: Whether to keep what was expected of each sensor.

    Returns:
        One entry per row: `ok + anomalous + unscorable = rows`, always.

    Raises:
        ContractError: The rows are far sparser than those the detector was fitted on.
    """
    readings = checked.readings
    steps = order_steps(
        readings,
        checked.usable,
        period_s=record.contract.period_s,
        gap_steps=record.config.readings.gap_steps,
    )
    _require_period(steps, record)
    scorer = Scorer(density, record.shift_model, record.rule_limits, record.config.threshold)
    scored = score_steps(checked, steps, scorer, with_expected=with_expected)
    energy, shift = smooth_channels(
        scored, settings=record.config.threshold, normal_level=record.normal_level
    )
    codes = steps.asset_codes
    limits = [record.limits_of(name) for name in readings.asset_names]
    thresholds = [record.calibration_of(name).threshold for name in readings.asset_names]
    score, is_shift = combine(energy, shift, limits, codes)
    threshold = np.array(thresholds)[codes]
    shifted = np.flatnonzero(is_shift & (score > threshold))
    reason = scored.reason.codes.astype(np.int32)
    reason[shifted] = len(REASONS) + scored.shift_sensor[shifted]  # shifts are the first kind
    ruled = np.flatnonzero((scored.breach.codes != 0) & ~np.isnan(score))
    reason[ruled] = len(REASONS) - 1 + scored.breach.codes[ruled]
    score[ruled] = np.maximum(score[ruled], RULE_EXCESS * threshold[ruled])
    names = (*REASONS, *name_sensor_reasons(checked.contract.sensor_names))
    at = _find_steps(checked, steps)
    return _spread(scored, score, threshold, at, checked.row_problems, Texts(reason, names))


def _require_period(steps: Steps, record: DetectorRecord) -> None:
    """Refuse readings so sparse that hardly a step has another one before it.

    Their scores would rest on one step each, where the threshold was set on smoothed ones.
    """
    is_gap = (np.diff(steps.segment_start) != 0)[np.diff(steps.asset_codes) == 0]
    if len(is_gap) < MIN_STEPS_TO_JUDGE_PERIOD:
        return
    alone = float(is_gap.mean())
    if alone > MAX_ALONE_SHARE:
        period_s, gap_steps = record.contract.period_s, record.config.readings.gap_steps
        raise ContractError(
            f"Cannot score: expected a row every {period_s:g} s, got {alone:.0%} of the rows more "
            f"than {gap_steps} such steps after the one before. Give readings at the period the "
            "detector was fitted on, or fit one on readings like these."
        )


def _spread(
    scored: ScoredSteps,
    score: FloatArray,
    threshold: FloatArray,
    at: IntArray,
    problems: Texts,
    step_reason: Texts,
) -> RowScores:
    """Spread step values over rows; `at` is the step of each row, or -1."""
    known = at >= 0
    is_same = len(at) == len(score) and is_range(at)

    def pick(values: FloatArray, scorable: BoolArray | None = None) -> FloatArray:
        """Take each row's values, NaN where it has none."""
        if is_same and (scorable is None or scorable.all()):
            return values
        out = np.full((len(at), *values.shape[1:]), np.nan, order="F")
        chosen = known if scorable is None else scorable
        out[chosen] = values[at[chosen]]
        return out

    row_score, row_threshold, expected = pick(score), pick(threshold), scored.expected
    scorable = ~np.isnan(row_score)
    reason = problems.codes.astype(np.int32)
    reason[known] = step_reason.codes[at[known]]
    # a NaN compares false both ways, so only a proven score can leave "unscorable"
    state = np.full(len(at), STATES.index(State.UNSCORABLE.value), dtype=np.int8)
    state[scorable] = STATES.index(State.OK.value)
    state[scorable & (row_score > row_threshold)] = STATES.index(State.ANOMALOUS.value)
    return RowScores(
        nll=pick(scored.nll, scorable),
        score=row_score,
        threshold=row_threshold,
        state=Texts(state, STATES),
        reason=Texts(reason, step_reason.names),
        kl=pick(scored.kl, scorable),
        contribution=pick(scored.contribution, scorable),
        expected=expected and Expected(pick(expected.mean), pick(expected.sigma)),
    )


def _find_steps(checked: CheckedReadings, steps: Steps) -> IntArray:
    """Return the step that speaks for each row: its own, or its equal's for a duplicate."""
    at = np.full(checked.readings.num_rows, -1, dtype=np.int64)
    at[steps.rows] = np.arange(steps.num_steps)
    copies = np.flatnonzero(checked.row_problems.equals(Problem.DUPLICATE.value))
    if len(copies):
        times, codes = checked.readings.timestamps, checked.readings.asset_codes
        keys = np.rec.fromarrays([codes[steps.rows], times[steps.rows]])
        wanted = np.rec.fromarrays([codes[copies], times[copies]])
        at[copies] = np.searchsorted(keys, wanted)
    return at
