"""The report page of what was scored."""

from __future__ import annotations

from vae_anomaly.config import PipelineConfig
from vae_anomaly.operations.pipeline_results import ReportResult


def make_pipeline_report(
    config: PipelineConfig, *, reference: str = "champion"
) -> ReportResult:
    """Write the report page of what was scored."""
    raise NotImplementedError
