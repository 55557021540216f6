"""The commands on registered detectors: models, promote, rollback."""

import contextlib
import io
import json

import pytest

from vae_anomaly.cli import main
from vae_anomaly.config import read_pipeline_config
from vae_anomaly.operations.registry import open_registry

pytestmark = pytest.mark.integration


@pytest.fixture
def settings(tmp_path):
    file = tmp_path / "pipeline.toml"
    run("init", str(file))
    return file


def run(*arguments: str) -> str:
    """Run a command; return what it prints.

    Logging that starts inside keeps hold of the stream it found, so no stream that pytest will
    close may stand there.
    """
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        assert main(list(arguments)) == 0
    return out.getvalue()


def test_without_a_version_models_says_what_to_do(settings):
    assert "Run 'vae-anomaly run train'." in run("models", "--config", str(settings))
    assert json.loads(run("models", "--config", str(settings), "--json")) == []


def test_the_champion_is_moved_and_moved_back_with_reasons(settings, detector):
    registry = open_registry(read_pipeline_config(settings).registry)
    for _ in range(2):
        registry.register(detector)
    config = ("--config", str(settings))

    run("promote", "1", "--reason", "First.", *config)
    out = run("promote", "challenger", "--reason", "Better on site.", *config)
    assert out.endswith("Champion is now vae-anomaly version 2.\n")

    version = json.loads(run("rollback", *config, "--json"))
    assert version["version"] == "1"
    assert "champion" in version["aliases"]
    assert version["champion_decision"] == "Rolled back from version 2."

    out = " ".join(run("models", *config).split())
    assert "Better on site." in out
    assert "Rolled back from version 2." in out
