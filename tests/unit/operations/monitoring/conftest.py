"""One small trained plant that tests of the monitor share."""

import shutil
from pathlib import Path

import pytest

from tests.steady import TRAINING_HOURS, write_hours, write_plant
from vae_anomaly.config import PipelineConfig, read_pipeline_config
from vae_anomaly.operations import pipeline

STEADY_HOURS = 8


@pytest.fixture(scope="session")
def trained_plant(tmp_path_factory) -> Path:
    """Settings of a plant that was trained on; eight steady hours after that are scored."""
    file = write_plant(tmp_path_factory.mktemp("plant"))
    config = read_pipeline_config(file)
    pipeline.ingest_source(config)
    pipeline.train_detector(config)
    write_hours(file.parent, TRAINING_HOURS, STEADY_HOURS)
    pipeline.ingest_source(config)
    pipeline.score_readings(config)
    return file


@pytest.fixture
def plant_file(trained_plant, tmp_path) -> Path:
    """Settings of the trained plant with files, lake and registry of its own."""
    folder = tmp_path / "plant"
    shutil.copytree(trained_plant.parent, folder)
    return _lead_to(trained_plant, folder)


@pytest.fixture
def plant(plant_file) -> PipelineConfig:
    return read_pipeline_config(plant_file)


def _lead_to(trained: Path, folder: Path) -> Path:
    """The copy has its own lake; its registry is the one that was trained, read only."""
    file = folder / trained.name
    text = file.read_text(encoding="utf-8")
    registry = trained.parent / "mlflow"
    file.write_text(text.replace('folder = "mlflow"', f'folder = "{registry}"'), "utf-8")
    return file
