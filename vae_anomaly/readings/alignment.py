"""Rows at any times made one row per tick: a pure function of the readings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np

from vae_anomaly.config import AlignmentRule, ReadingsConfig
from vae_anomaly.domain import (
    MICROSECONDS_PER_S,
    FloatArray,
    IntArray,
    Readings,
    SensorKind,
)
from vae_anomaly.errors import ContractError
from vae_anomaly.readings.quality import find_kind
from vae_anomaly.readings.rows import sort_rows

RULES: tuple[AlignmentRule, ...] = get_args(AlignmentRule)

Rules = Mapping[str, AlignmentRule]

LONE_SHARE = 0.9
"""From this share of rows with one sensor only, sensors are said to report at their own times."""


@dataclass(frozen=True)
class Aligned:
    """Readings at ticks.

    Attributes:
        readings: One row per asset and tick with rows, sorted by both.
        rows: Row of `readings` that each row given became part of. Shape `(rows,)` of those.
    """

    readings: Readings
    rows: IntArray


def list_rules(config: ReadingsConfig, sensors: Sequence[str]) -> dict[str, AlignmentRule]:
    """Return the rule of each sensor; empty where the settings align nothing."""
    chosen = {name: config.alignments.get(name, config.align) for name in sensors}
    return chosen if any(rule != "none" for rule in chosen.values()) else {}


def find_ticks(timestamps: IntArray, *, period_s: float) -> IntArray:
    """Return the tick at which each time counts: the first one that is not before it.

    Ticks are multiples of the period since 1970, so that they depend on no reading.

    Args:
        timestamps: Microseconds since 1970, UTC. Shape `(rows,)`.
        period_s: Seconds between ticks, a whole number of microseconds.

    Returns:
        Microseconds since 1970, UTC. Shape `(rows,)`.

    Raises:
        ContractError: The period is less than a microsecond.

    Example:
        >>> find_ticks(np.array([-1, 0, 1, 9, 10]), period_s=1e-5).tolist()
        [0, 0, 10, 10, 10]
    """
    period_us = _to_us(period_s)
    ticks: IntArray = -(-timestamps // period_us) * period_us
    return ticks


def align_readings(readings: Readings, *, period_s: float, rules: Rules) -> Readings:
    """Make one row at tick t of the rows of an asset with times in `(t - period, t]`.

    The result depends on the set of rows alone, not on their order, and aligning it again
    changes nothing. A tick without a row gets none: gaps stay gaps.

    Args:
        readings: Rows in any order with an asset, a time and no other row of the same asset and
            time.
        period_s: Seconds between ticks.
        rules: Rule by name of sensor. `last`: the latest value of the tick; `mean`: the mean of
            its values, each counting the same; `none`, also of sensors without a rule: the value
            at the tick itself, others are left out.

    Returns:
        The rows at ticks, sorted by asset and time; NaN where a tick has no value of a sensor.

    Raises:
        ContractError: The period is less than a microsecond.

    Example:
        >>> readings = Readings(
        ...     timestamps=np.array([1, 4, 10, 11]),
        ...     asset_codes=np.zeros(4, dtype=np.int64),
        ...     asset_names=("pump",),
        ...     values=np.array([[1.0], [np.nan], [3.0], [7.0]]),
        ...     sensors=("flow",),
        ... )
        >>> aligned = align_readings(readings, period_s=1e-5, rules={"flow": "mean"})
        >>> aligned.timestamps.tolist(), aligned.values[:, 0].tolist()
        ([10, 20], [2.0, 7.0])
    """
    return align_rows(readings, period_s=period_s, rules=rules).readings


def align_rows(readings: Readings, *, period_s: float, rules: Rules) -> Aligned:
    """Align as `align_readings` does, and say what became of each row."""
    order = sort_rows(readings, np.arange(readings.num_rows))
    codes, times = readings.asset_codes[order], readings.timestamps[order]
    ticks = find_ticks(times, period_s=period_s)
    is_first = np.ones(len(order), dtype=np.bool_)
    is_first[1:] = (codes[1:] != codes[:-1]) | (ticks[1:] != ticks[:-1])
    starts = np.flatnonzero(is_first)
    values = np.full((len(starts), len(readings.sensors)), np.nan, order="F")
    for k, sensor in enumerate(readings.sensors) if len(starts) else ():
        column = readings.values[order, k]
        rule = rules.get(sensor, "none")
        if rule == "mean":
            values[:, k] = _average(column, starts)
        else:
            allowed = np.ones(len(order), dtype=np.bool_) if rule == "last" else times == ticks
            values[:, k] = _take_last(column, starts, allowed & ~np.isnan(column))
    rows = np.empty(len(order), dtype=np.int64)
    rows[order] = np.cumsum(is_first) - 1
    return Aligned(
        Readings(
            timestamps=ticks[starts],
            asset_codes=codes[starts],
            asset_names=readings.asset_names,
            values=values,
            sensors=readings.sensors,
        ),
        rows,
    )


def require_numbers_to_average(readings: Readings, rules: Rules) -> None:
    """Refuse to average sensors that show states, not amounts.

    Args:
        readings: Readings as they came.
        rules: Rule by name of sensor.

    Raises:
        ContractError: A sensor to average has two levels.
    """
    wrong = [
        name
        for k, name in enumerate(readings.sensors)
        if rules.get(name) == "mean" and _is_binary(readings.values[:, k])
    ]
    if wrong:
        shown = ", ".join(f'"{name}" = "last"' for name in wrong)
        raise ContractError(
            f"Cannot align sensor '{wrong[0]}': expected amounts to take the mean of, got two "
            f"states, between which there is nothing. Set alignments = {{ {shown} }} in the "
            "settings of the readings."
        )


def infer_own_period(readings: Readings, rows: IntArray) -> float:
    """Return the usual time between two values of a sensor: the median over the sensors.

    Args:
        readings: The readings.
        rows: Usable rows, sorted by asset and time.

    Returns:
        Seconds, in whole microseconds; NaN where no sensor has two values of one asset.
    """
    medians = [x for x in find_own_periods(readings, rows) if not math.isnan(x)]
    return round(float(np.median(medians)), 6) if medians else math.nan


def find_own_periods(readings: Readings, rows: IntArray) -> tuple[float, ...]:
    """Return the median time between values of each sensor, seconds; NaN where there is none.

    Args:
        readings: The readings.
        rows: Usable rows, sorted by asset and time.
    """
    codes, times = readings.asset_codes[rows], readings.timestamps[rows]
    medians = []
    for k in range(len(readings.sensors)):
        seen = np.flatnonzero(~np.isnan(readings.values[rows, k]))
        steps = np.diff(times[seen])[np.diff(codes[seen]) == 0]
        medians.append(float(np.median(steps)) / MICROSECONDS_PER_S if steps.size else math.nan)
    return tuple(medians)


def measure_lone_share(readings: Readings, rows: IntArray) -> float:
    """Return the share of rows with a value that have one of a single sensor only.

    Args:
        readings: The readings.
        rows: Usable rows.

    Returns:
        Share in [0, 1]; 0 where nearly all such rows are of the same sensor, the others having
        hardly any value.
    """
    if len(readings.sensors) < 2 or not rows.size:
        return 0.0
    num_present = np.zeros(len(rows), dtype=np.int64)
    for k in range(len(readings.sensors)):
        num_present += ~np.isnan(readings.values[rows, k])
    is_lone = num_present == 1
    num_lone, num_seen = int(np.count_nonzero(is_lone)), int(np.count_nonzero(num_present))
    lone = readings.values[rows[is_lone]]
    of_one = int(np.count_nonzero(~np.isnan(lone), axis=0).max(initial=0))
    return num_lone / num_seen if of_one < LONE_SHARE * num_lone else 0.0


def _to_us(period_s: float) -> int:
    period_us = round(period_s * MICROSECONDS_PER_S)
    if period_us < 1:
        raise ContractError(
            f"Cannot align readings: expected a period of at least a microsecond, got "
            f"{period_s:g} s. Set period_s in the settings of the readings."
        )
    return period_us


def _take_last(column: FloatArray, starts: IntArray, is_usable: np.ndarray) -> FloatArray:
    """Return the last usable value of each group, NaN where there is none."""
    position = np.where(is_usable, np.arange(len(column)), -1)
    last = np.maximum.reduceat(position, starts)
    found: FloatArray = np.where(last >= 0, column[last], np.nan)
    return found


def _average(column: FloatArray, starts: IntArray) -> FloatArray:
    """Return the mean of each group's values, NaN where there is none.

    Sums are of distances from the last value, so that an offset costs no digit and the mean of
    equal values is that value.
    """
    is_present = ~np.isnan(column)
    base = _take_last(column, starts, is_present)
    sizes = np.diff(starts, append=len(column))
    distance = np.where(is_present, column - np.repeat(base, sizes), 0.0)
    num_present = np.add.reduceat(is_present.astype(np.int64), starts)
    mean: FloatArray = base + np.add.reduceat(distance, starts) / np.maximum(num_present, 1)
    return mean


def _is_binary(column: FloatArray) -> bool:
    return find_kind(column[~np.isnan(column)])[0] is SensorKind.BINARY
