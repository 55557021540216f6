"""Writing down that a flow succeeded, with the numbers of its result."""

from __future__ import annotations

import dataclasses
import math
import time
from typing import Any

from vae_anomaly.config import PipelineConfig
from vae_anomaly.readings.flow_marks import FlowMark, write_flow_mark
from vae_anomaly.readings.tables import Lake


def note_success(config: PipelineConfig, flow: str, result: Any, *, duration_s: float) -> None:
    """Write down that a flow succeeded now.

    Args:
        config: The pipeline.
        flow: Name of the flow.
        result: What it returned; the numbers of a dataclass are kept.
        duration_s: Seconds that it took.

    Raises:
        TableError: The lake cannot be written.
    """
    mark = FlowMark(flow, time.time_ns() // 1000, duration_s, _find_figures(result))
    write_flow_mark(Lake(config.lake.root), mark)


def _find_figures(result: Any) -> dict[str, float]:
    if not dataclasses.is_dataclass(result) or isinstance(result, type):
        return {}
    found = {item.name: getattr(result, item.name) for item in dataclasses.fields(result)}
    return {
        name: float(value)
        for name, value in found.items()
        if isinstance(value, (bool, int, float)) and math.isfinite(value)
    }
