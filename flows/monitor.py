"""Flow: is the champion still looking at what it was calibrated on; tell once where it is not."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from prefect import flow

from flows.artifacts import publish_check
from flows.drift_event import announce_drift
from flows.tasks import check_drift, name_flow_run, note_announced, report_refusals

if TYPE_CHECKING:
    from vae_anomaly.operations.monitoring.monitor import MonitorResult

logger = logging.getLogger(__name__)


@flow(name="monitor", flow_run_name=name_flow_run)
@report_refusals
def monitor(config_path: str = "pipeline.toml") -> MonitorResult:
    """Compare readings, scores and alert events with the calibration; announce a drift, once.

    Args:
        config_path: Settings of the pipeline.

    Returns:
        What was found.
    """
    result = check_drift(config_path)
    logger.info("%s", publish_check(result))
    if result.event_id:
        announce_drift(result)
        note_announced(config_path, result)
    return result
