"""Quality of one asset's values, counted part by part: parts that follow one another join."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise

import numpy as np

from vae_anomaly.domain import (
    MICROSECONDS_PER_DAY,
    BoolArray,
    FloatArray,
    IntArray,
    Readings,
    SensorQuality,
)

SPIKE_CHANGES = 10.0
"""A spike departs from both neighbours by more than this many usual changes."""

SAMPLE_CHANGES = 1_024
"""Changes that the usual one is the median of; more would hardly move it."""

FEW_CHANGES = 64
"""Fewer changes than this in a sample say too little of what is usual."""

PROBE_ROWS = 256
"""Rows by which sensors are picked that may have the same values, before all are compared."""

Ranges = Mapping[str, tuple[float, float]]
"""Smallest and largest value allowed, raw units, by name of sensor."""


@dataclass(frozen=True)
class SeriesQuality:
    """What the values of one asset are like over rows in order of time; an entry per sensor.

    Attributes:
        num_rows: Rows.
        first_us: Time of the first, microseconds since 1970.
        last_us: Time of the last.
        num_missing: Rows without a value. Shape `(sensors,)`, as all below.
        minimum: Smallest value, NaN where there is none.
        maximum: Largest value.
        num_out_of_range: Values outside the range that is allowed.
        num_spikes: Values that leave both neighbours on the same side; see `find_spikes`. The
            first and last value of a part are none.
        longest_run: Most values in a row that are the same, missing ones left out.
        first_run: How many of them there are at the beginning.
        last_run: And at the end.
        first_value: First value, NaN where there is none.
        last_value: Last value.
        copies: The first sensor that has the same value in every row: itself most often.
    """

    num_rows: int
    first_us: int
    last_us: int
    num_missing: IntArray
    minimum: FloatArray
    maximum: FloatArray
    num_out_of_range: IntArray
    num_spikes: IntArray
    longest_run: IntArray
    first_run: IntArray
    last_run: IntArray
    first_value: FloatArray
    last_value: FloatArray
    copies: IntArray

    def join(self, later: SeriesQuality) -> SeriesQuality:
        """Return the quality of these rows and of those that follow."""
        goes_on = self.last_value == later.first_value
        across = np.where(goes_on, self.last_run + later.first_run, 0)
        longest = np.maximum(np.maximum(self.longest_run, later.longest_run), across)
        return SeriesQuality(
            num_rows=self.num_rows + later.num_rows,
            first_us=self.first_us,
            last_us=later.last_us,
            num_missing=self.num_missing + later.num_missing,
            minimum=np.fmin(self.minimum, later.minimum),
            maximum=np.fmax(self.maximum, later.maximum),
            num_out_of_range=self.num_out_of_range + later.num_out_of_range,
            num_spikes=self.num_spikes + later.num_spikes,
            longest_run=longest,
            first_run=np.where(
                self._is_one_run() & goes_on,
                across,
                np.where(self._is_empty(), later.first_run, self.first_run),
            ),
            last_run=np.where(
                later._is_one_run() & goes_on,
                across,
                np.where(later._is_empty(), self.last_run, later.last_run),
            ),
            first_value=np.where(self._is_empty(), later.first_value, self.first_value),
            last_value=np.where(later._is_empty(), self.last_value, later.last_value),
            copies=_join_copies(self.copies, later.copies),
        )

    def list_sensors(
        self,
        asset: str,
        sensors: Sequence[str],
        *,
        num_infinite: IntArray | None = None,
        num_sentinel: IntArray | None = None,
    ) -> tuple[SensorQuality, ...]:
        """Return the quality sensor by sensor.

        Args:
            asset: Name of the asset.
            sensors: Names of the sensors.
            num_infinite: Infinities that became missing values. Shape `(sensors,)`.
            num_sentinel: Sentinels that became missing values. Shape `(sensors,)`.
        """
        zeros = np.zeros(len(sensors), dtype=np.int64)
        infinite = zeros if num_infinite is None else num_infinite
        sentinel = zeros if num_sentinel is None else num_sentinel
        moves = self.minimum < self.maximum
        return tuple(
            SensorQuality(
                asset=asset,
                sensor=name,
                first_us=self.first_us,
                last_us=self.last_us,
                num_rows=self.num_rows,
                num_missing=int(self.num_missing[k]),
                num_infinite=int(infinite[k]),
                num_sentinel=int(sentinel[k]),
                num_out_of_range=int(self.num_out_of_range[k]),
                num_spikes=int(self.num_spikes[k]),
                longest_flat_steps=int(self.longest_run[k]),
                last_flat_steps=int(self.last_run[k]),
                minimum=float(self.minimum[k]),
                maximum=float(self.maximum[k]),
                copy_of=sensors[self.copies[k]] if self.copies[k] != k and moves[k] else "",
            )
            for k, name in enumerate(sensors)
        )

    def _is_empty(self) -> BoolArray:
        is_empty: BoolArray = self.num_missing == self.num_rows
        return is_empty

    def _is_one_run(self) -> BoolArray:
        is_one_run: BoolArray = self.first_run == self.num_rows - self.num_missing
        return is_one_run


def measure_series(
    times: IntArray,
    values: FloatArray,
    sensors: Sequence[str],
    *,
    ranges: Ranges | None = None,
) -> SeriesQuality:
    """Measure rows of one asset.

    Args:
        times: Their times, ascending, at least one. Shape `(rows,)`.
        values: Raw values, NaN where missing. Shape `(rows, sensors)`.
        sensors: Names of the sensors.
        ranges: Values that are allowed.
    """
    num_sensors = len(sensors)
    counts = np.zeros((6, num_sensors), dtype=np.int64)
    levels = np.full((4, num_sensors), np.nan)
    for k, name in enumerate(sensors):
        present = np.ascontiguousarray(values[:, k])
        low = present.min()
        if np.isnan(low):
            present = present[~np.isnan(present)]
            counts[0, k] = len(times) - present.size
            if not present.size:
                continue
            low = present.min()
        high = present.max()
        levels[:, k] = low, high, present[0], present[-1]
        limits = ranges.get(name) if ranges else None
        if limits is not None and (low < limits[0] or high > limits[1]):
            is_outside = (present < limits[0]) | (present > limits[1])
            counts[1, k] = np.count_nonzero(is_outside)
        counts[2, k] = find_spikes(present).size if low < high else 0
        counts[3:, k] = measure_runs(present) if low < high else present.size
    return SeriesQuality(
        num_rows=len(times),
        first_us=int(times[0]),
        last_us=int(times[-1]),
        num_missing=counts[0],
        minimum=levels[0],
        maximum=levels[1],
        num_out_of_range=counts[1],
        num_spikes=counts[2],
        longest_run=counts[3],
        first_run=counts[4],
        last_run=counts[5],
        first_value=levels[2],
        last_value=levels[3],
        copies=find_copies(values),
    )


def find_runs(readings: Readings) -> list[tuple[int, int]]:
    """Return `[first, end)` of the rows of each asset and day; rows are sorted by both."""
    if readings.num_rows == 0:
        return []
    days = readings.timestamps // MICROSECONDS_PER_DAY
    is_new = (np.diff(days) != 0) | (np.diff(readings.asset_codes) != 0)
    cuts = [0, *(np.flatnonzero(is_new) + 1).tolist(), readings.num_rows]
    return list(pairwise(cuts))


def join_series(parts: Sequence[SeriesQuality]) -> SeriesQuality:
    """Join parts of one asset, in whatever order they are given.

    Where the times of parts overlap, they count one after the other.
    """
    ordered = sorted(parts, key=lambda part: (part.first_us, part.last_us))
    return reduce(SeriesQuality.join, ordered)


def find_spikes(values: FloatArray) -> IntArray:
    """Find single values that leave both neighbours on the same side, and far.

    A usual change is the median size of the changes that are not 0. So the unit plays no part; a
    step to another level is no spike, and a switch that goes on and off has none.

    Args:
        values: Values of one sensor in order of time, none missing. Shape `(values,)`.

    Returns:
        Positions of spikes, ascending.

    Example:
        >>> values = np.array([0.0, 1.0, 0.5, 90.0, 0.0, 1.0, 0.5, 1.5, 80.0, 81.0])
        >>> find_spikes(values).tolist()
        [3]
    """
    nothing = np.zeros(0, dtype=np.int64)
    if values.size < 3:
        return nothing
    change = np.diff(values)
    sample = _sample_changes(change)
    if not sample.size:
        return nothing
    limit = SPIKE_CHANGES * float(np.median(sample))
    if max(change.max(), -change.min()) <= limit:
        return nothing
    large = np.flatnonzero(np.abs(change) > limit)
    is_next = large[1:] == large[:-1] + 1
    returns = (change[large[1:]] > 0.0) != (change[large[:-1]] > 0.0)
    spikes: IntArray = large[:-1][is_next & returns] + 1
    return spikes


def _sample_changes(change: FloatArray) -> FloatArray:
    """Return the size of some changes that are not 0."""
    sample = np.abs(change[:: -(-change.size // SAMPLE_CHANGES)])
    sample = sample[sample > 0.0]
    if sample.size >= FEW_CHANGES:
        return sample
    # a value that is held for a while has changes of 0 wherever even steps fall
    moves: FloatArray = np.abs(change[change != 0.0])
    return moves[:: max(-(-moves.size // SAMPLE_CHANGES), 1)]


def measure_runs(values: FloatArray) -> tuple[int, int, int]:
    """Measure runs of equal values: the longest, that at the beginning, that at the end.

    Args:
        values: Values of one sensor in order of time, none missing, at least one.

    Example:
        >>> measure_runs(np.array([1.0, 1.0, 2.0, 3.0, 3.0, 3.0, 1.0]))
        (3, 2, 1)
    """
    is_same = values[1:] == values[:-1]
    if 2 * np.count_nonzero(is_same) > is_same.size:
        ends = np.append(np.flatnonzero(~is_same), is_same.size)
        lengths = np.diff(ends, prepend=-1)
        return int(lengths.max()), int(lengths[0]), int(lengths[-1])
    same = np.flatnonzero(is_same)
    if not same.size:
        return 1, 1, 1
    firsts = np.flatnonzero(np.diff(same, prepend=-2) != 1)
    lengths = np.diff(firsts, append=same.size) + 1
    first = lengths[0] if same[0] == 0 else 1
    last = lengths[-1] if same[-1] == is_same.size - 1 else 1
    return int(lengths.max()), int(first), int(last)


def find_copies(values: FloatArray) -> IntArray:
    """Find for each sensor the first one that has the same value in every row.

    Args:
        values: Raw values, NaN where missing. Shape `(rows, sensors)`.

    Example:
        >>> find_copies(np.array([[1.0, 2.0, 1.0], [3.0, 4.0, 3.0]])).tolist()
        [0, 1, 0]
    """
    probes = values[:: -(-len(values) // PROBE_ROWS)]
    first_of: dict[bytes, int] = {}
    copies = np.arange(values.shape[1])
    for k in range(values.shape[1]):
        j = first_of.setdefault(probes[:, k].tobytes(), k)
        if j != k and np.array_equal(values[:, j], values[:, k], equal_nan=True):
            copies[k] = j
    return copies


def _join_copies(copies: IntArray, later: IntArray) -> IntArray:
    """Sensors are copies where they are so in both parts."""
    pairs = copies * copies.size + later
    _, firsts, places = np.unique(pairs, return_index=True, return_inverse=True)
    joined: IntArray = firsts[places]
    return joined
