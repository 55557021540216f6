"""Which kinds of planted fault were found, and which alert events were false."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from vae_anomaly.domain import AlertEvent, IntArray, TextArray
from vae_anomaly.errors import EvaluationError
from vae_anomaly.evaluation.metrics import Intervals, count_overlaps, find_intervals
from vae_anomaly.evaluation.rows import (
    ScoredRows,
    make_intervals,
    pick_column,
    read_rows,
    read_text,
)


@dataclass(frozen=True)
class KindFound:
    """How many anomalies of one kind there are, and how many of them an alert event overlaps."""

    kind: str
    num_anomalies: int
    num_found: int


@dataclass(frozen=True)
class PlantedKinds:
    """Planted faults against alert events.

    Attributes:
        kinds: One entry per kind, in alphabetical order.
        false_events: Alert events that overlap no anomaly, in order of their starts.
    """

    kinds: tuple[KindFound, ...]
    false_events: tuple[AlertEvent, ...]

    @property
    def num_kinds_found(self) -> int:
        """Number of kinds with at least one anomaly found."""
        return sum(entry.num_found > 0 for entry in self.kinds)


def planted_kinds_found(
    scores: pa.Table,
    events: Sequence[AlertEvent],
    *,
    kind: str = "label_kind",
    tolerance_s: float = 0.0,
) -> PlantedKinds:
    """Count the anomalies of each planted kind that an alert event overlaps.

    A run of rows of one asset with the same kind is one anomaly.

    Args:
        scores: Scores table that carries the input's label columns.
        events: Alert events of the same rows.
        kind: Text column with the kind of fault, empty or null on normal rows.
        tolerance_s: An alert event within so many seconds after an anomaly is not called
            false (a smoothed score comes down late); it does not count as found either.

    Returns:
        The kinds and the false alert events.

    Raises:
        EvaluationError: A column is missing or does not hold text.
    """
    column = pick_column(scores, kind)
    if not (pa.types.is_dictionary(column.type) or _is_text(column.type)):
        raise EvaluationError(
            f"Cannot count planted kinds: expected text in {kind!r}, got {column.type}. "
            "Name the column that holds the kind of fault."
        )
    rows = read_rows(scores)
    kinds = read_text(column)[rows.order]
    totals = {name: [0, 0] for name in sorted(set(kinds) - {""})}
    true_events: set[int] = set()
    for code, own in rows.split_assets():
        alerts = rows.pick_alerts(events, code)
        intervals = make_intervals(alerts)
        for name, anomalies in _find_anomalies(rows, own, kinds):
            found = count_overlaps(anomalies, intervals) > 0
            totals[name][0] += found.size
            totals[name][1] += int(found.sum())
            hit = count_overlaps(intervals, anomalies.extended(tolerance_s)) > 0
            true_events.update(id(alerts[index]) for index in np.flatnonzero(hit))
    false_events = [event for event in events if id(event) not in true_events]
    return PlantedKinds(
        kinds=tuple(KindFound(name, *counts) for name, counts in totals.items()),
        false_events=tuple(sorted(false_events, key=lambda event: event.start_us)),
    )


def _is_text(column_type: object) -> bool:
    kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_null)
    return any(is_kind(column_type) for is_kind in kinds)


def _find_anomalies(
    rows: ScoredRows, own: IntArray, kinds: TextArray
) -> list[tuple[str, Intervals]]:
    times, period_us = rows.timestamps_us[own], rows.find_period_us(own)
    names = sorted(set(kinds[own]) - {""})
    return [
        (name, find_intervals(times, kinds[own] == name, period_us=period_us)) for name in names
    ]
