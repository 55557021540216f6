"""Anomaly detection on raw, unnormalised sensor data.

`Detector`, `DetectorConfig` and `evaluate` load on first use, so that importing the package
costs next to nothing.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from vae_anomaly.errors import (
    CalibrationError,
    ConfigError,
    ContractError,
    DetectorError,
    EvaluationError,
    ReadingsError,
    RegistryError,
    ReportError,
    TableError,
    TrainingError,
    VaeAnomalyError,
)

if TYPE_CHECKING:
    from vae_anomaly.config import DetectorConfig
    from vae_anomaly.detector.detector import Detector
    from vae_anomaly.evaluation.evaluate import evaluate

__all__ = [
    "CalibrationError",
    "ConfigError",
    "ContractError",
    "Detector",
    "DetectorConfig",
    "DetectorError",
    "EvaluationError",
    "ReadingsError",
    "RegistryError",
    "ReportError",
    "TableError",
    "TrainingError",
    "VaeAnomalyError",
    "evaluate",
]

__version__ = "0.1.0"

# These must be set before the first import of TensorFlow or JAX, wherever that happens.
# TensorFlow is silent only with both of its settings; without oneDNN it is also deterministic
# and, for networks of this size, no slower. JAX has no float64, which the affine needs,
# unless told so.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("JAX_ENABLE_X64", "1")

_LAZY = {
    "Detector": "vae_anomaly.detector.detector",
    "DetectorConfig": "vae_anomaly.config",
    "evaluate": "vae_anomaly.evaluation.evaluate",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'vae_anomaly' has no attribute '{name}'")
    return getattr(import_module(_LAZY[name]), name)
