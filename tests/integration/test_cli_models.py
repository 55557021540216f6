"""The commands on registered detectors: models, promote, rollback."""

import contextlib
import io
import json
from datetime import UTC, datetime

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

    run("promote", "1", "--force", "--reason", "First.", *config)
    before = datetime.now(UTC).isoformat()
    out = run("promote", "challenger", "--force", "--reason", "Better on site.", *config)
    assert "Champion is now vae-anomaly version 2. Better on site.\n" in out
    between = datetime.now(UTC).isoformat()

    result = json.loads(run("rollback", *config, "--json"))
    assert (result["champion"], result["decision"]) == ("1", "rolled_back")
    assert result["reason"] == "Rolled back from version 2."

    live = [json.loads(run("models", "--at", at, *config, "--json")) for at in (before, between)]
    assert [one["version"] for one in live] == ["1", "2"]
    assert (
        live[1]["since"]
        < live[1]["until"]
        == json.loads(run("models", "--at", datetime.now(UTC).isoformat(), *config, "--json"))[
            "since"
        ]
    )
    out = " ".join(run("models", "--at", between, *config).split())
    assert f"vae-anomaly version 2 was champion at {between[:19]}" in out
    assert "Better on site." in out
    out = " ".join(run("models", "--at", datetime.now(UTC).isoformat(), *config).split())
    assert "and still is. Rolled back from version 2." in out
    out = run("models", "--at", "2020-01-01T00:00:00Z", *config)
    assert "No version of vae-anomaly was champion at" in out
    assert (
        json.loads(run("models", "--at", "2020-01-01T00:00:00Z", *config, "--json"))["version"]
        is None
    )

    out = " ".join(run("models", *config).split())
    assert "Better on site." in out
    assert "Rolled back from version 2." in out
