"""Settings of the monitor: when it says that readings or scores have drifted."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from vae_anomaly.config.base import Settings


class MonitorConfig(Settings):
    """When the monitor says that readings, scores or alert events are not as they were calibrated.

    Attributes:
        false_alarms_per_year: Drift alarms a year to allow, of all assets and sensors together,
            while nothing drifts.
        block_s: Seconds of the blocks whose means are compared; blocks that resemble one another
            are put together. A day lets a daily season cancel out.
        min_shift: Shift of a sensor, in standard deviations of its values, below which it does
            not matter, however certain it is; and change of the logarithm of its spread.
    """

    false_alarms_per_year: Annotated[float, Field(gt=0)] = 1.0
    block_s: Annotated[float, Field(ge=1)] = 86_400
    min_shift: Annotated[float, Field(ge=0)] = 0.5


class LogsConfig(Settings):
    """How log lines are written.

    Attributes:
        format: `text` for people, or `json`: one object a line, for programs. The environment
            variable `VAE_ANOMALY_LOGS` comes before it.
    """

    format: Literal["text", "json"] = "text"
