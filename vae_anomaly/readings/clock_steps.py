"""Steps of the clock: back, off its grid, or by an hour as daylight saving makes them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vae_anomaly.domain import MICROSECONDS_PER_S, BoolArray, IntArray, Readings
from vae_anomaly.readings.rows import take_rows
from vae_anomaly.wording import format_plural

HOUR_US = 3_600 * MICROSECONDS_PER_S

LONGEST_PERIOD_US = HOUR_US // 2
"""Of a longer period, steps of an hour are nothing special."""

OFF_GRID = 0.1
"""A step this much of a period off any number of periods moves the clock off its grid."""

MAX_OFF_GRID_SHARE = 0.01
"""Where more of the steps are so, the readings are irregular, and no clock is to blame."""

SUNDAY = 3
"""Days since 1970 modulo 7: the first of them was a Thursday."""

CHANGE_HOURS = 4
"""Clocks are changed on a Sunday before this hour, local time."""


@dataclass(frozen=True)
class ClockSteps:
    """What the clocks of some rows do; those of rows that follow join.

    Attributes:
        num_steps: Steps between rows of one asset, in the order they came.
        num_back: Steps back.
        back_us: Time before the first of them, microseconds since 1970.
        num_off_grid: Steps forward of no whole number of periods.
        off_grid_us: Time before the first of them.
        num_hours: Steps by an hour in the night of a Sunday.
        hours_us: Time before the first of them.
    """

    num_steps: int = 0
    num_back: int = 0
    back_us: int = 0
    num_off_grid: int = 0
    off_grid_us: int = 0
    num_hours: int = 0
    hours_us: int = 0

    def join(self, later: ClockSteps) -> ClockSteps:
        """Return the steps of both."""
        return ClockSteps(
            num_steps=self.num_steps + later.num_steps,
            num_back=self.num_back + later.num_back,
            back_us=self.back_us if self.num_back else later.back_us,
            num_off_grid=self.num_off_grid + later.num_off_grid,
            off_grid_us=self.off_grid_us if self.num_off_grid else later.off_grid_us,
            num_hours=self.num_hours + later.num_hours,
            hours_us=self.hours_us if self.num_hours else later.hours_us,
        )

    def write_notes(self) -> tuple[str, ...]:
        """Write what a person should know."""
        notes = []
        if self.num_back:
            notes.append(
                f"times step back {_write_times(self.num_back, self.back_us)}: "
                "a clock that was set, or rows out of order"
            )
        if 0 < self.num_off_grid <= MAX_OFF_GRID_SHARE * self.num_steps:
            notes.append(
                "times move by no whole number of periods "
                f"{_write_times(self.num_off_grid, self.off_grid_us)}: a clock that was set?"
            )
        if self.num_hours:
            notes.append(
                "times step by an hour in the night of a Sunday "
                f"{_write_times(self.num_hours, self.hours_us)}: local times with daylight "
                "saving? Set timezone in the settings of the readings"
            )
        return tuple(notes)


def find_clock_steps(readings: Readings, rows: IntArray, period_s: float) -> ClockSteps:
    """Find what the clock of each asset does from row to row.

    Args:
        readings: Rows in the order they came.
        rows: Those of them that have a time and an asset, ascending.
        period_s: Seconds between ticks.
    """
    period_us = period_s * MICROSECONDS_PER_S
    times, is_other = take_rows(readings.timestamps, rows), None
    if len(readings.asset_names) > 1:
        codes = take_rows(readings.asset_codes, rows)
        order = np.argsort(codes, kind="stable")
        times, is_other = times[order], np.diff(codes[order]) != 0
    steps = np.diff(times)
    is_odd = steps != round(period_us)
    num_steps = steps.size
    if is_other is not None:
        is_odd &= ~is_other
        num_steps -= int(np.count_nonzero(is_other))
    odd = np.flatnonzero(is_odd)
    before, steps = times[odd], steps[odd]
    is_back = steps < 0
    periods = steps / period_us
    is_off_grid = ~is_back & (np.abs(periods - np.round(periods)) > OFF_GRID)
    is_hour = _are_hours(before, steps, period_us)
    return ClockSteps(
        num_steps=num_steps,
        **_count("back", before, is_back & ~is_hour),
        **_count("off_grid", before, is_off_grid & ~is_hour),
        **_count("hours", before, is_hour),
    )


def _are_hours(before: IntArray, steps: IntArray, period_us: float) -> BoolArray:
    """Whether steps are an hour more or less than a period, in the night of a Sunday."""
    days, times_of_day = np.divmod(before, 24 * HOUR_US)
    is_hour: BoolArray = (
        (np.abs(np.abs(steps - period_us) - HOUR_US) <= OFF_GRID * period_us)
        & (days % 7 == SUNDAY)
        & (times_of_day < CHANGE_HOURS * HOUR_US)
        & (period_us <= LONGEST_PERIOD_US)
    )
    return is_hour


def _count(name: str, before: IntArray, found: BoolArray) -> dict[str, int]:
    places = np.flatnonzero(found)
    first = int(before[places[0]]) if places.size else 0
    return {f"num_{name}": int(places.size), f"{name}_us": first}


def _write_times(number: int, first_us: int) -> str:
    first = str(np.datetime64(first_us, "us").astype("datetime64[s]")).replace("T", " ")
    return f"{format_plural(number, 'time')}, first after {first} UTC"
