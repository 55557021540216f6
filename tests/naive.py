"""Slow, obvious twins of fast code: plain loops that follow the definitions word for word."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence


def find_runs(inside: Sequence[bool]) -> list[tuple[int, int]]:
    """First and last step of each run, both inclusive."""
    runs: list[tuple[int, int]] = []
    for step, value in enumerate(inside):
        if not value:
            continue
        if runs and runs[-1][1] == step - 1:
            runs[-1] = (runs[-1][0], step)
        else:
            runs.append((step, step))
    return runs


# --- PR-AUC ---------------------------------------------------------------------------------


def average_precision(scores: Sequence[float], labels: Sequence[bool]) -> float:
    num_anomalous = sum(labels)
    if num_anomalous in (0, len(labels)):
        return math.nan
    total, recall_before = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        flagged = [score >= threshold for score in scores]
        hits = sum(flag and label for flag, label in zip(flagged, labels, strict=True))
        recall = hits / num_anomalous
        total += (recall - recall_before) * hits / sum(flagged)
        recall_before = recall
    return total


# --- VUS-PR ---------------------------------------------------------------------------------


def buffer_labels(labels: Sequence[bool], width: int) -> list[float]:
    """Labels with slopes of sqrt(1 - d / width) on both sides, summed and cut at 1."""
    soft = [float(label) for label in labels]
    for first, last in find_runs(labels):
        for distance in range(1, width // 2 + 1):
            slope = math.sqrt(1 - distance / width)
            for step in (first - distance, last + distance):
                if 0 <= step < len(soft):
                    soft[step] += slope
    return [min(value, 1.0) for value in soft]


def merge_runs(labels: Sequence[bool], width: int) -> list[tuple[int, int]]:
    """Runs widened by half a buffer on each side; those that then share a step are one."""
    half = width // 2
    merged: list[tuple[int, int]] = []
    for first, last in find_runs(labels):
        if merged and first - half <= merged[-1][1]:
            merged[-1] = (merged[-1][0], last + half)
        else:
            merged.append((first - half, last + half))
    return [(max(first, 0), min(last, len(labels) - 1)) for first, last in merged]


def range_pr_area(
    scores: Sequence[float], labels: Sequence[bool], *, width: int, num_thresholds: int
) -> float:
    """Area under the precision-recall curve for one buffer width."""
    soft, anomalies = buffer_labels(labels, width), merge_runs(labels, width)
    ordered = sorted(scores, reverse=True)
    area, recall_before = 0.0, 0.0
    for index in range(num_thresholds):
        place = index * (len(scores) - 1) / (num_thresholds - 1) if num_thresholds > 1 else 0
        flagged = [score >= ordered[math.floor(place + 1e-9)] for score in scores]
        hits = sum(value for value, flag in zip(soft, flagged, strict=True) if flag)
        buffer_hits = sum(
            value
            for value, flag, label in zip(soft, flagged, labels, strict=True)
            if flag and not label
        )
        # the mean of the labelled steps and of the labelled steps with the buffer steps hit
        num_expected = (sum(labels) + sum(labels) + buffer_hits) / 2
        num_found = sum(any(flagged[first : last + 1]) for first, last in anomalies)
        recall = min(hits / num_expected, 1.0) * num_found / len(anomalies)
        area += (recall - recall_before) * hits / sum(flagged)
        recall_before = recall
    return area


def vus_pr(
    scores: Sequence[float], labels: Sequence[bool], *, window_steps: int, num_thresholds: int
) -> float:
    if sum(labels) in (0, len(labels)):
        return math.nan
    return statistics.fmean(
        range_pr_area(scores, labels, width=width, num_thresholds=num_thresholds)
        for width in range(window_steps + 1)
    )


# --- anomalies found ------------------------------------------------------------------------


def detection_delays_s(
    times_s: Sequence[float], flags: Sequence[bool], labels: Sequence[bool]
) -> list[float | None]:
    """Seconds from the start of each anomaly to its first flag, None where it has none."""
    delays: list[float | None] = []
    for first, last in find_runs(labels):
        flagged = [step for step in range(first, last + 1) if flags[step]]
        delays.append(times_s[flagged[0]] - times_s[first] if flagged else None)
    return delays


def event_recall(flags: Sequence[bool], labels: Sequence[bool]) -> float:
    """Share of anomalies with at least one flag in them."""
    runs = find_runs(labels)
    if not runs:
        return math.nan
    return sum(any(flags[first : last + 1]) for first, last in runs) / len(runs)


def median_delay_s(
    times_s: Sequence[float], flags: Sequence[bool], labels: Sequence[bool]
) -> float:
    found = [d for d in detection_delays_s(times_s, flags, labels) if d is not None]
    return statistics.median(found) if found else math.nan


def count_false_alarms(flags: Sequence[bool], labels: Sequence[bool]) -> int:
    """Runs of flags that touch no anomaly."""
    return sum(not any(labels[first : last + 1]) for first, last in find_runs(flags))


# --- windows --------------------------------------------------------------------------------


def windows(
    times_us: Sequence[int],
    assets: Sequence[int],
    problems: Sequence[str],
    *,
    gap_us: float,
    window: int,
) -> dict[int, list[int | None]]:
    """Rows of the window that ends at each usable row, oldest first, None where there is none."""
    found: dict[int, list[int | None]] = {}
    before: dict[int, int] = {}
    usable = [row for row in range(len(times_us)) if problems[row] == ""]
    for row in sorted(usable, key=lambda row: (assets[row], times_us[row])):
        last = before.get(assets[row])
        joined = last is not None and times_us[row] - times_us[last] <= gap_us
        earlier = found[last] if joined else [None] * window
        found[row] = [*earlier[1:], row]
        before[assets[row]] = row
    return found


# --- the smoothed score ---------------------------------------------------------------------


def smooth(
    energy: Sequence[float],
    segment_start: Sequence[int],
    *,
    span: int,
    normal_level: float,
    latency_steps: int = 0,
) -> list[float]:
    """Exponential weights over three spans, rounded up to a power of two; steps outside the
    segment or without energy count as normal. With a latency, the same weights average it over
    the next steps of the segment."""
    num_weights = 1 if span == 1 else 2 ** math.ceil(math.log2(3 * span))
    weights = [(1 - 2 / (span + 1)) ** lag for lag in range(num_weights)]
    smoothed = []
    for step in range(len(energy)):
        total = 0.0
        for lag, weight in enumerate(weights):
            earlier = step - lag
            known = earlier >= segment_start[step] and not math.isnan(energy[earlier])
            total += weight * (energy[earlier] if known else normal_level)
        smoothed.append(total / sum(weights))
    scores = []
    for step in range(len(energy)):
        ahead = [
            later
            for later in range(step, min(step + latency_steps + 1, len(energy)))
            if segment_start[later] == segment_start[step] and (span > 1 or later == step)
        ]
        weights = [(1 - 2 / (span + 1)) ** (later - step) for later in ahead]
        total = sum(w * smoothed[later] for w, later in zip(weights, ahead, strict=True))
        scores.append(math.nan if math.isnan(energy[step]) else total / sum(weights))
    return scores


# --- alert events ---------------------------------------------------------------------------


def alert_spans(
    times: Sequence[int],
    scores: Sequence[float],
    *,
    threshold: float,
    release: float,
    merge: int,
    min_flags: int,
    gap: int,
) -> list[tuple[int, int]]:
    """First and last position of each alert event; times, merge and gap in one unit."""
    opened: list[list[int]] = []
    is_open = False
    for step, score in enumerate(scores):
        if is_open and (score <= release * threshold or times[step] - times[step - 1] > gap):
            is_open = False
        if is_open:
            opened[-1][1] = step
        elif score > threshold:
            is_open = True
            opened.append([step, step])
    merged: list[list[int]] = []
    for first, last in opened:
        if merged and times[first] - times[merged[-1][1]] <= merge:
            merged[-1][1] = last
        else:
            merged.append([first, last])
    return [
        (first, last)
        for first, last in merged
        if sum(score > threshold for score in scores[first : last + 1]) >= min_flags
    ]


# --- rules ----------------------------------------------------------------------------------


def flat_lines(values: Sequence[float], segment_start: Sequence[int], *, limit: int) -> list[bool]:
    """Steps whose last `limit + 1` steps are of one segment and show one value and no other."""
    fires = []
    for step, value in enumerate(values):
        first = step - limit
        shown = [] if first < 0 else [x for x in values[first : step + 1] if not math.isnan(x)]
        fires.append(
            first >= segment_start[step]
            and not math.isnan(value)
            and all(x == value for x in shown)
            and len(shown) >= (limit + 1) / 2
        )
    return fires


def longest_flat(values: Sequence[float], segment_start: Sequence[int]) -> int:
    """Steps from a value back over all that show no other one, the most of them."""
    longest = 0
    for step, value in enumerate(values):
        if math.isnan(value):
            continue
        first = step
        while first > segment_start[step] and (
            math.isnan(values[first - 1]) or values[first - 1] == value
        ):
            first -= 1
        longest = max(longest, step - first + 1)
    return longest


# --- alignment --------------------------------------------------------------------------------


def align(
    rows: Sequence[tuple[str, int, float]], *, period: int, rule: str
) -> dict[tuple[str, int], float]:
    """Value at each tick of rows (asset, time, value); NaN where it has none."""
    ticks: dict[tuple[str, int], list[tuple[int, float]]] = {}
    for asset, time, value in rows:
        tick = math.ceil(time / period) * period
        ticks.setdefault((asset, tick), []).append((time, value))
    aligned = {}
    for (asset, tick), members in ticks.items():
        present = sorted((time, value) for time, value in members if not math.isnan(value))
        if rule == "none":
            present = [(time, value) for time, value in present if time == tick]
        values = [value for _, value in present]
        if not values:
            aligned[asset, tick] = math.nan
        else:
            aligned[asset, tick] = statistics.fmean(values) if rule == "mean" else values[-1]
    return aligned


# --- quality --------------------------------------------------------------------------------


def count_runs(values: Sequence[float]) -> list[int]:
    """Lengths of the runs of equal values, in order."""
    runs: list[int] = []
    for step, value in enumerate(values):
        if step and value == values[step - 1]:
            runs[-1] += 1
        else:
            runs.append(1)
    return runs


def count_copies(columns: Sequence[Sequence[float]], names: Sequence[str]) -> list[str]:
    """First other column that has the same values, if it changes at all; "" where none has."""
    found = []
    for k, column in enumerate(columns):
        shown = [None if math.isnan(value) else value for value in column]
        others = [[None if math.isnan(x) else x for x in other] for other in columns[:k]]
        changes = len({value for value in shown if value is not None}) > 1
        found.append(names[others.index(shown)] if changes and shown in others else "")
    return found
