"""Which steps to score: those that came or changed, and those whose score depends on them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from vae_anomaly.domain import BoolArray, IntArray, Reach
from vae_anomaly.readings.rows import LATEST_US

READ_PER_SCORED = 4
"""A batch reads at most about this many times the steps that it scores at most."""

NEVER = np.iinfo(np.int64).min
"""Earlier than any time."""

SCORE, CLEAR = 1, 2
"""What becomes of a step: it is scored, or its score has to go because it waits."""


@dataclass(frozen=True)
class Stretch:
    """A span of time of one asset in which scores are replaced.

    Attributes:
        asset: Name of the asset.
        read_from_us: First step to read: the scores depend on some steps before them.
        start_us: Start of the span, microseconds since 1970.
        end_us: Its end, exclusive.
        read_to_us: Time after the last step to read: the scores may depend on steps after them.
        num_steps: Steps to score: all in the span, or none, where scores only go.
        num_read: Steps to read, about.
    """

    asset: str
    read_from_us: int
    start_us: int
    end_us: int
    read_to_us: int
    num_steps: int
    num_read: int = 0


def plan_stretches(
    asset: str,
    times: IntArray,
    touched: IntArray,
    *,
    reach: Reach,
    between: tuple[int, int] | None = None,
    max_steps: int,
) -> tuple[Stretch, ...]:
    """Find what to score so that the scores are those of one undisturbed run.

    A score depends on the steps around its own, as far as `reach` says. So whatever comes,
    changes or goes away changes the scores of the steps around it. Where a step is no more, its
    score goes; a step that has not all the steps after it yet has none.

    Args:
        asset: Name of the asset.
        times: Its steps, ascending, with those around `between` that scores there depend on: as
            many as `reach` says before, as many after, or all there are. Shape `(steps,)`.
        touched: Times of steps that are new, changed or no more, ascending, each once; those
            that scores in `between` depend on.
        reach: Steps around a step that its score depends on.
        between: Span to plan for, half-open; None for all of time.
        max_steps: Longer stretches are cut.

    Returns:
        The stretches in order of time; no step is in two of them.

    Example:
        >>> times = np.arange(0, 100, 10)
        >>> plan_stretches("a", times, times[4:5], reach=Reach(2), max_steps=100)[0].num_steps
        3
    """
    earliest, latest = find_reach(times, reach)
    is_waiting = latest == LATEST_US
    # where fewer steps are before one than its score reaches back, there may have been more
    since = np.where(np.arange(times.size) < reach.window_steps, NEVER, earliest)
    seen = np.searchsorted(touched, since) < np.searchsorted(touched, latest, side="right")
    gone = touched[~_are_steps(touched, np.searchsorted(times, touched), times)]
    label = np.concatenate(
        [np.where(seen, np.where(is_waiting, CLEAR, SCORE), 0), np.full(gone.size, SCORE)]
    )
    clock = np.concatenate([times, gone])
    order = np.argsort(clock, kind="stable")
    clock, label = clock[order], label[order]
    position = np.searchsorted(times, clock)
    from_us, to_us = between or (0, LATEST_US)
    label[(clock < from_us) | (clock >= to_us)] = 0
    return tuple(
        _make_stretch(asset, clock[run], position[run], times, (earliest, latest), is_score)
        for run, is_score in _find_runs(label, max_steps)
    )


def find_reach(times: IntArray, reach: Reach) -> tuple[IntArray, IntArray]:
    """Say from when to when the readings lie that the score of each step depends on.

    Args:
        times: Steps of one asset, ascending. Shape `(steps,)`.
        reach: Steps around a step that its score depends on.

    Returns:
        First and last time for each step; the last is `LATEST_US` where steps are yet to come.
        Shape `(steps,)` each.
    """
    position = np.arange(times.size)
    earliest = times[np.maximum(position - reach.window_steps, 0)] - reach.level_us
    ahead = position + reach.lookahead_steps
    last = times[np.minimum(ahead, times.size - 1)]
    return earliest, np.where(ahead < times.size, last, LATEST_US)


def make_batches(stretches: Iterable[Stretch], *, max_steps: int) -> Iterator[tuple[Stretch, ...]]:
    """Gather stretches while they hold no more than `max_steps`; each batch is written at once.

    Example:
        >>> part = Stretch("a", 0, 0, 1, 1, num_steps=2)
        >>> [len(batch) for batch in make_batches([part] * 5, max_steps=4)]
        [2, 2, 1]
    """
    batch: list[Stretch] = []
    num_steps = num_read = 0
    for stretch in stretches:
        num_steps += stretch.num_steps
        num_read += stretch.num_read
        if batch and (num_steps > max_steps or num_read > READ_PER_SCORED * max_steps):
            yield tuple(batch)
            batch, num_steps, num_read = [], stretch.num_steps, stretch.num_read
        batch.append(stretch)
    if batch:
        yield tuple(batch)


def _find_runs(label: IntArray, max_steps: int) -> Iterator[tuple[slice, bool]]:
    """Find the runs of one label that is not 0, those to score cut at `max_steps`."""
    cuts = np.flatnonzero(np.diff(label, prepend=0, append=0))
    for first, end in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
        if label[first]:
            for start in range(first, end, max_steps):
                yield slice(start, min(start + max_steps, end)), bool(label[first] == SCORE)


def _make_stretch(
    asset: str,
    clock: IntArray,
    position: IntArray,
    times: IntArray,
    reached: tuple[IntArray, IntArray],
    is_score: bool,  # noqa: FBT001 - what a run is for
) -> Stretch:
    is_there = _are_steps(clock, position, times)
    rows = position[is_there] if is_score else position[:0]
    earliest, latest = reached
    return Stretch(
        asset=asset,
        read_from_us=int(earliest[rows[0]]) if rows.size else int(clock[0]),
        start_us=int(clock[0]),
        end_us=int(clock[-1]) + 1,
        read_to_us=int(latest[rows[-1]]) + 1 if rows.size else int(clock[0]),
        num_steps=rows.size,
    )


def _are_steps(clock: IntArray, position: IntArray, times: IntArray) -> BoolArray:
    if not times.size:
        return np.zeros(clock.size, dtype=bool)
    there: BoolArray = times[np.minimum(position, times.size - 1)] == clock
    return there
