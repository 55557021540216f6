"""New readings to scores and alert events."""

from __future__ import annotations

from collections.abc import Callable

from vae_anomaly.config import PipelineConfig
from vae_anomaly.operations.pipeline_results import ScoreResult


def score_readings(
    config: PipelineConfig,
    *,
    reference: str = "champion",
    progress: Callable[[int, int], None] | None = None,
) -> ScoreResult:
    """Score the readings that have no score of this model version yet."""
    raise NotImplementedError
