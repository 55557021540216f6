"""What a person should know about the files and the times of readings, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from vae_anomaly.domain import MICROSECONDS_PER_S, Contract, IntArray, Readings
from vae_anomaly.readings.alignment import (
    LONE_SHARE,
    align_rows,
    infer_own_period,
    measure_lone_share,
)
from vae_anomaly.readings.columns import RawColumn
from vae_anomaly.readings.parts import RawPart
from vae_anomaly.readings.rows import PERIOD_TOLERANCE, find_steps
from vae_anomaly.wording import format_plural


def note_parts(
    parts: Sequence[RawPart], columns: Mapping[str, RawColumn], contract: Contract
) -> tuple[str, ...]:
    """Note files without rows and files without some of the columns that are read.

    Args:
        parts: The input.
        columns: Its columns.
        contract: Which of them are read.
    """
    notes = []
    empty = [part.name for part in parts if part.num_rows == 0]
    if empty:
        have = "has" if len(empty) == 1 else "have"
        files = format_plural(len(parts), "file")
        notes.append(f"{len(empty)} of {files} {have} no rows: {', '.join(empty[:3])}")
    for name in (contract.timestamp, contract.asset, *contract.sensor_names):
        missing = columns[name].missing_from if name is not None else ()
        if missing:
            notes.append(
                f"column '{name}' is missing from {len(missing)} of "
                f"{format_plural(len(parts), 'file')}, "
                f"first from {missing[0]}; it is null there"
            )
    return tuple(notes)


def note_times(
    readings: Readings, usable: IntArray, period_s: float, *, is_aligned: bool
) -> tuple[str, ...]:
    """Note how many ticks rows became, or that they would better be aligned.

    Args:
        readings: The readings as they came.
        usable: Usable rows, sorted by asset and time.
        period_s: Seconds between ticks.
        is_aligned: Whether the settings align.
    """
    if is_aligned:
        ticks = align_rows(readings.take(usable), period_s=period_s, rules={}).readings.num_rows
        rows, shown = format_plural(usable.size, "usable row"), format_plural(ticks, "tick")
        return (f"{rows} became {shown} of {period_s:g} s",)
    found = note_period(find_steps(readings, usable), period_s)
    lone_share = measure_lone_share(readings, usable)
    if lone_share < LONE_SHARE:
        return found
    note = (
        f"{lone_share:.0%} of the rows have a value of one sensor only, each about every "
        f"{infer_own_period(readings, usable):g} s: set align to 'last' or 'mean', and period_s, "
        "in the settings of the readings"
    )
    return (*found, note)


def note_period(steps: IntArray, period_s: float) -> tuple[str, ...]:
    """Note a median step that is not the period of the contract.

    Args:
        steps: Microseconds between neighbours.
        period_s: Seconds between ticks by the contract.
    """
    if steps.size == 0:
        return ()
    median_s = float(np.median(steps)) / MICROSECONDS_PER_S
    if abs(median_s - period_s) <= PERIOD_TOLERANCE * period_s:
        return ()
    return (f"the median step is {median_s:g} s, the contract says {period_s:g} s",)
