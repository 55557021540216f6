"""Checked readings to one score, state and reason per row, in the order the rows came."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vae_anomaly.detector.channels import combine
from vae_anomaly.detector.record import DetectorRecord
from vae_anomaly.detector.rules import RULE_EXCESS
from vae_anomaly.detector.scoring import (
    REASONS,
    Expected,
    ScoredSteps,
    Scorer,
    score_steps,
    smooth_channels,
)
from vae_anomaly.domain import (
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
from vae_anomaly.model.density import Density
from vae_anomaly.model.windows import Steps, order_steps
from vae_anomaly.readings.rows import is_range

MIN_STEPS_TO_JUDGE_PERIOD = 10
MAX_ALONE_SHARE = 0.5


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
    scorer = Scorer(
        density,
        record.offsets,
        record.shift_model,
        record.rule_limits,
        record.config.threshold,
    )
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
