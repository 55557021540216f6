"""Cutting steps into spans, so that scoring needs little memory and keeps every core busy.

What is computed of a step on the way to its score is ten times what is kept of it. A span is
scored as a whole, in memory that is used again for the next one; it is read from where on its
scores depend on, so that they are the same wherever it is cut.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from vae_anomaly.detector.adaptation import Track, memory_us

ItemT = TypeVar("ItemT")

SPAN_VALUES = 1 << 19
"""Readings in a span: 65,536 steps of 8 sensors. With a quarter of it, what is read again before
each span costs 10 % of the time; four times as many gain nothing."""

MIN_MEMORIES = 8
"""Least length of a span, in lengths of what is read again before it."""


@dataclass(frozen=True)
class Span:
    """Steps of one asset that are scored together.

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


def split_into_spans(track: Track, lookback: int, *, num_sensors: int) -> list[Span]:
    """Cut the steps of each asset into spans.

    Args:
        track: When and where the steps were, and how far levels reach.
        lookback: Steps before a step on which its residuals depend.
        num_sensors: Sensors of a step.

    Returns:
        The spans; every step is in one.
    """
    times, codes = track.timestamps, track.asset_codes
    memory = memory_us(track.adaptation_steps, period_s=track.period_s)
    ends = [0, *(np.flatnonzero(codes[1:] != codes[:-1]) + 1).tolist(), len(codes)]
    spans = []
    for begin, end in itertools.pairwise(ends):
        first = start = begin
        while start < end:
            num_steps = max(SPAN_VALUES // num_sensors, MIN_MEMORIES * (start - first), 1)
            spans.append(Span(first, start, min(start + num_steps, end)))
            start = spans[-1].stop
            level = begin + int(np.searchsorted(times[begin:start], times[start - 1] - memory))
            first = max(level - lookback, begin)
    return spans


def run_side_by_side(work: Callable[[ItemT], None], items: Sequence[ItemT]) -> None:
    """Call `work` with each item, as many at a time as there are cores."""
    num_threads = min(_count_cores(), len(items))
    if num_threads <= 1:
        for item in items:
            work(item)
        return
    with ThreadPoolExecutor(num_threads) as threads:
        for _ in threads.map(work, items):
            pass


def _count_cores() -> int:
    """Return the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
