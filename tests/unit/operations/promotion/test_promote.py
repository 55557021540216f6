"""G9: the champion changes only for a better one, with written reasons; rollback; kill -9."""

import math
import time
from dataclasses import replace

import pytest

from tests.pipelines import raise_interrupt
from tests.promotions import (
    CHAMPION_VERSION,
    FAULTY,
    GOOD,
    LOUD,
    TINY,
    copy_line,
    set_challenger,
)
from vae_anomaly.config import RegistryConfig
from vae_anomaly.detector.detector import Detector
from vae_anomaly.errors import PromotionError, RegistryError
from vae_anomaly.operations import pipeline
from vae_anomaly.operations.promotion import promote
from vae_anomaly.operations.promotion.history import find_live
from vae_anomaly.operations.promotion.promote import (
    promote_challenger,
    promote_version,
    roll_back,
)
from vae_anomaly.operations.registry import CHAMPION, DECISION_TAG, Registry, open_registry
from vae_anomaly.readings import delta
from vae_anomaly.readings.promotions import read_promotions
from vae_anomaly.readings.rows import LATEST_US
from vae_anomaly.readings.tables import Lake


def read_rows(config):
    table = read_promotions(Lake(config.lake.root), model_name=config.registry.model_name)
    return table.to_pylist()


def find_champion(config):
    return open_registry(config.registry).find(CHAMPION).version


def force(config, version):
    return promote_version(config, version, by="a person", reason="Needed now.", force=True)


def test_g9_a_retrained_detector_as_good_as_the_champion_replaces_it(line):
    registry = set_challenger(line, GOOD)
    result = promote_challenger(line)
    assert (result.decision, result.champion, result.skipped) == ("promoted", GOOD, False)
    assert registry.find(CHAMPION).version == GOOD
    assert registry.find(GOOD).tags[DECISION_TAG] == result.reason
    assert registry.list_alias_moves(CHAMPION)[0].reason == result.reason
    first, row = read_rows(line)
    assert (first["decision"], first["challenger"], first["by"]) == ("first", "1", "training")
    assert (row["challenger"], row["champion"], row["decision"]) == (GOOD, "1", "promoted")
    assert (row["forced"], row["by"], row["reason"]) == (False, "comparison", result.reason)
    assert row["num_faults"] >= 100
    assert row["num_normal_steps"] > 500
    assert row["recall_gap_low"] <= row["recall_gap"] <= row["recall_gap_high"]
    assert row["start"] < row["end"]


@pytest.mark.parametrize(
    ("version", "words"),
    [
        (FAULTY, "of faults where the champion finds"),
        (LOUD, "of normal steps where the champion flags"),
        (TINY, "it failed health checks"),
    ],
)
def test_g9_a_bad_retraining_is_refused_with_the_figures(line, version, words):
    registry = set_challenger(line, version)
    result = promote_challenger(line)
    assert (result.decision, result.champion) == ("refused", CHAMPION_VERSION)
    assert result.reason.startswith("Not champion, compared on ")
    assert words in result.reason
    assert registry.find(CHAMPION).version == CHAMPION_VERSION
    assert registry.find(version).tags[DECISION_TAG] == result.reason
    row = read_rows(line)[-1]
    assert (row["decision"], row["challenger"]) == ("refused", version)
    assert all(math.isfinite(row[name]) for name in ("recall_gap", "pca_gap", "alarm_gap"))


def test_the_same_pair_on_the_same_readings_is_decided_once(line):
    set_challenger(line, FAULTY)
    first = promote_challenger(line)
    rows = read_rows(line)
    again = promote_challenger(line)
    assert again.skipped
    assert (again.decision, again.reason) == (first.decision, first.reason)
    assert read_rows(line) == rows


def test_the_champion_itself_is_compared_with_nobody(line):
    set_challenger(line, CHAMPION_VERSION)
    result = promote_challenger(line)
    assert (result.decision, result.skipped) == ("nothing", True)
    assert [row["decision"] for row in read_rows(line)] == ["first"]
    assert force(line, CHAMPION_VERSION).decision == "nothing"


def test_too_few_readings_after_both_training_periods_decide_nothing(line):
    settings = line.promotion.model_copy(update={"min_rows": 100_000})
    set_challenger(line, GOOD)
    result = promote_challenger(line.model_copy(update={"promotion": settings}))
    assert (result.decision, result.champion) == ("waiting", CHAMPION_VERSION)
    assert "expected at least 100,000 normal readings after 2026-01-08 23:58 UTC" in result.reason
    assert read_rows(line)[-1]["recall_gap"] is None


