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
from vae_anomaly.config.monitor import LogsConfig, MonitorConfig
from vae_anomaly.config.notify import ChannelConfig, NotifyConfig
from vae_anomaly.config.pipeline import (
    LakeConfig,
    PipelineConfig,
    RegistryConfig,
    TrainingPeriod,
    read_pipeline_config,
)
from vae_anomaly.config.promotion import PromotionConfig
from vae_anomaly.config.readings import (
    AlignmentRule,
    LongConfig,
    ReadingsConfig,
)
from vae_anomaly.config.schedule import ScheduleConfig
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
    "LogsConfig",
    "LongConfig",
    "ModelConfig",
    "MonitorConfig",
    "NotifyConfig",
    "PipelineConfig",
    "PromotionConfig",
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
