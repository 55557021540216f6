"""Unit tests of the lease that machines share."""

from __future__ import annotations

import logging
import shutil
import threading
from pathlib import Path

import pytest
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from vae_anomaly.errors import TableError
from vae_anomaly.readings import lease as module
from vae_anomaly.readings.lease import Lease, hold_lease


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return str(tmp_path / "lake" / ".locks" / "ingest")


def test_another_machine_waits_and_then_stops_with_a_message(uri: str) -> None:
    with (
        hold_lease(uri, "ingest", machine="one", wait_s=0.0),
        pytest.raises(TableError, match=r"Cannot ingest: expected no other ingest under the lock"),
        hold_lease(uri, "ingest", machine="other", wait_s=0.0),
    ):
        pass


def test_another_machine_goes_on_when_the_first_one_ends(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POLL_S", 0.01)
    first = Lease(uri, "one")
    assert first.acquire() == ""
    threading.Timer(0.3, first.release).start()
    with hold_lease(uri, "ingest", machine="other", wait_s=60.0) as held:
        assert held.acquire() == ""


def test_a_lease_of_the_same_machine_is_taken_over_since_its_holder_was_killed(uri: str) -> None:
    killed = Lease(uri, "one")
    assert killed.acquire() == ""
    with hold_lease(uri, "ingest", machine="one", wait_s=0.0):
        pass


def test_a_lease_that_nobody_renews_ends(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(module, "LEASE_S", 0.0)
        assert Lease(uri, "one").acquire() == ""
    with hold_lease(uri, "ingest", machine="other", wait_s=0.0):
        pass


def test_a_holder_renews_and_one_that_was_passed_over_says_so(
    uri: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "RENEW_S", 0.01)
    with hold_lease(uri, "ingest", machine="one", wait_s=0.0) as held:
        renewed = DeltaTable(uri).version() + 3
        while DeltaTable(uri).version() < renewed:
            assert not held.is_lost
    with pytest.raises(TableError, match=r"another ingest that took it"):
        lose_lease(uri)
    assert "another machine has taken over the lock" in caplog.text


def lose_lease(uri: str) -> None:
    with hold_lease(uri, "ingest", machine="one", wait_s=0.0) as held:
        while Lease(uri, "one").acquire():  # as one that takes over a lease that has ended
            pass
        while not held.is_lost:
            pass


def test_of_two_that_take_it_at_once_one_wins(uri: str) -> None:
    assert Lease(uri, "one").acquire() == ""
    table, same = DeltaTable(uri), DeltaTable(uri)
    assert Lease(uri, "one")._commit(table, 0.0)
    assert not Lease(uri, "other")._commit(same, 0.0)


def test_a_commit_whose_answer_was_lost_counts(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    really_commit = DeltaTable.create_write_transaction

    def lose_answer(table: DeltaTable, *args: object, **kwargs: object) -> None:
        really_commit(table, *args, **kwargs)  # type: ignore[arg-type]
        raise CommitFailedError("the version is there already")

    monkeypatch.setattr(DeltaTable, "create_write_transaction", lose_answer)
    assert Lease(uri, "one").acquire() == ""


def test_a_store_that_is_gone_for_a_while_is_said_and_does_not_end_the_work(
    uri: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "RENEW_S", 0.01)
    with (
        caplog.at_level(logging.WARNING),
        hold_lease(uri, "ingest", machine="one", wait_s=0.0) as held,
    ):
        shutil.rmtree(uri)
        while "Cannot lock table" not in caplog.text:
            pass
    assert not held.is_lost
