"""The level that a sensor's residual has had lately: what drifts slowly is not an anomaly.

Seasons, wear and recalibration move a sensor away from where it was in training, and then every
step of it is strange. Its level is the median of the mean residuals of the last `NUM_BLOCKS`
blocks of time. So half of them must have moved before the level follows, and a fault that is
shorter leaves no trace. Blocks without readings, and those before the first reading, count as
normal: their level is 0.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from vae_anomaly.domain import MICROSECONDS_PER_S, FloatArray, IntArray
from vae_anomaly.model.channels import ChosenLikelihood, SensorScores, make_channels
from vae_anomaly.model.density import StepScores

NUM_BLOCKS = 20
"""Blocks whose median is the level. 20 blocks of 100 steps instead of no adaptation raise VUS-PR
on the drifting drinking-water plant of GECCO 2018 from 0.10 to 0.30, and leave TSB-AD-M (0.50)
and TEP (0.98) where they are; blocks of 50 steps would swallow TEP's lasting faults (0.89)."""

MAX_RESIDUAL = 1e4
"""Standard deviations at which a residual is cut, so that one broken value stays one value."""


@dataclass(frozen=True)
class Track:
    """Steps in order of asset and time, and how far back their level reaches.

    Attributes:
        timestamps: Microseconds. Shape `(steps,)`.
        asset_codes: Shape `(steps,)`.
        period_s: Seconds between ticks.
        adaptation_steps: Steps over which the level is taken; 0 leaves it at 0.
    """

    timestamps: IntArray
    asset_codes: IntArray
    period_s: float
    adaptation_steps: int

    @property
    def block_us(self) -> int:
        """Length of a block in microseconds."""
        return block_us(self.adaptation_steps, period_s=self.period_s)


def adapt(
    scores: StepScores,
    values: FloatArray,
    track: Track,
    *,
    modelled: tuple[int, ...],
    likelihoods: tuple[ChosenLikelihood, ...] = (),
) -> StepScores:
    """Move the expected values by the level that each sensor has had lately.

    With b the level, the mean becomes mu + b sigma, so that the residual r becomes r - b: the
    density is that of a reading given those before it, and all its figures say so. Where the
    likelihood is that of a log, so are mu and sigma. States and counts have no level.

    Args:
        scores: What the density says of each step.
        values: The raw values. Shape `(steps, sensors)`.
        track: When and where the steps were, and how far the level reaches.
        modelled: The sensors in the network; those that were constant keep their rule.
        likelihoods: Their likelihoods; Gaussian where none is given.

    Returns:
        The scores, with mean, contribution and energy moved.
    """
    columns = list(modelled)
    channels = make_channels(likelihoods, len(columns))
    readings = values[:, columns]
    residual = channels.standardise(readings, scores.mean[:, columns], scores.sigma[:, columns])
    level = find_level(residual, track)
    if not level.any():
        return scores
    names = ("contribution", "energy", "mean", "sigma")
    found = SensorScores(*(getattr(scores, name)[:, columns] for name in names))
    moved = channels.move(readings, found, level)
    changed = {}
    for name in names:
        if getattr(moved, name) is not getattr(found, name):
            changed[name] = getattr(scores, name).copy()
            changed[name][:, columns] = getattr(moved, name)
    return replace(scores, **changed)


def block_us(adaptation_steps: int, *, period_s: float) -> int:
    """Return the microseconds of one block."""
    return max(round(block_steps(adaptation_steps) * period_s * MICROSECONDS_PER_S), 1)


def memory_us(adaptation_steps: int, *, period_s: float) -> int:
    """Return how many microseconds before a step its level depends on."""
    if not adaptation_steps:
        return 0
    return (NUM_BLOCKS + 1) * block_us(adaptation_steps, period_s=period_s)


def memory_steps(adaptation_steps: int) -> int:
    """Return how many steps that is, where readings come every `period_s`.

    Example:
        >>> memory_steps(2000), memory_steps(0)
        (2100, 0)
    """
    return (NUM_BLOCKS + 1) * block_steps(adaptation_steps)


def block_steps(adaptation_steps: int) -> int:
    """Return the steps of one block.

    Example:
        >>> block_steps(2000)
        100
    """
    return -(-adaptation_steps // NUM_BLOCKS)


def find_level(residual: FloatArray, track: Track) -> FloatArray:
    """Find the level of every sensor before each step.

    Blocks are aligned to the clock and the block of a step is not its own level, so that the level
    depends on no later step and not on where the readings were cut.

    Args:
        residual: (x - mean) / sigma, NaN where missing. Shape `(steps, sensors)`.
        track: When and where the steps were.

    Returns:
        The level in standard deviations. Shape `(steps, sensors)`.

    Example:
        >>> up = np.repeat([0.0, 3.0], [40, 60])[:, None]
        >>> times, codes = np.arange(100) * 1_000_000, np.zeros(100, dtype=int)
        >>> track = Track(times, codes, period_s=1.0, adaptation_steps=40)
        >>> find_level(up, track)[[0, 59, 60, 62, 99], 0]
        array([0. , 0. , 1.5, 3. , 3. ])
    """
    level = np.zeros_like(residual)
    if not track.adaptation_steps or not len(residual):
        return level
    clock = track.timestamps // track.block_us
    changes = (np.diff(clock) != 0) | (np.diff(track.asset_codes) != 0)
    first = np.flatnonzero(np.insert(changes, 0, True))
    means = _average(np.clip(residual, -MAX_RESIDUAL, MAX_RESIDUAL), first)
    lengths = np.diff(first, append=len(clock))
    for blocks in _split_assets(track.asset_codes[first]):
        lately = _median_before(means[blocks], clock[first[blocks]])
        rows = slice(first[blocks.start], first[blocks.stop - 1] + lengths[blocks.stop - 1])
        level[rows] = np.repeat(lately, lengths[blocks], axis=0)
    return level


def _average(residual: FloatArray, first: IntArray) -> FloatArray:
    """Mean of each sensor over the steps of each block that have it; 0 where none has."""
    seen = ~np.isnan(residual)
    total = np.add.reduceat(np.where(seen, residual, 0.0), first, axis=0)
    count = np.add.reduceat(seen.astype(np.int64), first, axis=0)
    return np.asarray(total / np.maximum(count, 1))


def _split_assets(codes: IntArray) -> Iterator[slice]:
    cuts = [0, *(np.flatnonzero(np.diff(codes)) + 1).tolist(), len(codes)]
    for start, stop in itertools.pairwise(cuts):
        yield slice(start, stop)


def _median_before(means: FloatArray, clock: IntArray) -> FloatArray:
    """Median of the blocks before each block, those without a reading being 0."""
    back = np.arange(1, NUM_BLOCKS + 1)
    wanted = clock[:, None] - back
    at = np.minimum(np.searchsorted(clock, wanted), len(clock) - 1)
    there = clock[at] == wanted
    # blocks many at a time: 20 copies of all of them would not be small
    out = np.empty_like(means)
    for start in range(0, len(means), 1 << 14):
        part = slice(start, start + (1 << 14))
        out[part] = np.median(np.where(there[part, :, None], means[at[part]], 0.0), axis=1)
    return out
