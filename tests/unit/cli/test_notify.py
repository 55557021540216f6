"""`vae-anomaly notify`, with a real outbox and a real receiver."""

import json

import pytest

from tests.notifying import SECRET_VARIABLE, Desk
from tests.receivers import Receiver, run_receiver
from vae_anomaly.cli import main
from vae_anomaly.config import ChannelConfig


@pytest.fixture
def receiver(monkeypatch):
    receiver = Receiver()
    monkeypatch.setenv(SECRET_VARIABLE, receiver.secret)
    with run_receiver(receiver):
        yield receiver


@pytest.fixture
def desk(tmp_path, receiver) -> Desk:
    desk = Desk(tmp_path / "lake")
    desk.channels["duty"] = ChannelConfig(
        kind="webhook", url=receiver.url, secret_env=SECRET_VARIABLE
    )
    (tmp_path / "pipeline.toml").write_text(
        f'[lake]\nroot = "lake"\n[notify.channels.duty]\nkind = "webhook"\n'
        f'url = "{receiver.url}"\nsecret_env = "{SECRET_VARIABLE}"\n'
    )
    return desk


@pytest.fixture
def run(tmp_path, desk, monkeypatch, capsys):
    """Runs a command in the folder of the pipeline; returns exit code, output and errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["notify", *arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def test_a_test_message_is_sent_and_its_answer_shown(run, receiver):
    code, out, _ = run("test", "duty")
    assert code == 0
    assert "The receiver of 'duty' took the test message: HTTP 200 OK: noted v1=" in out
    assert receiver.events == [("test", "no asset")]
    code, out, _ = run("test", "duty", "--json")
    assert json.loads(out)["arrived"] == "yes"


def test_a_receiver_that_refuses_the_test_message_gives_exit_code_1(run, receiver):
    receiver.answers.append((403, {}))
    code, _, err = run("test", "duty")
    assert code == 1
    assert "Cannot send through channel 'duty'" in err
    assert "HTTP 403 Forbidden" in err


def test_a_missing_secret_is_said_by_test_and_list(run, monkeypatch):
    monkeypatch.delenv(SECRET_VARIABLE)
    for arguments in (("test", "duty"), ("list",)):
        _, out, err = run(*arguments)
        assert f"environment variable {SECRET_VARIABLE}, got nothing" in out + err


def test_the_outbox_is_listed(run, desk, receiver):
    assert "0 notifications." in run("list")[1]
    receiver.answers.append((400, {}))
    desk.put("a")
    desk.put("old", start_min=-60 * 24 * 10, asset="fan\x1b[2J")
    desk.deliver()
    code, out, _ = run("list")
    assert code == 0
    assert "2 notifications, 1 expired, 1 failed." in out
    assert "HTTP 400" in out
    assert "\x1b[2J" not in out
    listed = json.loads(run("list", "--json")[1])
    assert listed["channels"] == [{"name": "duty", "problem": ""}]
    assert {row["status"] for row in listed["outbox"]} == {"failed", "expired"}
    failed = next(row for row in listed["outbox"] if row["status"] == "failed")
    assert failed["created"] == "2026-05-01T03:00:00Z"
    assert failed["attempts"][0]["at"] == "2026-05-01T03:00:00Z"


def test_only_the_latest_rows_are_printed(run, desk, monkeypatch):
    monkeypatch.setattr("vae_anomaly.cli.notify.MAX_ROWS", 1)
    for name in "abc":
        desk.put(name, asset=name)
    desk.deliver()
    assert "Outbox, the latest 1" in run("list")[1]


def test_what_failed_is_put_in_line_again(run, desk, receiver):
    receiver.answers += [(400, {}), (400, {})]
    desk.put("a")
    desk.deliver()
    key = desk.rows()[0].key
    code, out, _ = run("retry", key[:8])
    assert (code, out.split(";")[0]) == (0, "1 notification in line again")
    assert desk.rows()[0].status == "pending"
    code, _, err = run("retry", key)
    assert code == 1
    assert "expected a row that failed or expired, got one that is pending" in err
    assert json.loads(run("retry", "--failed", "--json")[1]) == []


def test_channels_that_are_gone_are_named(run, desk, receiver, tmp_path):
    desk.channels["gone"] = desk.channels["duty"]
    receiver.answers += [(500, {}), (500, {})]
    desk.put("a")
    desk.deliver()
    assert "channel 'gone' is not in the settings any more" in run("list")[1]
    (tmp_path / "pipeline.toml").write_text('[lake]\nroot = "lake"\n')
    assert "No channel is set up: nobody is told." in run("list")[1]


@pytest.mark.parametrize(
    "arguments",
    [
        ["test"],
        ["retry"],
        ["retry", "key", "--failed"],
        ["list", "key"],
        ["list", "--failed"],
        ["test", "duty", "--failed"],
    ],
)
def test_wrong_usage_is_said(run, arguments):
    assert run(*arguments)[0] == 2
