"""Versions that tests of promotion share, and a pipeline of its own for each test."""

import pytest

from tests.promotions import copy_line, make_versions
from vae_anomaly.config import PipelineConfig


@pytest.fixture(scope="session")
def versions(tmp_path_factory) -> PipelineConfig:
    return make_versions(tmp_path_factory.mktemp("versions"))


@pytest.fixture
def line(versions, tmp_path) -> PipelineConfig:
    """Champion 1 and its challengers, with nothing decided and nothing scored."""
    return copy_line(versions, tmp_path)
