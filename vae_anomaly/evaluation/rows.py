"""A scores table as arrays: columns checked, rows grouped by asset and sorted by time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vae_anomaly.domain import (
    NO_TIME,
    AlertEvent,
    BoolArray,
    FloatArray,
    IntArray,
    State,
    TextArray,
)
from vae_anomaly.errors import EvaluationError
from vae_anomaly.evaluation.metrics import Intervals
from vae_anomaly.wording import ask_nearest, format_plural

UNLABELLED = -1
"""Label of a step of which nobody has said whether it is anomalous."""


@dataclass(frozen=True)
class ScoredRows:
    """Rows of a scores table, grouped by asset and in time order.

    Attributes:
        order: Row of the table that each row here came from. Shape `(rows,)`.
        timestamps_us: Microseconds since 1970, UTC, `NO_TIME` where missing. Shape `(rows,)`.
        asset_codes: Index into `asset_names`, -1 where missing. Shape `(rows,)`.
        asset_names: Names of the assets; empty where the table has no asset column.
        scores: Higher is stranger, NaN where unscorable. Shape `(rows,)`.
        flags: Whether the state is `anomalous`. Shape `(rows,)`.
    """

    order: IntArray
    timestamps_us: IntArray
    asset_codes: IntArray
    asset_names: tuple[str, ...]
    scores: FloatArray
    flags: BoolArray

    @property
    def scorable(self) -> BoolArray:
        """Whether a row has a score."""
        return ~np.isnan(self.scores)

    def split_assets(self) -> Iterator[tuple[int, IntArray]]:
        """Give each asset's code and its rows that have a time, in time order."""
        usable = np.flatnonzero((self.asset_codes >= 0) & (self.timestamps_us != NO_TIME))
        cuts = np.flatnonzero(np.diff(self.asset_codes[usable])) + 1
        for rows in np.split(usable, cuts):
            if rows.size:
                yield int(self.asset_codes[rows[0]]), rows

    def find_period_us(self, rows: IntArray) -> int:
        """Find the usual time between rows of one asset; 0 where there is one row only."""
        steps = np.diff(self.timestamps_us[rows])
        steps = steps[steps > 0]
        return int(np.median(steps)) if steps.size else 0

    def pick_alerts(self, events: Sequence[AlertEvent], asset_code: int) -> list[AlertEvent]:
        """Pick the alert events of one asset, in order of their starts."""
        names = self.asset_names
        own = [e for e in events if not names or e.asset == names[asset_code]]
        return sorted(own, key=lambda event: event.start_us)


def make_intervals(events: Sequence[AlertEvent]) -> Intervals:
    """Turn alert events of one asset into intervals."""
    return Intervals(
        np.array([event.start_us for event in events], dtype=np.int64),
        np.array([event.end_us for event in events], dtype=np.int64),
    )


def read_rows(scores: pa.Table) -> ScoredRows:
    """Check a scores table and take its columns out.

    Raises:
        EvaluationError: A column is missing or of another type.
    """
    timestamps = _read_timestamps(pick_column(scores, "timestamp"))
    names, codes = _read_assets(scores)
    state = read_text(pick_column(scores, "state"))
    values = _read_numbers(pick_column(scores, "score"), "score")
    values[state == State.UNSCORABLE] = np.nan
    order = np.lexsort((timestamps, codes)).astype(np.int64)
    return ScoredRows(
        order=order,
        timestamps_us=timestamps[order],
        asset_codes=codes[order],
        asset_names=names,
        scores=values[order],
        flags=(state == State.ANOMALOUS)[order] & ~np.isnan(values[order]),
    )


