"""Steps in order of asset and time, segments without gaps, and windows that never cross one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from vae_anomaly.domain import MICROSECONDS_PER_S, BoolArray, IntArray, Readings
from vae_anomaly.readings.rows import sort_rows

FloatT = TypeVar("FloatT", bound=np.floating)


@dataclass(frozen=True)
class Steps:
    """Usable rows in order of asset and time.

    Attributes:
        rows: Row of the readings that each step is. Shape `(steps,)`.
        segment_start: Step at which each step's segment begins; a segment is one asset without
            a gap. Shape `(steps,)`.
        asset_codes: Asset of each step. Shape `(steps,)`.
    """

    rows: IntArray
    segment_start: IntArray
    asset_codes: IntArray

    @property
    def num_steps(self) -> int:
        """Number of steps."""
        return int(self.rows.shape[0])


def order_steps(
    readings: Readings, usable: BoolArray, *, period_s: float, gap_steps: int
) -> Steps:
    """Sort usable rows by asset and time and cut them where the time jumps.

    Args:
        readings: The readings, in any order.
        usable: Whether a row has no problem. Shape `(rows,)`.
        period_s: Seconds between ticks.
        gap_steps: A jump of more than this many periods is a gap.

    Returns:
        The steps; a row with a problem is not among them.
    """
    rows = sort_rows(readings, np.flatnonzero(usable))
    times, codes = readings.timestamps[rows], readings.asset_codes[rows]
    starts = np.ones(len(rows), dtype=bool)
    gap_us = gap_steps * period_s * MICROSECONDS_PER_S
    starts[1:] = (np.diff(codes) != 0) | (np.diff(times) > gap_us)
    positions = np.arange(len(rows), dtype=np.int64)
    segment_start = np.maximum.accumulate(np.where(starts, positions, 0))
    return Steps(rows=rows, segment_start=segment_start, asset_codes=codes)


def gather_windows(
    values: NDArray[FloatT], segment_start: IntArray, steps: IntArray, *, window: int
) -> NDArray[FloatT]:
    """Collect the window that ends at each step; what lies before its segment is missing.

    Args:
        values: Values of all steps, in step order. Shape `(steps, channels)`.
        segment_start: As in `Steps`.
        steps: The steps to collect windows for. Shape `(rows,)`.
        window: Steps per window.

    Returns:
        Windows, oldest step first, NaN before the segment. Shape `(rows, window, channels)`.
    """
    if window == 1:
        alone: NDArray[FloatT] = values[steps][:, None, :]
        return alone
    index = steps[:, None] + np.arange(1 - window, 1)
    before = index < segment_start[steps][:, None]
    windows: NDArray[FloatT] = values[np.maximum(index, 0)]
    windows[before] = np.nan
    return windows
