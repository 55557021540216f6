"""Challenger, champion and PCA on the same normal rows and the same injected faults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vae_anomaly.config import PromotionConfig
from vae_anomaly.domain import BoolArray, FloatArray, IntArray
from vae_anomaly.evaluation.injected import (
    FAULT_STEPS,
    InjectedFault,
    find_spread,
    inject,
    plan_faults,
)
from vae_anomaly.evaluation.paired import Gap, count_by_block, cut_blocks, find_gap
from vae_anomaly.evaluation.plain_pca import fit_plain_pca
from vae_anomaly.operations.pipeline_scorer import score_table
from vae_anomaly.operations.pipeline_tables import LakeView
from vae_anomaly.operations.promotion.contenders import (
    Scored,
    ScoreValues,
    cover,
    find_events,
    find_found,
    score_rows,
    score_with_pca,
    to_scored,
)
from vae_anomaly.operations.promotion.rows import (
    ComparisonRows,
    join_reach,
    read_comparison_rows,
    read_trained_values,
)

if TYPE_CHECKING:
    from vae_anomaly.detector.detector import Detector

MAX_APART_STEPS = 500
"""Steps between two faults of a copy, at most; a score comes down within fewer as a rule."""

NEAR_STEPS = 30
"""Steps around an alert event of both that are left out with it."""

NUM_BLOCKS = 50
"""Blocks that the rows are cut into, about; none is shorter than a fault with its wake."""

MIN_NORMAL_SCORES = 5
"""Normal steps that lie above the limit at which the challenger meets PCA, at least."""

SECONDS_PER_WEEK = 7 * 86_400


@dataclass(frozen=True)
class Measured:
    """What was measured, of the rows that count as normal.

    Attributes:
        start_us: First row compared on, microseconds since 1970.
        end_us: Last row compared on.
        num_normal: Rows that count as normal.
        num_agreed: Rows left out, since both detectors have an alert event there.
        num_faults: Faults injected.
        alarm_share: Share of normal steps flagged, by challenger and champion.
        num_events: Alert events of each on normal steps.
        weeks: Asset-weeks of normal steps.
        recall: Share of faults that each finds, with its own threshold.
        matched_recall: Share of faults that the challenger and PCA find where both flag the same
            share of normal steps.
        nll: Mean over normal steps, nats, by challenger and champion.
        alarm_gap: Challenger less champion, share of normal steps flagged.
        recall_gap: Challenger less champion, share of faults found.
        pca_gap: Challenger less PCA, share of faults found; NaN where no PCA can be fitted.
    """

    start_us: int
    end_us: int
    num_normal: int
    num_agreed: int
    num_faults: int
    alarm_share: tuple[float, float]
    num_events: tuple[int, int]
    weeks: float
    recall: tuple[float, float]
    matched_recall: tuple[float, float]
    nll: tuple[float, float]
    alarm_gap: Gap
    recall_gap: Gap
    pca_gap: Gap


@dataclass(frozen=True)
class TooFewRows:
    """There is nothing to decide on yet.

    Attributes:
        num_normal: Rows that could be compared on.
        num_agreed: Rows left out, since both detectors have an alert event there.
        after_us: Rows up to here were trained on, microseconds since 1970.
    """

    num_normal: int
    num_agreed: int
    after_us: int


@dataclass(frozen=True)
class _Normal:
    """The rows as they are, judged by both detectors.

    Attributes:
        is_normal: Rows that count as normal. Shape `(rows,)`.
        num_agreed: Rows left out.
        num_events: Alert events on normal rows, of challenger and champion.
    """

    is_normal: BoolArray
    num_agreed: int
    num_events: tuple[int, int]


def compare(
    view: LakeView,
    challenger: Detector,
    champion: Detector,
    *,
    settings: PromotionConfig,
    model_name: str,
) -> Measured | TooFewRows:
    """Measure a challenger against the champion and PCA.

    The rows are the latest that neither was trained on. Where both have an alert event, something
    is taken to have happened, and the rows are left out; where only one has, it is a false alarm
    of that one. What else is known of the rows nobody has said.

    Args:
        view: The lake.
        challenger: The detector that may become champion.
        champion: The one that is.
        settings: How many rows and faults.
        model_name: Name that enters the identity of alert events.

    Returns:
        The figures, or how many rows there are where these are too few.

    Raises:
        TableError: The readings cannot be read.
        ContractError: The lake has other sensors than a detector.
    """
    both = (challenger, champion)
    for detector in both:
        view.require_rules_of(detector)
    after_us = max(detector.record.facts.last_us for detector in both)
    reach = join_reach(both)
    rows = read_comparison_rows(view, after_us=after_us, reach=reach, max_rows=settings.max_rows)
    if rows.is_compared.sum() < settings.min_rows:
        return TooFewRows(int(rows.is_compared.sum()), 0, after_us)
    tables = [score_table(detector, rows.table) for detector in both]
    events = [
        find_events(detector, table, rows, model_name=model_name)
        for detector, table in zip(both, tables, strict=True)
    ]
    wake = min(reach.window_steps, MAX_APART_STEPS)
    normal = _find_normal(rows, cover(rows, events[0]), cover(rows, events[1]), wake=wake)
    if normal.is_normal.sum() < settings.min_rows:
        return TooFewRows(int(normal.is_normal.sum()), normal.num_agreed, after_us)
    clean = [to_scored(table) for table in tables]
    duel = _Duel(rows, normal, clean, challenger, champion, wake)
    return duel.measure(view, settings)


def _find_normal(
    rows: ComparisonRows, first: BoolArray, second: BoolArray, *, wake: int
) -> _Normal:
    agreed = first & second & rows.is_compared
    # one of them sees it begin sooner, or end later: so long as a score takes to come down
    near = _widen(agreed, NEAR_STEPS) | (_widen(agreed, wake) & (first | second))
    is_normal = rows.is_compared & ~near
    counts = [_count_runs(mask & is_normal, rows.asset_codes) for mask in (first, second)]
    return _Normal(is_normal, int((rows.is_compared & near).sum()), (counts[0], counts[1]))


def _widen(mask: BoolArray, num_steps: int) -> BoolArray:
    """Add so many rows before and after."""
    counts = np.concatenate([[0], np.cumsum(mask)])
    rows = np.arange(mask.size)
    end = np.minimum(rows + num_steps + 1, mask.size)
    widened: BoolArray = counts[end] > counts[np.maximum(rows - num_steps, 0)]
    return widened


def _count_runs(mask: BoolArray, asset_codes: IntArray) -> int:
    """Count the runs of rows of one asset."""
    begins = mask.copy()
    begins[1:] &= ~mask[:-1] | (np.diff(asset_codes) != 0)
    return int(begins.sum())


@dataclass(frozen=True)
class _Duel:
    """The measurements, once it is known which rows are normal.

    Attributes:
        rows: The rows.
        normal: Which of them are normal.
        clean: Scores of the rows as they are, of challenger and champion.
        challenger: The challenger.
        champion: The champion.
        wake: Steps over which a score comes down.
    """

    rows: ComparisonRows
    normal: _Normal
    clean: list[Scored]
    challenger: Detector
    champion: Detector
    wake: int

    def measure(self, view: LakeView, settings: PromotionConfig) -> Measured:
        """Count flags on normal rows and faults found, block by block."""
        rows, is_normal = self.rows, self.normal.is_normal
        wanted = int(rows.is_compared.sum())
        length = max(FAULT_STEPS + self.wake, wanted // NUM_BLOCKS)
        blocks = cut_blocks(rows.asset_codes, block_steps=length)
        num_blocks = int(blocks[-1]) + 1
        weight = count_by_block(blocks, is_normal, num=num_blocks)
        flags = [
            count_by_block(blocks, one.flagged & is_normal, num=num_blocks) for one in self.clean
        ]
        faults, found = self._inject(view, settings)
        at = blocks[np.array([fault.start for fault in faults], dtype=np.int64)]
        injected = np.bincount(at, minlength=num_blocks).astype(np.float64)
        hits = [count_by_block(at, one, num=num_blocks) for one in found]
        shares = [float(one.mean()) if one.size else float("nan") for one in found]
        times = rows.timestamps[rows.is_compared]
        num_normal = int(is_normal.sum())
        return Measured(
            start_us=int(times.min()),
            end_us=int(times.max()),
            num_normal=num_normal,
            num_agreed=self.normal.num_agreed,
            num_faults=len(faults),
            alarm_share=(flags[0].sum() / num_normal, flags[1].sum() / num_normal),
            num_events=self.normal.num_events,
            weeks=num_normal * view.contract.period_s / SECONDS_PER_WEEK,
            recall=(shares[0], shares[1]),
            matched_recall=(shares[2], shares[3]),
            nll=(self._average_nll(0), self._average_nll(1)),
            alarm_gap=find_gap(flags[0], flags[1], weight),
            recall_gap=find_gap(hits[0], hits[1], injected),
            pca_gap=find_gap(hits[2], hits[3], injected),
        )

    def _average_nll(self, place: int) -> float:
        nll = self.clean[place].nll[self.normal.is_normal]
        return float(np.nanmean(nll)) if np.isfinite(nll).any() else float("nan")

    def _inject(
        self, view: LakeView, settings: PromotionConfig
    ) -> tuple[tuple[InjectedFault, ...], list[FloatArray]]:
        """Inject the faults; say which challenger, champion, and again challenger, PCA find."""
        rows, values = self.rows, self.rows.values()
        spread = find_spread(values[self.normal.is_normal])
        passes = plan_faults(
            self.normal.is_normal & self._is_quiet(),
            rows.asset_codes,
            self._find_sensors(spread),
            num_faults=settings.num_faults,
            apart_steps=self.wake,
        )
        pca = self._fit_pca(view)
        limits = [self._find_limit(self.clean[0])]
        clean_pca = None if pca is None else pca(rows.table)
        limits += [] if clean_pca is None else [self._find_limit(clean_pca)]
        found: list[list[BoolArray]] = [[], [], [], []]
        for seed, faults in enumerate(passes):
            table = rows.with_values(
                inject(values, rows.asset_codes, faults, spread=spread, seed=seed)
            )
            faulty = [score_rows(one, table) for one in (self.challenger, self.champion)]
            for place in (0, 1):
                seen, before = faulty[place].flagged, self.clean[place].flagged
                found[place].append(find_found(faults, seen, before))
            above, before = faulty[0].score > limits[0], self.clean[0].score > limits[0]
            found[2].append(find_found(faults, above, before))
            if pca is not None and clean_pca is not None:
                above, before = pca(table).score > limits[1], clean_pca.score > limits[1]
                found[3].append(find_found(faults, above, before))
        none = [np.zeros(0)]
        flat = tuple(fault for faults in passes for fault in faults)
        shares = [np.concatenate(none + [one.astype(np.float64) for one in o]) for o in found]
        if pca is None:
            shares[3] = np.full(len(flat), np.nan)
        return flat, shares

    def _is_quiet(self) -> BoolArray:
        """Leave out what either flags already: a fault there would show less to one of them."""
        quiet: BoolArray = ~(self.clean[0].flagged | self.clean[1].flagged)
        return quiet

    def _find_sensors(self, spread: FloatArray) -> IntArray:
        """Choose sensors that move, and are scored by both: context is given, not scored."""
        context = {
            name
            for detector in (self.challenger, self.champion)
            for name in detector.record.config.model.context
        }
        scored = [name not in context for name in self.rows.sensors]
        return np.flatnonzero((spread > 0) & np.array(scored))

    def _fit_pca(self, view: LakeView) -> ScoreValues | None:
        fitted = fit_plain_pca(read_trained_values(view, self.challenger))
        return None if fitted is None else score_with_pca(fitted, self.challenger, self.rows)

    def _find_limit(self, scored: Scored) -> float:
        """Find the score that as many normal steps exceed as was asked of the challenger."""
        scores = scored.score[self.normal.is_normal]
        rate = self.challenger.record.config.threshold.false_alarm_rate
        rate = min(max(rate, MIN_NORMAL_SCORES / scores.size), 0.5)
        return float(np.quantile(scores, 1.0 - rate))
