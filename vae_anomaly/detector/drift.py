"""Whether readings or scores have left where they were when the detector was calibrated.

Neighbouring steps are alike, so steps are not compared: means and spreads of blocks are. A block
is a whole number of days, by which a daily season cancels out, and lasts many times as long as the
values stay alike, by which blocks are independent. What recent blocks say is then a prediction
problem with a known answer: Student's t. Derivation and measured rates: docs/science/drift.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vae_anomaly.detector.calibration import effective_sample_size
from vae_anomaly.domain import FloatArray, IntArray

TIMES_DECORRELATION = 10.0
"""Decorrelation times that a block lasts: the means of such neighbours correlate by about 0.05."""

MIN_BLOCKS = 5
"""Blocks of reference below which nothing can be said."""

WINDOWS = (3, 7)
"""Numbers of latest blocks that are compared: a few for large shifts, a week for small ones."""

MIN_BLOCK_SHARE = 0.5
"""Share of the usual values of a block that it must hold to count."""

MIN_SPREAD_SHARE = 0.01
"""Share of the standard deviation below which spreads are alike: a sensor that stands still for a
block has no logarithm of its spread."""

LEVEL, SPREAD = "level", "spread"
"""Statistics of a series: the mean of a block, and how far values spread inside of it."""

SMALLEST = float(np.finfo(float).tiny)
SECONDS_PER_YEAR = 365.25 * 86_400


@dataclass(frozen=True)
class BlockSums:
    """Values summed up per block of time; sums of parts of a block can be put together.

    Attributes:
        block: Number of each block: its start divided by its length. Shape `(blocks,)`.
        count: Values. Shape `(blocks, sensors)`.
        mean: Their mean, 0 without any. Shape `(blocks, sensors)`.
        squares: Sum of squared deviations from it. Shape `(blocks, sensors)`.
    """

    block: IntArray
    count: FloatArray
    mean: FloatArray
    squares: FloatArray


@dataclass(frozen=True)
class SeriesReference:
    """What blocks of one series were like at the time of calibration.

    Attributes:
        decorrelation_steps: Steps over which values stay alike.
        num_base: Base blocks that one block is made of.
        num_blocks: Blocks.
        num_steps: Median of the values in a block.
        level: Mean of the block means.
        level_spread: Their standard deviation.
        spread: Mean of the logarithms of the standard deviations inside of blocks.
        spread_spread: Standard deviation of these logarithms.
        step_spread: Standard deviation of single values.
    """

    decorrelation_steps: float
    num_base: int
    num_blocks: int
    num_steps: float
    level: float
    level_spread: float
    spread: float
    spread_spread: float
    step_spread: float

    @property
    def is_enough(self) -> bool:
        """Whether anything can be compared with it."""
        return self.num_blocks >= MIN_BLOCKS and self.step_spread > 0


@dataclass(frozen=True)
class Comparison:
    """Recent blocks against the reference.

    Attributes:
        shift: How far they are off, in the unit of the statistic.
        p_value: How often blocks that did not change would be as far off, windows counted.
        lasts: Whether most blocks of the window are off the same way, by at least what matters.
    """

    shift: float
    p_value: float
    lasts: bool


def sum_blocks(times: IntArray, values: FloatArray, *, block_us: int) -> BlockSums:
    """Sum up values per block.

    Args:
        times: Microseconds since 1970, ascending. Shape `(steps,)`.
        values: NaN where missing. Shape `(steps, sensors)`.
        block_us: Length of a block in microseconds; blocks begin at its multiples.

    Returns:
        The sums of the blocks that have steps.

    Example:
        >>> sums = sum_blocks(np.array([0, 1, 5]), np.array([[1.0], [3.0], [9.0]]), block_us=4)
        >>> sums.block.tolist(), sums.mean[:, 0].tolist(), sums.squares[:, 0].tolist()
        ([0, 1], [2.0, 9.0], [2.0, 0.0])
    """
    block, start = np.unique(times // block_us, return_index=True)
    if not block.size:
        empty = np.zeros((0, values.shape[1]))
        return BlockSums(block, empty, empty, empty)
    seen = np.isfinite(values)
    filled = np.where(seen, values, 0.0)
    count = np.add.reduceat(seen, start, axis=0, dtype=np.float64)
    mean = np.add.reduceat(filled, start, axis=0) / np.maximum(count, 1.0)
    length = np.diff(np.append(start, len(times)))
    deviation = np.where(seen, values - np.repeat(mean, length, axis=0), 0.0)
    return BlockSums(block, count, mean, np.add.reduceat(deviation**2, start, axis=0))


def join_sums(parts: list[BlockSums], *, num_base: int = 1) -> BlockSums:
    """Put sums together: parts of the same block, and base blocks to longer ones.

    Args:
        parts: Sums of the same sensors, one part at least.
        num_base: Base blocks per block.

    Returns:
        The sums, in order of time.

    Source:
        Chan, Golub and LeVeque (1979), pairwise update of means and squares.
    """
    block = np.concatenate([part.block for part in parts]) // num_base
    count, mean, squares = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("count", "mean", "squares")
    )
    order = np.argsort(block, kind="stable")
    names, start = np.unique(block[order], return_index=True)
    if not names.size:
        return parts[0]
    count, mean, squares = count[order], mean[order], squares[order]
    total = np.add.reduceat(count, start, axis=0)
    joined = np.add.reduceat(count * mean, start, axis=0) / np.maximum(total, 1.0)
    length = np.diff(np.append(start, len(order)))
    between = count * (mean - np.repeat(joined, length, axis=0)) ** 2
    return BlockSums(names, total, joined, np.add.reduceat(squares + between, start, axis=0))


def find_decorrelation(values: FloatArray) -> float:
    """Return over how many steps values stay alike: steps per independent step.

    Args:
        values: In order of time, NaN where missing. Shape `(steps,)`.
    """
    seen = values[np.isfinite(values)]
    return len(seen) / effective_sample_size(seen) if len(seen) else 1.0


def count_base(decorrelation_steps: float, *, period_us: float, base_us: int) -> int:
    """Return how many base blocks a block needs, to be independent of its neighbours."""
    return max(math.ceil(TIMES_DECORRELATION * decorrelation_steps * period_us / base_us), 1)


def summarise(
    sums: BlockSums, sensor: int, *, decorrelation_steps: float, num_base: int
) -> SeriesReference:
    """Sum up the blocks of one series as a reference.

    Args:
        sums: Base blocks.
        sensor: Column of the series.
        decorrelation_steps: Steps over which its values stay alike.
        num_base: Base blocks per block.

    Returns:
        The reference; without whole blocks it is not enough for anything.
    """
    blocks = _take_series(sums, sensor, num_base=num_base)
    count, mean, squares = (part[:, 0] for part in (blocks.count, blocks.mean, blocks.squares))
    usual = float(np.median(count)) if count.size else 0.0
    whole = count >= MIN_BLOCK_SHARE * max(usual, 2.0)
    count, mean, squares = count[whole], mean[whole], squares[whole]
    several = mean.size > 1
    inside = float(squares.sum()) / max(float(count.sum()), 1.0)
    step_spread = math.sqrt(inside + (float(mean.var()) if several else 0.0))
    spread = _take_spread(count, squares, step_spread=step_spread)
    return SeriesReference(
        decorrelation_steps=decorrelation_steps,
        num_base=num_base,
        num_blocks=int(mean.size),
        num_steps=usual,
        level=float(mean.mean()) if mean.size else 0.0,
        level_spread=float(mean.std(ddof=1)) if several else 0.0,
        spread=float(spread.mean()) if mean.size else 0.0,
        spread_spread=float(spread.std(ddof=1)) if several else 0.0,
        step_spread=step_spread,
    )


def compare(
    reference: SeriesReference,
    sums: BlockSums,
    sensor: int,
    *,
    until_block: int,
    min_shift: float,
) -> dict[str, Comparison]:
    """Compare the latest blocks of a series with its reference.

    Args:
        reference: What it was like.
        sums: Latest base blocks.
        sensor: Column of the series.
        until_block: Base block that is not over yet; it and later ones do not count.
        min_shift: Change below which it does not matter: of the level in standard deviations of
            single values, of the spread as the logarithm of a ratio.

    Returns:
        A comparison by name of the statistic, `LEVEL` and `SPREAD`; none where the reference or
        the blocks are too few.
    """
    if not reference.is_enough:
        return {}
    blocks = _take_series(sums, sensor, num_base=reference.num_base)
    is_over = (blocks.block + 1) * reference.num_base <= until_block
    whole = is_over & (blocks.count[:, 0] >= MIN_BLOCK_SHARE * max(reference.num_steps, 2.0))
    count, mean, squares = (part[whole, 0] for part in (blocks.count, blocks.mean, blocks.squares))
    if count.size < min(WINDOWS):
        return {}
    spread = _take_spread(count, squares, step_spread=reference.step_spread)
    num, unit = reference.num_blocks, reference.step_spread
    levels = (mean - reference.level) / unit
    return {
        LEVEL: _predict(levels, num, reference.level_spread / unit, min_shift=min_shift),
        SPREAD: _predict(
            spread - reference.spread, num, reference.spread_spread, min_shift=min_shift
        ),
    }


def share_alarms(
    false_alarms_per_year: float, *, num_series: int, shortest_block_s: float
) -> float:
    """Return the level of each test, so that all of a year give so many false alarms.

    The expected number of false alarms is the sum of the levels, however the tests depend on one
    another: each series is tested once per block.

    Args:
        false_alarms_per_year: Allowed in all.
        num_series: Tests per block.
        shortest_block_s: Seconds between two checks, at least.
    """
    checks = SECONDS_PER_YEAR / shortest_block_s
    return false_alarms_per_year / (checks * max(num_series, 1))


def judge_alert_rate(num_events: int, *, weeks: float, budget_per_week: float) -> float:
    """Return how often alert events within the budget would be at least so many.

    Args:
        num_events: Alert events.
        weeks: Weeks of readings, gaps not counted.
        budget_per_week: What was promised.

    Returns:
        The p-value of the exact Poisson test.

    Example:
        >>> round(judge_alert_rate(6, weeks=2.0, budget_per_week=1.0), 4)
        0.0166
    """
    from scipy import stats

    return float(stats.poisson.sf(num_events - 1, budget_per_week * weeks))


def _take_series(sums: BlockSums, sensor: int, *, num_base: int) -> BlockSums:
    """Return the blocks of one series, its values the only column."""
    parts = (part[:, [sensor]] for part in (sums.count, sums.mean, sums.squares))
    return join_sums([BlockSums(sums.block, *parts)], num_base=num_base)


def _take_spread(count: FloatArray, squares: FloatArray, *, step_spread: float) -> FloatArray:
    """Return the logarithms of the standard deviations inside of blocks."""
    variance = squares / np.maximum(count - 1.0, 1.0)
    least = max((MIN_SPREAD_SHARE * step_spread) ** 2, float(np.finfo(float).tiny))
    spread: FloatArray = 0.5 * np.log(np.maximum(variance, least))
    return spread


def _predict(
    shifts: FloatArray, num_reference: int, deviation: float, *, min_shift: float
) -> Comparison:
    """Compare the means of the latest blocks with what Student's t predicts for them."""
    from scipy import special

    found = []
    for window in WINDOWS:
        if len(shifts) < window:
            break
        latest = shifts[-window:]
        shift = float(latest.mean())
        scale = deviation * math.sqrt(1.0 / num_reference + 1.0 / window)
        strength = abs(shift) / max(scale, SMALLEST)
        p_value = 2.0 * float(special.stdtr(num_reference - 1, -strength)) * len(WINDOWS)
        is_far = np.sign(shift) * latest >= min_shift
        lasts = abs(shift) >= min_shift and 2 * int(is_far.sum()) > window
        found.append(Comparison(shift, min(p_value, 1.0), bool(lasts)))
    return min(found, key=lambda one: (not one.lasts, one.p_value))
