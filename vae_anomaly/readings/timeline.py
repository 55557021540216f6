"""How many rows there are until when, by what the statistics of files say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from vae_anomaly.domain import FloatArray, IntArray
from vae_anomaly.readings.data_files import DataFile
from vae_anomaly.readings.rows import EARLIEST_US, LATEST_US


@dataclass(frozen=True)
class Timeline:
    """Rows over time, taken as evenly spread within each file: an estimate that reads nothing.

    Attributes:
        times_us: Where a file begins or has ended, ascending, microseconds since 1970.
        rows: Rows before each of these times. Shape `(times,)`.
    """

    times_us: IntArray
    rows: FloatArray

    @classmethod
    def of(cls, files: Iterable[DataFile]) -> Timeline:
        """Make the timeline of some files, which may overlap.

        Args:
            files: Files of a table.
        """
        figures = [(file.first_us, file.last_us + 1, file.num_rows) for file in files]
        firsts, ends, counts = np.array(figures, dtype=np.int64).reshape(-1, 3).T
        times, place = np.unique(np.concatenate([firsts, ends]), return_inverse=True)
        rates = np.zeros(times.size)
        per_us = counts / np.maximum(ends - firsts, 1)
        np.add.at(rates, place, np.concatenate([per_us, -per_us]))
        rows = np.cumsum(np.cumsum(rates)[:-1] * np.diff(times))
        return cls(times, np.concatenate([np.zeros(min(times.size, 1)), np.maximum(rows, 0.0)]))

    @property
    def start_us(self) -> int:
        """The first time; later than all where there are no files."""
        return int(self.times_us[0]) if self.times_us.size else LATEST_US

    @property
    def end_us(self) -> int:
        """The time after the last; earlier than all where there are no files."""
        return int(self.times_us[-1]) if self.times_us.size else EARLIEST_US

    def count(self, start_us: int, end_us: int) -> float:
        """Estimate the rows of `[start_us, end_us)`."""
        if not self.times_us.size:
            return 0.0
        before, until = np.interp([start_us, end_us], self.times_us, self.rows)
        return max(float(until - before), 0.0)

    def cut(self, start_us: int, end_us: int, *, max_rows: int) -> tuple[tuple[int, int], ...]:
        """Cut a span into neighbouring parts of about the same number of rows.

        Args:
            start_us: First time, microseconds since 1970.
            end_us: Time after the last.
            max_rows: Rows of a part, about.

        Returns:
            Start and end of each part, half-open, in order of time; together they are the span.

        Example:
            >>> file = DataFile("a", "a", "1970-01-01", 100, 0, 99, 0)
            >>> Timeline.of([file]).cut(0, 200, max_rows=40)
            ((0, 33), (33, 66), (66, 200))
        """
        num_parts = int(np.ceil(self.count(start_us, end_us) / max_rows))
        if num_parts <= 1:
            return ((start_us, end_us),)
        first, last = np.interp([start_us, end_us], self.times_us, self.rows)
        wanted = np.linspace(first, last, num_parts + 1)[1:-1]
        inner = np.interp(wanted, self.rows, self.times_us).astype(np.int64)
        inner = np.unique(inner[(inner > start_us) & (inner < end_us)])
        bounds = [start_us, *inner.tolist(), end_us]
        return tuple(pairwise(bounds))

    def find_back(self, time_us: int, num_rows: float) -> int:
        """Estimate from when on there are so many rows before a time, at the earliest the start.

        Args:
            time_us: The time, microseconds since 1970.
            num_rows: Rows wanted.
        """
        if not self.times_us.size:
            return time_us
        there = np.interp(time_us, self.times_us, self.rows)
        found = int(np.interp(there - num_rows, self.rows, self.times_us))
        return min(found, time_us) if num_rows < there else min(self.start_us, time_us)

    def find_ahead(self, time_us: int, num_rows: float) -> int:
        """Estimate until when there are so many rows from a time on, at the latest the end.

        Args:
            time_us: The time, microseconds since 1970.
            num_rows: Rows wanted.
        """
        if not self.times_us.size:
            return time_us
        there = np.interp(time_us, self.times_us, self.rows)
        found = int(np.interp(there + num_rows, self.rows, self.times_us))
        is_more = there + num_rows < self.rows[-1]
        return max(found, time_us) if is_more else max(self.end_us, time_us)
