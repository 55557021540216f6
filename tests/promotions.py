"""A pipeline with a champion, a good challenger and bad ones, for tests of promotion."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa

from tests.pipelines import END, read_config
from vae_anomaly.config import PipelineConfig, RegistryConfig
from vae_anomaly.detector.detector import Detector
from vae_anomaly.operations import pipeline
from vae_anomaly.operations.pipeline_tables import name_as_raw
from vae_anomaly.operations.registry import Registry, open_registry
from vae_anomaly.readings.tables import Lake

SETTINGS = """
[detector.threshold]
smoothing_steps = 5
shift_steps = 5
adaptation_steps = 400
false_alarm_rate = 0.02

[detector.rules]
flat_lines = false

[promotion]
min_rows = 500
num_faults = 100
recall_tolerance = 0.1
alarm_tolerance = 0.05
"""

CHAMPION_VERSION, GOOD, FAULTY, LOUD, TINY = "1", "2", "3", "4", "5"
"""Versions: trained as they should be, with two seeds; on readings full of faults; to flag far too
much; on half a day."""


def make_versions(folder: Path) -> PipelineConfig:
    """Ingest the simulated files, and register a version of each kind."""
    config = read_config(folder, settings=SETTINGS)
    pipeline.ingest_source(config)
    pipeline.train_detector(config)
    pipeline.train_detector(config.model_copy(update={"seed": 1}))
    registry = open_registry(config.registry)
    registry.register(_fit_to_faults(config))
    pipeline.train_detector(_change_threshold(config, false_alarm_rate=0.4))
    start = END.replace(day=END.day - 1, hour=12).isoformat()
    period = config.training.model_copy(update={"start": start})
    pipeline.train_detector(config.model_copy(update={"training": period}))
    return config


def copy_line(origin: PipelineConfig, folder: Path) -> PipelineConfig:
    """Copy lake and registry; the artifacts of the versions stay where they are."""
    shutil.copytree(origin.lake.root, folder / "lake")
    (folder / "mlflow").mkdir()
    shutil.copy(Path(origin.registry.folder) / "mlflow.db", folder / "mlflow")
    registry = RegistryConfig(folder=str(folder / "mlflow"))
    lake = origin.lake.model_copy(update={"root": str(folder / "lake")})
    report = str(folder / "report.html")
    return origin.model_copy(update={"registry": registry, "lake": lake, "report": report})


def set_challenger(config: PipelineConfig, version: str) -> Registry:
    """Point the alias `challenger` at a version."""
    registry = open_registry(config.registry)
    registry.move_alias("challenger", version, reason="For a test.")
    return registry


def _fit_to_faults(config: PipelineConfig) -> Detector:
    """Fit to the training period with every sensor off by much for a third of the time."""
    lake = Lake(config.lake.root)
    table = lake.read_readings(end_us=int(END.timestamp() * 1e6))
    rng = np.random.default_rng(0)
    is_faulty = np.arange(table.num_rows) % 90 < 30
    for k, name in enumerate(table.column_names[2:], start=2):
        values = table[name].to_numpy()
        noise = 5 * np.nanstd(values) * rng.standard_normal(values.size) * is_faulty
        table = table.set_column(k, name, pa.array(values + noise, from_pandas=True))
    contract = lake.read_contract()
    assert contract is not None
    return Detector.fit(name_as_raw(table, contract, asset="asset"), config=config.detector)


def _change_threshold(config: PipelineConfig, **changes: object) -> PipelineConfig:
    threshold = config.detector.threshold.model_copy(update=changes)
    detector = config.detector.model_copy(update={"threshold": threshold})
    return config.model_copy(update={"detector": detector})
