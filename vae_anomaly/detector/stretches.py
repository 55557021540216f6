"""Cutting steps into stretches, so that scoring needs little memory and keeps every core busy.

What is computed of a step on the way to its score is ten times what is kept of it. A stretch is
scored as a whole, in memory that is used again for the next one; it is read from where on its
scores depend on, so that they are the same wherever it is cut.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, TypeVar

import numpy as np

from vae_anomaly.detector.adaptation import Track, memory_us

ItemT = TypeVar("ItemT")

STRETCH_VALUES = 1 << 19
"""Readings in a stretch: 65,536 steps of 8 sensors. With a quarter of it, what is read again
before each stretch costs 10 % of the time; four times as many gain nothing."""

MAX_VALUES_AT_A_TIME = 1 << 24
"""Readings in all stretches that are scored side by side: ten arrays of them fill 1.3 GB."""

MIN_MEMORIES = 8
"""Least length of a stretch, in lengths of what is read again before it."""


@dataclass(frozen=True)
class Stretch:
    """Steps that are scored together: of one asset, or whole assets.

    Attributes:
        first: The first step that their scores depend on.
        start: The first step to score.
        stop: The step after the last one.
    """

    first: int
    start: int
    stop: int

    @property
    def num_read(self) -> int:
        """Number of steps to read."""
        return self.stop - self.first


def split_into_stretches(track: Track, lookback: int, *, num_sensors: int) -> list[Stretch]:
    """Cut the steps of each asset into stretches; short assets share one.

    Args:
        track: When and where the steps were, and how far levels reach.
        lookback: Steps before a step on which its residuals depend.
        num_sensors: Sensors of a step.

    Returns:
        The stretches; every step is in one.
    """
    times, codes = track.timestamps, track.asset_codes
    memory = memory_us(track.adaptation_steps, period_s=track.period_s)
    ends = [0, *(np.flatnonzero(codes[1:] != codes[:-1]) + 1).tolist(), len(codes)]
    stretches: list[Stretch] = []
    least = max(STRETCH_VALUES // num_sensors, 1)
    for begin, end in itertools.pairwise(ends):
        last = stretches[-1] if stretches else None
        if last and last.first == last.start and end - last.start <= least:
            stretches[-1] = replace(last, stop=end)  # short assets share a stretch
            continue
        first = start = begin
        while start < end:
            num_steps = max(least, MIN_MEMORIES * (start - first))
            stretches.append(Stretch(first, start, min(start + num_steps, end)))
            start = stretches[-1].stop
            level = begin + int(np.searchsorted(times[begin:start], times[start - 1] - memory))
            first = max(level - lookback, begin)
    return stretches


def run_side_by_side(
    work: Callable[[ItemT], None], items: Sequence[ItemT], *, most: int | None = None
) -> None:
    """Call `work` with each item, as many at a time as there are cores, or `most`.

    Each has one core, its matrix products too: products that share out their rows among threads
    would wait for one another, and be rounded by how many there are.
    """
    num_threads = min(_count_cores(), len(items), len(items) if most is None else most)
    with _find_pools().limit(limits=1, user_api="blas"):
        if num_threads <= 1:
            for item in items:
                work(item)
            return
        with ThreadPoolExecutor(num_threads) as threads:
            for _ in threads.map(work, items):
                pass


@cache
def _find_pools() -> Any:
    """Find the thread pools of the libraries that multiply, once: it takes milliseconds."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def _count_cores() -> int:
    """Return the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
