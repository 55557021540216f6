"""The commands on a pipeline, run as a person runs them; the demo with a quick training."""

import contextlib
import io
import json
import logging
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from vae_anomaly.cli import main
from vae_anomaly.cli.demo import SAMPLE, make_demo_settings

pytestmark = pytest.mark.integration

NUM_FILES = len(list(SAMPLE.glob("*.parquet")))

QUICK = """\
min_training_steps = 400
max_training_steps = 400
"""


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


def run(*arguments) -> Outcome:
    """Run a command in this process, and put the environment back that it sets."""
    out, err, environment = io.StringIO(), io.StringIO(), dict(os.environ)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(argument) for argument in arguments])
    os.environ.clear()
    os.environ.update(environment)
    return Outcome(code, out.getvalue(), err.getvalue())


def cut_tables(out: str) -> str:
    """Return what is printed from the table of alert events on."""
    return out[out.index("start (UTC)") :]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def first(folder, prefect_server) -> Outcome:
    settings = make_demo_settings().replace("[detector.model]\n", f"[detector.model]\n{QUICK}")
    (folder / "pipeline.toml").write_text(settings)
    return run("demo", "--folder", folder)


@pytest.fixture
def settings(first, folder) -> Path:
    assert first.code == 0, first.err
    return folder / "pipeline.toml"


def test_the_demo_goes_from_files_to_alert_events_and_report(first, folder):
    assert first.code == 0, first.err
    out = " ".join(first.out.split())
    assert f"Ingested {NUM_FILES} of {NUM_FILES} files" in out
    assert "registered as vae-anomaly version 1" in out
    assert "with vae-anomaly version 1. In all" in out
    assert "planted there" in out
    assert "broken_coupling" in out
    assert "False alert events:" in out
    assert "the budget of 2 a week allows about" in out
    assert (folder / "report.html").is_file()
    assert len(list((folder / "raw").iterdir())) == NUM_FILES


def test_the_demo_again_has_nothing_to_do_and_shows_the_same(first, folder):
    again = run("demo", "--folder", folder)
    assert again.code == 0, again.err
    assert "Nothing to do: the sample is already ingested, trained on and scored" in again.out
    assert cut_tables(again.out) == cut_tables(first.out)


def test_the_demo_prints_only_json_when_asked(settings, folder):
    content = json.loads(run("demo", "--folder", folder, "--json").out)
    assert {kind["kind"] for kind in content["planted_kinds"]} >= {"step", "drift", "stuck"}
    assert content["budget_per_week"] == 2.0
    assert all(event["planted"] for event in content["events"])


def test_models_lists_versions_with_the_decision(settings):
    outcome = run("models", "--config", settings)
    assert outcome.code == 0, outcome.err
    assert "champion" in outcome.out
    (version,) = json.loads(run("models", "--config", settings, "--json").out)
    assert version["version"] == "1"
    assert "champion" in version["aliases"]
    assert version["created"].endswith("Z")


def test_the_champion_is_not_promoted_again(settings):
    reason = ("--force", "--reason", "Checked by hand.")
    outcome = run("promote", "1", *reason, "--config", settings)
    assert outcome.code == 0, outcome.err
    assert "Version 1 is champion already." in outcome.out
    (version,) = json.loads(run("models", "--config", settings, "--json").out)
    assert version["champion_decision"].startswith("Champion: there was none")


def test_a_forced_promotion_without_a_reason_is_refused(settings):
    outcome = run("promote", "1", "--force", "--config", settings)
    assert outcome.code == 1
    assert "expected a reason, got none" in outcome.err


def test_the_demo_writes_down_how_its_detector_became_champion(settings, folder):
    result = json.loads(run("run", "promote", "--config", settings, "--json").out)
    assert (result["decision"], result["champion"]) == ("nothing", "1")
    assert "How this detector became champion" in (folder / "report.html").read_text("utf-8")


def test_rollback_without_an_earlier_champion_is_refused(settings):
    outcome = run("rollback", "--config", settings)
    assert outcome.code == 1
    assert "expected a champion before this one" in outcome.err


