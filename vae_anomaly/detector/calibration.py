"""Thresholds from held-out normal scores: an alert budget or a step rate, kept or refused.

Scores of neighbouring steps are alike, so steps are not counted as independent: their effective
number and the number of alert events decide what the data can carry.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

import numpy as np

from vae_anomaly.detector.alerts import AlertRules, find_spans
from vae_anomaly.domain import (
    SECONDS_PER_DAY,
    SECONDS_PER_WEEK,
    BoolArray,
    Calibration,
    FloatArray,
    IntArray,
)
from vae_anomaly.errors import CalibrationError
from vae_anomaly.wording import format_plural

INTERVAL_TAIL = 0.05
"""Probability below and above the stated 90 % interval."""

MIN_EXPECTED_EVENTS = 1.0
"""Alert events that the budget must allow in the held-out time; below it, nothing in the data
tells a threshold that keeps the budget from one that does not."""

LIMIT_SCORE = 1.0
"""Score at which a channel is at its limit for the share of steps that was asked for."""

MIN_EFFECTIVE_STEPS = 30.0
"""Independent steps that held-out scores must be worth to carry an alert budget."""

ACCEPT_UNPROVEN = "provisional = true in the settings"
"""What accepts an unproven threshold, as refusals name it; a command that has an option for it
names that too."""

MAX_LAG = 2_000
NUM_CANDIDATES = 200
LOWEST_CANDIDATE = 0.8
"""Quantile of the scores at which the search for a threshold begins."""


@dataclass(frozen=True)
class HeldOut:
    """The held-out scores of one asset, in order of time, unscorable steps left out.

    Attributes:
        asset: Its name.
        timestamps: Microseconds. Shape `(steps,)`.
        score: Smoothed as in use; higher is stranger. Shape `(steps,)`.
        ruled: Whether a rule fires, and the step is flagged whatever the threshold.
            Shape `(steps,)`.
    """

    asset: str
    timestamps: IntArray
    score: FloatArray
    ruled: BoolArray

    def without_ruled(self) -> HeldOut:
        """Return them with what the rules flag as normal as can be: it says no threshold."""
        score = np.where(self.ruled, 0.0, self.score)
        return replace(self, score=score, ruled=np.zeros_like(self.ruled))


def calibrate(
    held_out: HeldOut,
    *,
    rules: AlertRules,
    budget_per_week: float | None,
    false_alarm_rate: float,
    provisional: bool,
) -> Calibration:
    """Choose one asset's threshold.

    Args:
        held_out: Scores of normal steps that the network did not see.
        rules: How alert events will be counted.
        budget_per_week: Alert events per week to allow, or None for a step rate.
        false_alarm_rate: Share of normal steps to flag, used without a budget.
        provisional: Accept what the data cannot carry, and mark it.

    Returns:
        The threshold with its expected rate and interval.

    Raises:
        CalibrationError: Too few held-out steps for what is asked.
    """
    if not provisional or not len(held_out.score):
        require_held_out(
            held_out.asset,
            len(held_out.score),
            period_s=rules.period_s,
            budget_per_week=budget_per_week,
            rate=false_alarm_rate,
        )
    if budget_per_week is None:
        return _calibrate_step_rate(held_out, rules, false_alarm_rate)
    return _calibrate_budget(held_out, rules, budget_per_week, provisional=provisional)


def require_held_out(
    asset: str, num_steps: int, *, period_s: float, budget_per_week: float | None, rate: float
) -> None:
    """Refuse early what no scores of so few steps could carry.

    Args:
        asset: Name of the asset.
        num_steps: Held-out steps.
        period_s: Seconds between ticks.
        budget_per_week: Alert events per week, or None for a step rate.
        rate: Share of normal steps to flag, used without a budget.

    Raises:
        CalibrationError: Too few steps; the message says how many are needed.
    """
    if budget_per_week is None:
        needed = math.ceil(1.0 / rate)
        if num_steps < needed:
            raise CalibrationError(
                f"Cannot set a threshold for asset '{asset}' at a false-alarm rate of "
                f"{rate:g}: expected at least {needed} held-out steps, got {num_steps}. Use a "
                "longer training period, a larger calibration_share or a larger "
                "false_alarm_rate."
            )
        return
    if num_steps * period_s < _needed_by_events_s(budget_per_week):
        _refuse_too_short(asset, budget_per_week, num_steps=num_steps, period_s=period_s)


def needed_s(calibration: Calibration) -> float:
    """Estimate how many seconds of held-out readings would carry what was asked for.

    Args:
        calibration: The threshold of an asset.

    Returns:
        The length at which the effective steps, growing with it, reach what is needed.
    """
    rate, budget = calibration.false_alarm_rate, calibration.budget_per_week
    needed = max(MIN_EFFECTIVE_STEPS, 1.0 / rate if rate else 0.0)
    by_steps = calibration.duration_s * needed / calibration.effective_steps
    return max(by_steps, _needed_by_events_s(budget) if budget else 0.0)


def effective_sample_size(score: FloatArray) -> float:
    """Count the independent steps that autocorrelated scores are worth.

    n / (1 + 2 sum of autocorrelations), summed in pairs while the pair sums stay positive.

    Args:
        score: Scores in order of time. Shape `(steps,)`.

    Returns:
        The effective number of steps, between 1 and the number of steps.

    Source:
        Geyer (1992), initial positive sequence.
    """
    num = len(score)
    centred = score - score.mean() if num else score
    variance = float(np.mean(centred**2)) if num else 0.0
    if num < 4 or variance <= 0 or not math.isfinite(variance):
        return float(max(num, 1))
    size = 1 << (2 * num - 1).bit_length()
    spectrum = np.abs(np.fft.rfft(centred / math.sqrt(variance), size)) ** 2
    autocorrelation = np.fft.irfft(spectrum, size)[: min(num, MAX_LAG)] / num
    even = len(autocorrelation) // 2 * 2
    pairs = autocorrelation[:even].reshape(-1, 2).sum(axis=1)
    negative = np.flatnonzero(pairs <= 0)
    kept = pairs[: negative[0]] if len(negative) else pairs
    return float(min(max(num / max(2.0 * kept.sum() - 1.0, 1.0), 1.0), num))


def _calibrate_step_rate(held_out: HeldOut, rules: AlertRules, rate: float) -> Calibration:
    from scipy import stats

    num = len(held_out.score)
    needed = math.ceil(1.0 / rate)
    score, by_rules = held_out.without_ruled().score, float(np.mean(held_out.ruled))
    left = max(rate - by_rules, min(rate, 1.0 / num))
    quantile = float(np.quantile(score, 1.0 - left, method="median_unbiased"))
    threshold = max(quantile, LIMIT_SCORE)
    effective = effective_sample_size(held_out.score)
    above = float(np.mean((score > threshold) | held_out.ruled))
    exceeding, below = above * effective, (1.0 - above) * effective
    return Calibration(
        method="held-out prediction limits",
        threshold=threshold,
        budget_per_week=None,
        false_alarm_rate=rate,
        expected_rate=above,
        rate_low=float(stats.beta.ppf(INTERVAL_TAIL, exceeding + 0.5, below + 0.5)),
        rate_high=float(stats.beta.ppf(1 - INTERVAL_TAIL, exceeding + 0.5, below + 0.5)),
        num_steps=num,
        effective_steps=effective,
        duration_s=num * rules.period_s,
        provisional=effective < max(MIN_EFFECTIVE_STEPS, 1.0 / rate)
        or num < needed
        or by_rules > rate,
    )


def _calibrate_budget(
    held_out: HeldOut, rules: AlertRules, budget: float, *, provisional: bool
) -> Calibration:
    num = len(held_out.score)
    duration_s = num * rules.period_s
    effective = effective_sample_size(held_out.score)
    by_events_s = _needed_by_events_s(budget)
    by_steps_s = duration_s * MIN_EFFECTIVE_STEPS / effective
    is_carried = duration_s >= max(by_events_s, by_steps_s)
    if not is_carried and not provisional:
        # the days that the budget itself needs were asked for before
        _refuse_too_alike(
            held_out.asset, budget, effective=effective, needed_s=by_steps_s, got_s=duration_s
        )
    weeks = duration_s / SECONDS_PER_WEEK
    allowed, rest = budget * weeks, held_out.without_ruled()
    # where rules use the budget up, one event is left: a higher threshold would undo no rule
    by_rules = _count_events(held_out, rules, float(held_out.score.max()))
    if by_rules > allowed and not provisional:
        raise CalibrationError(
            f"{_begin_refusal(held_out.asset, budget)}: expected at most "
            f"{format_plural(float(f'{allowed:.3g}'), 'event')} in the held-out readings, got "
            f"{by_rules} from the rules alone. Loosen the rules in [detector.rules], take other "
            f"readings, or accept an unproven threshold with {ACCEPT_UNPROVEN}."
        )
    left = max(allowed - by_rules, min(allowed, MIN_EXPECTED_EVENTS))
    threshold = max(_empirical_threshold(rest, rules, left), _tail_threshold(rest, rules, left))
    if threshold <= 0.0:
        threshold = LIMIT_SCORE  # rules flag every held-out step, and no score is left to go by
    num_events = _count_events(held_out, rules, threshold)
    low, high = poisson_interval(num_events)
    return Calibration(
        method="held-out alert events with an exponential tail",
        threshold=threshold,
        budget_per_week=budget,
        false_alarm_rate=None,
        expected_rate=num_events / weeks,
        rate_low=low / weeks,
        rate_high=high / weeks,
        num_steps=num,
        effective_steps=effective,
        duration_s=duration_s,
        provisional=not is_carried or by_rules > allowed,
    )


def _needed_by_events_s(budget: float) -> float:
    return MIN_EXPECTED_EVENTS / budget * SECONDS_PER_WEEK


def _refuse_too_short(asset: str, budget: float, *, num_steps: int, period_s: float) -> NoReturn:
    """Say that the budget allows no event in so short a time.

    So few steps that no budget can be carried are not helped by a larger one, and without a
    single step there is nothing to accept either.
    """
    larger = " or a larger budget" if num_steps >= MIN_EFFECTIVE_STEPS else ""
    accept = f", or accept an unproven threshold with {ACCEPT_UNPROVEN}" if num_steps else ""
    raise CalibrationError(
        f"{_begin_refusal(asset, budget)}: expected at least "
        f"{_format_days(_needed_by_events_s(budget))} of held-out normal readings, got "
        f"{num_steps * period_s / SECONDS_PER_DAY:.3g}. Use a longer training period"
        f"{larger}{accept}."
    )


def _refuse_too_alike(
    asset: str, budget: float, *, effective: float, needed_s: float, got_s: float
) -> NoReturn:
    """Say that the scores are worth too few independent steps, whatever the budget."""
    raise CalibrationError(
        f"{_begin_refusal(asset, budget)}: expected held-out scores worth at least "
        f"{MIN_EFFECTIVE_STEPS:g} independent steps, got {math.floor(effective)} in "
        f"{_format_days(got_s)} of held-out normal readings; about {_format_days(needed_s)} would "
        "do. Use a longer training period, or accept an unproven threshold with "
        f"{ACCEPT_UNPROVEN}."
    )


def _begin_refusal(asset: str, budget: float) -> str:
    events = format_plural(budget, "alert event")
    return f"Cannot set a threshold for asset '{asset}' at {events} a week"


def _format_days(seconds: float) -> str:
    return format_plural(float(f"{seconds / SECONDS_PER_DAY:.3g}"), "day")


def _candidates(score: FloatArray) -> Sequence[float]:
    levels = np.linspace(LOWEST_CANDIDATE, 1.0, NUM_CANDIDATES)
    return [float(value) for value in np.unique(np.quantile(score, levels))]


def _count_events(held_out: HeldOut, rules: AlertRules, threshold: float) -> int:
    score = np.where(held_out.ruled, np.inf, held_out.score)
    return len(find_spans(held_out.timestamps, score, threshold=threshold, rules=rules))


def _empirical_threshold(held_out: HeldOut, rules: AlertRules, allowed: float) -> float:
    """Return the lowest candidate from which on the events stay one below what is allowed.

    With a flat prior, k events seen in the held-out time mean k + 1 expected in as much again.
    """
    best = float(held_out.score.max())
    for threshold in reversed(_candidates(held_out.score)):
        if _count_events(held_out, rules, threshold) + 1 > allowed:
            break
        best = threshold
    return best


def _tail_threshold(held_out: HeldOut, rules: AlertRules, allowed: float) -> float:
    """Return where an exponential tail of event peaks leaves just the allowed events.

    Peaks are taken at the candidate with most events, so each stands for one independent
    excursion. With m peaks of mean excess theta and a flat prior on its log, a new peak exceeds
    x with probability (1 + x / (m theta))^-m.
    """
    counts = [
        (_count_events(held_out, rules, threshold), threshold)
        for threshold in _candidates(held_out.score)
    ]
    most, start = max(counts)
    if most <= allowed:
        return start
    spans = find_spans(held_out.timestamps, held_out.score, threshold=start, rules=rules)
    peaks = [float(held_out.score[span.first : span.last + 1].max()) for span in spans]
    excess = float(np.mean(peaks)) - start
    return float(start + most * excess * ((most / allowed) ** (1.0 / most) - 1.0))


def poisson_interval(count: int) -> tuple[float, float]:
    """Return the exact 90 % interval of a Poisson mean.

    Source:
        Garwood (1936).
    """
    from scipy import stats

    low = float(stats.chi2.ppf(INTERVAL_TAIL, 2 * count) / 2) if count else 0.0
    return low, float(stats.chi2.ppf(1 - INTERVAL_TAIL, 2 * count + 2) / 2)
