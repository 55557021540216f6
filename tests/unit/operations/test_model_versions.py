"""Versions, references and decisions as plain values."""

from types import SimpleNamespace

import pytest

from vae_anomaly.domain import HealthCheck
from vae_anomaly.errors import RegistryError
from vae_anomaly.operations.model_versions import (
    Reference,
    explain_decision,
    list_moves,
    make_model_version,
    name_move,
    parse_reference,
)

PASSED = HealthCheck("active_units", 3.0, "at least 1", True, "Units in use.")
FAILED = HealthCheck("active_units", 0.0, "at least 1", False, "Units in use.")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("champion", Reference("pumps", "champion", "")),
        ("3", Reference("pumps", "", "3")),
        ("models:/other model@champion", Reference("other model", "champion", "")),
        ("models:/other/12", Reference("other", "", "12")),
    ],
)
def test_a_reference_is_an_alias_a_number_or_an_address(text, expected):
    assert parse_reference(text, model_name="pumps") == expected


@pytest.mark.parametrize(
    "text",
    ["", "models:/", "models:/a/b", "models:/a/1/2", "models:/a@", "runs:/x/y", "a b", "../x"],
)
def test_anything_else_is_refused_with_what_is_expected(text):
    with pytest.raises(RegistryError, match="expected an alias such as 'champion'"):
        parse_reference(text, model_name="pumps")


def test_g12_the_first_healthy_version_becomes_champion():
    assert explain_decision((PASSED,), version="3", champion=None) == (
        True,
        "Champion: there was none, and every health check passed.",
    )


def test_g12_a_failed_check_keeps_a_version_from_becoming_champion_and_is_named():
    is_champion, reason = explain_decision((PASSED, FAILED), version="3", champion=None)
    assert not is_champion
    assert "active units is 0, expected at least 1" in reason
    assert "'vae-anomaly promote 3 --force --reason \"...\"'" in reason


def test_a_failed_check_is_named_as_everywhere():
    check = HealthCheck("gain_over_pca_nats", -1.0, "above 0", False, "A figure.")
    _, reason = explain_decision((check,), version="3", champion=None)
    assert "(gain over PCA, nats is -1, expected above 0)" in reason


def test_a_champion_stays_until_it_is_compared():
    is_champion, reason = explain_decision((PASSED,), version="5", champion="4")
    assert not is_champion
    assert "version 4" in reason


def make_version(number, tags):
    stored = SimpleNamespace(
        name="pumps", version=number, run_id=None, creation_timestamp=1_700_000_000_123, tags=tags
    )
    return make_model_version(stored, {"champion": "2", "challenger": "2", "other": "1"})


def test_a_version_knows_its_aliases_and_its_lasting_address():
    version = make_version(2, {"a": "b"})
    assert version.aliases == ("challenger", "champion")
    assert version.uri == "models:/pumps/2"
    assert version.created_us == 1_700_000_000_123_000
    assert (version.run_id, version.tags) == ("", {"a": "b"})


def test_moves_of_one_alias_are_listed_from_the_newest():
    versions = (
        make_version(2, {name_move("champion", 20): "better", name_move("challenger", 15): "new"}),
        make_version(1, {name_move("champion", 10): "first", name_move("champion", 30): "back"}),
    )
    moves = list_moves(versions, "champion")
    assert [(move.version, move.moved_us, move.reason) for move in moves] == [
        ("1", 30, "back"),
        ("2", 20, "better"),
        ("1", 10, "first"),
    ]
