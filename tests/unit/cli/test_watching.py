"""Metrics and doctor on the command line; what they find is tested where it is found."""

import json

import pytest

from tests.steady import write_plant
from vae_anomaly.cli import main


@pytest.fixture
def plant_file(tmp_path):
    return write_plant(tmp_path / "plant")


def test_metrics_are_printed_written_and_listed(plant_file, capsys):
    config = ["--config", str(plant_file)]
    assert main(["metrics", *config]) == 0
    printed = capsys.readouterr().out
    assert 'vae_anomaly_up{part="lake"} 1.0' in printed
    assert printed.endswith("# EOF\n")
    file = plant_file.with_name("out.prom")
    assert main(["metrics", "--out", str(file), *config]) == 0
    assert capsys.readouterr().out == ""
    assert file.read_text().endswith("# EOF\n")
    assert main(["metrics", "--json", *config]) == 0
    names = {sample["name"] for sample in json.loads(capsys.readouterr().out)}
    assert "vae_anomaly_up" in names


def test_metrics_go_to_one_place(plant_file, capsys):
    arguments = ["metrics", "--json", "--out", "x", "--config", str(plant_file)]
    assert main(arguments) == 2
    assert "Give one of --out, --serve and --json" in capsys.readouterr().err


def test_a_port_that_cannot_be_had_is_said(plant_file, capsys):
    arguments = ["metrics", "--serve", "9", "--host", "192.0.2.1", "--config", str(plant_file)]
    assert main(arguments) == 1
    assert "Cannot serve metrics at 192.0.2.1:9" in capsys.readouterr().err


def test_the_doctor_warns_of_a_pipeline_that_has_not_begun(plant_file, capsys):
    assert main(["doctor", "--config", str(plant_file)]) == 0
    printed = capsys.readouterr().out
    assert "warning  lake:" in printed
    assert "Run 'vae-anomaly run ingest'." in printed
    assert main(["doctor", "--json", "--config", str(plant_file)]) == 0
    findings = json.loads(capsys.readouterr().out)
    assert {finding["status"] for finding in findings} == {"ok", "warning"}


def test_the_doctor_fails_where_something_has_failed(plant_file, capsys):
    plant_file.write_text("seed = -1", encoding="utf-8")
    assert main(["doctor", "--config", str(plant_file)]) == 1
    assert "failed   configuration:" in capsys.readouterr().out
