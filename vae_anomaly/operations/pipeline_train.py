"""Readings of the training period to a registered detector."""

from __future__ import annotations

from collections.abc import Callable

from vae_anomaly.config import PipelineConfig
from vae_anomaly.operations.pipeline_results import TrainResult


def train_detector(
    config: PipelineConfig, *, progress: Callable[[int, int], None] | None = None
) -> TrainResult:
    """Fit a detector to the readings of the training period and register it."""
    raise NotImplementedError


def has_champion(config: PipelineConfig) -> bool:
    """Whether the registry holds a champion."""
    raise NotImplementedError
