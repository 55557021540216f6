"""The pipeline, step by step: raw files to readings, detector, scores, alert events and report.

Each step is one call that can be made again at any time: what is done already is not done again.
"""

from __future__ import annotations

from collections.abc import Callable

from vae_anomaly.config import PipelineConfig
from vae_anomaly.operations import pipeline_score
from vae_anomaly.operations.notify.enqueue import enqueue_messages
from vae_anomaly.operations.pipeline_alerts import list_alerts
from vae_anomaly.operations.pipeline_report import make_pipeline_report
from vae_anomaly.operations.pipeline_results import Alert, ReportResult, ScoreResult, TrainResult
from vae_anomaly.operations.pipeline_score import rescore_readings
from vae_anomaly.operations.pipeline_train import has_champion, train_detector
from vae_anomaly.operations.promotion.promote import (
    PromotionResult,
    promote_challenger,
    promote_version,
    roll_back,
)
from vae_anomaly.operations.promotion.shadow import ShadowResult, compare_scores
from vae_anomaly.operations.registry import CHAMPION
from vae_anomaly.readings.ingest import IngestResult, ingest
from vae_anomaly.readings.tables import Lake

__all__ = [
    "Alert",
    "IngestResult",
    "PromotionResult",
    "ReportResult",
    "ScoreResult",
    "ShadowResult",
    "TrainResult",
    "compare_scores",
    "has_champion",
    "ingest_source",
    "list_alerts",
    "make_pipeline_report",
    "promote_challenger",
    "promote_version",
    "rescore_readings",
    "roll_back",
    "score_readings",
    "train_detector",
]


def score_readings(
    config: PipelineConfig,
    *,
    reference: str = CHAMPION,
    progress: Callable[[int, int], None] | None = None,
) -> ScoreResult:
    """Score readings as `pipeline_score.score_readings` does, and enqueue who is to be told.

    Args:
        config: The pipeline.
        reference: Alias, number or address of the model version.
        progress: Called with steps done and in all, the latter an estimate until the end.

    Returns:
        What was done, and what there is now.

    Raises:
        TableError: Nothing was ingested yet, or the lake cannot be read or written.
        RegistryError: There is no such model version.
        ContractError: The lake and the model version have different sensors.
    """
    result = pipeline_score.score_readings(config, reference=reference, progress=progress)
    enqueue_messages(config)
    return result


def ingest_source(
    config: PipelineConfig, *, on_file: Callable[[str, int, int], None] | None = None
) -> IngestResult:
    """Take new raw files into the lake.

    Args:
        config: The pipeline.
        on_file: Told after each file: its name, how many are done, how many there are.

    Returns:
        What was done; `num_new_files` is 0 where all files were known.

    Raises:
        ReadingsError: There are no files.
        ContractError: The settings ask for other sensors than the lake holds.
        TableError: The lake cannot be read or written.
    """
    lake = Lake(config.lake.root)
    detector = config.detector
    return ingest(
        config.source,
        lake,
        config=detector.readings,
        ranges=detector.rules.ranges,
        on_file=on_file,
    )
