"""Flow: readings of the training period to a registered detector, and maybe a new champion."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from prefect import flow

from flows.artifacts import publish_promotion, publish_training
from flows.tasks import (
    has_champion,
    name_flow_run,
    promote_challenger,
    report_refusals,
    train_detector,
)
from vae_anomaly.config import read_pipeline_config

if TYPE_CHECKING:
    from vae_anomaly.operations.pipeline import TrainResult

logger = logging.getLogger(__name__)


@flow(name="train", flow_run_name=name_flow_run)
@report_refusals
def train(
    config_path: str = "pipeline.toml",
    only_without_champion: bool = False,  # noqa: FBT001, FBT002
) -> TrainResult | None:
    """Fit a detector to the training period, register it, and compare it with the champion.

    Args:
        config_path: Settings of the pipeline.
        only_without_champion: Do nothing where there is a champion.

    Returns:
        What was done, None where there was a champion already.
    """
    if only_without_champion and has_champion(config_path):
        logger.info("There is a champion already; nothing to train.")
        return None
    result = train_detector(config_path)
    logger.info("%s", publish_training(result))
    if not read_pipeline_config(config_path).promotion.automatic:
        return result
    outcome = promote_challenger(config_path, "training")
    logger.info("%s", publish_promotion(outcome))
    if outcome.challenger != result.model_version or outcome.decision == "nothing":
        return result
    return replace(
        result,
        is_champion=outcome.champion == result.model_version,
        decision=outcome.reason,
    )
