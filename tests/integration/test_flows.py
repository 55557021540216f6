"""The flows under Prefect, in this process, from raw files to the report."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from subprocess import DEVNULL
from typing import Any
from uuid import UUID, uuid4

import pytest
import yaml
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.flows import load_flow_from_entrypoint
from prefect.settings import get_current_settings
from prefect.states import Failed

from flows.artifacts import publish_ingest, publish_scores, publish_training
from flows.deployments import LIMIT, list_environment
from flows.ingest import ingest
from flows.liveness import FOLDER, close_remains
from flows.schedules import list_flows
from flows.score import score
from flows.tasks import is_worth_retrying
from flows.train import train
from tests.conftest import PROJECT
from tests.pipelines import DAYS, write_pipeline
from vae_anomaly.cli.pipeline import DEFAULT_POOL
from vae_anomaly.config import PipelineConfig, read_pipeline_config
from vae_anomaly.errors import (
    CalibrationError,
    ConfigError,
    ReadingsError,
    RegistryError,
    TableError,
)
from vae_anomaly.operations.notify.manage import list_messages
from vae_anomaly.operations.pipeline import list_alerts
from vae_anomaly.readings.ingest import FailedFile, IngestResult
from vae_anomaly.readings.lock import hold_lock
from vae_anomaly.wording import name_figure

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("prefect_server")]

STEPS = {"ingest": ingest, "train": train, "score": score}
DAY_S = 86_400


def read_artifacts(key: str) -> list[Any]:
    """Return the contents of all artifacts of a key, the newest first."""
    wanted = {"sort": "UPDATED_DESC", "limit": 200, "artifacts": {"key": {"any_": [key]}}}
    with get_client(sync_client=True) as client:
        found = client.request("POST", "/artifacts/filter", json=wanted).json()
    return [artifact["data"] for artifact in found]


@flow(validate_parameters=False)
def publish(what: Callable[..., str], *results: Any) -> str:
    """Publish results as a flow does."""
    return what(*results)


def read_last_run() -> Any:
    with get_client(sync_client=True) as client:
        return client.read_flow_runs(sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=1)[0]


def test_the_flows_go_from_raw_files_to_the_report(line):
    assert line.first["ingest"].num_new_files == DAYS
    assert line.first["train"].is_champion
    assert line.first["score"].num_rows > 1000
    assert line.config.with_name("report.html").stat().st_size > 1_000_000


def test_a_second_round_does_nothing(line):
    assert line.second["ingest"].num_new_files == 0
    assert line.second["train"].skipped
    assert line.second["score"].skipped
    assert line.report_times[0] == line.report_times[1]


def test_flow_runs_are_named_by_flow_and_time(line):
    ingest(str(line.config))
    run = read_last_run()
    assert run.name.startswith("ingest 20")
    assert run.state_type is StateType.COMPLETED


def test_progress_is_heard_in_this_process(line):
    assert (DAYS, DAYS) in line.progress
    assert (400, 400) in line.progress  # two fits of 200 steps
    assert (line.first["score"].num_rows,) * 2 in line.progress


@pytest.mark.parametrize("key", ["ingest-progress", "train-progress", "score-progress"])
def test_progress_is_shown_to_its_end(line, key):
    assert 100.0 in read_artifacts(key)


def test_the_ingest_shows_its_counts(line):
    rows = json.loads(read_artifacts("ingest")[-1])
    counts = {row["what"]: row["count"] for row in rows}
    result = line.first["ingest"]
    assert counts["files taken in"] == DAYS
    assert counts["rows"] == result.num_rows
    assert result.num_rows == (
        counts["rows kept"] + counts["rows quarantined"] + counts["duplicates"]
    )


def test_the_training_shows_thresholds_and_health(line):
    page = read_artifacts("training")[-1]
    assert "# vae-anomaly version 1" in page
    assert (
        "| asset | threshold | expected | 90 % interval | held-out steps | provisional |" in page
    )
    assert f"| asset | {line.first['train'].calibrations['asset'].threshold:.4g} |" in page
    assert all(f"| {name_figure(check.name)} |" in page for check in line.first["train"].health)


def test_the_scoring_shows_states_and_alert_events(line):
    states = {row["state"]: row["rows"] for row in json.loads(read_artifacts("states")[-1])}
    assert sum(states.values()) == line.first["score"].num_rows
    events = json.loads(read_artifacts("alert-events")[-1])
    assert len(events) == line.first["score"].num_events >= 1
    assert events[0]["status"] in {"open", "resolved"}
    assert events[0]["start"].startswith("2026-01-")


def test_the_scoring_shows_where_the_report_lies(line):
    assert f"`{line.config.with_name('report.html')}`" in read_artifacts("report")[-1]


def test_training_only_without_a_champion_leaves_a_champion_alone(line):
    assert train(str(line.config), only_without_champion=True) is None


def test_another_version_can_score(line):
    assert score(str(line.config), reference="1", with_report=False).skipped


@pytest.mark.parametrize("name", ["train", "score"])
def test_refusals_reach_the_caller_and_the_state(prefect_server, tmp_path, name):
    config, _ = write_pipeline(tmp_path)
    with pytest.raises(TableError, match="Run 'vae-anomaly run ingest' first"):
        STEPS[name](str(config))
    run = read_last_run()
    assert run.state_type is StateType.FAILED
    assert "Run 'vae-anomaly run ingest' first" in run.state.message


def test_wrong_settings_fail_at_once(prefect_server, tmp_path):
    config, _ = write_pipeline(tmp_path, settings="\n[schedule]\nnever = 1\n")
    with pytest.raises(ConfigError, match="no such setting"):
        ingest(str(config))


def test_parameters_of_a_wrong_type_are_refused(prefect_server):
    from prefect.exceptions import ParameterTypeError

    with pytest.raises(ParameterTypeError, match="only_without_champion"):
        train("pipeline.toml", only_without_champion="perhaps")


def caused(error: Exception) -> Exception:
    error.__cause__ = OSError("connection refused")
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError("disk"), True),
        (TimeoutError("slow"), True),
        (caused(RegistryError("not reached")), True),
        (caused(TableError("not reached")), True),
        (caused(ReadingsError("not reached")), True),
        (RegistryError("no champion"), False),
        (TableError("nothing ingested"), False),
        (caused(ConfigError("not TOML")), False),
        (CalibrationError("too little"), False),
        (ValueError("a bug"), False),
    ],
)
def test_only_what_may_mend_itself_is_tried_again(error, expected):
    assert is_worth_retrying(None, None, Failed(data=error)) is expected


def test_outcomes_are_told_in_one_line(line):
    first, second = line.first, line.second
    assert publish(publish_ingest, second["ingest"]) == f"No new files among {DAYS}."
    assert publish(publish_ingest, first["ingest"]).startswith(f"Took in {DAYS} of {DAYS} files, ")
    assert (
        publish(publish_training, first["train"])
        == "Registered vae-anomaly version 1 as champion."
    )
    assert publish(publish_training, second["train"]).startswith(
        "Nothing to train: vae-anomaly version 1"
    )
    alerts = list_alerts(read_pipeline_config(line.config))
    assert publish(publish_scores, first["score"], alerts).endswith(f"{len(alerts)} in all.")
    assert publish(publish_scores, second["score"], alerts).startswith(
        "Nothing to score: vae-anomaly "
    )


def test_files_left_out_and_notes_are_shown(line):
    result = IngestResult(
        2, 1, 5, 5, 0, 0, 0, notes=("a note",), failed=(FailedFile("b", "not Parquet"),)
    )
    assert publish(publish_ingest, result) == "Took in 1 of 2 files, 5 of 5 rows; left out 1 file."
    rows = json.loads(read_artifacts("ingest")[0])
    assert rows[-2:] == [
        {"what": "left out b", "count": "not Parquet"},
        {"what": "note", "count": "a note"},
    ]


def test_a_challenger_is_not_called_champion(line):
    challenger = replace(line.first["train"], is_champion=False, decision="")
    assert (
        publish(publish_training, challenger) == "Registered vae-anomaly version 1 as challenger."
    )


def test_prefect_yaml_says_what_the_default_settings_say():
    content = yaml.safe_load((PROJECT / "prefect.yaml").read_text(encoding="utf-8"))
    for item, served in zip(content["deployments"], list_flows(PipelineConfig()), strict=True):
        flow = load_flow_from_entrypoint(str(PROJECT / item["entrypoint"]))
        assert flow.name == item["name"] == served.name
        assert flow.validate_parameters(item["parameters"])
        assert item["work_pool"]["name"] == DEFAULT_POOL
        assert item["work_pool"]["job_variables"]["env"] == list_environment()
        assert item["concurrency_limit"] == LIMIT.model_dump(mode="json")
        (schedule,) = item["schedules"]
        assert schedule["interval"] == served.every_s
        assert datetime.fromisoformat(schedule["anchor_date"]) == served.anchor
        events = [event for trigger in item.get("triggers", ()) for event in trigger["expect"]]
        assert tuple(events) == served.events


def test_a_flow_run_that_is_stuck_is_ended_and_its_state_says_so(tmp_path):
    config, _ = write_pipeline(tmp_path, settings="\n[schedule]\ningest_timeout_s = 1\n")
    with hold_lock(str(tmp_path / "lake"), "ingest"):  # so it waits for longer than that
        state = ingest(str(config), return_state=True)
    assert state.is_failed()
    assert state.name == "TimedOut"
    assert "raise ingest_timeout_s in [schedule]" in state.message


STUCK = """
import time
from prefect.runtime import deployment
from flows import timeouts
deployment.id = "of a worker"
timeouts.GRACE_S = 0.0
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})  # as code that never comes back
with timeouts.limit_time(0.5):
    time.sleep(600)
