"""Unit tests of the lock of a lake."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.stores import describe_store
from vae_anomaly.errors import TableError
from vae_anomaly.readings import lock
from vae_anomaly.readings.lock import hold_lock

HOLD = """
import sys, time
from vae_anomaly.readings.lock import hold_lock
with hold_lock(sys.argv[1], "ingest"):
    print("held", flush=True)
    time.sleep(600)
"""


def _start_holder(root: Path) -> subprocess.Popen[str]:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(root)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_a_second_run_stops_with_a_message_and_a_killed_one_frees_the_lake(
    tmp_path: Path,
) -> None:
    with _start_holder(tmp_path) as holder:
        try:
            with (
                pytest.raises(TableError, match=r"Cannot ingest: expected no other ingest"),
                hold_lock(str(tmp_path), "ingest", wait_s=0.1),
            ):
                pass
            with hold_lock(str(tmp_path), "score", wait_s=0.1):
                pass
        finally:
            holder.kill()
    with hold_lock(str(tmp_path), "ingest", wait_s=5.0):
        pass


def test_a_lock_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "lake").write_text("a file, not a folder")
    with (
        pytest.raises(TableError, match="lock"),
        hold_lock(str(tmp_path / "lake"), "ingest"),
    ):
        pass


def test_a_lake_in_an_object_store_that_cannot_be_reached_is_not_worked_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in describe_store("http://127.0.0.1:9").items():  # nothing listens there
        monkeypatch.setenv(name, value)
    with (
        pytest.raises(TableError, match=r"Cannot lock table 's3://bucket/lake/\.locks/ingest'"),
        hold_lock("s3://bucket/lake", "ingest"),
    ):
        pass


def test_one_machine_has_one_name(tmp_path: Path) -> None:
    name = lock._name_machine(tmp_path, "s3://bucket/lake", "ingest")
    assert lock._name_machine(tmp_path, "s3://bucket/lake", "score") == name
