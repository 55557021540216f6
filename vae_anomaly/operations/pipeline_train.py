"""Readings of the training period to a registered detector."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from vae_anomaly import __version__
from vae_anomaly.config import DetectorConfig, PipelineConfig, TrainingPeriod
from vae_anomaly.domain import MICROSECONDS_PER_DAY, Contract
from vae_anomaly.errors import ConfigError, TrainingError
from vae_anomaly.operations.alerting.calendars import sync_calendars
from vae_anomaly.operations.alerting.exclusions import find_excluded
from vae_anomaly.operations.pipeline_alerts import LOCK
from vae_anomaly.operations.pipeline_results import TrainResult
from vae_anomaly.operations.pipeline_sample import TrainingRows, read_training_rows
from vae_anomaly.operations.pipeline_tables import (
    ASSET,
    EPOCH,
    LakeView,
    name_as_raw,
    open_lake,
    parse_time,
    to_microseconds,
)
from vae_anomaly.operations.promotion.promote import note_moves
from vae_anomaly.operations.registry import CHAMPION, DECISION_TAG, ModelVersion, open_registry
from vae_anomaly.readings.contract import USUAL_ASSET
from vae_anomaly.readings.lock import hold_lock

if TYPE_CHECKING:
    from vae_anomaly.detector.detector import Detector

logger = logging.getLogger(__name__)

FINGERPRINT_TAG = "fingerprint"
"""Version tag: hash of the training readings, the settings and the seed."""


def train_detector(
    config: PipelineConfig, *, progress: Callable[[int, int], None] | None = None
) -> TrainResult:
    """Fit a detector to the readings of the training period and register it.

    The same readings, settings and seed give the same detector. So where the registry holds it
    already, nothing is done.

    Args:
        config: The pipeline.
        progress: Called with optimiser steps done and in all.

    Returns:
        The model version and what its thresholds promise.

    Raises:
        TableError: Nothing was ingested yet, or the lake cannot be read.
        TrainingError: There are too few readings in the training period.
        CalibrationError: The held-out part cannot carry the alert rate asked for.
        RegistryError: The registry cannot be reached.
    """
    open_lake(config, verb="train a detector")  # said before anything is made
    with hold_lock(config.lake.root, "train"):
        result = _train_detector(config, progress=progress)
    note_moves(config)
    return result


def _train_detector(
    config: PipelineConfig, *, progress: Callable[[int, int], None] | None
) -> TrainResult:
    view = open_lake(config, verb="train a detector")
    with hold_lock(config.lake.root, LOCK):
        sync_calendars(view.lake, config.alerting)  # maintenance is left out of training
    registry = open_registry(config.registry)
    period = config.training
    if period.rolling_days and has_champion(config):
        period = roll_period(view, period)
    rows = _read_training(view, period, config.detector.threshold.calibration_share)
    table = rows.table
    fingerprint = fingerprint_training(table, config.detector, seed=config.seed)
    found = registry.find_by_tag(FINGERPRINT_TAG, fingerprint)
    if found is not None:
        logger.info("version %s was trained on these readings before", found.version)
        return _make_result(found, rows, readings_version=view.version)
    detector = _fit(table, view.contract, config, progress=progress)
    tags = _make_tags(period, fingerprint, readings_version=view.version)
    version = registry.register(detector, tags=tags)
    logger.info("registered version %s of %s", version.version, version.model_name)
    return _make_result(version, rows, readings_version=view.version, detector=detector)


def has_champion(config: PipelineConfig) -> bool:
    """Whether the registry holds a champion.

    Args:
        config: The pipeline.

    Raises:
        RegistryError: The registry cannot be reached.
    """
    versions = open_registry(config.registry).list_versions()
    return any(CHAMPION in version.aliases for version in versions)


def roll_period(view: LakeView, period: TrainingPeriod) -> TrainingPeriod:
    """Return the last `rolling_days` of the readings, up to the midnight (UTC) before the newest.

    Whole days, so that a second training on the same day finds that there is nothing to do.

    Args:
        view: The lake; it has readings.
        period: The first training period, which is kept while there is nothing after it.
    """
    newest_us = max(
        file.last_us for asset in view.readings.assets for file in view.readings.files_of(asset)
    )
    end_us = newest_us // MICROSECONDS_PER_DAY * MICROSECONDS_PER_DAY
    first_end_us = parse_time(period.end, setting="training.end")
    if first_end_us is not None and end_us <= first_end_us:
        return period
    end = EPOCH + timedelta(microseconds=end_us)
    start = end - timedelta(days=period.rolling_days)
    return period.model_copy(update={"start": start.isoformat(), "end": end.isoformat()})


def fingerprint_training(table: pa.Table, config: DetectorConfig, *, seed: int) -> str:
    """Return a hash of all that a detector comes from.

    Args:
        table: The training readings, sorted by asset and time: however they arrived, they give
            the same hash.
        config: Settings of the fit.
        seed: Its seed.

    Returns:
        SHA-256 in hexadecimal.
    """
    assets = table[ASSET].combine_chunks().dictionary_encode()
    digest = hashlib.sha256()
    for text in (
        __version__,
        config.model_dump_json(),
        str(seed),
        *assets.dictionary.to_pylist(),
        *table.column_names,
    ):
        digest.update(text.encode() + b"\0")
    digest.update(assets.indices.to_numpy().tobytes())
    digest.update(to_microseconds(table).tobytes())
    for name in table.column_names[2:]:
        digest.update(table[name].to_numpy().tobytes())
    return digest.hexdigest()


def _read_training(view: LakeView, period: TrainingPeriod, held_share: float) -> TrainingRows:
    start_us = parse_time(period.start, setting="training.start")
    end_us = parse_time(period.end, setting="training.end")
    if start_us is not None and end_us is not None and start_us >= end_us:
        raise ConfigError(
            "Cannot train a detector: expected training.start before training.end, got "
            f"'{period.start}' and '{period.end}'. Correct them in pipeline.toml."
        )
    rows = read_training_rows(
        view,
        start_us=start_us,
        end_us=end_us,
        max_rows=period.max_rows,
        held_share=held_share,
        excluded=find_excluded(view.lake, assets=view.readings.assets),
    )
    if not rows.num_period_rows:
        raise TrainingError(
            "Cannot train a detector: expected readings in the training period from "
            f"'{period.start or 'the first'}' to '{period.end or 'the last'}', got none. Correct "
            "the period in pipeline.toml, or ingest the files that hold it."
        )
    if rows.num_excluded:
        logger.info("%d readings are left out: they are not normal", rows.num_excluded)
    if not rows.table.num_rows:
        raise TrainingError(
            "Cannot train a detector: expected normal readings in the training period, got only "
            f"readings in maintenance, in alerts or labelled as anomalies ({rows.num_excluded}). "
            "Dismiss false alarms with 'vae-anomaly alerts dismiss', or correct the windows."
        )
    if rows.table.num_rows < rows.num_period_rows:
        logger.info(
            "training on %d of %d readings in %d blocks",
            rows.table.num_rows,
            rows.num_period_rows,
            rows.num_blocks,
        )
    return rows


def _fit(
    table: pa.Table,
    contract: Contract,
    config: PipelineConfig,
    *,
    progress: Callable[[int, int], None] | None,
) -> Detector:
    from vae_anomaly.detector.detector import Detector
    from vae_anomaly.model.session import release_networks

    release_networks()
    readings = config.detector.readings
    asset = contract.asset or readings.asset
    raw = name_as_raw(table, contract, asset=asset)
    settings = readings.model_copy(
        update={
            "timestamp": contract.timestamp,
            "asset": asset if asset in raw.column_names else USUAL_ASSET,
            "sensors": contract.sensor_names,
            "ignore": (),
            "units": _units(contract) | readings.units,
            "period_s": contract.period_s,
        }
    )
    return Detector.fit(
        raw,
        config=config.detector.model_copy(update={"readings": settings}),
        seed=config.seed,
        progress=progress,
    )


def _units(contract: Contract) -> dict[str, str]:
    return {sensor.name: sensor.unit for sensor in contract.sensors if sensor.unit is not None}


def _make_tags(
    period: TrainingPeriod, fingerprint: str, *, readings_version: int
) -> Mapping[str, str]:
    return {
        FINGERPRINT_TAG: fingerprint,
        "readings_version": str(readings_version),
        "training_start": period.start,
        "training_end": period.end,
    }


def _make_result(
    version: ModelVersion,
    rows: TrainingRows,
    *,
    readings_version: int,
    detector: Detector | None = None,
) -> TrainResult:
    record = detector.record if detector is not None else None
    return TrainResult(
        model_name=version.model_name,
        model_version=version.version,
        run_id=version.run_id,
        is_champion=CHAMPION in version.aliases,
        decision=version.tags.get(DECISION_TAG, ""),
        num_rows=rows.table.num_rows,
        num_period_rows=rows.num_period_rows,
        num_blocks=rows.num_blocks,
        num_excluded=rows.num_excluded,
        num_assets=len(pc.unique(rows.table[ASSET])),
        readings_version=readings_version,
        calibrations=record.calibrations if record else {},
        health=record.health if record else (),
        baseline=record.baseline if record else {},
        skipped=record is None,
    )
