"""`Detector`: fit, score, save and load; the front door of the package."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from vae_anomaly.config import DetectorConfig
from vae_anomaly.detector import smoothing
from vae_anomaly.detector.adaptation import memory_steps, memory_us
from vae_anomaly.detector.alerts import make_alert_events, make_alert_rules
from vae_anomaly.detector.fitting import fit_networks, read_normal
from vae_anomaly.detector.judging import FittedDetector, judge_networks
from vae_anomaly.detector.record import DetectorRecord
from vae_anomaly.detector.row_scores import RowScores, score_rows
from vae_anomaly.detector.scoring import Expected
from vae_anomaly.detector.storage import Stored, make_golden, read_folder, write_folder
from vae_anomaly.detector.table import make_score_table, read_traces
from vae_anomaly.domain import (
    MICROSECONDS_PER_S,
    AlertEvent,
    CheckedReadings,
    Contract,
    FloatArray,
    Reach,
)
from vae_anomaly.model.density import Density
from vae_anomaly.readings.check import check_readings
from vae_anomaly.readings.source import RawSource

if TYPE_CHECKING:
    import pyarrow as pa

DEFAULT_CONFIG = DetectorConfig()
DEFAULT_MODEL_NAME = "vae-anomaly"


@dataclass(frozen=True)
class Examination:
    """Everything a detector says of a set of readings, in the order the rows came.

    Attributes:
        checked: The readings with what is wrong with them.
        scores: The scores table, one row per row of the input.
        mean: Expected values, raw units, NaN where there is none. Shape `(rows, sensors)`, or
            `(0, sensors)` where they were not asked for.
        sigma: Their standard deviations. Same shape.
        events: Alert events in order of asset and time.
    """

    checked: CheckedReadings
    scores: pa.Table
    mean: FloatArray
    sigma: FloatArray
    events: tuple[AlertEvent, ...]


class Detector:
    """A fitted anomaly detector for raw sensor readings.

    It holds contract, affine, VAE, calibration, alert rules, baseline and golden rows: all that
    scoring needs. Create one with `fit` or `load`.

    Example:
        >>> detector = Detector.fit("readings.parquet")  # doctest: +SKIP
        >>> detector.score("more.parquet")["state"]  # doctest: +SKIP
    """

    def __init__(self, density: Density, record: DetectorRecord, golden: pa.Table) -> None:
        self._density = density
        self._record = record
        self._golden = golden

    @classmethod
    def fit(
        cls,
        readings: RawSource,
        *,
        calibration: RawSource | None = None,
        config: DetectorConfig = DEFAULT_CONFIG,
        seed: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> Self:
        """Fit a detector to normal readings in raw units.

        Args:
            readings: Parquet path(s), folder, glob or URI, an Arrow table or dataset, or a
                pandas frame. Labels are ignored; what is in it is taken as normal.
            calibration: Other normal readings to set the threshold on. Without them the last
                part in time is held out.
            config: All settings.
            seed: Seed of the fit; the same readings, settings and seed give the same detector.
            progress: Called with optimiser steps done and in all.

        Returns:
            The detector.

        Raises:
            ReadingsError: The input cannot be read.
            ContractError: It has no time, no sensors, or sensors of the wrong type.
            TrainingError: Too few rows, or no sensor moves.
            CalibrationError: The held-out part cannot carry the alert rate asked for, or declared
                rules fire on too much of it.
        """
        checked = read_normal(readings, calibration, config=config)
        return cls.fit_checked(*checked, config=config, seed=seed, progress=progress)

    @classmethod
    def fit_checked(
        cls,
        readings: CheckedReadings,
        calibration: CheckedReadings | None = None,
        *,
        config: DetectorConfig = DEFAULT_CONFIG,
        seed: int = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> Self:
        """Fit a detector to readings that were looked at before, with `read_normal`.

        Args:
            readings: Normal readings.
            calibration: Other normal readings, of the same contract, to set the threshold on.
            config: All settings, those that the readings were read with.
            seed: As for `fit`.
            progress: As for `fit`.

        Returns:
            The detector.

        Raises:
            TrainingError: As for `fit`.
            CalibrationError: As for `fit`.
        """
        networks = fit_networks(readings, calibration, config=config, seed=seed, progress=progress)
        fitted = judge_networks(networks, config=config, seed=seed)
        return cls.from_fitted(fitted, calibration or readings)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Load a detector and prove it on its golden rows.

        Args:
            folder: A folder that `save` wrote.

        Returns:
            The detector.

        Raises:
            DetectorError: The folder holds no detector, was changed, or scores its golden rows
                otherwise than when it was saved.
        """
        stored = read_folder(Path(folder))
        detector = cls(stored.density, stored.record, stored.golden)
        stored.prove(detector.score(stored.golden_readings()))
        return detector

    def save(self, folder: str | Path) -> Path:
        """Write the detector to a folder, whole or not at all.

        Args:
            folder: Where to; an older detector there is replaced.

        Returns:
            The folder.

        Raises:
            DetectorError: The folder cannot be written, or holds something else.
        """
        return write_folder(Path(folder), Stored(self._density, self._record, self._golden))

    def score(self, readings: RawSource) -> pa.Table:
        """Score readings in raw units.

        Args:
            readings: As for `fit`. The score of a step depends on the steps just before it
                (`lookback_steps`) and, with a latency, on those just after it
                (`lookahead_steps`): give them too where a stream is scored in pieces.

        Returns:
            A table with one row per row of the input, in its order, or, where the settings align,
            one per asset and tick, sorted by both: `timestamp`, the asset if
            the input has one, `nll` (nats), `score` (higher is stranger), `threshold`, `state`
            (`ok`, `anomalous` or `unscorable`), `reason`, `kl` and `contribution` (nats per
            sensor; they and `kl` add up to `nll`).

        Raises:
            ReadingsError: The input cannot be read.
            ContractError: A sensor is missing or of the wrong type.
        """
        checked, rows = self._score(readings)
        return make_score_table(checked, rows)

    def examine(
        self,
        readings: RawSource,
        *,
        model_name: str = DEFAULT_MODEL_NAME,
        with_expected: bool = True,
    ) -> Examination:
        """Score readings and also find alert events and expected values.

        Args:
            readings: As for `score`.
            model_name: Name that enters the identity of the alerts.
            with_expected: Whether to keep the expected values, which are as many as the readings.

        Returns:
            Scores, expectations and alert events.
        """
        checked, rows = self._score(readings, with_expected=with_expected)
        expected = rows.expected or Expected.nothing(len(self.contract.sensors))
        scores = make_score_table(checked, rows)
        return Examination(
            checked=checked,
            scores=scores,
            mean=expected.mean,
            sigma=expected.sigma,
            events=self.find_events(scores, model_name=model_name),
        )

    def find_events(
        self, scores: pa.Table, *, model_name: str = DEFAULT_MODEL_NAME
    ) -> tuple[AlertEvent, ...]:
        """Turn scores of this detector into alert events.

        Args:
            scores: A scores table, rows in any order; equal rows count once.
            model_name: Name that enters the identity of the alerts.

        Returns:
            The events in order of asset and time.
        """
        normal = np.array(self._record.normal_contribution)
        rules = make_alert_rules(self._record.config, self.contract.period_s)
        events: list[AlertEvent] = []
        asset_column = self.contract.asset or self._record.config.readings.asset
        for asset, trace in read_traces(
            scores, replace(self.contract, asset=asset_column), normal=normal
        ):
            events += make_alert_events(
                trace,
                asset=asset,
                model_name=model_name,
                sensors=self.contract.sensor_names,
                threshold=self._record.calibration_of(asset).threshold,
                rules=rules,
            )
        return tuple(events)

    @property
    def contract(self) -> Contract:
        """Sensors, units and period."""
        return self._record.contract

    @property
    def record(self) -> DetectorRecord:
        """Everything of the detector that is not weights."""
        return self._record

    @property
    def golden_readings(self) -> pa.Table:
        """The readings of the golden rows: an example of the input."""
        return Stored(self._density, self._record, self._golden).golden_readings()

    @property
    def lookback_steps(self) -> int:
        """Steps before a step that its score depends on, where readings come every `period_s`.

        Levels are taken over a time, not over a number of steps: where readings come more often,
        see `reach`.
        """
        steps = memory_steps(self._record.config.threshold.adaptation_steps)
        return self.reach.window_steps + steps

    @property
    def lookahead_steps(self) -> int:
        """Steps after a step that its score depends on; see `latency` in the settings."""
        return self.reach.lookahead_steps

    @property
    def reach(self) -> Reach:
        """How far around a step the readings lie that its score depends on, at most."""
        settings, period_s = self._record.config.threshold, self.contract.period_s
        shift = smoothing.memory_steps(settings.shift_steps) if settings.shift_steps else 1
        spans = smoothing.list_spans(settings.smoothing_steps)
        level_us = memory_us(settings.adaptation_steps, period_s=period_s)
        if level_us:
            # what a level is taken of looks back itself, over steps that may be wide apart
            wide_us = self._record.config.readings.gap_steps * period_s * MICROSECONDS_PER_S
            level_us += round((max(shift, self._density.window) - 1) * wide_us)
        return Reach(
            window_steps=max(
                smoothing.memory_steps(spans[-1]) + self._density.window - 1,
                shift,
                self._record.rule_limits.memory_steps,
            )
            - 1,
            lookahead_steps=settings.latency_steps,
            level_us=level_us,
        )

    @classmethod
    def from_fitted(cls, fitted: FittedDetector, source: CheckedReadings) -> Self:
        """Make a detector of its fitted parts.

        Args:
            fitted: The parts.
            source: Readings to take the golden rows from.

        Returns:
            The detector.
        """
        draft = cls(fitted.density, fitted.record, None)
        return cls(fitted.density, fitted.record, make_golden(source, draft.score))

    def _score(
        self, readings: RawSource, *, with_expected: bool = False
    ) -> tuple[CheckedReadings, RowScores]:
        config = self._record.config
        checked = check_readings(
            readings,
            config=config.readings,
            contract=self.contract,
            purpose="score",
            ranges=config.rules.ranges,
        )
        rows = score_rows(checked, self._density, self._record, with_expected=with_expected)
        return checked, rows
