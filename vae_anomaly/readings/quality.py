"""What each sensor's values look like: kind, quantisation step, flat runs, likely sentinels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vae_anomaly.domain import (
    FloatArray,
    IntArray,
    Sensor,
    SensorKind,
    SensorProfile,
)
from vae_anomaly.readings.grid import find_grid, merge_levels

SAMPLE_ROWS = 100_000
"""Values a grid is looked for in; more would not find a coarser one."""

FEW_LEVELS = 64
"""Up to this many levels a sensor counts as quantised: 6 bits."""

REPEATS_PER_LEVEL = 4
"""Few levels count only where each is seen this often on average."""

CENTRAL_SHARE = 0.99
"""Share of the values, in the middle, in which a grid is looked for; spikes must not hide it."""

GRID_SHARE = 0.95
"""Share of the values that the common levels hold; the rest may be glitches."""

LEVEL_REPEATS = 3
"""A common level is seen at least this often."""

SENTINEL_RANGES = 20.0
"""A suspected sentinel lies this many interquartile ranges from the median."""

SENTINEL_REPEATS = 3
"""A suspected sentinel comes at least this often."""


def profile_sensors(
    values: FloatArray,
    *,
    sensors: Sequence[Sensor],
    asset_codes: IntArray | None = None,
    num_infinite: IntArray | None = None,
    num_sentinel: IntArray | None = None,
) -> tuple[SensorProfile, ...]:
    """Describe each sensor by its values alone.

    Kind and step depend on nothing but the values of the sensor, and follow them through any
    change of unit: for `a * x + b` the kind is the same and the step is `|a|` times as large,
    also where |b| is 1e9 times the spread of x.

    Args:
        values: Raw values, NaN where missing, rows sorted by asset and time.
            Shape `(rows, sensors)`.
        sensors: The sensors, one per column.
        asset_codes: Asset of each row, so that no flat run crosses assets; gaps in time end none.
            Shape `(rows,)`.
        num_infinite: Infinities found before, per sensor. Shape `(sensors,)`.
        num_sentinel: Sentinels found before, per sensor. Shape `(sensors,)`.

    Returns:
        One profile per sensor. A sentinel suspected in one is suspected in every other of which
        it is the smallest or largest value.
    """
    zeros = np.zeros(len(sensors), dtype=np.int64)
    infinite = zeros if num_infinite is None else num_infinite
    sentinel = zeros if num_sentinel is None else num_sentinel
    codes = np.zeros(len(values), dtype=np.int64) if asset_codes is None else asset_codes
    profiles = [
        _profile(
            np.ascontiguousarray(values[:, k]),
            sensor,
            codes,
            num_infinite=int(infinite[k]),
            num_sentinel=int(sentinel[k]),
        )
        for k, sensor in enumerate(sensors)
    ]
    suspected = {value for profile in profiles for value in profile.suggested_sentinels}
    return tuple(_share_sentinels(profile, suspected) for profile in profiles)


def find_kind(present: FloatArray) -> tuple[SensorKind, float]:
    """Say what values look like and on which grid they lie.

    Args:
        present: Finite values in any order. Shape `(values,)`.

    Returns:
        The kind and the quantisation step in raw units, 0 where there is none. Few repeated
        levels that share no grid have their smallest distance as step.
    """
    if present.size == 0:
        return SensorKind.EMPTY, 0.0
    low, high = float(present.min()), float(present.max())
    if low == high:
        return SensorKind.CONSTANT, 0.0
    levels, counts = _find_levels(present)
    if levels.size == 2:
        return SensorKind.BINARY, high - low
    step = find_grid(levels)
    if levels.size <= FEW_LEVELS and counts.sum() >= REPEATS_PER_LEVEL * levels.size:
        return SensorKind.QUANTISED, step or float(np.diff(levels).min())
    is_coarse = step > 0.0 and round(float(levels[-1] - levels[0]) / step) <= FEW_LEVELS
    return (SensorKind.QUANTISED if is_coarse else SensorKind.CONTINUOUS), step


def suggest_sentinels(present: FloatArray) -> tuple[float, ...]:
    """Find repeated values far below or above everything else, such as -999 for a temperature.

    Args:
        present: Finite values in any order. Shape `(values,)`.

    Returns:
        At most one value per side, sorted. Where half of the values are equal, and there is no
        scale to measure "far" by, only values written with nines alone.
    """
    if present.size <= SENTINEL_REPEATS:
        return ()
    sample = np.sort(_sample(present))
    lower, upper = float(sample[sample.size // 4]), float(sample[-1 - sample.size // 4])
    room = SENTINEL_RANGES * (upper - lower)
    found = []
    for value in (float(present.min()), float(present.max())):
        is_far = lower - value > room or value - upper > room
        if is_far and (room > 0.0 or _is_all_nines(value)):
            distance = np.abs(present - value)
            num_equal = int(np.count_nonzero(distance == 0.0))
            is_alone = not np.any((distance > 0.0) & (distance <= room))
            if is_alone and num_equal >= SENTINEL_REPEATS:
                found.append(value)
    return tuple(found)


def count_flat_steps(values: FloatArray, segment_start: IntArray) -> IntArray:
    """Count the steps over which a sensor has shown nothing but its present value.

    Counted back to the start of the segment at most. A missing value says nothing: it neither
    ends a flat line nor has one itself. Silence counts all the same, so that whether more than
    n steps are flat depends on the last n + 1 of them alone, as a rule that scores a stream
    needs. A profile leaves the missing values out before it counts: it says how often in a row
    a sensor gave one value, and how much is missing stands beside it.

    Args:
        values: Raw values of one sensor, NaN where missing. Shape `(steps,)`.
        segment_start: Step at which each step's segment begins. Shape `(steps,)`.

    Returns:
        Steps, the present one included; 0 where the value is missing. Shape `(steps,)`.

    Example:
        >>> nan = float("nan")
        >>> values = np.array([1.0, 2.0, nan, 2.0, nan, 3.0, 3.0])
        >>> count_flat_steps(values, np.array([0, 0, 0, 0, 0, 0, 6]))
        array([1, 1, 0, 3, 0, 2, 1])
    """
    flat = np.zeros(len(values), dtype=np.int64)
    seen = np.flatnonzero(~np.isnan(values))
    if not len(seen):
        return flat
    present = values[seen]
    last_other = np.where(present[1:] != present[:-1], seen[:-1], -1)
    begin = np.maximum.accumulate(np.insert(last_other, 0, -1)) + 1
    flat[seen] = seen - np.maximum(begin, segment_start[seen]) + 1
    return flat


def _profile(
    values: FloatArray,
    sensor: Sensor,
    asset_codes: IntArray,
    *,
    num_infinite: int,
    num_sentinel: int,
) -> SensorProfile:
    seen = ~np.isnan(values)
    present, codes = values[seen], asset_codes[seen]
    flat_steps = count_flat_steps(present, np.searchsorted(codes, codes))
    kind, step = find_kind(present)
    has_values = present.size > 0
    return SensorProfile(
        name=sensor.name,
        kind=kind,
        unit=sensor.unit,
        missing_share=1.0 - present.size / values.size if values.size else 1.0,
        num_infinite=num_infinite,
        num_sentinel=num_sentinel,
        minimum=float(present.min()) if has_values else float("nan"),
        median=float(np.median(present)) if has_values else float("nan"),
        maximum=float(present.max()) if has_values else float("nan"),
        step=step,
        longest_flat_steps=int(flat_steps.max(initial=0)),
        suggested_sentinels=suggest_sentinels(present),
    )


def _share_sentinels(profile: SensorProfile, suspected: set[float]) -> SensorProfile:
    """Suspect at the ends of one sensor what is suspected in another."""
    mine = {value for value in (profile.minimum, profile.maximum) if value in suspected}
    found = sorted(mine | set(profile.suggested_sentinels))
    return replace(profile, suggested_sentinels=tuple(found))


def _sample(present: FloatArray) -> FloatArray:
    """Return every n-th value, so that about `SAMPLE_ROWS` remain."""
    return present[:: -(-present.size // SAMPLE_ROWS)]


def _find_levels(present: FloatArray) -> tuple[FloatArray, IntArray]:
    """Return the levels of the values and how often each is seen.

    Levels come from an even sample without the spikes at both ends; spikes, and in the end the
    sample itself, are given up where fewer than three levels would remain. Where the common
    levels hold nearly all values, the rare ones are left out: they are glitches off the grid.
    """
    ordered = np.sort(_sample(present))
    cut = int(ordered.size * (1.0 - CENTRAL_SHARE) / 2.0)
    for values in (ordered[cut : ordered.size - cut], ordered, np.sort(present)):
        levels, counts = merge_levels(values)
        if levels.size > 2:
            break
    common = counts >= max(_common_count(counts), LEVEL_REPEATS)
    is_enough = np.count_nonzero(common) > 2 and counts[common].sum() >= GRID_SHARE * counts.sum()
    return (levels[common], counts[common]) if is_enough else (levels, counts)


def _common_count(counts: IntArray) -> int:
    """Return how often a level must be seen so that such levels hold `GRID_SHARE` of all."""
    falling = np.sort(counts)[::-1]
    share = np.cumsum(falling) / falling.sum()
    return int(falling[np.searchsorted(share, GRID_SHARE)])


def _is_all_nines(value: float) -> bool:
    digits = f"{abs(value):.6f}".rstrip("0").replace(".", "")
    return len(digits) >= 3 and set(digits) == {"9"}
