"""The commands on registered detectors: models, promote, rollback."""

import json

import pytest

from vae_anomaly.cli import main
from vae_anomaly.config import read_pipeline_config
from vae_anomaly.operations.registry import open_registry

pytestmark = pytest.mark.integration


@pytest.fixture
def settings(tmp_path):
    file = tmp_path / "pipeline.toml"
    assert main(["init", str(file)]) == 0
    return file


def test_without_a_version_models_says_what_to_do(settings, capsys):
    capsys.readouterr()
    assert main(["models", "--config", str(settings)]) == 0
    assert "Run 'vae-anomaly run train'." in capsys.readouterr().out
    assert main(["models", "--config", str(settings), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_the_champion_is_moved_and_moved_back_with_reasons(settings, detector, capsys):
    registry = open_registry(read_pipeline_config(settings).registry)
    for _ in range(2):
        registry.register(detector)
    config = ("--config", str(settings))
    capsys.readouterr()

    assert main(["promote", "1", "--reason", "First.", *config]) == 0
    assert main(["promote", "challenger", "--reason", "Better on site.", *config]) == 0
    assert capsys.readouterr().out.endswith("Champion is now vae-anomaly version 2.\n")

    assert main(["rollback", *config, "--json"]) == 0
    version = json.loads(capsys.readouterr().out)
    assert version["version"] == "1"
    assert "champion" in version["aliases"]
    assert version["champion_decision"] == "Rolled back from version 2."

    assert main(["models", *config]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "Better on site." in out
    assert "Rolled back from version 2." in out
