"""The alerting score: residual energy, smoothed over the last steps of a segment.

S_t = sum_k w_k E_(t-k), w_k proportional to q^k, q = 1 - 2 / (span + 1). Where an alert may come
later, such weights average S over the steps that follow too: a spike of noise on one step then
weighs less against a change that lasts. A fault is seen best by an average about as long as the
fault, so there are several spans.
"""

from __future__ import annotations

import numpy as np

from vae_anomaly.domain import BoolArray, FloatArray, IntArray

SPANS_REMEMBERED = 3
"""Spans that the moving average reaches back at least. All steps before weigh less than 0.3 %
together and are cut off: the score is then a function of a finite window, the same however the
readings were split."""


STEPS_AT_A_TIME = 1 << 15
"""Steps that are averaged at a time, so that sums stay in the cache of a core."""

SPAN_SHARES = (0.25, 1.0, 2.5)
"""Spans of the averages, as multiples of the one that was asked for. The longest, 50 steps by
default, is that of the shifts, so that a score looks no further back for it."""


def list_spans(smoothing_steps: int) -> tuple[int, ...]:
    """Return the spans of the moving averages of the energy, shortest first.

    Example:
        >>> list_spans(20), list_spans(1)
        ((5, 20, 50), (1,))
    """
    if smoothing_steps == 1:
        return (1,)
    return tuple(sorted({max(round(share * smoothing_steps), 1) for share in SPAN_SHARES}))


def memory_steps(span: int) -> int:
    """Return how many steps, the present one included, a smoothed score depends on.

    A power of two, so that a sum over them is made by doubling alone.

    Example:
        >>> memory_steps(20), memory_steps(1)
        (64, 1)
    """
    return 1 if span == 1 else 1 << (SPANS_REMEMBERED * span - 1).bit_length()


def smooth(
    energy: FloatArray,
    segment_start: IntArray,
    *,
    span: int,
    normal_level: float,
    latency_steps: int = 0,
    span_ahead: int | None = None,
) -> FloatArray:
    """Average the energy of neighbouring steps with exponentially falling weights.

    Steps before the segment, and steps without an energy, count as normal. At the end of a
    segment the average is over the steps that follow as far as there are any.

    Args:
        energy: Energy per step, NaN where unscorable; higher is stranger. Shape `(steps,)`.
        segment_start: As in `Steps`. Shape `(steps,)`.
        span: Span of the average in steps; 1 leaves the energy as it is.
        normal_level: Energy of a normal step, in place of a missing one.
        latency_steps: Steps after a step that its score may wait for.
        span_ahead: Span of the average over those, `span` where not given.

    Returns:
        The score; NaN where the energy is NaN. Shape `(steps,)`.

    Example:
        >>> smooth(np.array([1.0, 1.0, 5.0]), np.zeros(3, dtype=int), span=3, normal_level=1.0)
        array([1.        , 1.        , 3.00003052])
    """
    excess = np.nan_to_num(energy - normal_level, nan=0.0, posinf=np.inf)
    total = average_back(excess, segment_start, span=span)
    ahead = span if span_ahead is None else span_ahead
    total = average_ahead(total, segment_start, span=ahead, latency_steps=latency_steps)
    return np.where(np.isnan(energy), np.nan, normal_level + total)


def average_back(values: FloatArray, segment_start: IntArray, *, span: int) -> FloatArray:
    """Average each step with those before it, with exponentially falling weights.

    Steps before the segment count as 0.

    Args:
        values: No NaN. Shape `(steps,)` or `(steps, channels)`.
        segment_start: As in `Steps`. Shape `(steps,)`.
        span: Span of the average in steps.

    Returns:
        The averages, over `memory_steps(span)` steps each. Shape of `values`.
    """
    share, num_terms = falling_share(span), memory_steps(span)
    average = np.empty_like(values)
    for begin in range(0, len(values), STEPS_AT_A_TIME):
        first, stop = max(begin - num_terms + 1, 0), min(begin + STEPS_AT_A_TIME, len(values))
        start = np.maximum(segment_start[first:stop], first)
        starts = np.flatnonzero(np.diff(start, prepend=-1))
        total = _sum_back(values[first:stop], starts, share=share, num_terms=num_terms)
        average[begin:stop] = total[begin - first :]
    average /= _sum_of_powers(share, num_terms)
    return average


def average_ahead(
    values: FloatArray, segment_start: IntArray, *, span: int, latency_steps: int
) -> FloatArray:
    """Average each step with those after it, with exponentially falling weights.

    Args:
        values: No NaN. Shape `(steps,)`.
        segment_start: As in `Steps`. Shape `(steps,)`.
        span: Span of the average in steps.
        latency_steps: Steps after a step that its average may wait for; 0 leaves all as it is.

    Returns:
        The averages, over as many steps as the segment still has. Shape `(steps,)`.
    """
    num_steps = len(values)
    if not latency_steps or not num_steps:
        return values
    share = falling_share(span)
    starts = np.flatnonzero(np.diff(segment_start, prepend=-1))
    ends = num_steps - np.append(starts[1:], num_steps)[::-1]
    total = _sum_back(values[::-1], ends, share=share, num_terms=latency_steps + 1)[::-1]
    last = np.repeat(np.append(starts[1:], num_steps), np.diff(starts, append=num_steps))
    ahead = np.minimum(last - 1 - np.arange(num_steps), latency_steps)
    return np.asarray(total / _sum_of_powers(share, np.arange(latency_steps + 1) + 1)[ahead])


def falling_share(span: int) -> float:
    """Return the weight of a step as a share of that of the step after it."""
    return 1.0 - 2.0 / (span + 1.0)


def _sum_of_powers(share: float, num_terms: int | IntArray) -> FloatArray:
    return np.asarray((1.0 - share**num_terms) / (1.0 - share))


def _sum_back(values: FloatArray, starts: IntArray, *, share: float, num_terms: int) -> FloatArray:
    """Return sum_(k < num_terms) share^k values[t - k] within each segment.

    Sums of 1, 2, 4, ... terms, each made of two of the sums before, so that 64 terms cost six
    passes; a sum depends on its own terms alone, bit for bit.
    """
    sums, power, num_summed = values.copy(), 1, 0
    total, shifted = np.zeros_like(values), np.empty_like(values)
    while True:
        if num_terms & power:
            total += _shift(sums, starts, num_summed, share, out=shifted)
            num_summed += power
        if num_summed == num_terms:
            return total
        sums += _shift(sums, starts, power, share, out=shifted)
        power *= 2


def _shift(
    values: FloatArray, starts: IntArray, num_steps: int, share: float, *, out: FloatArray
) -> FloatArray:
    """Return share^n values[t - n], 0 where that lies before the segment."""
    if num_steps == 0:
        return values
    out[:num_steps] = 0.0
    np.multiply(values[:-num_steps], share**num_steps, out=out[num_steps:])
    if len(starts) > 1:
        out[_is_near(starts[1:], len(values), num_steps)] = 0.0
    return out


def _is_near(starts: IntArray, num_steps: int, distance: int) -> BoolArray:
    """Tell which steps are fewer than so many after a start."""
    change = np.zeros(num_steps + 1, dtype=np.int64)
    np.add.at(change, starts, 1)
    np.add.at(change, np.minimum(starts + distance, num_steps), -1)
    near: BoolArray = np.cumsum(change[:-1]) > 0
    return near
