"""Flow: new readings to scores, alert events and report."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from prefect import flow

from flows.artifacts import publish_report, publish_scores
from flows.tasks import (
    enqueue_messages,
    list_alerts,
    name_flow_run,
    report_refusals,
    score_readings,
    write_report,
)

if TYPE_CHECKING:
    from vae_anomaly.operations.pipeline import ScoreResult

logger = logging.getLogger(__name__)


@flow(name="score", flow_run_name=name_flow_run)
@report_refusals
def score(
    config_path: str = "pipeline.toml",
    reference: str = "champion",
    with_report: bool = True,  # noqa: FBT001, FBT002
) -> ScoreResult:
    """Score new readings, bring alert events and outbox up to date, and write the report page.

    Args:
        config_path: Settings of the pipeline.
        reference: Alias, number or address of the model version.
        with_report: Also write the report page, where there was something to score.

    Returns:
        What was done.
    """
    result = score_readings(config_path, reference)
    enqueue_messages(config_path)
    logger.info("%s", publish_scores(result, list_alerts(config_path)))
    if with_report and not result.skipped:
        logger.info("%s", publish_report(write_report(config_path, reference)))
    return result
