"""Notifications under Prefect: the flow, and the command that runs it."""

import json

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import FlowRunSort

from flows.notify import notify
from tests.notifying import SECRET_VARIABLE, Desk
from tests.receivers import Receiver, run_receiver
from vae_anomaly.cli import main
from vae_anomaly.errors import NotifyError
from vae_anomaly.operations.notify.enqueue import read_clock

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("prefect_server")]


@pytest.fixture
def receiver(monkeypatch):
    receiver = Receiver()
    monkeypatch.setenv(SECRET_VARIABLE, receiver.secret)
    with run_receiver(receiver):
        yield receiver


@pytest.fixture
def config(tmp_path, receiver) -> str:
    desk = Desk(tmp_path / "lake")
    desk.clock.now_us = read_clock()
    desk.put("a")
    file = tmp_path / "pipeline.toml"
    file.write_text(
        f'[lake]\nroot = "lake"\n[notify.channels.duty]\nkind = "webhook"\n'
        f'url = "{receiver.url}"\nsecret_env = "{SECRET_VARIABLE}"\n'
    )
    return str(file)


def test_the_flow_sends_once(config, receiver):
    assert notify(config).num_sent == 1
    assert notify(config).num_sent == 0
    assert receiver.events == [("opened", "pump-07")]


def test_the_command_says_what_was_sent(config, receiver, capsys):
    assert main(["run", "notify", "--config", config]) == 0
    assert "Sent 1 message; 0 to be tried again, 0 given up." in capsys.readouterr().out
    assert main(["run", "notify", "--config", config, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["num_sent"] == 0


def test_a_channel_without_its_secret_fails_the_flow_after_the_others_have_sent(config, receiver):
    with open(config, "a", encoding="utf-8") as file:  # noqa: PTH123
        file.write(
            f'[notify.channels.broken]\nkind = "webhook"\nurl = "{receiver.url}"\n'
            'secret_env = "TEST_NO_SECRET"\n'
        )
    with pytest.raises(NotifyError, match="channel 'broken': expected the key of the signature"):
        notify(config)
    assert receiver.events == [("opened", "pump-07")]
    with get_client(sync_client=True) as client:
        (run,) = client.read_flow_runs(sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=1)
    assert run.state_type is StateType.FAILED
