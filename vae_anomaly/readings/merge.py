"""Rows of one asset and time made one, cell by cell, with the same end in any order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vae_anomaly.domain import BoolArray, FloatArray, IntArray, Readings
from vae_anomaly.readings.rows import take_rows


@dataclass(frozen=True)
class Merge:
    """What becomes of rows of which some share asset and time.

    Attributes:
        kept: Row that stands for each asset and time, sorted by both. Shape `(keys,)`.
        values: Merged values of each of them. Shape `(keys, sensors)`.
        others: The rows that another one stands for. Shape `(others,)`.
        losers: The rows, kept or not, of which a value is not the merged one.
    """

    kept: IntArray
    values: FloatArray
    others: IntArray
    losers: IntArray


def merge_rows(readings: Readings, rows: IntArray, *, first: BoolArray | None = None) -> Merge:
    """Merge rows of the same asset and time cell by cell.

    A value that is there beats a missing one; of several values the smallest stays. This is
    associative, commutative and idempotent, so that neither the order of the rows, nor how they
    are split over files, nor that some come twice plays a part.

    Args:
        readings: The readings.
        rows: Rows to merge, sorted by asset and time.
        first: Rows that stand for their key before others do; without it the row with the
            fewest missing values does, then the one with the smallest values. Shape `(rows,)`
            of the readings.

    Returns:
        What becomes of the rows.
    """
    repeats = find_repeats(readings, rows)
    if not repeats.any():
        nothing = np.zeros(0, dtype=np.int64)
        return Merge(rows, take_rows(readings.values, rows), nothing, nothing)
    is_shared = repeats.copy()
    is_shared[:-1] |= repeats[1:]
    shared = rows[is_shared]
    group: IntArray = np.cumsum(~repeats[is_shared]).astype(np.int64) - 1
    values = readings.values[shared]
    order = _order_in_groups(values, group, None if first is None else ~first[shared])
    shared, values = shared[order], values[order]
    is_first = np.diff(group, prepend=-1) != 0
    merged = np.fmin.reduceat(values, np.flatnonzero(is_first), axis=0)
    loses = np.any(values > merged[group], axis=1)
    kept = rows[~repeats].copy()
    is_merged = is_shared[~repeats]
    kept[is_merged] = shared[is_first]
    kept_values = readings.values[kept]
    kept_values[is_merged] = merged
    return Merge(kept, kept_values, shared[~is_first], shared[loses])


def find_repeats(readings: Readings, rows: IntArray) -> BoolArray:
    """Whether each row has the asset and time of the row before it. Shape `(rows,)`."""
    repeats = np.zeros(rows.size, dtype=np.bool_)
    times, codes = readings.timestamps[rows], readings.asset_codes[rows]
    repeats[1:] = (times[1:] == times[:-1]) & (codes[1:] == codes[:-1])
    return repeats


def _order_in_groups(values: FloatArray, group: IntArray, is_later: BoolArray | None) -> IntArray:
    """Order rows by group, then by what makes one stand for the others."""
    if is_later is not None:
        chosen: IntArray = np.lexsort((is_later, group))
        return chosen
    num_missing = np.isnan(values).sum(axis=1)
    order: IntArray = np.lexsort((*values.T[::-1], num_missing, group))
    return order
