"""What is wrong with single rows, and how far apart the good ones are."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from vae_anomaly.domain import (
    MICROSECONDS_PER_S,
    NO_TIME,
    PROBLEMS,
    BoolArray,
    CodeArray,
    FloatArray,
    IntArray,
    Problem,
    Readings,
    Texts,
)

NumberT = TypeVar("NumberT", np.float64, np.int64)

EARLIEST_US = int(datetime(1980, 1, 6, tzinfo=UTC).timestamp()) * MICROSECONDS_PER_S
"""Start of GPS time; earlier means a clock that was reset, most often to 1970."""

LATEST_US = int(datetime(2100, 1, 1, tzinfo=UTC).timestamp()) * MICROSECONDS_PER_S
"""Times from here on are no readings but a wrong clock or a wrong unit."""

PERIOD_TOLERANCE = 0.1
"""A step is irregular when it differs from the period by more than this share of it."""


@dataclass(frozen=True)
class StepFigures:
    """How usable rows follow one another, each asset by itself.

    Attributes:
        num_gaps: Steps longer than allowed.
        longest_gap_s: The longest of them in seconds, 0 without one.
        irregular_share: Share of steps that differ from the period by more than 10 %.
    """

    num_gaps: int
    longest_gap_s: float
    irregular_share: float


def find_problems(readings: Readings) -> CodeArray:
    """Say of each row why it cannot be used by itself; what repeats is `merge_rows`' business.

    Args:
        readings: Rows in any order.

    Returns:
        Position in `PROBLEMS` of each row's problem. Shape `(rows,)`.
    """
    codes = np.zeros(readings.num_rows, dtype=np.int8)
    times = readings.timestamps
    codes[readings.asset_codes < 0] = problem_code(Problem.NO_ASSET)
    codes[(times < EARLIEST_US) | (times >= LATEST_US)] = problem_code(Problem.IMPLAUSIBLE_TIME)
    codes[times == NO_TIME] = problem_code(Problem.NO_TIMESTAMP)
    return codes


def has_key(problems: Texts) -> BoolArray:
    """Whether each row has an asset and a plausible time, be it a duplicate or not."""
    lacks_key = (Problem.NO_TIMESTAMP, Problem.IMPLAUSIBLE_TIME, Problem.NO_ASSET)
    keyed: BoolArray = np.isin(
        problems.codes, [problem_code(one) for one in lacks_key], invert=True
    )
    return keyed


def sort_rows(readings: Readings, rows: IntArray) -> IntArray:
    """Return the given rows sorted by asset and time; equal keys keep their order."""
    times, codes = readings.timestamps[rows], readings.asset_codes[rows]
    if rows.size < 2 or bool(
        np.all((codes[1:] > codes[:-1]) | ((codes[1:] == codes[:-1]) & (times[1:] >= times[:-1])))
    ):
        return rows
    return rows[np.lexsort((times, codes))]


def is_range(rows: IntArray) -> bool:
    """Tell whether rows follow one another without a gap."""
    return len(rows) == 0 or bool(
        rows[-1] - rows[0] == len(rows) - 1 and np.all(rows[1:] - rows[:-1] == 1)
    )


def take_rows(values: NDArray[NumberT], rows: IntArray) -> NDArray[NumberT]:
    """Return the values of some rows; what is all of them, in order, is not copied."""
    return values if len(rows) == len(values) and is_range(rows) else values[rows]


def count_out_of_order(readings: Readings, rows: IntArray) -> int:
    """Count rows that are earlier than a row of the same asset before them.

    Args:
        readings: Rows as they came.
        rows: The rows that count, in the order they came.
    """
    order = rows[np.argsort(readings.asset_codes[rows], kind="stable")]
    times, codes = readings.timestamps[order], readings.asset_codes[order]
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    return sum(
        int(np.count_nonzero(part < np.maximum.accumulate(part)))
        for part in np.split(times, starts[1:])
    )


def find_steps(readings: Readings, rows: IntArray) -> IntArray:
    """Return the microseconds between neighbours of one asset.

    Args:
        readings: The readings.
        rows: Rows sorted by asset and time, without duplicates.

    Returns:
        The steps, all positive. Shape `(rows - assets,)`.
    """
    steps = np.diff(readings.timestamps[rows])
    is_inside = np.diff(readings.asset_codes[rows]) == 0
    inside: IntArray = steps[is_inside]
    return inside


def measure_steps(steps: IntArray, *, period_s: float, gap_steps: int) -> StepFigures:
    """Count gaps and irregular steps.

    Args:
        steps: Microseconds between neighbours.
        period_s: Seconds between ticks.
        gap_steps: A step longer than this many periods is a gap.
    """
    if steps.size == 0:
        return StepFigures(num_gaps=0, longest_gap_s=0.0, irregular_share=0.0)
    periods = steps / (period_s * MICROSECONDS_PER_S)
    is_gap = periods > gap_steps
    longest = int(steps.max()) / MICROSECONDS_PER_S if is_gap.any() else 0.0
    return StepFigures(
        num_gaps=int(np.count_nonzero(is_gap)),
        longest_gap_s=longest,
        irregular_share=float(np.mean(np.abs(periods - 1.0) > PERIOD_TOLERANCE)),
    )


def equal_rows(left: FloatArray, right: FloatArray) -> BoolArray:
    """Whether rows hold the same values, two missing ones being the same. Shape `(rows,)`."""
    equal: BoolArray = np.all((left == right) | (np.isnan(left) & np.isnan(right)), axis=1)
    return equal


def problem_code(problem: Problem) -> int:
    """Return the position of a problem in `PROBLEMS`."""
    return PROBLEMS.index(problem.value)