def test_a_version_that_waits_is_compared_when_a_newer_one_waits(line):
    waits = line.promotion.model_copy(update={"min_rows": 100_000})
    registry = set_challenger(line, GOOD)
    promote_challenger(line.model_copy(update={"promotion": waits}))
    detector = registry.load(GOOD)[0]
    facts = replace(detector.record.facts, last_us=LATEST_US)
    late = Detector(detector._density, replace(detector.record, facts=facts), detector._golden)
    newest = registry.register(late)
    result = promote_challenger(line)
    assert (result.challenger, result.champion, result.decision) == (GOOD, GOOD, "promoted")
    assert registry.find("challenger").version == newest.version
    assert [row["decision"] for row in read_rows(line)] == [
        "first",
        "waiting",
        "waiting",
        "promoted",
    ]
    assert promote_challenger(line).decision == "waiting"  # now of the new pair


def test_what_both_alert_to_is_not_normal(line):
    set_challenger(line, GOOD)
    settings = line.promotion.model_copy(update={"min_rows": 1_300})
    result = promote_challenger(line.model_copy(update={"promotion": settings}))
    assert result.decision == "waiting"
    assert "left out, where both detectors alert)" in result.reason


def test_a_forced_promotion_needs_a_reason_and_keeps_it(line):
    with pytest.raises(PromotionError, match=r"expected a reason, got none. Give --reason"):
        promote_version(line, FAULTY, by="a person", reason=" ", force=True)
    assert find_champion(line) == CHAMPION_VERSION
    result = force(line, FAULTY)
    assert (result.decision, result.forced, result.champion) == ("promoted", True, FAULTY)
    row = read_rows(line)[-1]
    assert (row["forced"], row["by"], row["reason"]) == (True, "a person", "Needed now.")
    assert row["recall_gap"] is None


def test_a_forced_promotion_after_a_refusal_carries_its_figures(line):
    refused = promote_version(line, LOUD, by="a person")
    assert refused.decision == "refused"
    force(line, LOUD)
    assert read_rows(line)[-1]["alarm_gap"] == refused.figures["alarm_gap"]


def test_a_reason_given_to_a_comparison_is_kept_before_its_own(line):
    result = promote_version(line, GOOD, by="a person", reason="New impeller.")
    assert result.reason.startswith("New impeller. Champion, compared on ")


def test_a_version_that_was_replaced_returns_by_a_persons_word_only(line):
    registry = set_challenger(line, GOOD)
    promote_challenger(line)
    roll_back(line, by="a person", reason="Alarms at every start.")
    result = promote_challenger(line)
    assert result.decision == "refused"
    assert f"'vae-anomaly promote {GOOD}'" in result.reason
    assert registry.find(CHAMPION).version == CHAMPION_VERSION
    assert promote_version(line, GOOD, by="a person").decision == "promoted"


def test_a_second_rollback_goes_back_further_and_a_third_is_refused(line):
    force(line, GOOD)
    force(line, LOUD)
    first = roll_back(line, by="a person", reason="Too loud.")
    assert (first.champion, first.decision, first.reason) == (GOOD, "rolled_back", "Too loud.")
    second = roll_back(line, by="a person")
    assert second.champion == CHAMPION_VERSION
    assert second.reason == f"Rolled back from version {GOOD}."
    with pytest.raises(PromotionError, match="expected a champion before this one, got none"):
        roll_back(line, by="a person")
    kinds = [row["decision"] for row in read_rows(line)]
    assert kinds == ["first", "promoted", "promoted", "rolled_back", "rolled_back"]
    force(line, LOUD)  # and forth again, from where it went back to
    assert roll_back(line, by="a person").champion == CHAMPION_VERSION


