"""Two channels to one score: the energy of the density and small shifts that last.

score = max(max_k S_k / S_limit_k, (-log p / shift_limit)^2) with S_k the energy averaged over the
k-th span, so that 1 is where either channel reaches its limit. The limits are set on held-out
normal steps. The channels share the false-alarm rate between them, and so do the spans.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vae_anomaly.detector.calibration import effective_sample_size
from vae_anomaly.detector.smoothing import list_spans
from vae_anomaly.domain import BoolArray, FloatArray, IntArray

NUM_CHANNELS = 2

MAX_MARGIN = 5.0
"""How far a prediction bound may lie above the held-out quantile, as a multiple of it. Without a
limit three independent steps give bounds of millions, and no fault is one. Measured with 3, 5, 10
and none: VUS-PR on TSB-AD-M 0.506, 0.502, 0.499, 0.498; false-alarm rate on SKAB 0.14, 0.12,
0.11, 0.11 at an F1 of 0.80."""

MIN_SPANS_HELD_OUT = 10
"""Spans that the held-out steps must last for an average over longer than was asked for: of fewer
nobody knows how high it normally gets. Without this rule the false-alarm rate on SKAB, which holds
out 120 steps a run, is 0.19 instead of 0.13."""

MIN_ENERGY = 1e-3
"""Nats below which energies are alike: the logarithm of none at all says nothing."""


@dataclass(frozen=True)
class ChannelLimits:
    """Where each channel leaves what is normal for an asset, in nats.

    Attributes:
        energy: Limits of the smoothed energy, one per span; the longest spans may have none.
        shift: Limit of -log p of the most shifted sensor.
    """

    energy: tuple[float, ...]
    shift: float


def set_limits(
    energy: FloatArray, shift: FloatArray, *, smoothing_steps: int, false_alarm_rate: float
) -> ChannelLimits:
    """Choose the limits of one asset's channels.

    The limit of an energy is the larger of its held-out quantile and a prediction bound: with
    log energy normal, and the held-out steps worth as many independent ones as their
    autocorrelation leaves, the next step exceeds it as often as asked. It is at most
    `MAX_MARGIN` times the quantile: next to nothing to go by must not mean that nothing is
    strange. The shift is in nats
    already, so its limit is -log of the rate, or its held-out quantile if that is larger.

    Args:
        energy: Smoothed energies of held-out normal steps, no NaN, at least one step.
            Shape `(spans, steps)`.
        shift: Their -log p, no NaN. Shape `(steps,)`.
        smoothing_steps: The span that was asked for.
        false_alarm_rate: Share of normal steps that may exceed either limit.

    Returns:
        The limits.

    Source:
        Prediction interval of a normal variable: Hahn and Meeker (1991), section 4.7.
    """
    rate = false_alarm_rate / NUM_CHANNELS
    longest = max(shift.size / MIN_SPANS_HELD_OUT, smoothing_steps)
    known = [k for k, span in enumerate(list_spans(smoothing_steps)) if span <= longest]
    return ChannelLimits(
        energy=tuple(_limit_energy(energy[k], rate / len(known)) for k in known),
        shift=max(-math.log(rate), _quantile(shift, rate)),
    )


def combine(
    energy: FloatArray,
    shift: FloatArray,
    limits: Sequence[ChannelLimits],
    codes: IntArray | None = None,
) -> tuple[FloatArray, BoolArray]:
    """Make one score of two channels.

    The square keeps a shift that is no reason for an alert from hiding what the energy has to
    say, and makes both grow as the square of a deviation.

    Args:
        energy: Smoothed energies, NaN where unscorable. Shape `(spans, steps)`.
        shift: -log p of the most shifted sensor. Shape `(steps,)`.
        limits: Limits of each asset, by its code.
        codes: Asset of each step; without them all are of the first. Shape `(steps,)`.

    Returns:
        The score, NaN where unscorable, higher is stranger; and whether it is the shift's.

    Example:
        >>> limits = [ChannelLimits((4.0,), 5.0)]
        >>> combine(np.array([[2.0, 6.0]]), np.array([5.0, 15.0]), limits)[0]
        array([1., 9.])
    """
    at = np.zeros(len(shift), dtype=np.int64) if codes is None else codes
    unknown = (math.inf,) * len(energy)  # no limit is never reached
    by_span = zip(*((*one.energy, *unknown)[: len(energy)] for one in limits), strict=True)
    by_energy = np.full(len(shift), -np.inf)
    for smoothed, of_assets in zip(energy, by_span, strict=False):  # no assets, no limits
        np.maximum(by_energy, smoothed / np.array(of_assets)[at], out=by_energy)
    by_shift = np.square(np.maximum(shift, 0.0) / np.array([one.shift for one in limits])[at])
    is_shift: BoolArray = by_shift > by_energy
    return np.where(is_shift, by_shift, by_energy), is_shift


def _limit_energy(energy: FloatArray, rate: float) -> float:
    seen = max(_quantile(energy, rate), MIN_ENERGY)
    return min(max(_predict_limit(energy, rate), seen), MAX_MARGIN * seen)


def _predict_limit(energy: FloatArray, rate: float) -> float:
    """Return what the next log-normal energy exceeds at a rate, given so few of them."""
    from scipy import stats

    size = np.log(np.maximum(energy, MIN_ENERGY))
    freedom = max(effective_sample_size(size) - 1.0, 1.0)
    spread = float(size.std()) * math.sqrt((freedom + 2.0) / freedom)
    with np.errstate(over="ignore"):
        return float(np.exp(size.mean() + spread * stats.t.isf(rate, freedom)))


def _quantile(values: FloatArray, rate: float) -> float:
    return float(np.quantile(values, 1.0 - rate, method="median_unbiased"))
