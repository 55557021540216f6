"""The alerting score: residual energy, smoothed over the last steps of a segment."""

from __future__ import annotations

import numpy as np

from vae_anomaly.domain import FloatArray, IntArray

SPANS_REMEMBERED = 3
"""Spans after which a step's weight in the moving average, below 0.3 %, is cut to 0: the score
is then a function of a finite window, the same however the readings were split."""


def memory_steps(span: int) -> int:
    """Return how many steps, the present one included, a smoothed score depends on.

    Example:
        >>> memory_steps(20), memory_steps(1)
        (60, 1)
    """
    return 1 if span == 1 else SPANS_REMEMBERED * span


def smooth(
    energy: FloatArray, segment_start: IntArray, *, span: int, normal_level: float
) -> FloatArray:
    """Average the energy of the last steps with exponentially falling weights.

    S_t = sum_k w_k E_(t-k), w_k proportional to (1 - 2 / (span + 1))^k. Steps before the
    segment, and steps without an energy, count as normal.

    Args:
        energy: Energy per step, NaN where unscorable; higher is stranger. Shape `(steps,)`.
        segment_start: As in `Steps`. Shape `(steps,)`.
        span: Span of the average in steps; 1 leaves the energy as it is.
        normal_level: Energy of a normal step, in place of a missing one.

    Returns:
        The score; NaN where the energy is NaN. Shape `(steps,)`.

    Example:
        >>> smooth(np.array([1.0, 1.0, 5.0]), np.zeros(3, dtype=int), span=3, normal_level=1.0)
        array([1.        , 1.        , 3.00391389])
    """
    weights = (1.0 - 2.0 / (span + 1.0)) ** np.arange(memory_steps(span))
    weights /= weights.sum()
    excess = np.nan_to_num(energy - normal_level, nan=0.0, posinf=np.inf)
    position = np.arange(len(energy)) - segment_start
    total = weights[0] * excess
    for lag in range(1, min(len(weights), len(energy))):
        inside = position[lag:] >= lag
        total[lag:] += np.where(inside, weights[lag] * excess[:-lag], 0.0)
    return np.where(np.isnan(energy), np.nan, normal_level + total)
