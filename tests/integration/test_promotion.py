"""Promotion as a person and a schedule meet it: the commands and the flows."""

import contextlib
import io
import json
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.pipelines import END
from tests.promotions import CHAMPION_VERSION, FAULTY, GOOD, LOUD, set_challenger
from vae_anomaly.cli import main
from vae_anomaly.cli.template import make_template
from vae_anomaly.operations.pipeline import list_alerts
from vae_anomaly.operations.registry import CHALLENGER, CHAMPION, open_registry

pytestmark = pytest.mark.integration


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
    return Outcome(code, " ".join(out.getvalue().split()), " ".join(err.getvalue().split()))


@pytest.fixture
def settings(line, tmp_path) -> Path:
    file = tmp_path / "pipeline.toml"
    file.write_text(make_template(line), encoding="utf-8")
    return file


def find_champion(line):
    return open_registry(line.registry).find(CHAMPION).version


def test_a_worse_version_is_refused_with_the_figures_and_forced_with_a_reason(line, settings):
    refused = run("promote", FAULTY, "--config", settings)
    assert refused.code == 1
    assert refused.out == ""
    assert f"Cannot make version {FAULTY} champion: Not champion, compared on" in refused.err
    assert "% of faults where the champion finds" in refused.err
    assert "give --force --reason" in refused.err
    assert find_champion(line) == CHAMPION_VERSION
    again = run("promote", FAULTY, "--config", settings, "--json")
    content = json.loads(again.out)
    assert (again.code, content["decision"], content["skipped"]) == (1, "refused", True)
    assert content["figures"]["recall_gap"] < 0
    forced = run("promote", FAULTY, "--force", "--reason", "A test.", "--config", settings)
    assert (forced.code, forced.err) == (0, "")
    assert f"Champion is now vae-anomaly version {FAULTY}. A test." in forced.out
    back = run("rollback", "--config", settings)
    assert f"Champion is now vae-anomaly version {CHAMPION_VERSION}. Rolled back" in back.out
    third = run("rollback", "--config", settings)
    assert (third.code, "expected a champion before this one" in third.err) == (1, True)


def test_a_good_version_is_promoted_by_the_command(line, settings):
    outcome = run("promote", GOOD, "--config", settings)
    assert outcome.code == 0, outcome.err
    assert f"Champion is now vae-anomaly version {GOOD}. Champion, compared on" in outcome.out


def test_a_process_without_an_account_can_promote(line, settings, monkeypatch):
    def find_no_user():
        raise KeyError("getpwuid(): uid not found: 1234")

    monkeypatch.setattr("getpass.getuser", find_no_user)
    outcome = run("promote", LOUD, "--force", "--reason", "A test.", "--config", settings)
    assert outcome.code == 0, outcome.err


def test_compare_shows_what_would_change(line, settings):
    chosen = ("--start", END.isoformat(), "--config", settings)
    outcome = run("compare", LOUD, *chosen)
    assert outcome.code == 0, outcome.err
    assert f"version {LOUD} beside the champion, version {CHAMPION_VERSION}: " in outcome.out
    assert "% of them with the same state." in outcome.out
    assert f"New with version {LOUD}" in outcome.out
    content = json.loads(run("compare", LOUD, *chosen, "--json").out)
    counts = content["num_events"]
    assert counts["version"] > counts["champion"] >= 1
    assert len(content["only_version"]) == counts["only_version"]
    assert content["only_version"][0]["start"].startswith("2026-01-")
    rates = content["events_per_asset_and_week"]
    assert rates["version"] > rates["champion"]
    assert list_alerts(line) == ()


def test_compare_names_no_events_where_none_change(line, settings):
    outcome = run("compare", CHAMPION_VERSION, "--config", settings)
    assert "100.00% of them with the same state." in outcome.out
    assert "Gone with" not in outcome.out
    wrong = run("compare", GOOD, "--start", "yesterday", "--config", settings)
    assert (wrong.code, "Cannot use the setting '--start'" in wrong.err) == (1, True)


@pytest.mark.usefixtures("prefect_server")
def test_the_flow_moves_the_alias_and_does_so_once(line, settings):
    from flows.promote import promote

    set_challenger(line, GOOD)
    result = promote(str(settings))
    assert (result.decision, result.champion, result.skipped) == ("promoted", GOOD, False)
    assert promote(str(settings)).decision == "nothing"


@pytest.mark.usefixtures("prefect_server")
def test_a_training_ends_with_the_comparison(line, settings):
    from flows.train import train

    registry = set_challenger(line, CHAMPION_VERSION)
    settings.write_text(make_template(line.model_copy(update={"seed": 2})), encoding="utf-8")
    result = train(str(settings))
    newest = registry.find(CHALLENGER).version
    assert result.model_version == newest != CHAMPION_VERSION
    assert result.decision == registry.find(newest).tags["champion_decision"]
    assert "compared on" in result.decision
    assert result.is_champion == (find_champion(line) == newest)
    again = train(str(settings))
    assert (again.skipped, again.is_champion) == (True, result.is_champion)


@pytest.mark.usefixtures("prefect_server")
def test_a_training_leaves_the_comparison_to_a_person_where_that_is_set(line, settings):
    from flows.train import train

    set_challenger(line, FAULTY)
    manual = line.promotion.model_copy(update={"automatic": False})
    settings.write_text(make_template(line.model_copy(update={"promotion": manual})), "utf-8")
    assert train(str(settings)).skipped
    assert "version 1 is" in open_registry(line.registry).find(FAULTY).tags["champion_decision"]
