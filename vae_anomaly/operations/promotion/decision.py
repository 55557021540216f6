"""Figures to a decision with its reasons."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime

from vae_anomaly.config import PromotionConfig
from vae_anomaly.domain import MICROSECONDS_PER_S, Calibration, HealthCheck
from vae_anomaly.evaluation.paired import TAIL, Gap
from vae_anomaly.operations.promotion.comparison import Measured, TooFewRows
from vae_anomaly.wording import format_plural, name_figure


@dataclass(frozen=True)
class Check:
    """One condition of a promotion.

    Attributes:
        passed: Whether it holds.
        text: What was found, with its limit.
    """

    passed: bool
    text: str


def judge(
    measured: Measured,
    *,
    health: tuple[HealthCheck, ...],
    asked: Calibration,
    settings: PromotionConfig,
) -> tuple[Check, ...]:
    """Judge a challenger by all conditions; it becomes champion where every one holds.

    Args:
        measured: The figures.
        health: Health figures of the challenger.
        asked: What was asked of the challenger's threshold.
        settings: The tolerances.

    Returns:
        The conditions, in the order they are told.
    """
    return (
        _check_health(health),
        _check_rate(measured, asked),
        _check_alarms(measured, settings.alarm_tolerance),
        _check_recall(
            measured.recall_gap, measured.recall, "the champion", settings.recall_tolerance
        ),
        _check_recall(
            measured.pca_gap,
            measured.matched_recall,
            "PCA at the same rate of false alarms",
            settings.recall_tolerance,
        ),
    )


def describe(checks: tuple[Check, ...], measured: Measured) -> str:
    """Say in one text why a challenger becomes champion, or why not."""
    on = (
        f"{format_plural(measured.num_normal, 'normal step')} and "
        f"{format_plural(measured.num_faults, 'injected fault')} from "
        f"{format_time(measured.start_us)} to {format_time(measured.end_us)}"
    )
    failed = [check.text for check in checks if not check.passed]
    if failed:
        return f"Not champion, compared on {on}: {'; '.join(failed)}."
    return f"Champion, compared on {on}: {'; '.join(check.text for check in checks)}."


def describe_wait(few: TooFewRows, settings: PromotionConfig) -> str:
    """Say that there is too little to decide on."""
    left_out = (
        f" ({format_plural(few.num_agreed, 'step')} left out, where both detectors alert)"
        if few.num_agreed
        else ""
    )
    return (
        f"Not champion yet: expected at least {settings.min_rows:,} normal readings after "
        f"{format_time(few.after_us)}, when the later of the two training periods ended, got "
        f"{few.num_normal:,}{left_out}. Compare again when more have come, or set training.end "
        "so that the last readings stay out of training."
    )


def format_time(time_us: int) -> str:
    """Write a time for people."""
    return f"{datetime.fromtimestamp(time_us / MICROSECONDS_PER_S, tz=UTC):%Y-%m-%d %H:%M} UTC"


def _check_health(health: tuple[HealthCheck, ...]) -> Check:
    failed = [
        f"{name_figure(one.name)} is {one.value:.4g}, expected {one.limit}"
        for one in health
        if not one.passed
    ]
    if failed:
        return Check(passed=False, text=f"it failed health checks ({', '.join(failed)})")
    return Check(passed=True, text="every health check passed")


def _check_rate(measured: Measured, asked: Calibration) -> Check:
    """Hold the challenger to what its threshold promises, noise allowed for."""
    if asked.budget_per_week is not None:
        num_events, weeks = measured.num_events[0], max(measured.weeks, 1e-9)
        low, limit = _lowest_mean(num_events) / weeks, asked.budget_per_week
        text = (
            f"{num_events / weeks:.3g} alert events a week on normal steps, at least {low:.3g} "
            f"with noise allowed for (budget {limit:g})"
        )
        return Check(low <= limit, text)
    share, rate = measured.alarm_share[0], asked.false_alarm_rate or 0.0
    # the noise of the difference is about that of the share itself
    low = share - max(measured.alarm_gap.value - measured.alarm_gap.low, 0.0)
    text = f"{share:.3%} of normal steps flagged, at least {low:.3%} (asked for {rate:.3%})"
    return Check(low <= rate, text)


def _lowest_mean(count: int) -> float:
    """Find the lower end of the exact interval of a Poisson mean (Garwood 1936)."""
    from scipy import stats

    return float(stats.chi2.ppf(TAIL, 2 * count) / 2) if count else 0.0


def _check_alarms(measured: Measured, tolerance: float) -> Check:
    gap = measured.alarm_gap
    text = (
        f"flags {measured.alarm_share[0]:.3%} of normal steps where the champion flags "
        f"{measured.alarm_share[1]:.3%} (at most {gap.high:+.3%}, tolerated {tolerance:+.3%})"
    )
    return Check(gap.high <= tolerance, text)


def _check_recall(gap: Gap, shares: tuple[float, float], rival: str, tolerance: float) -> Check:
    if math.isnan(gap.value):
        return Check(passed=False, text=f"it cannot be compared with {rival}: nothing to find")
    text = (
        f"finds {shares[0]:.1%} of faults where {rival} finds {shares[1]:.1%} "
        f"(at least {gap.low:+.1%}, tolerated {-tolerance:+.1%})"
    )
    return Check(gap.low >= -tolerance, text)
