"""Checked readings to one score, state and reason per row, in the order the rows came."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vae_anomaly.config import ThresholdConfig
from vae_anomaly.detector.adaptation import Track, adapt
from vae_anomaly.detector.record import DetectorRecord
from vae_anomaly.detector.smoothing import smooth
from vae_anomaly.domain import (
    CheckedReadings,
    FloatArray,
    IntArray,
    Problem,
    Readings,
    State,
    TextArray,
)
from vae_anomaly.errors import ContractError
from vae_anomaly.model.density import Density, StepScores
from vae_anomaly.model.windows import Steps, order_steps

TOO_FEW_SENSORS = "too_few_sensors"
"""Reason of a row with too small a share of its sensors present."""

MIN_STEPS_TO_JUDGE_PERIOD = 10
MAX_ALONE_SHARE = 0.5

NOT_FINITE = "not_finite"
"""Reason of a row whose NLL is not a finite number."""


@dataclass(frozen=True)
class StepEnergy:
    """Scored steps before a threshold.

    Attributes:
        steps: The steps.
        scores: What the density says of them.
        energy: log p(mode) - log p(x), for a Gaussian half the squared standardised residual,
            summed over the sensors and scaled up for missing ones; NaN where unscorable.
            Shape `(steps,)`.
        reason: "" or why a step is unscorable. Shape `(steps,)`.
    """

    steps: Steps
    scores: StepScores
    energy: FloatArray
    reason: TextArray


@dataclass(frozen=True)
class RowScores:
    """One score per row of the input; NaN and a reason where a row is unscorable.

    Attributes:
        nll: Nats. Shape `(rows,)`.
        score: Smoothed energy; higher is stranger. Shape `(rows,)`.
        threshold: Limit of `score`. Shape `(rows,)`.
        state: `State` values. Shape `(rows,)`.
        reason: "" or why the row is unscorable. Shape `(rows,)`.
        kl: Nats. Shape `(rows,)`.
        contribution: Nats per sensor. Shape `(rows, sensors)`.
        mean: Expected values, raw units. Shape `(rows, sensors)`.
        sigma: Their standard deviations, raw units. Shape `(rows, sensors)`.
    """

    nll: FloatArray
    score: FloatArray
    threshold: FloatArray
    state: TextArray
    reason: TextArray
    kl: FloatArray
    contribution: FloatArray
    mean: FloatArray
    sigma: FloatArray


def score_steps(
    readings: Readings,
    steps: Steps,
    density: Density,
    *,
    settings: ThresholdConfig,
    period_s: float,
) -> StepEnergy:
    """Score ordered steps.

    Args:
        readings: The readings.
        steps: Their usable rows in order of asset and time.
        density: The fitted density.
        settings: How slowly a level may drift, and which share of its sensors a step needs.
        period_s: Seconds between ticks.

    Returns:
        Scores and energies per step.
    """
    values = readings.values[steps.rows]
    track = Track(
        readings.timestamps[steps.rows], steps.asset_codes, period_s, settings.adaptation_steps
    )
    scores = density.score(values, steps.segment_start)
    roles = density.roles
    scores = adapt(scores, values, track, modelled=roles.modelled, likelihoods=roles.likelihoods)
    num_scored, min_observed_share = density.num_scored, settings.min_observed_share
    enough = scores.num_observed >= max(min_observed_share * num_scored, 1)
    energy = scores.energy.sum(axis=1) * (num_scored / np.maximum(scores.num_observed, 1))
    finite = np.isfinite(energy) & np.isfinite(scores.nll)
    reason = np.where(enough, np.where(finite, "", NOT_FINITE), TOO_FEW_SENSORS).astype(object)
    return StepEnergy(steps, scores, np.where(enough & finite, energy, np.nan), reason)


def score_rows(checked: CheckedReadings, density: Density, record: DetectorRecord) -> RowScores:
    """Score every row of checked readings.

    Args:
        checked: The readings, with a problem or none per row.
        density: The fitted density.
        record: Settings and thresholds.

    Returns:
        One entry per row: `ok + anomalous + unscorable = rows`, always.

    Raises:
        ContractError: The rows are far sparser than those the detector was fitted on.
    """
    readings, settings = checked.readings, record.config.threshold
    steps = order_steps(
        readings,
        checked.problems,
        period_s=record.contract.period_s,
        gap_steps=record.config.readings.gap_steps,
    )
    _require_period(steps, record)
    scored = score_steps(
        readings, steps, density, settings=settings, period_s=record.contract.period_s
    )
    score = smooth(
        scored.energy,
        steps.segment_start,
        span=settings.smoothing_steps,
        normal_level=record.normal_level,
        latency_steps=settings.latency_steps,
    )
    limits = [record.calibration_of(name).threshold for name in readings.asset_names]
    threshold = np.array(limits)[steps.asset_codes] if limits else np.empty(0)
    at = _find_steps(checked, steps)
    return _spread(scored, score, threshold, at, checked.problems)


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
    scored: StepEnergy, score: FloatArray, threshold: FloatArray, at: IntArray, problems: TextArray
) -> RowScores:
    """Spread step values over rows; `at` is the step of each row, or -1."""
    known = at >= 0

    def pick(values: FloatArray) -> FloatArray:
        out = np.full((len(at), *values.shape[1:]), np.nan)
        out[known] = values[at[known]]
        return out

    scorable = np.zeros(len(at), dtype=bool)
    scorable[known] = ~np.isnan(score[at[known]])
    reason = np.where(known, "", problems).astype(object)
    reason[known] = scored.reason[at[known]]
    row_score, row_threshold = pick(score), pick(threshold)
    state = np.full(len(at), State.UNSCORABLE.value, dtype=object)
    state[scorable] = State.OK.value
    # a NaN compares false both ways, so only a proven score can leave "unscorable"
    state[scorable & (row_score > row_threshold)] = State.ANOMALOUS.value
    nll = np.where(scorable, pick(scored.scores.nll), np.nan)
    return RowScores(
        nll=nll,
        score=row_score,
        threshold=row_threshold,
        state=state,
        reason=reason,
        kl=np.where(scorable, pick(scored.scores.kl), np.nan),
        contribution=np.where(scorable[:, None], pick(scored.scores.contribution), np.nan),
        mean=pick(scored.scores.mean),
        sigma=pick(scored.scores.sigma),
    )


def _find_steps(checked: CheckedReadings, steps: Steps) -> IntArray:
    """Return the step that speaks for each row: its own, or its equal's for a duplicate."""
    at = np.full(checked.readings.num_rows, -1, dtype=np.int64)
    at[steps.rows] = np.arange(steps.num_steps)
    copies = np.flatnonzero(checked.problems == Problem.DUPLICATE.value)
    if len(copies):
        times, codes = checked.readings.timestamps, checked.readings.asset_codes
        keys = np.rec.fromarrays([codes[steps.rows], times[steps.rows]])
        wanted = np.rec.fromarrays([codes[copies], times[copies]])
        at[copies] = np.searchsorted(keys, wanted)
    return at
