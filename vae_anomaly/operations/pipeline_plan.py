"""Which steps to score: those without a score, and those whose score they change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from vae_anomaly.domain import BoolArray, IntArray, Reach


@dataclass(frozen=True)
class Stretch:
    """Neighbouring steps of one asset to score.

    Attributes:
        asset: Name of the asset.
        read_from_us: First step to read: the scores depend on some steps before them.
        start_us: First step to score, microseconds since 1970.
        end_us: Time after the last step to score.
        read_to_us: Time after the last step to read: the scores may depend on steps after them.
        num_steps: Steps to score.
    """

    asset: str
    read_from_us: int
    start_us: int
    end_us: int
    read_to_us: int
    num_steps: int


def find_due(
    times: IntArray,
    scored: IntArray,
    *,
    start_us: int | None,
    lookahead_steps: int = 0,
    renewed: IntArray | None = None,
) -> BoolArray:
    """Tell which steps have no score yet, or need a new one, and can have one.

    Args:
        times: Steps of one asset, ascending. Shape `(steps,)`.
        scored: Steps of it that have a score, in any order.
        start_us: Earlier steps are not scored; None scores all.
        lookahead_steps: Steps after a step that its score depends on: the last ones wait.
        renewed: Steps to score again, in any order.

    Returns:
        One truth value per step. Shape `(steps,)`.
    """
    due: BoolArray = np.isin(times, scored, invert=True)
    if renewed is not None:
        due |= np.isin(times, renewed)
    due &= ~_is_waiting(times, lookahead_steps)
    return due if start_us is None else due & (times >= start_us)


def find_neighbours(times: IntArray, gone: IntArray) -> IntArray:
    """Return the steps next to those that are no more.

    Args:
        times: Steps that there are, ascending. Shape `(steps,)`.
        gone: Steps that there are no more.

    Example:
        >>> find_neighbours(np.array([0, 10, 30]), np.array([20]))
        array([10, 30])
    """
    after = np.searchsorted(times, gone)
    around = np.unique(np.concatenate([after - 1, after]))
    neighbours: IntArray = times[around[(around >= 0) & (around < times.size)]]
    return neighbours


def plan_stretches(
    asset: str,
    times: IntArray,
    due: BoolArray,
    *,
    start_us: int | None = None,
    reach: Reach,
    max_steps: int,
) -> tuple[Stretch, ...]:
    """Find what to score so that the scores are those of one undisturbed run.

    A score depends on the steps around its own, as far as `reach` says. So a step that came late
    changes the scores of the steps around it: they are scored again. Each step that is due stands
    for one that came, or that lies so close before it.

    Args:
        asset: Name of the asset.
        times: Its steps, ascending. Shape `(steps,)`.
        due: Steps without a score. Shape `(steps,)`.
        start_us: Earlier steps are not scored; None scores all.
        reach: Steps around a step that its score depends on.
        max_steps: Longer stretches are cut.

    Returns:
        The stretches in order of time; no step is in two of them.

    Example:
        >>> times, due = np.arange(0, 100, 10), np.zeros(10, dtype=bool)
        >>> due[4] = True
        >>> plan_stretches("a", times, due, reach=Reach(2), max_steps=100)
        (Stretch(asset='a', read_from_us=20, start_us=40, end_us=61, read_to_us=61, num_steps=3),)
    """
    ahead = reach.lookahead_steps
    position = np.arange(times.size)
    earliest = times[np.maximum(position - reach.window_steps, 0)] - reach.level_us
    last_due = np.maximum.accumulate(np.where(due, position, -1))
    affected = (last_due >= 0) & (times[np.maximum(last_due, 0)] >= earliest)
    if ahead:
        affected |= _is_just_after(due[::-1], ahead)[::-1]
        affected &= ~_is_waiting(times, ahead)
    if start_us is not None:
        affected &= times >= start_us
    rows = np.flatnonzero(affected)
    cuts = np.flatnonzero(np.diff(rows) > 1) + 1
    return tuple(
        Stretch(
            asset=asset,
            read_from_us=int(earliest[part[0]]),
            start_us=int(times[part[0]]),
            end_us=int(times[part[-1]]) + 1,
            read_to_us=int(times[min(int(part[-1]) + ahead, times.size - 1)]) + 1,
            num_steps=part.size,
        )
        for run in np.split(rows, cuts)
        for part in np.split(run, range(max_steps, run.size, max_steps))
        if part.size
    )


def _is_just_after(due: BoolArray, num_steps: int) -> BoolArray:
    """Tell which steps are due, or at most so many after one that is."""
    position = np.arange(due.size)
    last_due = np.maximum.accumulate(np.where(due, position, -num_steps - 1))
    after: BoolArray = position - last_due <= num_steps
    return after


def _is_waiting(times: IntArray, lookahead_steps: int) -> BoolArray:
    """Tell which steps do not have all the steps yet that their scores depend on."""
    waiting: BoolArray = np.arange(times.size) >= times.size - lookahead_steps
    return waiting


def make_batches(stretches: Iterable[Stretch], *, max_steps: int) -> Iterator[tuple[Stretch, ...]]:
    """Gather stretches until they hold `max_steps` or more; each batch is written at once.

    Example:
        >>> part = Stretch("a", 0, 0, 1, 1, num_steps=2)
        >>> [len(batch) for batch in make_batches([part] * 5, max_steps=4)]
        [2, 2, 1]
    """
    batch: list[Stretch] = []
    for stretch in stretches:
        batch.append(stretch)
        if sum(item.num_steps for item in batch) >= max_steps:
            yield tuple(batch)
            batch = []
    if batch:
        yield tuple(batch)