def test_rescoring_what_the_champion_has_scored_does_nothing(settings):
    done = run("rescore", "2026-01-01T00:00:00Z", "--config", settings)
    assert done.code == 0
    assert "Nothing to score" in " ".join(done.out.split())
    result = json.loads(run("rescore", "2026-01-01T00:00:00Z", "--config", settings, "--json").out)
    assert result["skipped"] is True
    refused = run("rescore", "yesterday", "--config", settings)
    assert refused.code == 1
    assert "expected a time in ISO 8601 with a zone, got 'yesterday'" in refused.err


def test_promoting_what_is_not_there_is_refused(settings):
    outcome = run("promote", "9", "--reason", "x", "--config", settings)
    assert outcome.code == 1
    assert "vae-anomaly models" in outcome.err


def test_report_of_the_pipeline(settings, tmp_path):
    out = tmp_path / "page.html"
    outcome = run("report", "--config", settings, "--out", out, "--json")
    assert outcome.code == 0, outcome.err
    content = json.loads(outcome.out)
    assert content["num_rows"] > 7000
    assert content["detector"] == "models:/vae-anomaly/1"
    assert out.is_file()


def test_score_and_evaluate_with_the_registered_champion(settings, folder, tmp_path):
    file = sorted((folder / "raw").iterdir())[-1]
    reference = ("--detector", "models:/vae-anomaly@champion", "--config", settings)
    outcome = run("score", file, *reference, "--out", tmp_path / "scores.parquet", "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["detector"] == "models:/vae-anomaly/1"
    outcome = run("evaluate", tmp_path / "scores.parquet", *reference, "--json")
    assert json.loads(outcome.out)["num_anomalies"] > 0


def test_run_says_what_was_done_or_why_it_failed(settings, tmp_path):
    (tmp_path / "pipeline.toml").touch()
    steps = [("ingest", settings), ("score", tmp_path / "pipeline.toml")]
    commands = [["run", step, "--config", str(config)] for step, config in steps]
    program = (
        "from vae_anomaly.cli import main\n"
        f"assert [main(command) for command in {commands}] == [0, 1]"
    )  # one process, so that Prefect starts once
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"Nothing to ingest: {NUM_FILES} files known already.\n"
    assert result.stderr.startswith("error: Cannot score: expected readings in the lake")
    assert result.stderr.count("\n") == 1


def test_run_prints_only_json_when_asked(settings, prefect_server):
    outcome = run("run", "score", "--config", settings, "--json")
    assert outcome.code == 0, outcome.err
    result = json.loads(outcome.out)
    assert result["skipped"] is True
    assert len(result["events"]) == result["num_events"] > 0
    assert result["notes"] == []
    assert all(event["start"].endswith("Z") for event in result["events"])
    assert result["num_rows"] == (
        result["num_ok"] + result["num_anomalous"] + result["num_unscorable"]
    )


def test_run_score_prints_alert_events_and_what_speaks_against_the_champion(
    settings, folder, prefect_server, monkeypatch
):
    demo = json.loads(run("demo", "--folder", folder, "--json").out)
    monkeypatch.setattr("vae_anomaly.cli.doubts.note_doubts", lambda record: (record.fallback,))
    outcome = run("run", "score", "--config", settings)
    assert outcome.code == 0, outcome.err
    assert outcome.err == ""
    assert "Nothing to score" in outcome.out
    titles = [line.strip() for line in outcome.out.splitlines()]
    assert f"{len(demo['events'])} alert events" in titles
    assert outcome.out.count("severity") == 1
    assert "note: asset" in titles
    assert "Report: " in outcome.out


def test_run_of_training_that_is_done_says_so(settings, prefect_server):
    outcome = run("run", "train", "--config", settings)
    assert outcome.code == 0, outcome.err
    assert "Nothing to train: vae-anomaly version 1" in outcome.out


def test_serving_without_any_schedule_is_refused(tmp_path):
    settings = tmp_path / "pipeline.toml"
    names = ("ingest", "train", "score", "monitor")
    settings.write_text("[schedule]\n" + "".join(f"{name}_every_s = 0\n" for name in names))
    own = logging.getLogger("flows")
    handlers, level = own.handlers[:], own.level
    outcome = run("serve", "--config", settings)
    own.handlers, own.level = handlers, level
    assert outcome.code == 1
    assert outcome.err.startswith("error: Cannot serve")
