"""The grid that quantised values lie on, found in any unit and behind any offset."""

from __future__ import annotations

import numpy as np

from vae_anomaly.domain import FloatArray, IntArray

NOISE_SHARE = 1e-6
"""Values are taken as known to this share of their spread.

An offset of 1e9 spreads leaves float64 a rounding error of about 1.2e-7 spreads per value. The
same allowance is made for every offset, so that the answer does not depend on it.
"""

FINEST_SHARE = 0.997e-4
"""Finest grid looked for, as a share of the spread: 10,000 levels. It matters to no density.

This and the next two are a little off round numbers: at a ratio that grids really have, the
rounding error of an offset would decide.
"""

BASE_TOLERANCE = 0.0193
"""Share of a step by which a gap may differ from a multiple of it, beside the noise."""

ALIKE_RATIO = 1.47
"""Gaps up to this many times the smallest are taken for the same number of steps."""

FIRST_STEPS = 4.3
GROWTH = 4.1
"""Gaps of up to so many steps are looked at first, and so many times longer ones at each turn.

No product of the two is near a whole number of steps, where rounding would decide.
"""

MAX_CHANCE = 1e-4
"""Largest accepted probability that values without a grid look as if they had one."""


def merge_levels(values: FloatArray) -> tuple[FloatArray, IntArray]:
    """Find the levels of sorted values; values closer than the noise are one level.

    Args:
        values: Values, ascending. Shape `(values,)`.

    Returns:
        The levels, ascending, each half-way between its ends, and how many values each has.
    """
    if values.size == 0:
        return values, np.zeros(0, dtype=np.int64)
    is_split = np.diff(values) > NOISE_SHARE * (values[-1] - values[0])
    first = np.concatenate(([0], np.flatnonzero(is_split) + 1))
    last = np.concatenate((first[1:], [values.size]))
    levels: FloatArray = values[first] / 2.0 + values[last - 1] / 2.0
    return levels, (last - first).astype(np.int64)


def find_grid(levels: FloatArray) -> float:
    """Find the spacing of the grid on which all levels lie.

    It is the smallest gap between levels, where all others are multiples of it. That counts
    only if levels drawn at random would hardly ever fit as well. A step so small, or seen so
    seldom, that no two neighbours on the grid come up is not found; it would matter little.

    Args:
        levels: Levels of `merge_levels`, ascending.

    Returns:
        The spacing in raw units, 0 where there is none.

    Example:
        >>> round(find_grid(np.array([20.0, 20.5, 22.0, 22.5, 24.0, 25.5])), 6)
        0.5
    """
    if levels.size < 3:
        return 0.0
    spread = float(levels[-1] - levels[0])
    noise = NOISE_SHARE * spread
    gaps = np.sort(np.diff(levels))
    step = float(np.median(gaps[gaps <= ALIKE_RATIO * gaps[0]]))
    if step < FINEST_SHARE * spread:
        return 0.0
    return _fit_step(gaps, step, noise)


def _fit_step(gaps: FloatArray, step: float, noise: float) -> float:
    """Sharpen a step on ever larger gaps, as far as it is sharp enough to count steps in them.

    Returns:
        The sharpened step, 0 where a gap is no multiple of it or where too few bear it out.
    """
    longest = FIRST_STEPS * step
    while True:
        near = gaps[gaps <= longest]
        multiples = np.round(near / step)
        step = float(near.sum() / multiples.sum())
        if np.any(np.abs(near - multiples * step) > _tolerance(step, noise) * step):
            return 0.0
        sharp = BASE_TOLERANCE * step * float(near.sum()) / (2.0 * noise)
        longest = min(GROWTH * longest, sharp)
        if near.size == gaps.size or gaps[near.size] > sharp:
            return step if _is_convincing(near.size, step, noise) else 0.0


def _tolerance(step: float, noise: float) -> float:
    return BASE_TOLERANCE + 2.0 * noise / step


def _is_convincing(num_gaps: int, step: float, noise: float) -> bool:
    """Whether random gaps, all but the one that gave the step, would hardly fit as well."""
    chance = (2.0 * _tolerance(step, noise)) ** (num_gaps - 1)
    return bool(chance <= MAX_CHANCE)