"""


def test_the_process_of_a_deployment_ends_where_nothing_can_be_told():
    done = subprocess.run(
        [sys.executable, "-c", STUCK], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "Timeout (0:00:00.500000)!" in done.stderr


RUN_INGEST = "import sys; from flows.ingest import ingest; ingest(sys.argv[1])"


def test_a_flow_run_whose_process_was_killed_is_closed_on_the_next_start(tmp_path):
    config, _ = write_pipeline(tmp_path)
    settings = get_current_settings()
    environment = {
        **os.environ,
        "PREFECT_API_URL": str(settings.api.url),
        "PREFECT_HOME": str(settings.home),
    }
    with hold_lock(str(tmp_path / "lake"), "ingest"):  # so the other one waits in its flow run
        command = [sys.executable, "-c", RUN_INGEST, str(config)]
        other = subprocess.Popen(command, env=environment, stdout=DEVNULL, stderr=DEVNULL)
        folder = settings.home / FOLDER
        while not (locks := list(folder.glob("*.lock"))):
            assert other.poll() is None
            time.sleep(0.1)
        (lock,) = locks
        with get_client(sync_client=True) as client:
            while not (run := client.read_flow_run(UUID(lock.stem))).state.is_running():
                time.sleep(0.1)
        close_remains(folder)
        assert lock.exists(), "a flow run that lives was closed"
        other.kill()
        other.wait()
    ingest(str(config))
    assert list(folder.glob("*.lock")) == []
    with get_client(sync_client=True) as client:
        assert client.read_flow_run(run.id).state_type is StateType.CRASHED
    assert read_last_run().state_type is StateType.COMPLETED


def test_what_is_left_of_a_flow_run_that_nobody_knows_is_removed(tmp_path):
    (tmp_path / f"{uuid4()}.lock").touch()
    close_remains(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_scoring_writes_down_who_is_to_be_told(line):
    """The readings are of long ago, so nobody is: a first start wakes nobody."""
    settings = line.config.read_text(encoding="utf-8")
    channel = '\n[notify.channels.duty]\nkind = "apprise"\nurl_env = "TEST_NO_ADDRESS"\n'
    file = line.config.with_name("with_channel.toml")
    file.write_text(settings + channel, encoding="utf-8")
    assert score(str(file), with_report=False).skipped
    config = read_pipeline_config(file)
    alerts, rows = list_alerts(config), list_messages(config)
    assert alerts
    assert {row.alert_id for row in rows} == {alert.event.alert_id for alert in alerts}
    assert {row.status for row in rows} == {"expired"}
