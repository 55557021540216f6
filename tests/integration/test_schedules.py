"""The service: schedules that fire, score what arrives, and stop without a trace."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Self

import pytest

from flows import local_server
from flows.deploy import deploy
from flows.environment import prepare_prefect
from flows.local_server import LocalServer, ServerError, find_port
from flows.schedules import ANCHOR, DRIFT_EVENT, list_flows, list_served, make_schedule
from flows.serve import serve
from tests.pipelines import write_pipeline
from vae_anomaly.config import PipelineConfig, ScheduleConfig, make_config
from vae_anomaly.errors import ConfigError
from vae_anomaly.readings.tables import Lake

pytestmark = pytest.mark.integration

SCHEDULE = """
[schedule]
ingest_every_s = 3
train_every_s = 0
score_every_s = 3
monitor_every_s = 0
"""
PATIENCE_S = 240.0


class Service:
    """`vae-anomaly serve` in a process of its own, with a Prefect home of its own."""

    def __init__(self, config: Path) -> None:
        self._log = config.with_name(f"serve-{time.time_ns()}.log")
        environment = {key: os.environ[key] for key in os.environ if "PREFECT" not in key}
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [Path(sys.executable).with_name("vae-anomaly"), "serve", "--config", config],
                env=environment | {"PREFECT_HOME": str(config.with_name("home"))},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=config.parent,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    @property
    def output(self) -> str:
        return self._log.read_text(encoding="utf-8")

    @property
    def url(self) -> str:
        found = re.search(r"http://127\.0\.0\.1:\d+", self.output)
        assert found, self.output
        return found[0]

    def wait_until(self, is_so: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE_S
        while not is_so():
            assert self.process.poll() is None, self.output
            assert time.monotonic() < end, self.output
            time.sleep(0.5)

    def has_fired(self, times: int) -> bool:
        """Whether each schedule has made so many flow runs that are completed."""
        if "'score' is due" not in self.output:
            return False
        wanted = {
            "flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}},
            "sort": "EXPECTED_START_TIME_DESC",
            "limit": 200,
        }
        request = urllib.request.Request(  # noqa: S310
            f"{self.url}/api/flow_runs/filter",
            data=json.dumps(wanted).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as response:  # noqa: S310
            runs = json.load(response)
        count = Counter(run["name"].split()[0] for run in runs if run["auto_scheduled"])
        return count["ingest"] >= times and count["score"] >= times

    def stop(self, how: signal.Signals) -> int:
        """Send a signal, SIGINT to all processes as a terminal does, and wait for the end."""
        if how is signal.SIGINT:
            os.killpg(self.process.pid, how)
        else:
            self.process.send_signal(how)
        return self.process.wait(60)


def wait_until_gone(url: str) -> None:
    host, port = url.removeprefix("http://").split(":")
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        with socket.socket() as client:
            if client.connect_ex((host, int(port))) != 0:
                return
        time.sleep(0.2)
    pytest.fail(f"{url} still answers")


@pytest.fixture(scope="module")
def pipeline(line, tmp_path_factory):
    registry = line.config.with_name("mlflow")
    folder = tmp_path_factory.mktemp("service")
    config, held_back = write_pipeline(folder, registry=registry, settings=SCHEDULE, num_files=5)
    return config, held_back[0]


def count_scores(config: Path) -> int:
    return Lake(config.with_name("lake")).read_scores().num_rows


def test_schedules_fire_after_a_kill_score_new_files_and_stop_cleanly(pipeline, line):
    config, late_file = pipeline
    with Service(config) as killed:
        killed.wait_until(lambda: "Took in 5 of 5 files" in killed.output)
        killed.stop(signal.SIGKILL)
        wait_until_gone(killed.url)
    with Service(config) as service:
        service.wait_until(lambda: "'score' is due every 3 s" in service.output)
        before = count_scores(config)
        assert before > 500
        late_file.rename(config.parent / "raw" / late_file.name)
        service.wait_until(lambda: service.has_fired(2) and count_scores(config) > before)
        assert count_scores(config) == line.first["score"].num_rows
        assert config.with_name("report.html").is_file()
        assert config.with_name("home").joinpath("prefect.db").is_file()
        assert service.stop(signal.SIGTERM) == 0
        wait_until_gone(service.url)
    assert service.output.rstrip().endswith("Stopped")
    assert "Traceback" not in service.output
    assert "never awaited" not in service.output


def test_a_service_that_is_just_starting_stops_at_ctrl_c(pipeline):
    with Service(pipeline[0]) as service:
        service.wait_until(lambda: "Starting Prefect's server" in service.output)
        assert service.stop(signal.SIGINT) == 0
    assert [line.split(" ", 2)[2] for line in service.output.splitlines()] == [
        "Starting Prefect's server, which takes some seconds",
        "Stopped",
    ]


def test_a_service_without_a_schedule_is_refused(tmp_path):
    nothing = SCHEDULE.replace("= 3", "= 0")
    config, _ = write_pipeline(tmp_path, settings=nothing)
    with pytest.raises(
        ConfigError, match=r"expected at least one interval above 0 in \[schedule\]"
    ):
        serve(config)


@pytest.fixture
def environment(monkeypatch) -> dict[str, str]:
    """An environment of its own, empty at first."""
    empty: dict[str, str] = {}
    monkeypatch.setattr(os, "environ", empty)
    return empty


def test_prefect_lives_beside_the_pipeline_and_tells_nobody(tmp_path, environment):
    prepare_prefect(tmp_path / "pipeline.toml")
    assert environment["PREFECT_HOME"] == str(tmp_path / "data/prefect")
    assert environment["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert environment["DO_NOT_TRACK"] == "1"
    assert environment["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"] == "120"


def test_what_is_set_already_stays(tmp_path, environment):
    environment |= {"PREFECT_HOME": "/elsewhere", "PREFECT_LOGGING_LEVEL": "DEBUG"}
    prepare_prefect(tmp_path / "pipeline.toml")
    assert environment["PREFECT_HOME"] == "/elsewhere"
    assert environment["PREFECT_LOGGING_LEVEL"] == "DEBUG"


def test_with_another_server_prefect_needs_no_home_of_ours(tmp_path, environment):
    environment["PREFECT_API_URL"] = "http://prefect.example/api"
    prepare_prefect(tmp_path / "pipeline.toml")
    assert "PREFECT_HOME" not in environment


def test_scores_are_due_between_two_ingests():
    ingest, train, score, _ = list_served(PipelineConfig(schedule=ScheduleConfig()))
    assert (ingest.anchor, train.anchor) == (ANCHOR, ANCHOR)
    assert (score.anchor - ANCHOR).total_seconds() == ScheduleConfig().score_every_s / 2
    assert train.first_parameters == {"only_without_champion": True}
    assert ANCHOR.weekday() == 0


def test_a_cron_expression_goes_before_an_interval():
    schedule = ScheduleConfig(train_cron="0 3 * * SUN", train_every_s=0, timezone="Europe/Berlin")
    train = list_served(PipelineConfig(schedule=schedule))[1]
    assert train.describe() == "at '0 3 * * SUN' (Europe/Berlin)"
    made = make_schedule(train)
    assert (made.cron, made.timezone, made.interval) == ("0 3 * * SUN", "Europe/Berlin", None)


def test_what_is_no_cron_expression_or_zone_is_refused():
    (ingest, *_) = list_served(PipelineConfig(schedule=ScheduleConfig(ingest_cron="every day")))
    with pytest.raises(ConfigError, match=r"Cannot schedule 'ingest'.*Correct ingest_cron"):
        make_schedule(ingest)
    with pytest.raises(ConfigError, match=r"'timezone'.*such as 'Europe/Berlin'"):
        make_config(ScheduleConfig, {"timezone": "Berlin"}, origin="pipeline.toml")


def test_a_flow_that_is_not_scheduled_is_there_for_events():
    train = list_flows(PipelineConfig(schedule=ScheduleConfig(train_every_s=0)))[1]
    assert (train.describe(), train.events) == ("never", (DRIFT_EVENT,))


def test_deployments_need_a_server(tmp_path, environment):
    config, _ = write_pipeline(tmp_path)
    with pytest.raises(ConfigError, match="a Prefect server in PREFECT_API_URL, got none"):
        deploy(config, pool="workers")


def test_where_the_usual_port_is_taken_another_is_found(monkeypatch):
    with socket.socket() as other:
        other.bind((local_server.HOST, 0))
        other.listen()
        monkeypatch.setattr(local_server, "USUAL_PORT", other.getsockname()[1])
        port = find_port()
    assert port not in (0, other)
    assert port != local_server.USUAL_PORT


def test_a_server_that_ends_at_once_says_where_its_messages_are(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "false")
    server = LocalServer(tmp_path)
    with pytest.raises(
        ServerError, match=r"does not answer\. Its messages are in '.*server\.log'"
    ):
        asyncio.run(server.start())
    server.stop()
    server.stop()
