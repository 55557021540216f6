"""Flows whose log lines are JSON, run as a scheduler runs them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.steady import write_plant
from vae_anomaly.readings.flow_marks import read_flow_marks
from vae_anomaly.readings.tables import Lake

pytestmark = pytest.mark.integration


def run(config: Path, step: str, **variables: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if "PREFECT" not in key}
    return subprocess.run(
        [Path(sys.executable).with_name("vae-anomaly"), "run", step, "--config", config],
        env=clean | {"PREFECT_HOME": str(config.with_name("home"))} | variables,
        capture_output=True,
        check=False,
        text=True,
    )


def test_every_line_is_an_object_that_names_its_flow_run(tmp_path):
    config = write_plant(tmp_path / "plant", settings='\n[logs]\nformat = "json"\n')
    done = run(config, "ingest")
    assert done.returncode == 0, done.stderr
    assert "Ingested 1 of 1 file" in done.stdout
    records = [json.loads(line) for line in done.stderr.splitlines()]
    (line,) = [record for record in records if record["logger"] == "flows.ingest"]
    assert line["message"].startswith("Took in 1 of 1 file")
    assert line["flow"] == "ingest"
    assert len(line["flow_run_id"]) == 36
    mark = read_flow_marks(Lake(config.with_name("lake")))["ingest"]
    assert mark.figures["num_new_files"] == 1.0
    assert mark.ended_us > 1.7e15

    refused = run(config, "monitor", VAE_ANOMALY_LOGS="json")
    assert refused.returncode == 1
    lines = refused.stderr.splitlines()
    (record,) = [json.loads(line) for line in lines if '"flows.monitor"' in line]
    assert record["level"] == "ERROR"
    assert record["flow_run_id"]
    assert "monitor" not in read_flow_marks(Lake(config.with_name("lake")))


def test_another_format_is_refused_before_anything_is_done(tmp_path):
    config = write_plant(tmp_path / "plant")
    done = run(config, "ingest", VAE_ANOMALY_LOGS="xml")
    assert done.returncode == 1
    assert "expected VAE_ANOMALY_LOGS to be one of text, json, got 'xml'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not config.with_name("lake").exists()
