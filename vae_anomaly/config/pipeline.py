"""Settings of a pipeline, read from one TOML file."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from vae_anomaly.config.alerting import AlertingConfig
from vae_anomaly.config.base import Settings
from vae_anomaly.config.detector import DetectorConfig
from vae_anomaly.config.monitor import LogsConfig, MonitorConfig
from vae_anomaly.config.notify import NotifyConfig
from vae_anomaly.config.promotion import PromotionConfig
from vae_anomaly.config.schedule import ScheduleConfig
from vae_anomaly.config.validation import make_config
from vae_anomaly.errors import ConfigError

ENVIRONMENT_PREFIX = "VAE_ANOMALY_"


class LakeConfig(Settings):
    """Where the tables lie: a folder or an object-store address."""

    root: str = "data/lake"


class RegistryConfig(Settings):
    """Where MLflow keeps runs and registered detectors.

    Attributes:
        tracking_uri: Any MLflow address; empty means a SQLite file at `folder`.
        folder: Folder of the SQLite file and of the artifacts.
        experiment: MLflow experiment.
        model_name: Registered model.
    """

    tracking_uri: str = ""
    folder: str = "data/mlflow"
    experiment: str = "vae-anomaly"
    model_name: str = "vae-anomaly"


class TrainingPeriod(Settings):
    """Which readings are normal: `[start, end)`, ISO 8601 with a zone, empty for no limit.

    Attributes:
        rolling_days: Where there is a champion, train on the last so many whole days of the
            readings instead; 0 trains on the same period again. Scoring begins at `end` all the
            same.
        max_rows: Readings to train on at most. Of a longer period evenly spread blocks are taken,
            and the last part in one piece for the threshold.
    """

    start: str = ""
    end: str = ""
    rolling_days: Annotated[float, Field(ge=0)] = 0
    max_rows: Annotated[int, Field(ge=1_000)] = 2_000_000


class PipelineConfig(Settings):
    """One pipeline: `pipeline.toml`.

    Attributes:
        source: Raw Parquet: a file, folder, glob or URI.
        report: Where the report page is written.
        seed: Seed of training.
    """

    source: str = "data/raw"
    report: str = "data/report.html"
    seed: Annotated[int, Field(ge=0)] = 0
    detector: DetectorConfig = DetectorConfig()
    lake: LakeConfig = LakeConfig()
    registry: RegistryConfig = RegistryConfig()
    training: TrainingPeriod = TrainingPeriod()
    promotion: PromotionConfig = PromotionConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    notify: NotifyConfig = NotifyConfig()
    monitor: MonitorConfig = MonitorConfig()
    logs: LogsConfig = LogsConfig()
    alerting: AlertingConfig = AlertingConfig()


def read_pipeline_config(path: str | Path) -> PipelineConfig:
    """Read `pipeline.toml`; relative paths in it are taken from its own folder.

    The environment may set addresses only: `VAE_ANOMALY_SOURCE`, `VAE_ANOMALY_LAKE_ROOT`,
    `VAE_ANOMALY_TRACKING_URI`.

    Args:
        path: The TOML file.

    Returns:
        The settings, with paths made absolute.

    Raises:
        ConfigError: The file is missing, is not TOML, or holds an unknown or wrong setting.
    """
    file = Path(path)
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"Cannot read settings from '{file}': no such file. Write one with 'vae-anomaly init'."
        ) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"Cannot read settings from '{file}': {error}.") from error
    _apply_environment(content)
    config = make_config(PipelineConfig, content, origin=str(file))
    base = file.resolve().parent
    return config.model_copy(
        update={
            "source": _anchor(config.source, base),
            "report": _anchor(config.report, base),
            "lake": LakeConfig(root=_anchor(config.lake.root, base)),
            "registry": config.registry.model_copy(
                update={"folder": _anchor(config.registry.folder, base)}
            ),
            "alerting": config.alerting.model_copy(
                update={"calendars": tuple(_anchor(c, base) for c in config.alerting.calendars)}
            ),
        }
    )


def _apply_environment(content: dict[str, Any]) -> None:
    source = os.environ.get(ENVIRONMENT_PREFIX + "SOURCE")
    if source:
        content["source"] = source
    for name, section, key in (
        ("LAKE_ROOT", "lake", "root"),
        ("TRACKING_URI", "registry", "tracking_uri"),
    ):
        value = os.environ.get(ENVIRONMENT_PREFIX + name)
        settings = content.setdefault(section, {}) if value else None
        if isinstance(settings, dict):  # anything else is refused with the other settings
            settings[key] = value


def _anchor(location: str, base: Path) -> str:
    """Make a relative path absolute against `base`; leave URIs alone."""
    if "://" in location:
        return location
    return str(base / Path(location).expanduser())
