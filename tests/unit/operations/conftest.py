"""One short training that tests of the pipeline share."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest

from tests.pipelines import read_config, tables
from vae_anomaly.config import PipelineConfig
from vae_anomaly.operations import pipeline
from vae_anomaly.operations.pipeline import TrainResult


@dataclass(frozen=True)
class Trained:
    """A pipeline with all files ingested and a champion, and nothing scored."""

    config: PipelineConfig
    result: TrainResult
    steps: list[tuple[int, int]]


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Trained:
    config = read_config(tmp_path_factory.mktemp("trained"))
    pipeline.ingest_source(config)
    steps: list[tuple[int, int]] = []
    result = pipeline.train_detector(config, progress=lambda *step: steps.append(step))
    return Trained(config, result, steps)


@pytest.fixture
def config(trained, tmp_path) -> PipelineConfig:
    """The trained pipeline with a lake and files of its own, the last two files held back."""
    folder = Path(trained.config.registry.folder)
    return read_config(tmp_path, registry=folder, num_files=4)


@pytest.fixture(scope="session")
def undisturbed(trained, tmp_path_factory) -> tuple[pa.Table, pa.Table]:
    """Scores and alerts of one run over all files."""
    folder = Path(trained.config.registry.folder)
    config = read_config(tmp_path_factory.mktemp("undisturbed"), registry=folder)
    pipeline.ingest_source(config)
    pipeline.score_readings(config)
    return tables(config)
