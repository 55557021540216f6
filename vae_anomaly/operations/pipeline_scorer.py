"""Scores of stretches, written with their alert events: by one model version, for its time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from vae_anomaly.domain import BoolArray, IntArray
from vae_anomaly.operations.model_versions import ModelVersion
from vae_anomaly.operations.pipeline_alerts import update_alerts
from vae_anomaly.operations.pipeline_plan import Stretch
from vae_anomaly.operations.pipeline_scored import PinnedScores
from vae_anomaly.operations.pipeline_tables import (
    LakeView,
    name_as_lake,
    name_as_raw,
    to_microseconds,
)
from vae_anomaly.readings.spans import Span

if TYPE_CHECKING:
    from vae_anomaly.detector.detector import Detector

NEAR_STEPS = 4_000
"""Stretches no further apart are read at once: to read so many steps costs less than to read
twice."""

MAX_READ_STEPS = 500_000
"""Steps that are read at once, those between near stretches included."""


@dataclass(frozen=True)
class Scorer:
    """Scores stretches, writes them, and brings alert events in line.

    Attributes:
        view: The lake.
        detector: The detector.
        model: Its model version.
        between: Start and end, exclusive, of what it speaks for, microseconds since 1970.
        is_alerting: Whether its scores become alert events.
        is_new: Whether the alert events there are come from another version, or from none.
        pending: Spans that were scored, of which the alert events are not in line yet.
    """

    view: LakeView
    detector: Detector
    model: ModelVersion
    between: tuple[int, int]
    is_alerting: bool
    is_new: bool
    pending: list[Span] = field(default_factory=list)

    @property
    def names(self) -> dict[str, str]:
        """Model and version, as tables name them."""
        return {"model_name": self.model.model_name, "model_version": self.model.version}

    def score(self, batch: Sequence[Stretch]) -> None:
        """Score and write a batch; the assets before that of its end have their alerts then."""
        scored = [item for item in batch if item.num_steps]
        spans = [Span(item.asset, item.start_us, item.end_us) for item in batch]
        if scored:
            readings, is_wanted = read_stretches(self.view, scored)
            scores = score_table(self.detector, readings).filter(pa.array(is_wanted))
            self.view.lake.write_scores(scores, **self.names, spans=spans)
        else:
            self.view.lake.remove_scores(spans, **self.names)
        if self.is_alerting:
            self.pending.extend(spans)
            self.raise_alerts(until=batch[-1].asset)

    def raise_alerts(self, *, until: str | None = None) -> None:
        """Bring the alert events in line with the scores, but for one asset."""
        spans = [span for span in self.pending if span.asset != until]
        self.pending[:] = [span for span in self.pending if span.asset == until]
        if self.is_new:  # all scores count then, at the end
            return
        self._update_alerts(spans)

    def finish(self) -> None:
        """Bring in line what is left."""
        if not self.is_alerting:
            return
        if self.is_new:
            scores = PinnedScores(
                self.view.lake,
                model_name=self.model.model_name,
                model_version=self.model.version,
            )
            lines = {asset: scores.timeline_of(asset) for asset in scores.assets}
            first_us, end_us = self.between
            spans = [
                Span(asset, max(line.start_us, first_us), min(line.end_us, end_us))
                for asset, line in lines.items()
                if line.end_us > first_us and line.start_us < end_us
            ]
            self._update_alerts(spans)
        else:
            self.raise_alerts()

    def _update_alerts(self, spans: Sequence[Span]) -> None:
        update_alerts(self.view.lake, self.detector, spans, **self.names, between=self.between)


def score_table(detector: Detector, readings: pa.Table) -> pa.Table:
    """Score readings of the lake.

    Args:
        detector: The detector.
        readings: Readings of the lake.

    Returns:
        asset, timestamp and what the detector says, row by row.
    """
    contract, settings = detector.contract, detector.record.config.readings
    raw = name_as_raw(readings, contract, asset=settings.asset)
    return name_as_lake(detector.score(raw), readings, contract)


def read_stretches(view: LakeView, stretches: Sequence[Stretch]) -> tuple[pa.Table, BoolArray]:
    """Read the steps of stretches, and those around them that their scores depend on.

    Args:
        view: The lake.
        stretches: What to read, in order of asset and time.

    Returns:
        The readings, each once, and which of them belong to the stretches. Shape `(rows,)`.
    """
    tables, wanted = [], []
    for group in _join_reads(stretches, period_us=view.period_us):
        bounds = np.array(
            [(item.read_from_us, item.start_us, item.end_us, item.read_to_us) for item in group]
        )
        read_from, starts, ends, read_to = bounds.T
        table = view.read(group[0].asset, start_us=int(read_from[0]), end_us=int(read_to.max()))
        is_read = _are_within(to_microseconds(table), read_from, np.maximum.accumulate(read_to))
        table = table.filter(pa.array(is_read))
        wanted.append(_are_within(to_microseconds(table), starts, ends))
        tables.append(table)
    return pa.concat_tables(tables), np.concatenate(wanted)


def _join_reads(stretches: Sequence[Stretch], *, period_us: int) -> Iterator[list[Stretch]]:
    """Gather stretches of an asset that are read at once: they share readings, or are near."""

    def is_near(group: Sequence[Stretch], item: Stretch) -> bool:
        gap_us = item.read_from_us - group[-1].read_to_us
        length_us = item.read_to_us - group[0].read_from_us
        return gap_us <= 0 or (
            gap_us <= NEAR_STEPS * period_us and length_us <= MAX_READ_STEPS * period_us
        )

    group: list[Stretch] = []
    for item in stretches:
        if group and (item.asset != group[-1].asset or not is_near(group, item)):
            yield group
            group = []
        group.append(item)
    if group:
        yield group


def _are_within(times: IntArray, starts: IntArray, ends: IntArray) -> BoolArray:
    """Tell which times are in `[start, end)` of the last span that begins before them."""
    place = np.searchsorted(starts, times, side="right") - 1
    inside: BoolArray = (place >= 0) & (times < ends[np.maximum(place, 0)])
    return inside
