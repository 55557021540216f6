"""Flow: the newest version against the champion; the alias moves, or not, with reasons."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from prefect import flow

from flows.artifacts import publish_promotion
from flows.tasks import name_flow_run, promote_challenger, report_refusals

if TYPE_CHECKING:
    from vae_anomaly.operations.pipeline import PromotionResult

logger = logging.getLogger(__name__)


@flow(name="promote", flow_run_name=name_flow_run)
@report_refusals
def promote(config_path: str = "pipeline.toml") -> PromotionResult:
    """Compare the newest version with the champion, and make it champion where it is as good.

    Args:
        config_path: Settings of the pipeline.

    Returns:
        What was decided.
    """
    result = promote_challenger(config_path, "comparison")
    logger.info("%s", publish_promotion(result))
    return result
