"""Faults injected into normal rows: which does each detector find?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vae_anomaly.domain import BoolArray, FloatArray, IntArray
from vae_anomaly.evaluation.injected import InjectedFault, find_spread, inject, plan_faults
from vae_anomaly.evaluation.plain_pca import fit_plain_pca
from vae_anomaly.operations.pipeline_tables import LakeView
from vae_anomaly.operations.promotion.contenders import (
    Scored,
    ScoreValues,
    find_found,
    score_rows,
    score_with_pca,
)
from vae_anomaly.operations.promotion.rows import ComparisonRows, read_trained_values

if TYPE_CHECKING:
    from vae_anomaly.detector.detector import Detector

MIN_NORMAL_SCORES = 5
"""Normal steps that lie above the limit at which the challenger meets PCA, at least."""


@dataclass(frozen=True)
class FaultsFound:
    """Faults, and who finds them.

    Attributes:
        starts: First row of each. Shape `(faults,)`.
        shares: 1 where found, 0 where not: by the challenger with its own threshold, by the
            champion with its own, but flagging no more normal steps than was asked for, and by the
            challenger and PCA where both flag that share of normal steps; NaN where no PCA can be
            fitted. Shape `(faults,)` each.
    """

    starts: IntArray
    shares: tuple[FloatArray, FloatArray, FloatArray, FloatArray]


@dataclass(frozen=True)
class Trial:
    """The rows that faults are injected into, and what is said of them as they are.

    Attributes:
        rows: The rows.
        is_normal: Which of them are normal. Shape `(rows,)`.
        clean: Scores of the rows as they are, of challenger and champion.
        detectors: Challenger and champion.
        wake: Steps over which a score comes down.
    """

    rows: ComparisonRows
    is_normal: BoolArray
    clean: list[Scored]
    detectors: tuple[Detector, Detector]
    wake: int

    def average_nll(self, place: int) -> float:
        """Average the NLL over normal steps, in nats; NaN where there is none."""
        nll = self.clean[place].nll[self.is_normal]
        return float(np.nanmean(nll)) if np.isfinite(nll).any() else float("nan")

    def inject_faults(self, view: LakeView, *, num_faults: int) -> FaultsFound:
        """Inject faults into copies of the rows, and score them.

        Args:
            view: The lake, with what the challenger was trained on: PCA is fitted to it.
            num_faults: Faults wanted.
        """
        values, codes = self.rows.values(), self.rows.asset_codes
        spread = find_spread(values[self.is_normal])
        passes = self._plan(spread, num_faults)
        pca = self._fit_pca(view)
        clean = [*self.clean, *([pca(self.rows.table)] if pca is not None else [])]
        limits = [self._find_limit(scored) for scored in clean]
        before = _flag(clean, limits)
        found: list[list[BoolArray]] = [[] for _ in before]
        for seed, faults in enumerate(passes):
            table = self.rows.with_values(inject(values, codes, faults, spread=spread, seed=seed))
            faulty = [score_rows(detector, table) for detector in self.detectors]
            faulty += [pca(table)] if pca is not None else []
            for place, flags in enumerate(_flag(faulty, limits)):
                found[place].append(find_found(faults, flags, before[place]))
        starts = [fault.start for faults in passes for fault in faults]
        return _join(np.array(starts, dtype=np.int64), found)

    def _plan(self, spread: FloatArray, num_faults: int) -> tuple[tuple[InjectedFault, ...], ...]:
        """Plan faults where neither flags anything yet: one there would show less to one."""
        flagged = self.clean[0].flagged | self.clean[1].flagged
        return plan_faults(
            self.is_normal & ~flagged,
            self.rows.asset_codes,
            self._find_sensors(spread),
            num_faults=num_faults,
            apart_steps=self.wake,
        )

    def _find_sensors(self, spread: FloatArray) -> IntArray:
        """Choose sensors that move, and are scored by both: context is given, not scored."""
        context = {
            name for detector in self.detectors for name in detector.record.config.model.context
        }
        scored = [name not in context for name in self.rows.sensors]
        return np.flatnonzero((spread > 0) & np.array(scored))

    def _fit_pca(self, view: LakeView) -> ScoreValues | None:
        challenger = self.detectors[0]
        fitted = fit_plain_pca(read_trained_values(view, challenger))
        return None if fitted is None else score_with_pca(fitted, challenger, self.rows)

    def _find_limit(self, scored: Scored) -> float:
        """Find the score that as many normal steps exceed as was asked of the challenger."""
        scores = scored.score[self.is_normal]
        rate = self.detectors[0].record.config.threshold.false_alarm_rate
        rate = min(max(rate, MIN_NORMAL_SCORES / scores.size), 0.5)
        return float(np.quantile(scores, 1.0 - rate))


def _flag(scored: list[Scored], limits: list[float]) -> list[BoolArray]:
    """Flag by own thresholds, and of challenger and PCA by the limits at which they meet.

    A champion that flags more than was asked for, after a sensor was replaced say, finds faults
    by that alone; it counts as if it flagged no more.
    """
    champion = scored[1].flagged & (scored[1].score > limits[1])
    matched = [scored[0].score > limits[0]]
    matched += [scored[2].score > limits[2]] if len(scored) > 2 else []
    return [scored[0].flagged, champion, *matched]


def _join(starts: IntArray, found: list[list[BoolArray]]) -> FaultsFound:
    none = np.zeros(0, dtype=bool)
    shares = [np.concatenate([none, *parts]).astype(np.float64) for parts in found]
    if len(shares) < 4:
        shares.append(np.full(starts.size, np.nan))
    return FaultsFound(starts, (shares[0], shares[1], shares[2], shares[3]))
