import json

import pytest

from tests.alerting import MODEL, START_US, at
from vae_anomaly.cli import main
from vae_anomaly.config import read_pipeline_config
from vae_anomaly.domain import AlertEvent
from vae_anomaly.operations.alerting.settle import settle_alerts
from vae_anomaly.readings.tables import Lake

IDS = ("aa11", "aa22", "bb33")


@pytest.fixture
def command(tmp_path, capsys):
    """Run a command on a lake with three alerts; return its exit code and what it printed."""
    config = tmp_path / "pipeline.toml"
    config.write_text('[lake]\nroot = "lake"\n[alerting]\ncooldown_s = 0\n', encoding="utf-8")
    events = [
        AlertEvent(
            alert_id=alert_id,
            asset=asset,
            start_us=at(step),
            end_us=at(step + 2),
            peak_us=at(step),
            peak_score=9.0,
            threshold=5.0,
            num_steps=2,
            top_sensors=("flow",),
            top_shares=(1.0,),
            severity="low",
            reasons=("shift: flow",),
        )
        for alert_id, asset, step in zip(IDS, ("a", "b", "a"), (0, 1, 900), strict=True)
    ]
    Lake(tmp_path / "lake").write_alerts(events, **MODEL)
    settle_alerts(read_pipeline_config(config))

    def run(*words: str):
        code = main([*words, "--config", str(config)])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def answer(command, *words: str):
    code, out, err = command(*words, "--json")
    assert (code, err) == (0, "")
    return json.loads(out)


def test_alerts_are_listed_by_asset_status_and_time(command):
    assert [row["alert_id"] for row in answer(command, "alerts", "list")] == list(IDS)
    rows = answer(command, "alerts", "list", "--asset", "a")
    assert [(row["alert_id"], row["group_id"]) for row in rows] == [
        ("aa11", "aa11"),
        ("bb33", "bb33"),
    ]
    assert rows[0]["start"] == "2025-06-15T15:06:40Z"
    rows = answer(command, "alerts", "list", "--since", "2025-06-16T00:00:00Z")
    assert [row["alert_id"] for row in rows] == ["bb33"]
    assert answer(command, "alerts", "list", "--status", "dismissed") == []
    code, out, _ = command("alerts", "list")
    assert code == 0
    assert "3 alerts" in out
    assert "aa22" in out
    assert command("alerts", "list", "--asset", "nobody")[1] == "No alert.\n"


def test_a_decision_shows_in_the_list_and_in_the_history(command):
    row = answer(command, "alerts", "dismiss", "aa1", "--reason", "test run", "--by", "ann")
    assert (row["alert_id"], row["status"]) == ("aa11", "dismissed")
    shown = answer(command, "alerts", "show", "aa11")
    assert shown["status"] == "dismissed"
    assert shown["top_sensors"] == ["flow"]
    assert [(one["status"], one["by"], one["reason"]) for one in shown["history"]] == [
        ("open", "system", "the scores show it"),
        ("dismissed", "ann", "test run"),
    ]
    code, out, _ = command("alerts", "show", "aa11")
    assert code == 0
    assert all(
        words in out for words in ("History", "test run", "flow 100%", "1.8 x the threshold")
    )
    assert answer(command, "alerts", "reopen", "aa11")["status"] == "open"
    assert command("alerts", "ack", "aa11")[1] == "Alert aa11 of asset 'a' is acknowledged.\n"


def test_labels_mute_and_are_shown(command):
    code, out, _ = command("alerts", "label", "aa11", "normal", "--by", "ann")
    assert code == 0
    assert "is open, and muted: labelled normal by ann." in " ".join(out.split())
    assert answer(command, "alerts", "show", "aa11")["label"] == "normal"
    answer(command, "alerts", "label", "aa11", "none")
    assert answer(command, "alerts", "show", "aa11")["label"] == ""


def test_windows_are_added_listed_and_withdrawn(command):
    assert command("maintenance", "list")[1] == "No maintenance window.\n"
    span = ("--start", "2025-06-15T15:00:00Z", "--end", "2025-06-15T17:00:00+01:00")
    added = answer(command, "maintenance", "add", "a", *span, "--reason", "oil", "--by", "ann")
    assert (added["asset"], added["end"]) == ("a", "2025-06-15T16:00:00Z")
    command("maintenance", "add", *span, "--reason", "all")
    listed = answer(command, "maintenance", "list")
    assert {(row["asset"], row["reason"]) for row in listed} == {("a", "oil"), ("*", "all")}
    assert "2 windows" in command("maintenance", "list")[1]
    mutes = [row["mute"] for row in answer(command, "alerts", "list")]
    assert mutes == ["maintenance: all; maintenance: oil", "maintenance: all", ""]
    code, out, _ = command("maintenance", "remove", added["window_id"])
    assert (code, out[:17]) == (0, "Withdrew asset 'a")
    assert answer(command, "alerts", "list")[0]["mute"] == "maintenance: all"


def test_an_asset_is_muted_until_a_time(command):
    code, out, _ = command("mute", "a", "--until", "2999-01-01T00:00:00Z")
    assert (code, out[:14]) == (0, "Muted asset 'a")
    assert answer(command, "maintenance", "list")[0]["source"] == "mute"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("alerts", "show", "zz"), 1, "expected one alert whose id begins so, got none"),
        (("alerts", "ack", "aa"), 1, "got aa11, aa22"),
        (("alerts", "reopen", "aa11"), 1, "Cannot reopen alert aa11"),
        (("alerts", "ack", "aa11", "--by", "system"), 1, "expected the name of a person"),
        (("alerts", "label", "aa11", "odd"), 2, "odd"),
        (("mute", "a", "--until", "tomorrow"), 1, "expected a time in ISO 8601 with a zone"),
        (("mute", "a", "--until", ""), 1, "expected a time, got none"),
        (("mute", "a", "--until", "2001-01-01T00:00:00Z"), 1, "expected a start before its end"),
        (("maintenance", "remove", "zz"), 1, "expected one window whose id begins so, got none"),
    ],
)
def test_what_cannot_be_done_is_said_with_an_exit_code(command, words, code, message):
    got, out, err = command(*words)
    assert (got, out) == (code, "")
    assert message in " ".join(err.split())


def test_times_are_those_of_the_tables():
    assert at(0) == START_US
