"""Flow: raw Parquet files into the lake."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from prefect import flow

from flows.artifacts import publish_ingest
from flows.tasks import ingest_files, name_flow_run, report_refusals

if TYPE_CHECKING:
    from vae_anomaly.operations.pipeline import IngestResult

logger = logging.getLogger(__name__)


@flow(name="ingest", flow_run_name=name_flow_run)
@report_refusals
def ingest(config_path: str = "pipeline.toml") -> IngestResult:
    """Take new raw files into the lake.

    Args:
        config_path: Settings of the pipeline.

    Returns:
        What was done.
    """
    result = ingest_files(config_path)
    logger.info("%s", publish_ingest(result))
    return result
