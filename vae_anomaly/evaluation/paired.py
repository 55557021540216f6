"""Is one detector as good as another on the same rows? Paired differences with intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vae_anomaly.domain import FloatArray, IntArray

NUM_RESAMPLES = 2_000
TAIL = 0.05
"""Probability below and above the 90 % interval, as for thresholds."""


@dataclass(frozen=True)
class Gap:
    """A difference of two shares on the same rows.

    Attributes:
        value: First less second.
        low: Lower end of its 90 % interval.
        high: Upper end.
    """

    value: float
    low: float
    high: float


def find_gap(first: FloatArray, second: FloatArray, weight: FloatArray) -> Gap:
    """Compare two shares by a paired bootstrap over blocks of neighbouring steps.

    Steps near one another are alike, so blocks are drawn, not steps, and both shares are taken
    of the same blocks: what makes a block hard for both cancels.

    Args:
        first: Counts of the first per block, such as faults found. Shape `(blocks,)`.
        second: Counts of the second. Shape `(blocks,)`.
        weight: What they are counts of, such as faults. Shape `(blocks,)`.

    Returns:
        The difference, its 90 % interval too; NaN without any weight.

    Source:
        Künsch (1989), the block bootstrap; percentile interval.

    Example:
        >>> find_gap(np.array([1.0, 2.0]), np.array([1.0, 2.0]), np.array([4.0, 4.0]))
        Gap(value=0.0, low=0.0, high=0.0)
    """
    held = weight > 0
    if not held.any():
        return Gap(float("nan"), float("nan"), float("nan"))
    excess, weight = (first - second)[held], weight[held]
    drawn = np.random.default_rng(0).integers(held.sum(), size=(NUM_RESAMPLES, held.sum()))
    shares = excess[drawn].sum(axis=1) / weight[drawn].sum(axis=1)
    low, high = np.quantile(shares, [TAIL, 1.0 - TAIL])
    return Gap(float(excess.sum() / weight.sum()), float(low), float(high))


def cut_blocks(asset_codes: IntArray, *, block_steps: int) -> IntArray:
    """Number blocks of neighbouring rows of one asset.

    Args:
        asset_codes: Asset of each row, those of one asset together. Shape `(rows,)`.
        block_steps: Rows of a block.

    Returns:
        Block of each row, from 0 on. Shape `(rows,)`.

    Example:
        >>> cut_blocks(np.array([0, 0, 0, 1, 1]), block_steps=2).tolist()
        [0, 0, 1, 2, 2]
    """
    if not asset_codes.size:
        return np.zeros(0, dtype=np.int64)
    is_first = np.diff(asset_codes, prepend=asset_codes[0] - 1) != 0
    first = np.maximum.accumulate(np.where(is_first, np.arange(asset_codes.size), 0))
    rank = np.arange(asset_codes.size) - first
    blocks: IntArray = np.cumsum((rank % block_steps) == 0) - 1
    return blocks


def count_by_block(blocks: IntArray, counted: FloatArray | np.ndarray, *, num: int) -> FloatArray:
    """Add up per block. Shape `(blocks,)`."""
    counts = np.bincount(blocks, weights=counted.astype(np.float64), minlength=num)
    return counts.astype(np.float64)
