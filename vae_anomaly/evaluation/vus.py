"""VUS-PR: the volume under the precision-recall surface, the measure of the TSB-AD benchmark.

A point measure calls a flag one step beside an anomaly plain wrong. VUS-PR lets each anomaly
have a buffer before and behind, worth less the farther a step lies from it, and averages over
all buffer widths up to `window_steps`, so that no single width has to be chosen. Nothing is
point-adjusted: a hit never stands for its whole anomaly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vae_anomaly.domain import BoolArray, FloatArray, IntArray
from vae_anomaly.errors import EvaluationError

DEFAULT_WINDOW_STEPS = 100
"""Widest buffer where the period of the readings is not known (the reference's own default)."""

NUM_THRESHOLDS = 250
"""Points of the threshold grid (the reference's own default)."""

_PERIOD_ROWS = 20_000
_SHORTEST_LAG = 3
_LONGEST_LAG = 400
_PEAK_POSITIONS = (3, 300)  # accepted places of the peak, counted from the shortest lag
_NO_PERIOD_STEPS = 125


def find_period(values: FloatArray) -> int:
    """Find the period of a channel: the lag of the highest peak of its autocorrelation.

    It is the `window_steps` that TSB-AD uses, taken from the first channel. Only the first
    20,000 values count, and values that are not finite are left out.

    Args:
        values: One channel. Shape `(steps,)`.

    Returns:
        The period in steps, from 6 to 303; 125 where there is no such peak.

    Source:
        Liu and Paparrizos (2024), TSB-AD, rank 1 period.

    Example:
        >>> find_period(np.sin(np.arange(2000) * 2 * np.pi / 48))
        48
    """
    from scipy.fft import next_fast_len

    finite = np.asarray(values, dtype=np.float64)
    finite = finite[np.isfinite(finite)][:_PERIOD_ROWS]
    if finite.size == 0 or finite.min() == finite.max():
        return _NO_PERIOD_STEPS
    spectrum = np.fft.fft(finite - finite.mean(), n=next_fast_len(2 * finite.size + 1, real=True))
    covariance = np.fft.ifft(spectrum * np.conjugate(spectrum)).real[: finite.size]
    by_lag = covariance[_SHORTEST_LAG : _LONGEST_LAG + 1] / covariance[0]
    peaks = 1 + np.flatnonzero((by_lag[1:-1] > by_lag[:-2]) & (by_lag[1:-1] > by_lag[2:]))
    if peaks.size == 0:
        return _NO_PERIOD_STEPS
    highest = int(peaks[np.argsort(by_lag[peaks], kind="stable")[-1]])
    if not _PEAK_POSITIONS[0] <= highest <= _PEAK_POSITIONS[1]:
        return _NO_PERIOD_STEPS
    return highest + _SHORTEST_LAG


def vus_pr(
    scores: FloatArray,
    labels: BoolArray,
    *,
    window_steps: int = DEFAULT_WINDOW_STEPS,
    num_thresholds: int = NUM_THRESHOLDS,
    asset_codes: IntArray | None = None,
) -> float:
    """Measure the volume under the precision-recall surface; 1 is perfect.

    For each buffer width w from 0 to `window_steps` and each threshold k, with H the labelled
    steps flagged, B the summed weights of the flagged buffer steps, and P the labelled steps:
    precision = (H + B) / flagged steps and recall = min(1, (H + B) / (P + B / 2)) times the
    share of buffered anomalies with a flag in them. A buffer step at distance d of one anomaly
    weighs sqrt(1 - d / w), for d up to w // 2, and 1 between two anomalies whose buffers
    overlap. The area under each curve is summed in steps of recall; the volume is their mean.

    Args:
        scores: Scores in time order, higher is stranger. Shape `(steps,)`.
        labels: Whether a step is anomalous. Shape `(steps,)`.
        window_steps: Widest buffer: the period of the readings (`find_period`).
        num_thresholds: Thresholds, at evenly spaced ranks of the scores.
        asset_codes: Asset of each step, so that no buffer reaches into the readings of
            another asset; None where there is one. Shape `(steps,)`.

    Returns:
        The measure, in [0, 1]; NaN where the labels hold one class only.

    Raises:
        EvaluationError: The shapes differ, a score is NaN, or a setting is out of range.

    Source:
        Paparrizos et al. (2022), Volume under the surface; Liu and Paparrizos (2024), TSB-AD.

    Example:
        >>> labels = np.arange(100) // 10 == 4
        >>> vus_pr(labels.astype(float), labels, window_steps=0)
        1.0
    """
    _check(scores, labels, window_steps=window_steps, num_thresholds=num_thresholds)
    if labels.all() or not labels.any():
        return float("nan")
    codes = np.zeros(scores.size, dtype=np.int64) if asset_codes is None else asset_codes
    ranks = np.linspace(0, scores.size - 1, num_thresholds).astype(np.int64)
    thresholds = np.sort(scores)[::-1][ranks]
    line = _lay_out(
        np.searchsorted(-thresholds, -scores, side="left").astype(np.int64),
        labels,
        codes=codes,
        num_thresholds=num_thresholds,
        padding=window_steps + 1,
    )
    return _volume(line, _find_buffer(line, half_steps=window_steps // 2), window_steps)


@dataclass(frozen=True)
class _Line:
    """All assets on one line of steps, with empty steps around each that no threshold reaches.

    Attributes:
        reached_by: First threshold at which a step is flagged, `num_thresholds` if empty.
        labels: Whether a step is anomalous.
        starts: First step of each anomaly.
        ends: Last step of each anomaly, inclusive.
        num_thresholds: Number of thresholds.
    """

    reached_by: IntArray
    labels: BoolArray
    starts: IntArray
    ends: IntArray
    num_thresholds: int

    def count_flagged(
        self, steps: IntArray | BoolArray, weights: FloatArray | None = None
    ) -> FloatArray:
        """Sum the flagged ones of the chosen steps, per threshold."""
        size = self.num_thresholds
        first = np.bincount(self.reached_by[steps], weights=weights, minlength=size + 1)
        return np.cumsum(first[:size], dtype=np.float64)


@dataclass(frozen=True)
class _Buffer:
    """The steps beside anomalies: `nearest` and `second` are distances to two anomalies."""

    steps: IntArray
    nearest: IntArray
    second: IntArray

    def weights(self, width: int) -> FloatArray:
        """Weigh each step for buffers of one width."""
        half = width // 2
        slope = np.sqrt(np.maximum(1.0 - self.nearest / max(width, 1), 0.0))
        # two slopes are at least sqrt(1/2) each, and their sum is clipped to 1
        return np.where(self.nearest > half, 0.0, np.where(self.second > half, slope, 1.0))


def _lay_out(
    reached_by: IntArray, labels: BoolArray, *, codes: IntArray, num_thresholds: int, padding: int
) -> _Line:
    order = np.argsort(codes, kind="stable")
    asset_index = np.cumsum(np.diff(codes[order], prepend=codes[order][:1]) != 0)
    places = np.arange(codes.size) + (asset_index + 1) * padding
    size = int(places[-1]) + 1 + padding
    line = np.full(size, num_thresholds, dtype=np.int64)
    line[places] = reached_by[order]
    labelled = np.zeros(size, dtype=np.bool_)
    labelled[places] = labels[order]
    edges = np.diff(labelled.astype(np.int8))
    starts, ends = np.flatnonzero(edges == 1) + 1, np.flatnonzero(edges == -1)
    return _Line(line, labelled, starts, ends, num_thresholds)


def _find_buffer(line: _Line, *, half_steps: int) -> _Buffer:
    steps = np.flatnonzero(~line.labels & (line.reached_by < line.num_thresholds))
    far = 2 * line.labels.size
    ends = np.concatenate([[-far, -far], line.ends])
    starts = np.concatenate([line.starts, [2 * far, 2 * far]])
    after = np.searchsorted(line.starts, steps)  # anomalies that start before the step
    behind = [steps - ends[after], steps - ends[after + 1]]
    ahead = [starts[after] - steps, starts[after + 1] - steps]
    distances = np.sort(np.stack(behind + ahead), axis=0)
    near = distances[0] <= half_steps
    return _Buffer(steps[near], distances[0][near], distances[1][near])


def _volume(line: _Line, buffer: _Buffer, window_steps: int) -> float:
    num_labelled = float(line.labels.sum())
    num_flagged = line.count_flagged(np.ones(line.labels.size, dtype=np.bool_))
    hits = line.count_flagged(line.labels)
    shares = _found_shares(line, half_steps=window_steps // 2)
    areas = []
    for width in range(window_steps + 1):
        near_hits = line.count_flagged(buffer.steps, buffer.weights(width))
        precision = (hits + near_hits) / num_flagged
        recall = np.minimum((hits + near_hits) / (num_labelled + near_hits / 2), 1.0)
        areas.append(np.diff(recall * shares[width // 2], prepend=0.0) @ precision)
    return float(np.mean(areas))


def _found_shares(line: _Line, *, half_steps: int) -> list[FloatArray]:
    """Share of anomalies flagged at each threshold, where overlapping buffers make them one.

    Returns:
        One array per half width from 0 to `half_steps`. Shape `(thresholds,)` each.
    """
    bounds = np.stack([line.starts, line.ends + 1], axis=1).ravel()
    first = np.minimum.reduceat(line.reached_by, bounds)[::2]
    gaps = line.starts[1:] - line.ends[:-1]
    shares = []
    for half in range(half_steps + 1):
        beside = np.minimum(line.reached_by[line.starts - half], line.reached_by[line.ends + half])
        first = np.minimum(first, beside)
        heads = np.concatenate([[0], 1 + np.flatnonzero(gaps > 2 * half)])
        merged = np.minimum.reduceat(first, heads)
        counts = np.bincount(merged, minlength=line.num_thresholds + 1)[: line.num_thresholds]
        shares.append(np.cumsum(counts) / heads.size)
    return shares


def _check(
    scores: FloatArray, labels: BoolArray, *, window_steps: int, num_thresholds: int
) -> None:
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise EvaluationError(
            f"Cannot measure VUS-PR: expected as many labels as scores, got {labels.shape} "
            f"labels for {scores.shape} scores. Pass one label per score."
        )
    if np.isnan(scores).any():
        raise EvaluationError(
            f"Cannot measure VUS-PR: expected scores without NaN, got {np.isnan(scores).sum()} "
            "NaN. Leave unscorable steps out."
        )
    if window_steps < 0 or num_thresholds < 1:
        raise EvaluationError(
            "Cannot measure VUS-PR: expected window_steps of at least 0 and num_thresholds of "
            f"at least 1, got {window_steps} and {num_thresholds}. Use find_period for the window."
        )
