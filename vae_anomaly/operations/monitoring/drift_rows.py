"""What a check says of each series: the rows of the table `drift`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vae_anomaly.config import PipelineConfig
from vae_anomaly.detector.drift import (
    LEVEL,
    WINDOWS,
    BlockSums,
    Comparison,
    SeriesReference,
    compare,
    join_sums,
    judge_alert_rate,
    share_alarms,
    sum_blocks,
)
from vae_anomaly.detector.record import DetectorRecord
from vae_anomaly.domain import MICROSECONDS_PER_S
from vae_anomaly.operations.monitoring.alert_rates import AlertRate, find_alert_rates
from vae_anomaly.operations.monitoring.drift_reference import (
    SCORE,
    ReferenceSource,
    Series,
    cut_span,
    find_references,
    to_log,
    to_values,
)
from vae_anomaly.operations.pipeline_live import read_live_periods
from vae_anomaly.operations.pipeline_scored import PinnedScores
from vae_anomaly.operations.pipeline_tables import LakeView, parse_time, to_microseconds
from vae_anomaly.operations.registry import ModelVersion, Registry

DRIFTED, STEADY, UNKNOWN = "drift", "ok", "unknown"
"""Verdicts."""

ALERT_RATE = "alert_rate"
"""Statistic: alert events per week of an asset."""

NOT_ENOUGH = "too few independent blocks to compare"
NO_BUDGET = "no budget of alert events was asked for"


@dataclass(frozen=True)
class Check:
    """What a check goes by.

    Attributes:
        config: The pipeline.
        view: The lake.
        registry: The registry.
        model: The champion.
        until_us: End of the blocks that are compared, microseconds since 1970.
    """

    config: PipelineConfig
    view: LakeView
    registry: Registry
    model: ModelVersion
    until_us: int

    @property
    def names(self) -> dict[str, str]:
        """The model version, as columns of tables."""
        return {"model_name": self.model.model_name, "model_version": self.model.version}

    @property
    def block_us(self) -> int:
        """Length of a base block, microseconds."""
        return round(self.config.monitor.block_s * MICROSECONDS_PER_S)


def judge(check: Check) -> Iterator[dict[str, Any]]:
    """Judge alert rates, and level and spread of every series.

    Args:
        check: What to go by.

    Yields:
        A row of the table `drift` each.
    """
    record = check.registry.load_record(check.model.uri)
    references = find_references(
        ReferenceSource(
            check.view,
            check.model,
            load=lambda: check.registry.load(check.model.uri)[0],
            block_us=check.block_us,
        )
    )
    since_us = _find_start(check, record)
    rates = find_alert_rates(
        check.view, record, check.model, since_us=since_us, until_us=check.until_us
    )
    num_known = sum(one.is_enough for one in references.values())
    limit = share_alarms(
        check.config.monitor.false_alarms_per_year,
        num_series=2 * num_known + sum(rate.budget_per_week is not None for rate in rates),
        shortest_block_s=check.config.monitor.block_s,
    )
    common = {
        **check.names,
        "time": check.until_us,
        "readings_version": check.view.version,
        "limit": limit,
    }
    for rate in rates:
        yield common | _judge_rate(rate, limit)
    sensors = record.contract.sensor_names
    for row in _judge_series(check, sensors, references, limit=limit, since_us=since_us):
        yield common | row


def _find_start(check: Check, record: DetectorRecord) -> int:
    """Find from when on the champion is live and has not seen the readings before."""
    start_us = parse_time(check.config.training.end, setting="training.end") or 0
    periods = read_live_periods(check.view.lake, model_name=check.model.model_name)
    if periods and periods[-1].model_version == check.model.version:
        start_us = max(start_us, periods[-1].start_us or 0)
    return max(start_us, record.facts.last_us + 1)


def _judge_rate(rate: AlertRate, limit: float) -> dict[str, Any]:
    events = (
        f"{rate.num_events} alert events in {rate.weeks:.3g} weeks, {rate.per_week:.3g} a week "
        f"(90 % interval {rate.low:.3g} to {rate.high:.3g})"
    )
    row = {
        "asset": rate.asset,
        "sensor": SCORE,
        "statistic": ALERT_RATE,
        "value": rate.per_week,
    }
    if rate.budget_per_week is None:
        return {**row, "p_value": None, "verdict": UNKNOWN, "reason": f"{events}; {NO_BUDGET}"}
    p_value = judge_alert_rate(
        rate.num_events, weeks=rate.weeks, budget_per_week=rate.budget_per_week
    )
    return {
        **row,
        "p_value": p_value,
        "verdict": DRIFTED if p_value < limit else STEADY,
        "reason": f"{events}; at most {rate.budget_per_week:g} were promised",
    }


def _judge_series(
    check: Check,
    sensors: tuple[str, ...],
    references: Mapping[Series, SeriesReference],
    *,
    limit: float,
    since_us: int,
) -> Iterator[dict[str, Any]]:
    by_asset: dict[str, dict[str, SeriesReference]] = {}
    for (asset, sensor), reference in references.items():
        by_asset.setdefault(asset, {})[sensor] = reference
    model = check.model
    scores = PinnedScores(
        check.view.lake, model_name=model.model_name, model_version=model.version
    )
    for asset, mine in by_asset.items():
        longest = max((one.num_base for one in mine.values() if one.is_enough), default=0)
        reader = _Reader(check, scores, asset, sensors)
        sums = reader.read(num_base=longest, since_us=since_us)
        for position, sensor in enumerate((*sensors, SCORE)):
            found: dict[str, Comparison] = {}
            if sums is not None:
                found = compare(
                    mine[sensor],
                    sums[1 if sensor == SCORE else 0],
                    0 if sensor == SCORE else position,
                    until_block=check.until_us // check.block_us,
                    min_shift=check.config.monitor.min_shift,
                )
            yield from _make_rows(asset, sensor, found, limit)


def _make_rows(
    asset: str, sensor: str, found: Mapping[str, Comparison], limit: float
) -> Iterator[dict[str, Any]]:
    row: dict[str, Any] = {"asset": asset, "sensor": sensor}
    if not found:
        row |= {"statistic": LEVEL, "value": None, "p_value": None}
        yield row | {"verdict": UNKNOWN, "reason": NOT_ENOUGH}
    for statistic, one in found.items():
        is_drift = one.lasts and one.p_value < limit
        yield row | {
            "statistic": statistic,
            "value": one.shift,
            "p_value": one.p_value,
            "verdict": DRIFTED if is_drift else STEADY,
            "reason": _explain(sensor, statistic, one.shift) if is_drift else "",
        }


def _explain(sensor: str, statistic: str, shift: float) -> str:
    what = f"sensor '{sensor}'" if sensor else "the logarithm of the score"
    if statistic == LEVEL:
        return f"{what} is {shift:+.2g} standard deviations from where it was at calibration"
    return f"{what} spreads {float(np.exp(shift)):.2g} times as far as at calibration"


@dataclass(frozen=True)
class _Reader:
    """Reads the latest blocks of one asset.

    Attributes:
        check: What the check goes by.
        scores: Scores of the champion.
        asset: The asset.
        sensors: Sensors of the detector.
    """

    check: Check
    scores: PinnedScores
    asset: str
    sensors: tuple[str, ...]

    def read(self, *, num_base: int, since_us: int) -> tuple[BlockSums, BlockSums] | None:
        """Read the latest blocks, none from before the detector was made.

        Args:
            num_base: Base blocks of the longest block.
            since_us: Earlier blocks do not count.

        Returns:
            Sums of sensors and of the score; None where no block can count.
        """
        until_us, block_us = self.check.until_us, self.check.block_us
        first_us = -(-since_us // block_us) * block_us
        start_us = max(until_us - (max(WINDOWS) + 1) * num_base * block_us, first_us)
        if start_us >= until_us:
            return None
        parts = [
            self._read_part(*part)
            for part in cut_span(self.check.view, self.asset, start_us, until_us)
        ]
        return join_sums([one for one, _ in parts]), join_sums([one for _, one in parts])

    def _read_part(self, from_us: int, until_us: int) -> tuple[BlockSums, BlockSums]:
        block_us = self.check.block_us
        table = self.check.view.read(self.asset, start_us=from_us, end_us=until_us)
        table = table.select(["asset", "timestamp", *self.sensors])
        scored = self.scores.read(
            self.asset, start_us=from_us, end_us=until_us, columns=("score",)
        )
        return (
            sum_blocks(to_microseconds(table), to_values(table), block_us=block_us),
            sum_blocks(to_microseconds(scored), to_log(scored["score"]), block_us=block_us),
        )
