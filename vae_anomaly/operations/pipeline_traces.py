"""The scores that alert events are made from, read no further than an event can reach."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vae_anomaly.domain import MICROSECONDS_PER_S, FloatArray, IntArray
from vae_anomaly.operations.pipeline_scored import PinnedScores
from vae_anomaly.operations.pipeline_tables import ASSET, TIMESTAMP, to_microseconds
from vae_anomaly.readings.changes import join_spans
from vae_anomaly.readings.timeline import Timeline

if TYPE_CHECKING:
    from vae_anomaly.detector.detector import Detector

TRACE_STEPS = 200_000
"""Scores that are looked at at once; more only where one alert event is longer."""

FIRST_LOOK_STEPS = 1_000
"""Steps that are read first to see whether an event reaches over; then more and more."""


@dataclass(frozen=True)
class EventTrace:
    """Scores of one asset that hold all of the events that begin in `[start_us, end_us)`.

    Attributes:
        scores: asset, timestamp, score, reason and contribution; None where no score is above
            the threshold.
        start_us: No event reaches over this time.
        end_us: Nor over this one.
    """

    scores: pa.Table | None
    start_us: int
    end_us: int


class EventTraces:
    """Reads the traces of one asset.

    Args:
        scores: The scores of the model version.
        detector: The detector that scored.
        asset: The asset.
    """

    def __init__(self, scores: PinnedScores, detector: Detector, asset: str) -> None:
        config = detector.record.config.alerts
        self._scores = scores
        self._asset = asset
        self._sensors = detector.contract.sensor_names
        self._threshold = detector.record.calibration_of(asset).threshold
        self._held_above = config.release_fraction * self._threshold
        self._period_us = round(detector.contract.period_s * MICROSECONDS_PER_S)
        self._merge_us = round(
            config.merge_steps * detector.contract.period_s * MICROSECONDS_PER_S
        )

    def read(self, spans: Iterable[tuple[int, int]]) -> Iterator[EventTrace]:
        """Read the traces around spans of time, in order.

        Args:
            spans: Half-open spans in which scores changed, in any order.
        """
        line = self._scores.timeline_of(self._asset)
        near_us = self._merge_us + FIRST_LOOK_STEPS * self._period_us
        done_us = None
        for first_us, last_us in join_spans((start, end + near_us) for start, end in spans):
            end_us = self._find_quiet_end(last_us - near_us, line)
            start_us = self._find_quiet_start(first_us, line)
            start_us = start_us if done_us is None else max(start_us, done_us)
            if start_us < end_us:
                yield from self._read_between(start_us, end_us, line)
                done_us = end_us

    def _read_between(self, start_us: int, end_us: int, line: Timeline) -> Iterator[EventTrace]:
        """Read a part at a time, each up to where no event reaches over."""
        for _, stop_us in line.cut(start_us, end_us, max_rows=TRACE_STEPS):
            times, score = self._read_scores(start_us, stop_us)
            quiet_us = stop_us
            if stop_us < end_us:
                quiet_us = find_quiet_start(
                    times,
                    score,
                    held_above=self._held_above,
                    merge_us=self._merge_us,
                    before_us=stop_us,
                )
            if quiet_us > start_us:
                held = times[(score > self._held_above) & (times < quiet_us)]
                is_flagged = bool(np.any(score[times < quiet_us] > self._threshold))
                scores = self._read_all(int(held[0]), quiet_us) if is_flagged else None
                yield EventTrace(scores, start_us, quiet_us)
                start_us = quiet_us

    def _find_quiet_start(self, before_us: int, line: Timeline) -> int:
        """Find the latest time up to one before which no event reaches over."""
        steps = FIRST_LOOK_STEPS
        while True:
            from_us = before_us - self._merge_us - steps * self._period_us
            is_start = from_us <= line.start_us
            times, score = self._read_scores(from_us, before_us)
            quiet_us = find_quiet_start(
                times,
                score,
                held_above=self._held_above,
                merge_us=self._merge_us,
                before_us=before_us,
                from_us=None if is_start else from_us,
            )
            if is_start or quiet_us > from_us:
                return quiet_us
            steps *= 4

    def _find_quiet_end(self, after_us: int, line: Timeline) -> int:
        """Find the first time from one on over which no event reaches."""
        steps = FIRST_LOOK_STEPS
        while True:
            until_us = after_us + self._merge_us + steps * self._period_us
            times, score = self._read_scores(after_us, until_us)
            quiet_us = find_quiet_end(
                times,
                score,
                held_above=self._held_above,
                merge_us=self._merge_us,
                after_us=after_us,
                until_us=until_us,
            )
            if quiet_us is not None:
                return quiet_us
            if until_us >= line.end_us:
                return int(times[-1]) + 1 if times.size else after_us
            steps *= 4

    def _read_scores(self, start_us: int, end_us: int) -> tuple[IntArray, FloatArray]:
        """Read times and scores of the steps in `[start_us, end_us)` that have a score."""
        table = self._scores.read(
            self._asset, start_us=start_us, end_us=end_us, columns=("score",)
        )
        table = table.filter(pc.is_valid(table["score"]))
        return to_microseconds(table), table["score"].to_numpy()

    def _read_all(self, start_us: int, end_us: int) -> pa.Table:
        """Read what alert events are made from."""
        columns = ("score", "reason", "contribution")
        table = self._scores.read(self._asset, start_us=start_us, end_us=end_us, columns=columns)
        struct = table["contribution"].combine_chunks()
        shares = [pc.struct_field(struct, sensor) for sensor in self._sensors]
        return pa.table(
            {
                ASSET: pa.repeat(self._asset, table.num_rows),
                TIMESTAMP: table[TIMESTAMP],
                "score": table["score"],
                "reason": table["reason"],
                "contribution": pa.StructArray.from_arrays(shares, names=list(self._sensors)),
            }
        )


def find_quiet_start(
    times: IntArray,
    score: FloatArray,
    *,
    held_above: float,
    merge_us: int,
    before_us: int,
    from_us: int | None = None,
) -> int:
    """Find the latest time before which no event can reach over.

    Two events are apart where their flags are more than `merge_us` apart and a step that is not
    held lies between.

    Args:
        times: Scored steps before `before_us`, ascending. Shape `(steps,)`.
        score: Higher is stranger, no NaN. Shape `(steps,)`.
        held_above: Score above which a step keeps an event open.
        merge_us: Events closer than this are one, in microseconds.
        before_us: The time must not be later than this.
        from_us: Where the steps begin, if there may be others before: what holds there is not
            known. None where there are none.

    Returns:
        Microseconds since 1970. Events found in scores from here on are those found in all. Where
        `from_us` is given and the steps do not tell, `from_us`.

    Example:
        >>> times, score = np.arange(0, 90, 10), np.array([0, 9, 9, 0, 0, 0, 9, 9, 0])
        >>> find_quiet_start(times, score, held_above=5.0, merge_us=30, before_us=90)
        60
    """
    held = np.append(np.flatnonzero(score > held_above), times.size)
    held_times = np.append(times, before_us)[held]
    if from_us is not None:
        held, held_times = np.append(-1, held), np.append(from_us, held_times)
    is_apart = (np.diff(held_times) > merge_us) & (np.diff(held) > 1)
    last_apart = np.flatnonzero(is_apart)
    return int(held_times[last_apart[-1] + 1 if last_apart.size else 0])


def find_quiet_end(
    times: IntArray,
    score: FloatArray,
    *,
    held_above: float,
    merge_us: int,
    after_us: int,
    until_us: int,
) -> int | None:
    """Find the first time after which no event of before can go on.

    Args:
        times: Scored steps in `[after_us, until_us)`, ascending. Shape `(steps,)`.
        score: Higher is stranger, no NaN. Shape `(steps,)`.
        held_above: Score above which a step keeps an event open.
        merge_us: Events closer than this are one, in microseconds.
        after_us: The time must not be earlier than this; what is before may be held.
        until_us: End of the steps; others may follow, and be held.

    Returns:
        Microseconds since 1970: events that begin there or later are whole. None where the steps
        do not tell.

    Example:
        >>> times, score = np.arange(0, 90, 10), np.array([9, 9, 0, 0, 0, 0, 9, 9, 0])
        >>> find_quiet_end(
        ...     times, score, held_above=5.0, merge_us=30, after_us=0, until_us=90
        ... )
        60
    """
    held = np.concatenate([[-1], np.flatnonzero(score > held_above), [times.size]])
    held_times = np.concatenate([[after_us - 1], times[held[1:-1]], [until_us]])
    is_apart = (np.diff(held_times) > merge_us) & (np.diff(held) > 1)
    first_apart = np.flatnonzero(is_apart)
    return int(held_times[first_apart[0] + 1]) if first_apart.size else None
