"""Readings, scores and alert events since a detector went live, against its calibration."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass

from vae_anomaly.config import PipelineConfig
from vae_anomaly.domain import MICROSECONDS_PER_S
from vae_anomaly.operations.monitoring.drift_rows import DRIFTED, UNKNOWN, Check, judge
from vae_anomaly.operations.pipeline_tables import open_lake
from vae_anomaly.operations.registry import CHAMPION, open_registry
from vae_anomaly.readings import delta
from vae_anomaly.readings.drift_tables import DRIFT_TABLE, append_drift, read_drift
from vae_anomaly.readings.lock import hold_lock


@dataclass(frozen=True)
class Drift:
    """One series that is not as it was.

    Attributes:
        asset: The asset.
        sensor: The sensor, empty for the score and for alert events.
        statistic: `level`, `spread` or `alert_rate`.
        value: How far it is off: standard deviations, logarithm of a ratio, or events a week.
        reason: What was found, in words.
    """

    asset: str
    sensor: str
    statistic: str
    value: float
    reason: str


@dataclass(frozen=True)
class MonitorResult:
    """What one check found.

    Attributes:
        model_name: Registered model.
        model_version: The champion.
        lake: Root of the lake.
        readings_version: Version of the table of readings.
        until_us: End of the blocks that were compared, microseconds since 1970.
        num_series: Series that were judged.
        num_unknown: Series of which nothing can be said.
        drifts: What is not as it was.
        event_id: Names the drift of this champion; empty where nothing drifted, or where it was
            announced before.
        skipped: Whether these blocks were compared before, so that nothing was done.
    """

    model_name: str
    model_version: str
    lake: str
    readings_version: int
    until_us: int
    num_series: int
    num_unknown: int
    drifts: tuple[Drift, ...]
    event_id: str
    skipped: bool


def monitor_pipeline(config: PipelineConfig, *, now_us: int | None = None) -> MonitorResult:
    """Compare the latest blocks of readings and scores, and the alert events, with calibration.

    Each block is compared once, so that running it more often gives no more false alarms. What was
    found is appended to `drift` in one commit.

    Args:
        config: The pipeline.
        now_us: Microseconds since 1970; readings from later than now do not count.

    Returns:
        What was found, or had been found of these blocks.

    Raises:
        TableError: Nothing was ingested yet, or the lake cannot be read or written.
        RegistryError: There is no champion, or the registry cannot be reached.
    """
    open_lake(config, verb="monitor")
    with hold_lock(config.lake.root, "monitor"):
        check = _open_check(config, time.time_ns() // 1000 if now_us is None else now_us)
        name = f"{check.model.model_name}:{check.model.version}:{check.block_us}:{check.until_us}"
        skipped = delta.find_mark(check.view.lake.uri(DRIFT_TABLE), f"drift:{name}") is not None
        if not skipped:
            append_drift(check.view.lake, list(judge(check)), commit_id=f"drift:{name}")
        return _make_result(check, skipped=skipped)


def note_announced(config: PipelineConfig, result: MonitorResult) -> None:
    """Write down that the drift was announced, so that it is not announced again.

    It is announced again for the next champion only.

    Args:
        config: The pipeline.
        result: What `monitor_pipeline` found.

    Raises:
        TableError: The lake cannot be written.
    """
    if result.event_id:
        check = _open_check(config, result.until_us)
        delta.mark(check.view.lake.uri(DRIFT_TABLE), {_name_announced(check): 1})


def _open_check(config: PipelineConfig, now_us: int) -> Check:
    view = open_lake(config, verb="monitor")
    registry = open_registry(config.registry)
    model = registry.find(CHAMPION)
    block_us = round(config.monitor.block_s * MICROSECONDS_PER_S)
    end_us = max(view.readings.timeline_of(asset).end_us for asset in view.readings.assets)
    over_us = min(end_us - 1 + view.period_us, now_us)  # a reading stands for one period
    return Check(config, view, registry, model, over_us // block_us * block_us)


def _name_announced(check: Check) -> str:
    """Name the mark that the drift of this champion was announced, since it last became it."""
    moves = check.registry.list_alias_moves(CHAMPION)
    since_us = moves[0].moved_us if moves else 0
    return f"drift-event:{check.model.model_name}:{check.model.version}:{since_us}"


def _make_result(check: Check, *, skipped: bool) -> MonitorResult:
    rows = read_drift(check.view.lake, time_us=check.until_us, **check.names).to_pylist()
    drifts = tuple(
        Drift(**{name: row[name] for name in Drift.__dataclass_fields__})
        for row in rows
        if row["verdict"] == DRIFTED
    )
    announced = _name_announced(check)
    is_new = drifts and delta.find_mark(check.view.lake.uri(DRIFT_TABLE), announced) is None
    return MonitorResult(
        model_name=check.model.model_name,
        model_version=check.model.version,
        lake=check.view.lake.root,
        readings_version=check.view.version,
        until_us=check.until_us,
        num_series=sum(row["verdict"] != UNKNOWN for row in rows),
        num_unknown=sum(row["verdict"] == UNKNOWN for row in rows),
        drifts=drifts,
        event_id=str(uuid.uuid5(uuid.NAMESPACE_URL, announced)) if is_new else "",
        skipped=skipped,
    )
