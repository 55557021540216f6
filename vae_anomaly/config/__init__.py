"""All settings, as frozen models that reject unknown keys; read from one TOML file."""

from __future__ import annotations

from vae_anomaly.config.alerting import AlertingConfig
from vae_anomaly.config.detector import (
    AlertConfig,
    DetectorConfig,
    LikelihoodName,
    ModelConfig,
    RulesConfig,
    ThresholdConfig,
)
from vae_anomaly.config.notify import ChannelConfig, NotifyConfig
from vae_anomaly.config.pipeline import (
    LakeConfig,
    PipelineConfig,
    RegistryConfig,
    ScheduleConfig,
    TrainingPeriod,
    read_pipeline_config,
)
from vae_anomaly.config.readings import (
    AlignmentRule,
    LongConfig,
    ReadingsConfig,
)
from vae_anomaly.config.validation import (
    make_config,
    parse_record,
)

__all__ = [
    "AlertConfig",
    "AlertingConfig",
    "AlignmentRule",
    "ChannelConfig",
    "DetectorConfig",
    "LakeConfig",
    "LikelihoodName",
    "LongConfig",
    "ModelConfig",
    "NotifyConfig",
    "PipelineConfig",
    "ReadingsConfig",
    "RegistryConfig",
    "RulesConfig",
    "ScheduleConfig",
    "ThresholdConfig",
    "TrainingPeriod",
    "make_config",
    "parse_record",
    "read_pipeline_config",
]