def read_labels(scores: pa.Table, labels: Any, *, label: str) -> IntArray:
    """Take the labels, from the argument or else from a column of the table.

    Returns:
        1 anomalous, 0 normal, -1 unlabelled, in the table's row order. Shape `(rows,)`.

    Raises:
        EvaluationError: There are none, or not one per row, or other values.
    """
    if labels is None:
        values = _read_numbers(_pick_label(scores, label), label)
    else:
        values = _read_numbers(_as_column(labels), "labels")
    if values.size != scores.num_rows:
        raise EvaluationError(
            f"Cannot evaluate {format_plural(scores.num_rows, 'score')}: expected one label per "
            f"row, got {values.size}. Pass labels in the rows' own order."
        )
    codes = np.where(np.isnan(values), UNLABELLED, values)
    unknown = np.unique(codes[~np.isin(codes, (UNLABELLED, 0, 1))])
    if unknown.size:
        shown = ", ".join(f"{value:g}" for value in unknown[:5])
        raise EvaluationError(
            f"Cannot evaluate against {label if labels is None else 'labels'!r}: expected "
            f"0 (normal), 1 (anomalous) or -1 (unlabelled), got {shown}. Turn them into these "
            "values first, such as 1 for every class of fault."
        )
    return codes.astype(np.int64)


def pick_column(scores: pa.Table, name: str) -> Any:
    """Pick a column by its name.

    Raises:
        EvaluationError: The table has none of this name.
    """
    if name not in scores.column_names:
        raise EvaluationError(
            f"Cannot evaluate scores: expected a column {name!r}, got columns "
            f"{_list_columns(scores)}. Pass the table that scoring returned."
        )
    return scores.column(name)


def read_text(column: Any) -> TextArray:
    """Read a text column; missing entries become empty."""
    filled = pc.fill_null(pc.cast(column, pa.string()), "")
    return np.asarray(filled.to_numpy(), dtype=np.object_)


def _pick_label(scores: pa.Table, label: str) -> Any:
    if label in scores.column_names:
        return scores.column(label)
    raise EvaluationError(
        f"Cannot evaluate scores: expected a column {label!r} of labels, got columns "
        f"{_list_columns(scores)}. Name the column with label=, or pass labels="
        + (ask_nearest(label, scores.column_names) or ".")
    )


def _list_columns(scores: pa.Table) -> str:
    return ", ".join(map(repr, scores.column_names)) or "none"


def _as_column(labels: Any) -> Any:
    if isinstance(labels, pa.ChunkedArray):
        return labels
    try:
        return pa.chunked_array([pa.array(labels)])
    except pa.ArrowException as error:
        raise EvaluationError(
            f"Cannot evaluate scores: expected one number per row as labels, got {error}. "
            "Pass a flat array of 0, 1 and -1."
        ) from error


def _read_timestamps(column: Any) -> IntArray:
    if not pa.types.is_timestamp(column.type):
        raise EvaluationError(
            f"Cannot evaluate scores: expected 'timestamp' to hold times, got {column.type}. "
            "Pass the table that scoring returned."
        )
    micros = pc.cast(column, pa.timestamp("us", tz=column.type.tz), safe=False)
    filled = pc.fill_null(pc.cast(micros, pa.int64()), NO_TIME)
    return np.asarray(filled.to_numpy(), dtype=np.int64)


def _read_assets(scores: pa.Table) -> tuple[tuple[str, ...], IntArray]:
    if "asset" not in scores.column_names:
        return (), np.zeros(scores.num_rows, dtype=np.int64)
    column = pc.cast(scores.column("asset"), pa.string())
    names = pc.unique(column).drop_null()
    codes = pc.fill_null(pc.index_in(column, value_set=names), -1)
    return tuple(names.to_pylist()), np.asarray(codes.to_numpy(), dtype=np.int64)


def _read_numbers(column: Any, name: str) -> FloatArray:
    kind = column.type
    known = (pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating, pa.types.is_null)
    if not any(is_kind(kind) for is_kind in known):
        raise EvaluationError(
            f"Cannot evaluate scores: expected numbers in {name!r}, got {kind}. "
            "Convert the column, or name another one."
        )
    filled = pc.fill_null(pc.cast(column, pa.float64(), safe=False), np.nan)
    return np.array(filled.to_numpy(), dtype=np.float64)
