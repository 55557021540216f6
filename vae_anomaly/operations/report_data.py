"""What the charts of the report are drawn from: few enough points, no peak lost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vae_anomaly.domain import (
    LABEL_PREFIX,
    MICROSECONDS_PER_S,
    NO_TIME,
    BoolArray,
    FloatArray,
    IntArray,
    Problem,
    Readings,
    State,
)

MAX_POINTS = 3000
"""Most points of one line."""

GAP_STEPS = 5.0
"""A line is broken where values are further apart than this many usual distances."""

_US_PER_MS = 1000.0
_LABEL_COLUMN = LABEL_PREFIX + "anomaly"


@dataclass(frozen=True)
class AssetRows:
    """The scored rows of one asset, by time; rows without a time are left out.

    Attributes:
        name: The asset.
        rows: Their positions in the readings. Shape `(steps,)`.
        timestamps: Microseconds since 1970 in UTC. Shape `(steps,)`.
        score: NaN where unscorable; higher is stranger. Shape `(steps,)`.
        threshold: NaN where there is none. Shape `(steps,)`.
        anomalous: Whether the state is `anomalous`. Shape `(steps,)`.
        unscorable: Whether the state is `unscorable`. Shape `(steps,)`.
        labelled: Whether truth calls the row an anomaly, None without labels. Shape `(steps,)`.
    """

    name: str
    rows: IntArray
    timestamps: IntArray
    score: FloatArray
    threshold: FloatArray
    anomalous: BoolArray
    unscorable: BoolArray
    labelled: BoolArray | None

    @property
    def num_scored(self) -> int:
        """Rows that have a score."""
        return int(np.count_nonzero(~self.unscorable))


@dataclass(frozen=True)
class Line:
    """Points of one or several lines over the same times, a row of NaN at each gap.

    Attributes:
        times_ms: Milliseconds since 1970 in UTC, as Plotly wants them. Shape `(points,)`.
        columns: One column per line. Shape `(points, lines)`.
    """

    times_ms: FloatArray
    columns: FloatArray


def decimate(values: FloatArray, *, max_points: int) -> IntArray:
    """Choose few rows that look like all rows when drawn.

    Rows are cut into equal buckets; of each bucket the rows with the smallest and the largest
    value of every column are kept, and the first and last row overall. So no peak is ever lost.

    Args:
        values: One column per line; NaN is never a peak. Shape `(rows,)` or `(rows, lines)`.
        max_points: Most rows to keep; at least `2 * lines + 2` are always allowed.

    Returns:
        Positions of the kept rows, ascending, no row twice. Shape `(kept,)`.

    Example:
        >>> decimate(np.array([0.0, 0.1, 9.0, 0.2, 0.1, 0.3, -7.0, 0.0]), max_points=6).tolist()
        [0, 2, 5, 6, 7]
    """
    columns = values[:, None] if values.ndim == 1 else values
    num_rows, num_lines = columns.shape
    if num_rows <= max_points:
        return np.arange(num_rows, dtype=np.int64)
    num_buckets = max(1, (max_points - 2) // (2 * num_lines))
    width = -(-num_rows // num_buckets)
    starts = np.arange(0, num_rows, width, dtype=np.int64)
    kept = [np.array([0, num_rows - 1], dtype=np.int64)]
    for column in columns.T:
        padded = np.full(starts.shape[0] * width, np.nan)
        padded[:num_rows] = column
        buckets = padded.reshape(-1, width)
        empty = np.isnan(buckets)
        filled = ~empty.all(axis=1)
        kept.append((starts + np.where(empty, np.inf, buckets).argmin(axis=1))[filled])
        kept.append((starts + np.where(empty, -np.inf, buckets).argmax(axis=1))[filled])
    return np.unique(np.concatenate(kept))


def make_line(
    timestamps: IntArray, columns: FloatArray, *, max_points: int, period_s: float
) -> Line:
    """Thin out lines over time and break them where values are missing for long.

    Rows where any column is not finite are left out. A break needs a gap of several periods
    (and of several usual distances between values, for a sensor that reports rarely) which is
    also wide enough to be seen.

    Args:
        timestamps: Microseconds since 1970 in UTC, ascending. Shape `(rows,)`.
        columns: One column per line. Shape `(rows, lines)`.
        max_points: Most points, breaks included.
        period_s: Seconds between ticks.

    Returns:
        The points to draw, empty where there is no value at all.
    """
    finite = np.flatnonzero(np.isfinite(columns).all(axis=1))
    times = timestamps[finite]
    if finite.shape[0] == 0:
        return Line(times / _US_PER_MS, columns[finite])
    steps_us = np.diff(times)
    usual_us = float(np.median(steps_us)) if steps_us.shape[0] else 0.0
    visible_us = float(times[-1] - times[0]) / max(1, max_points // 3)
    gap_us = max(GAP_STEPS * period_s * MICROSECONDS_PER_S, GAP_STEPS * usual_us, visible_us)
    segments = np.concatenate([[0], np.cumsum(steps_us > gap_us)])
    kept = decimate(columns[finite], max_points=max_points - max_points // 3)
    breaks = np.flatnonzero(np.diff(segments[kept])) + 1
    chosen = times[kept] / _US_PER_MS
    return Line(
        np.insert(chosen, breaks, chosen[breaks - 1]),
        np.insert(columns[finite][kept], breaks, np.nan, axis=0),
    )


def find_runs(mask: BoolArray, timestamps: IntArray, *, period_s: float) -> IntArray:
    """Find the intervals in which a condition holds.

    Args:
        mask: The condition, one value per step. Shape `(steps,)`.
        timestamps: Microseconds since 1970 in UTC, ascending. Shape `(steps,)`.
        period_s: Seconds between ticks; the last step of a run lasts this long.

    Returns:
        Half-open intervals `[start, end)` in microseconds. Shape `(runs, 2)`.

    Example:
        >>> times = np.array([0, 1, 2, 3], dtype=np.int64) * 1_000_000
        >>> find_runs(np.array([False, True, True, False]), times, period_s=1.0).tolist()
        [[1000000, 3000000]]
    """
    edges = np.diff(np.concatenate([[0], mask.astype(np.int8), [0]]))
    first, last = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1
    period_us = round(period_s * MICROSECONDS_PER_S)
    return np.stack([timestamps[first], timestamps[last] + period_us], axis=1)


def merge_intervals(intervals: IntArray, *, span_us: int, max_intervals: int) -> IntArray:
    """Make intervals drawable: wide enough to be seen, and few enough.

    Args:
        intervals: `[start, end)` in microseconds, by start. Shape `(intervals, 2)`.
        span_us: Length of the drawn period, in microseconds.
        max_intervals: Most intervals to return.

    Returns:
        Intervals at least about a `max_intervals`-th of the span wide, those that then
        touch merged. Shape `(merged, 2)`.
    """
    if intervals.shape[0] == 0:
        return intervals
    visible_us = span_us // (max_intervals - 1) + 1
    starts = intervals[:, 0]
    ends = np.maximum.accumulate(np.maximum(intervals[:, 1], starts + visible_us))
    opens = np.concatenate([[True], starts[1:] > ends[:-1]])
    last = np.concatenate([np.flatnonzero(opens)[1:] - 1, [starts.shape[0] - 1]])
    return np.stack([starts[opens], ends[last]], axis=1)


def split_assets(readings: Readings, scores: pa.Table) -> tuple[AssetRows, ...]:
    """Sort the scored rows by asset and time.

    Args:
        readings: The readings, row-aligned with `scores`.
        scores: The scores table.

    Returns:
        One entry per asset that has rows with a time, in the order of the asset names.
    """
    score = read_floats(scores["score"])
    threshold = read_floats(scores["threshold"])
    state = scores["state"].cast(pa.string())
    anomalous = read_mask(pc.equal(state, State.ANOMALOUS.value))
    unscorable = read_mask(pc.equal(state, State.UNSCORABLE.value))
    labelled = read_labels(scores)
    has_time = find_timed(readings, scores)
    assets = []
    for code, name in enumerate(readings.asset_names):
        rows = np.flatnonzero((readings.asset_codes == code) & has_time)
        rows = rows[np.argsort(readings.timestamps[rows], kind="stable")]
        if rows.shape[0] == 0:
            continue
        assets.append(
            AssetRows(
                name=name,
                rows=rows,
                timestamps=readings.timestamps[rows],
                score=np.where(unscorable[rows], np.nan, score[rows]),
                threshold=threshold[rows],
                anomalous=anomalous[rows],
                unscorable=unscorable[rows],
                labelled=None if labelled is None else labelled[rows],
            )
        )
    return tuple(assets)


def find_timed(readings: Readings, scores: pa.Table) -> BoolArray:
    """Tell which rows have a time that can be drawn: one, and not that of a reset clock."""
    reset = read_mask(pc.equal(scores["reason"], Problem.IMPLAUSIBLE_TIME.value))
    timed: BoolArray = (readings.timestamps != NO_TIME) & ~reset
    return timed


def read_floats(column: pa.ChunkedArray) -> FloatArray:
    """Turn an Arrow column into floats, null into NaN."""
    values: FloatArray = column.cast(pa.float64()).to_numpy()
    return values


def read_mask(column: pa.ChunkedArray) -> BoolArray:
    """Turn an Arrow column of truth values into an array, null into False."""
    mask: BoolArray = pc.fill_null(column, False).to_numpy().astype(np.bool_)  # noqa: FBT003
    return mask


def read_labels(scores: pa.Table) -> BoolArray | None:
    """Find which rows truth calls an anomaly; None where there are no such labels."""
    if _LABEL_COLUMN not in scores.column_names:
        return None
    column = scores[_LABEL_COLUMN]
    kind = column.type
    if not (pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        return None
    return read_mask(pc.greater(column.cast(pa.float64()), 0.0))
