"""Local times as UTC, with a stated rule for the two hours a year that a clock change breaks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vae_anomaly.domain import NO_TIME, BoolArray, IntArray
from vae_anomaly.errors import ReadingsError
from vae_anomaly.readings.rows import EARLIEST_US, LATEST_US

MICROSECONDS_PER_MINUTE = 60_000_000

STEP_BACK_US = 10 * MICROSECONDS_PER_MINUTE
"""A clock that goes back by more than this inside a repeated hour was set back."""


@dataclass(frozen=True)
class UtcTimes:
    """Local times in UTC.

    Attributes:
        values: Microseconds since 1970 in UTC, `NO_TIME` where missing. Shape `(rows,)`.
        is_skipped: Times that do not exist: the clock was set forward over them. Their values
            mean nothing. Shape `(rows,)`.
        is_repeated: Times that come twice: the clock was set back. Shape `(rows,)`.
        is_second: Those of them that were taken as the second time. Shape `(rows,)`.
    """

    values: IntArray
    is_skipped: BoolArray
    is_repeated: BoolArray
    is_second: BoolArray


class LocalClock:
    """Turns the local times of one input into UTC, batch after batch.

    A time that comes twice, when the clock is set back, is the first of both, until the times of
    the asset step back by more than ten minutes inside the repeated hour, in the order of the
    rows; from there on it is the second. An asset whose times do not step back was not seen to
    repeat the hour, and keeps the first.

    Attributes:
        zone: Name of the zone.
    """

    def __init__(self, zone: str) -> None:
        self.zone = zone
        self._last: dict[str | None, tuple[int, bool]] = {}

    def to_utc(self, local: IntArray, codes: IntArray, names: list[str | None]) -> UtcTimes:
        """Turn the next rows into UTC.

        Args:
            local: Microseconds since 1970 on the local clock, `NO_TIME` where missing.
                Shape `(rows,)`.
            codes: Asset of each row, as a place in `names`. Shape `(rows,)`.
            names: Assets.
        """
        first, second, skipped = self._find_offsets(local)
        is_repeated = first != second
        is_second = np.zeros(local.size, dtype=np.bool_)
        if self._last or is_repeated.any():
            self._follow_clocks(local, is_repeated, is_second, codes, names)
        has_time = local != NO_TIME
        offset = np.where(is_second, second, first)
        return UtcTimes(
            np.where(has_time, local - offset, NO_TIME), skipped, is_repeated, is_second
        )

    def _find_offsets(self, local: IntArray) -> tuple[IntArray, IntArray, BoolArray]:
        """Return the offsets from UTC at the first and second reading, and what was skipped.

        Zones change at whole minutes, so that minutes are looked up, not times.
        """
        is_plausible = (local >= EARLIEST_US) & (local < LATEST_US)
        minutes = np.where(is_plausible, local, EARLIEST_US) // MICROSECONDS_PER_MINUTE
        encoded = pa.array(minutes).dictionary_encode()
        starts = encoded.dictionary.to_numpy() * MICROSECONDS_PER_MINUTE
        first = self._assume(starts, ambiguous="earliest", nonexistent="latest")
        second = self._assume(starts, ambiguous="latest", nonexistent="latest")
        before = self._assume(starts, ambiguous="earliest", nonexistent="earliest")
        rows = encoded.indices.to_numpy()
        return (
            np.where(is_plausible, (starts - first)[rows], 0),
            np.where(is_plausible, (starts - second)[rows], 0),
            is_plausible & (before != first)[rows],
        )

    def _assume(self, starts: IntArray, *, ambiguous: str, nonexistent: str) -> IntArray:
        naive = pc.cast(pa.array(starts), pa.timestamp("us"))
        try:
            found = pc.assume_timezone(
                naive, self.zone, ambiguous=ambiguous, nonexistent=nonexistent
            )
        except pa.ArrowInvalid as error:
            raise ReadingsError(
                f"Cannot read local times: expected the zone '{self.zone}' in the time zone data "
                "of the system, got none. Install them, with the package tzdata of the system."
            ) from error
        values: IntArray = pc.cast(found, pa.int64()).to_numpy()
        return values

    def _follow_clocks(
        self,
        local: IntArray,
        is_repeated: BoolArray,
        is_second: BoolArray,
        codes: IntArray,
        names: list[str | None],
    ) -> None:
        """Tell which repeated times are the second ones, asset by asset."""
        usable = np.flatnonzero(local != NO_TIME)
        order = usable[np.argsort(codes[usable], kind="stable")]
        cuts = np.flatnonzero(np.diff(codes[order])) + 1
        for rows in np.split(order, cuts):
            if rows.size:
                self._follow_clock(local, is_repeated, is_second, rows, names[codes[rows[0]]])

    def _follow_clock(
        self,
        local: IntArray,
        is_repeated: BoolArray,
        is_second: BoolArray,
        rows: IntArray,
        name: str | None,
    ) -> None:
        last_us, was_second = self._last.pop(name, (NO_TIME, False))
        times, repeated = local[rows], is_repeated[rows]
        if not repeated.any():
            return
        # a visit is a run of repeated times; the first may go on from the batch before
        is_new = repeated & ~np.concatenate([[last_us != NO_TIME], repeated[:-1]])
        visit = np.cumsum(is_new)
        steps = np.diff(times, prepend=last_us if last_us != NO_TIME else times[0])
        is_back = repeated & ~is_new & (steps < -STEP_BACK_US)
        if repeated[0] and last_us != NO_TIME and was_second:
            is_back[0] = True
        num_back = np.cumsum(is_back)
        starts = np.searchsorted(visit, np.arange(visit[-1] + 1))
        before = np.concatenate([[0], num_back])[starts]
        second = repeated & (num_back - before[visit] > 0)
        is_second[rows] = second
        if repeated[-1]:
            self._last[name] = (int(times[-1]), bool(second[-1]))