def test_which_version_was_live_at_a_time_has_an_answer(line):
    before_us = time.time_ns() // 1000
    force(line, GOOD)
    between_us = time.time_ns() // 1000
    roll_back(line, by="a person")
    moves = open_registry(line.registry).list_alias_moves(CHAMPION)
    live = [find_live(moves, at).version for at in (before_us, between_us, time.time_ns() // 1000)]
    assert live == [CHAMPION_VERSION, GOOD, CHAMPION_VERSION]
    assert find_live(moves, 0) is None
    assert find_live(moves, between_us).until_us == moves[0].moved_us


def test_scoring_follows_the_alias_without_a_restart(line):
    assert pipeline.score_readings(line).model_version == CHAMPION_VERSION
    force(line, GOOD)
    result = pipeline.score_readings(line)
    assert result.model_version == GOOD
    assert {alert.model_version for alert in pipeline.list_alerts(line)} == {GOOD}
    roll_back(line, by="a person")
    assert pipeline.score_readings(line).model_version == CHAMPION_VERSION


# Killed between the steps ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("owner", "step"),
    [
        (Registry, "set_tags"),
        (Registry, "move_alias"),
        (promote._Desk, "_keep_in_line"),
        (delta, "append_once"),
    ],
)
def test_g4_a_promotion_killed_between_its_steps_ends_the_same(line, monkeypatch, owner, step):
    set_challenger(line, GOOD)
    if owner is promote._Desk:  # the first time is before the decision
        calls = [raise_interrupt, promote._Desk._keep_in_line]

        def die_the_second_time(desk):
            return calls.pop()(desk)

        monkeypatch.setattr(owner, step, die_the_second_time)
    else:
        promote.note_moves(line)
        monkeypatch.setattr(owner, step, raise_interrupt)
    with pytest.raises(KeyboardInterrupt):
        promote_challenger(line)
    monkeypatch.undo()
    result = promote_challenger(line)
    assert (result.champion, find_champion(line)) == (GOOD, GOOD)
    rows = read_rows(line)
    assert [row["decision"] for row in rows] == ["first", "promoted"]
    moves = open_registry(line.registry).list_alias_moves(CHAMPION)
    assert [move.version for move in moves] == [GOOD, CHAMPION_VERSION]
    assert int(rows[1]["time"].timestamp() * 1e6) == moves[0].moved_us
    promote_challenger(line)
    assert read_rows(line) == rows


def test_g4_a_kill_between_alias_and_its_record_is_healed(line, monkeypatch):
    from mlflow import MlflowClient

    promote.note_moves(line)
    real = MlflowClient.set_registered_model_alias

    def move_and_die(self, name, alias, version):
        real(self, name, alias, version)
        raise KeyboardInterrupt

    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", move_and_die)
    with pytest.raises(KeyboardInterrupt):
        force(line, GOOD)
    monkeypatch.undo()
    assert find_champion(line) == GOOD
    assert len(open_registry(line.registry).list_alias_moves(CHAMPION)) == 1
    promote.note_moves(line)
    assert [row["decision"] for row in read_rows(line)] == ["first", "promoted"]
    moves = open_registry(line.registry).list_alias_moves(CHAMPION)
    assert [move.version for move in moves] == [GOOD, CHAMPION_VERSION]
    assert read_rows(line)[-1]["reason"] == moves[0].reason == "Needed now."


def test_a_decision_that_another_tool_overtook_is_void(line, monkeypatch):
    monkeypatch.setattr(Registry, "move_alias", raise_interrupt)
    with pytest.raises(KeyboardInterrupt):
        force(line, GOOD)
    monkeypatch.undo()
    registry = open_registry(line.registry)
    registry._client.set_registered_model_alias("vae-anomaly", CHAMPION, LOUD)
    promote.note_moves(line)
    assert find_champion(line) == LOUD
    found = {row["decision"]: row["challenger"] for row in read_rows(line)}
    assert found == {"first": "1", "void": GOOD, "moved": LOUD}


# Without a champion ---------------------------------------------------------------------------


def test_without_a_champion_health_decides(line):
    registry = set_challenger(line, TINY)
    registry._client.delete_registered_model_alias("vae-anomaly", CHAMPION)
    result = promote_challenger(line)
    assert (result.decision, result.champion) == ("refused", "")
    assert "failed health checks" in result.reason
    set_challenger(line, GOOD)
    result = promote_challenger(line)
    assert (result.decision, result.champion) == ("promoted", GOOD)


def test_an_empty_registry_says_what_to_do(line, tmp_path):
    config = line.model_copy(update={"registry": RegistryConfig(folder=str(tmp_path / "new"))})
    with pytest.raises(RegistryError, match="Train one with 'vae-anomaly run train'"):
        promote_challenger(config)
    with pytest.raises(PromotionError, match="expected a champion before this one"):
        roll_back(config, by="a person")
    assert [row["decision"] for row in read_rows(config)] == ["first"]


def test_two_pipelines_do_not_share_what_was_decided(rivals, line, tmp_path):
    force(line, GOOD)
    (tmp_path / "other").mkdir()
    assert find_champion(copy_line(rivals, tmp_path / "other")) == CHAMPION_VERSION
