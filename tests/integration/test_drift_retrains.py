"""A drift verdict starts a training, once, on a real Prefect server."""

import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from flows.local_server import LocalServer
from tests.steady import TRAINING_HOURS, write_hours, write_plant
from vae_anomaly.config import read_pipeline_config
from vae_anomaly.operations import pipeline
from vae_anomaly.operations.alerting.browse import find_alerts
from vae_anomaly.operations.alerting.decisions import Deed, decide
from vae_anomaly.operations.registry import open_registry

pytestmark = pytest.mark.integration

PATIENCE_S = 240.0
ROLLING = "\nrolling_days = 1\n"

SCHEDULE = """
[schedule]
ingest_every_s = 0
score_every_s = 0
monitor_every_s = 0
"""
"""Training alone is served: once a week, and on a drift."""


@pytest.fixture(scope="module")
def drifted(tmp_path_factory) -> Path:
    """Settings of a plant with a champion, of which one sensor has shifted since."""
    file = write_plant(tmp_path_factory.mktemp("drifted") / "plant", settings=SCHEDULE)
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("\n[monitor]", ROLLING + "\n[monitor]"), encoding="utf-8")
    config = read_pipeline_config(file)
    pipeline.ingest_source(config)
    pipeline.train_detector(config)
    write_hours(file.parent, TRAINING_HOURS, 40, shift=4.0)
    pipeline.ingest_source(config)
    pipeline.score_readings(config)
    for alert in find_alerts(config):  # else nothing of that time is taken for normal
        decide(config, alert.alert_id, "dismissed", deed=Deed("operator", "another sensor"))
    return file


@pytest.fixture
def environment(tmp_path):
    """A Prefect server of its own, and the environment of its clients."""
    server = LocalServer(tmp_path / "home")
    clean = {key: value for key, value in os.environ.items() if "PREFECT" not in key}
    before = os.environ.get("PREFECT_HOME")
    os.environ["PREFECT_HOME"] = str(tmp_path / "home")
    try:
        asyncio.run(server.start())
        yield clean | {"PREFECT_API_URL": server.api_url, "PREFECT_HOME": str(tmp_path / "client")}
    finally:
        server.stop()
        del os.environ["PREFECT_HOME"]
        if before is not None:
            os.environ["PREFECT_HOME"] = before


def ask(url: str, body: dict) -> list[dict]:
    request = urllib.request.Request(  # noqa: S310
        url, data=json.dumps(body).encode(), headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as response:  # noqa: S310
        return json.load(response)


def wait_for(what, is_so):
    end = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < end, what()
        time.sleep(0.5)


def run_monitor(config: Path, environment: dict[str, str]) -> dict:
    done = subprocess.run(
        [
            *(Path(sys.executable).with_name("vae-anomaly"), "run", "monitor", "--json"),
            *("--config", config),
        ],
        env=environment,
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_drift_starts_one_training_and_the_same_drift_no_other(drifted, environment, tmp_path):
    api = environment["PREFECT_API_URL"]
    log = tmp_path / "serve.log"
    with log.open("wb") as output:
        service = subprocess.Popen(
            [Path(sys.executable).with_name("vae-anomaly"), "serve", "--config", drifted],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=drifted.parent,
        )

    def list_trainings() -> list[dict]:
        """Flow runs of the deployment beside those of its schedule."""
        runs = ask(f"{api}/flow_runs/filter", {})
        return [run for run in runs if run["deployment_id"] and not run["auto_scheduled"]]

    def are_done(num: int) -> bool:
        return [run["state_type"] for run in list_trainings()] == ["COMPLETED"] * num

    try:
        wait_for(log.read_text, lambda: "'train' is due every" in log.read_text())
        assert are_done(1)  # at the start of the service: there is a champion already
        first = run_monitor(drifted, environment)
        assert {drift["sensor"] for drift in first["drifts"]} >= {"flow", ""}
        assert first["event_id"]
        wait_for(log.read_text, lambda: are_done(2))
        again = run_monitor(drifted, environment)
        assert again["drifts"] == first["drifts"]
        assert again["event_id"] == ""
        assert are_done(2)
        service.terminate()
        assert service.wait(60) == 0
    finally:
        service.kill()
        service.wait()
    versions = open_registry(read_pipeline_config(drifted).registry).list_versions()
    assert [version.version for version in versions] == ["2", "1"]
    assert "challenger" in versions[0].aliases
