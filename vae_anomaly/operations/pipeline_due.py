"""The work of a scoring, found from what changed in the readings and read part by part."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from vae_anomaly.domain import IntArray, Reach
from vae_anomaly.operations.pipeline_plan import Stretch, find_reach, plan_stretches
from vae_anomaly.operations.pipeline_scored import PinnedScores
from vae_anomaly.operations.pipeline_tables import LakeView
from vae_anomaly.readings.changes import Changes, Spans, join_spans
from vae_anomaly.readings.timeline import Timeline


@dataclass(frozen=True)
class DueWork:
    """What a scoring has to do, and how to find it without reading what it does not concern.

    Attributes:
        view: The lake.
        changes: What changed in the readings.
        scores: What the model version scored before.
        reach: Steps around a step that its score depends on.
        between: Start and end, exclusive, of the steps that are scored, microseconds since 1970.
        max_steps: Steps that are planned at once, about.
    """

    view: LakeView
    changes: Changes
    scores: PinnedScores
    reach: Reach
    between: tuple[int, int]
    max_steps: int

    @property
    def assets(self) -> tuple[str, ...]:
        """Assets that something may have to be scored of, in order."""
        if self.changes.is_everything:
            return tuple(sorted({*self.view.readings.assets, *self.scores.assets}))
        return self.changes.assets

    def plan(self) -> Iterator[Stretch]:
        """Find what to score, in order of asset and time, as it is asked for."""
        for asset in self.assets:
            timeline = self._timeline_of(asset)
            for start_us, end_us in self._find_domains(asset):
                for part in timeline.cut(start_us, end_us, max_rows=self.max_steps):
                    yield from self._plan_part(asset, *part)

    def estimate_steps(self) -> int:
        """Estimate the steps to score, by the statistics of files."""
        first_us, end_us = self.between
        if self.changes.is_everything:
            timelines = [self.view.readings.timeline_of(asset) for asset in self.assets]
        else:
            timelines = [Timeline.of(self.changes.added.get(asset, ())) for asset in self.assets]
        return round(
            sum(
                line.count(max(line.start_us, first_us), min(line.end_us, end_us))
                for line in timelines
            )
        )

    def _timeline_of(self, asset: str) -> Timeline:
        files = [*self.view.readings.files_of(asset), *self.changes.removed.get(asset, ())]
        if self.changes.is_everything:
            files += self.scores.files_of(asset)
        return Timeline.of(files)

    def _find_domains(self, asset: str) -> list[tuple[int, int]]:
        """Find where scores may have to be replaced: half-open spans, apart, in order of time."""
        line = self._timeline_of(asset)
        if self.changes.is_everything:
            return self._clip([(line.start_us, line.end_us + self.view.period_us)])
        found = []
        for first_us, last_us in self._to_steps(self.changes.spans_of(asset)):
            latest_us = last_us + self.reach.level_us + 1
            ahead, behind = self.reach.lookahead_steps, self.reach.window_steps
            before = self.view.read_times_before(asset, first_us, num_steps=ahead)
            after = self.view.read_times_from(asset, latest_us, num_steps=behind)
            start_us = int(before[0]) if before.size else first_us
            found.append((start_us, int(after[-1]) if after.size else latest_us))
        joined = join_spans(found)
        return self._clip([(start_us, last_us + 1) for start_us, last_us in joined])

    def _plan_part(self, asset: str, start_us: int, end_us: int) -> tuple[Stretch, ...]:
        reach, view = self.reach, self.view
        core = view.read_times(asset, start_us=start_us, end_us=end_us)
        times = np.concatenate(
            [
                view.read_times_before(asset, start_us, num_steps=reach.window_steps),
                core,
                view.read_times_from(asset, end_us, num_steps=reach.lookahead_steps),
            ]
        )
        touched = self._find_touched(asset, times, core, between=(start_us, end_us))
        line = view.readings.timeline_of(asset)
        return tuple(
            replace(item, num_read=round(line.count(item.read_from_us, item.read_to_us)))
            for item in plan_stretches(
                asset,
                times,
                touched,
                reach=reach,
                between=(start_us, end_us),
                max_steps=self.max_steps,
            )
        )

    def _find_touched(
        self, asset: str, times: IntArray, core: IntArray, *, between: tuple[int, int]
    ) -> IntArray:
        """Find the steps that changed, of those that scores between two times depend on."""
        start_us, end_us = between
        found: list[IntArray] = []
        if core.size:
            earliest, latest = find_reach(times, self.reach)
            rows = np.searchsorted(times, core[[0, -1]])
            start_us = min(start_us, int(earliest[rows[0]]))
            end_us = max(end_us, int(latest[rows[1]]) + 1)
            if rows[0] < self.reach.window_steps:
                found.append(self._find_gone_before(asset, int(times[0])))
        from_us, to_us = self.view.to_readings(start_us, end_us)
        touched = self.changes.find(asset, start_us=from_us, end_us=to_us)
        found.append(self.view.to_steps(touched.times))
        for first_us, last_us in self._to_steps(touched.unknown):
            first, last = max(first_us, start_us), min(last_us, end_us - 1)
            found.append(times[(times >= first) & (times <= last)])
            found.append(self.scores.read_times(asset, start_us=first, end_us=last + 1))
        given = [times for times in found if times.size]
        if len(given) == 1 and np.all(np.diff(given[0]) > 0):
            return given[0]  # as new rows come, most often
        return np.unique(np.concatenate(found))

    def _find_gone_before(self, asset: str, first_us: int) -> IntArray:
        """Find times before the first step of an asset where there may have been others."""
        gone = join_spans((file.first_us,) * 2 for file in self.changes.removed.get(asset, ()))
        steps = np.array([step for step, _ in self._to_steps(gone)], dtype=np.int64)
        return steps[steps < first_us]

    def _to_steps(self, spans: Spans) -> Spans:
        if not self.view.rules:
            return spans
        bounds = np.array(spans, dtype=np.int64).reshape(-1, 2)
        ticks = -(-bounds // self.view.period_us) * self.view.period_us
        return join_spans((first, last) for first, last in ticks.tolist())

    def _clip(self, spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
        first_us, end_us = self.between
        clipped = [(max(start, first_us), min(end, end_us)) for start, end in spans]
        return [(start, end) for start, end in clipped if start < end]
