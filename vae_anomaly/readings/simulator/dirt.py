"""Dirt of data logging: gaps, copies, sentinels, a lost clock, late rows; never labelled.

Amounts are per 45 days of readings, at least one of each, and our choice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vae_anomaly.domain import SECONDS_PER_DAY, BoolArray, FloatArray, IntArray

SENTINEL = -9999.0
"""Written by the simulated logger where an instrument does not answer."""

AMOUNTS_PER_DAYS = 45.0
GAPS_S = (300.0, 420.0, 600.0, 600.0, 900.0, 1800.0, 2700.0, 3600.0, 7200.0, 14_400.0)
NUM_COPIES = 30  # rows sent twice in a row
COPIED_BLOCK = 12  # rows of a block that is sent once more at its end
NUM_CONFLICTS = 4
NUM_LATE = 6
MAX_LATE_STEPS = 9
CLOCK_JUMP_ROWS = 20
NUM_SENTINEL_STRETCHES = 12
MAX_SENTINEL_STEPS = 25
NUM_NULLS = 15
NUM_INFINITIES = 2
SENSORS_WITH_DIRT = 9  # the first of INSTRUMENTS: analogue, each with its own cable


@dataclass(frozen=True)
class DirtyRows:
    """Rows in the order in which they arrive.

    Attributes:
        timestamps: Microseconds since 1970, as the logger wrote them. Shape `(rows,)`.
        values: Sensor values, NaN for null. Shape `(rows, sensors)`.
        steps: Step of the clean readings that each row came from. Shape `(rows,)`.
    """

    timestamps: IntArray
    values: FloatArray
    steps: IntArray


def add_dirt(
    timestamps: IntArray, values: FloatArray, *, busy: BoolArray, rng: np.random.Generator
) -> DirtyRows:
    """Spoil clean readings the way a data logger does.

    Args:
        timestamps: Microseconds since 1970, evenly spaced. Shape `(steps,)`.
        values: Sensor values. Shape `(steps, sensors)`.
        busy: Steps whose rows stay whole and in place, such as faults. Shape `(steps,)`.
        rng: Random source.

    Returns:
        The rows as they arrive.
    """
    num_steps = timestamps.size
    period_us = int(timestamps[1] - timestamps[0])
    times = num_steps * period_us / 1e6 / SECONDS_PER_DAY / AMOUNTS_PER_DAYS
    chooser = _Chooser(busy.copy(), rng, times)
    values = _spoil_cells(values, _Chooser(np.zeros(num_steps, dtype=bool), rng, times))
    written = timestamps.copy()
    for start in chooser.starts(1, CLOCK_JUMP_ROWS):
        written[start : start + CLOCK_JUMP_ROWS] = np.arange(CLOCK_JUMP_ROWS) * period_us
    keep = np.ones(num_steps, dtype=bool)
    for gap_s in GAPS_S:
        length = max(1, round(gap_s * 1e6 / period_us))
        for start in chooser.starts(1, length):
            keep[start : start + length] = False
    arrival = np.arange(num_steps, dtype=np.float64)
    for start in chooser.starts(NUM_LATE, MAX_LATE_STEPS + 1):
        arrival[start] += rng.integers(2, MAX_LATE_STEPS) + 0.5
    return _arrange(written, values, arrival, keep, chooser)


@dataclass(frozen=True)
class _Chooser:
    """Hands out stretches of steps that no other dirt uses; marks them in `busy`."""

    busy: BoolArray
    rng: np.random.Generator
    times: float

    def starts(self, amount: int, length: int) -> list[int]:
        """First steps of `amount` free stretches per 45 days, one at least."""
        found = []
        for _ in range(max(1, round(amount * self.times))):
            for start in self.rng.integers(1, max(2, self.busy.size - length), size=200).tolist():
                if not self.busy[start : start + length].any():
                    self.busy[start : start + length] = True
                    found.append(start)
                    break
        return found


def _spoil_cells(values: FloatArray, chooser: _Chooser) -> FloatArray:
    """Sentinels in stretches of one sensor, single nulls and infinities."""
    values, rng = values.copy(), chooser.rng
    for start in chooser.starts(NUM_SENTINEL_STRETCHES, MAX_SENTINEL_STEPS):
        length = rng.integers(1, MAX_SENTINEL_STEPS)
        values[start : start + length, rng.integers(SENSORS_WITH_DIRT)] = SENTINEL
    for start in chooser.starts(NUM_NULLS, 1):
        values[start, rng.integers(SENSORS_WITH_DIRT)] = np.nan
    for sign, start in zip((1, -1), chooser.starts(NUM_INFINITIES, 1), strict=False):
        values[start, rng.integers(SENSORS_WITH_DIRT)] = sign * np.inf
    return values


def _arrange(
    written: IntArray, values: FloatArray, arrival: FloatArray, keep: BoolArray, chooser: _Chooser
) -> DirtyRows:
    """Drop the gaps, add the copies, and put all rows in the order of arrival."""
    steps = np.flatnonzero(keep)
    copies = np.array(chooser.starts(NUM_COPIES, 1), dtype=np.int64)
    conflicts = np.array(chooser.starts(NUM_CONFLICTS, 1), dtype=np.int64)
    block = np.array(
        [step for at in chooser.starts(1, COPIED_BLOCK) for step in range(at, at + COPIED_BLOCK)],
        dtype=np.int64,
    )
    every = np.concatenate((steps, copies, block, conflicts))
    of_block = np.arange(block.size) // COPIED_BLOCK * COPIED_BLOCK
    last = block[of_block] + COPIED_BLOCK - 1 if block.size else block
    due = np.concatenate((arrival[steps], arrival[copies] + 0.2, last + 0.2, conflicts + 0.2))
    rows = values[every]
    # the same time again with a flow 5 % higher, as after a correction upstream
    rows[every.size - conflicts.size :, 2] = rows[every.size - conflicts.size :, 2] * 1.05 + 0.001
    order = np.argsort(due, kind="stable")
    return DirtyRows(written[every][order], rows[order], every[order])
