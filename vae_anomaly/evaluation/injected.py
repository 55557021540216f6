"""Faults injected into normal readings: the same for every detector that is compared on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vae_anomaly.domain import BoolArray, FloatArray, IntArray

FAULT_STEPS = 60
"""Length of a fault: long enough for a score that is averaged over tens of steps to rise."""

KINDS = ("step", "drift", "stuck", "noise", "foreign")
"""An offset; one that grows; the last value held; noise added; values of another time."""

SIZES = (1.5, 3.0)
"""Spreads of the sensor: what is hard to see, and what is plain."""

MAX_PASSES = 50
"""Copies of the readings at most: few readings hold few faults that do not touch."""


@dataclass(frozen=True)
class InjectedFault:
    """One fault of one sensor, in the rows `[start, start + FAULT_STEPS)` of one copy.

    Attributes:
        start: First row.
        sensor: Position of the sensor.
        kind: One of `KINDS`.
        size: Spreads of the sensor, with a sign.
    """

    start: int
    sensor: int
    kind: str
    size: float


def plan_faults(
    is_free: BoolArray,
    asset_codes: IntArray,
    sensors: IntArray,
    *,
    num_faults: int,
    apart_steps: int,
) -> tuple[tuple[InjectedFault, ...], ...]:
    """Choose where to inject what: kinds, sensors and sizes in turn, places evenly spread.

    Args:
        is_free: Rows that may be changed: normal, and compared on. Shape `(rows,)`.
        asset_codes: Asset of each row; a fault is of one asset. Shape `(rows,)`.
        sensors: Positions of the sensors that may be faulty. Shape `(sensors,)`.
        num_faults: Faults wanted; there are fewer where few rows are free.
        apart_steps: Rows from the end of a fault to the next one in the same copy, over which a
            score comes down again.

    Returns:
        The faults of each copy of the readings.
    """
    starts = _find_starts(is_free, asset_codes)
    if not starts.size or not sensors.size:
        return ()
    spacing = FAULT_STEPS + apart_steps
    num_passes = int(min(max(np.ceil(num_faults * spacing / starts.size), 1), MAX_PASSES))
    passes: list[tuple[InjectedFault, ...]] = []
    number = 0
    for turn in range(num_passes):
        chosen = _space_out(starts, first=turn * spacing // num_passes, spacing=spacing)
        # every pass of many rows has more than its part; fewer, but from beginning to end
        share = min(len(chosen), max(-(-num_faults // num_passes), 1))
        ranks = np.linspace(0, len(chosen) - 1, share).astype(np.int64)
        kept = chosen[ranks].tolist()
        passes.append(tuple(_make(number + i, at, sensors) for i, at in enumerate(kept)))
        number += len(passes[-1])
    return tuple(one for one in passes if one)


def inject(
    values: FloatArray,
    asset_codes: IntArray,
    faults: tuple[InjectedFault, ...],
    *,
    spread: FloatArray,
    seed: int,
) -> FloatArray:
    """Return a copy of readings with faults in it.

    Args:
        values: Raw values. Shape `(rows, sensors)`.
        asset_codes: Asset of each row. Shape `(rows,)`.
        faults: What to inject.
        spread: Spread of each sensor, raw units. Shape `(sensors,)`.
        seed: Of the noise.
    """
    rng, faulty = np.random.default_rng(seed), values.copy()
    for fault in faults:
        rows = np.arange(fault.start, fault.start + FAULT_STEPS)
        own = np.flatnonzero(asset_codes == asset_codes[fault.start])
        amount = fault.size * spread[fault.sensor]
        healthy = values[rows, fault.sensor]
        if fault.kind == "step":
            changed = healthy + amount
        elif fault.kind == "drift":
            changed = healthy + 2 * amount * np.linspace(0.0, 1.0, FAULT_STEPS)
        elif fault.kind == "stuck":
            changed = np.full(FAULT_STEPS, healthy[0])
        elif fault.kind == "noise":
            changed = healthy + amount * rng.standard_normal(FAULT_STEPS)
        else:  # values of half the time away
            place = (rows - own[0] + own.size // 2) % own.size
            changed = values[own[place], fault.sensor]
        faulty[rows, fault.sensor] = changed
    return faulty


def find_spread(values: FloatArray) -> FloatArray:
    """Find the spread of each sensor: half the middle 68 %, or the deviation where that is 0.

    Args:
        values: Raw values. Shape `(rows, sensors)`.

    Returns:
        Raw units, 0 of a sensor that never moves or has no value. Shape `(sensors,)`.
    """
    present = np.isfinite(values).any(axis=0)
    spread = np.zeros(values.shape[1])
    if present.any():
        known = values[:, present]
        low, high = np.nanquantile(known, [0.16, 0.84], axis=0)
        spread[present] = np.where(high > low, (high - low) / 2, np.nanstd(known, axis=0))
    return spread


def _find_starts(is_free: BoolArray, asset_codes: IntArray) -> IntArray:
    """Find rows from which on `FAULT_STEPS` rows of one asset are free. Shape `(starts,)`."""
    if is_free.size < FAULT_STEPS:
        return np.zeros(0, dtype=np.int64)
    before = np.concatenate([[0], np.cumsum(is_free)])
    all_free = before[FAULT_STEPS:] - before[:-FAULT_STEPS] == FAULT_STEPS
    one_asset = asset_codes[FAULT_STEPS - 1 :] == asset_codes[: asset_codes.size - FAULT_STEPS + 1]
    return np.flatnonzero(all_free & one_asset)


def _space_out(starts: IntArray, *, first: int, spacing: int) -> IntArray:
    """Choose starts at least `spacing` rows apart, from the one of rank `first` on."""
    chosen, at = [], first
    while at < starts.size:
        chosen.append(starts[at])
        at = max(int(np.searchsorted(starts, starts[at] + spacing)), at + 1)
    return np.array(chosen, dtype=np.int64)


def _make(number: int, start: int, sensors: IntArray) -> InjectedFault:
    kind, turn = KINDS[number % len(KINDS)], number // len(KINDS)
    sign = 1.0 if turn % 2 else -1.0
    size = SIZES[(turn // 2) % len(SIZES)]
    return InjectedFault(start, int(sensors[turn % sensors.size]), kind, sign * size)
