import http.server
import os
import threading
from pathlib import Path

import pytest

from tests.steady import START, TRAINING_HOURS
from tests.unit.operations.monitoring.conftest import STEADY_HOURS
from vae_anomaly.operations.monitoring import checks_of_machine
from vae_anomaly.operations.monitoring.checks_of_machine import (
    GIBIBYTE,
    check_secrets,
    compare_versions,
    judge_room,
)
from vae_anomaly.operations.monitoring.doctor import FAILED, OK, WARNING, examine
from vae_anomaly.operations.monitoring.successes import note_success

FLOWS = ("ingest", "train", "score", "monitor")
NOW_US = round((START.timestamp() + (TRAINING_HOURS + STEADY_HOURS) * 3600) * 1e6)


@pytest.fixture(autouse=True)
def no_server(monkeypatch):
    monkeypatch.delenv("PREFECT_API_URL", raising=False)


def look(file, **options):
    """What was found, by check: its worst status, and all messages."""
    found = {}
    for one in examine(file, **options):
        text = f"{one.message} {one.advice}".strip()
        found.setdefault(one.check, []).append((one.status, text))
    return found


def only(findings):
    (finding,) = findings
    return finding


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def test_a_sound_pipeline_has_nothing_failed(plant_file, plant):
    for flow in FLOWS:
        note_success(plant, flow, None, duration_s=1.0)
    found = look(plant_file)
    assert {status for one in found.values() for status, _ in one} == {OK}, found
    assert list(found) == [
        "configuration", "secrets", "lake", "ledger", "leftovers", "registry", "server", "flows",
        "clock", "versions", "disk",
    ]  # fmt: skip
    assert "scores its golden rows as it did" in only(found["registry"])[1]


def test_an_unknown_setting_is_said_first(plant_file):
    replace(plant_file, "min_training_steps", "min_trainning_steps")
    status, message = only(look(plant_file)["configuration"])
    assert status == FAILED
    assert "did you mean" in message
    assert list(look(plant_file.with_name("none.toml"))) == ["configuration"]


def test_a_deleted_log_file_of_a_table_is_found(plant_file):
    (plant_file.parent / "lake/readings/_delta_log/00000000000000000000.json").unlink()
    found = look(plant_file)
    assert only(found["lake"])[0] == FAILED
    assert only(found["ledger"])[0] == FAILED
    assert only(found["registry"])[0] == OK


def test_a_table_that_others_changed_does_not_balance(plant_file):
    from deltalake import DeltaTable

    DeltaTable(str(plant_file.parent / "lake/ledger")).delete("num_kept > 1000")
    statuses = {status for status, _ in look(plant_file)["ledger"]}
    assert statuses == {FAILED}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_read_only_is_found(plant_file):
    lake = plant_file.parent / "lake"
    lake.chmod(0o500)
    try:
        assert FAILED in {status for status, _ in look(plant_file)["lake"]}
    finally:
        lake.chmod(0o700)


def test_a_lake_that_cannot_be_written_is_found(plant_file):
    """A file stands where the folder of the lake has to be."""
    lake = plant_file.parent / "taken"
    lake.write_text("no folder")
    replace(plant_file, 'root = "lake"', 'root = "taken"')
    assert FAILED in {status for status, _ in look(plant_file)["lake"]}


def test_a_lake_without_readings_says_what_to_run(plant_file):
    replace(plant_file, 'root = "lake"', 'root = "other"')
    found = look(plant_file)
    assert found["lake"][0][0] == WARNING
    assert "vae-anomaly run ingest" in found["lake"][0][1]
    assert only(found["clock"])[0] == WARNING
    assert not (plant_file.parent / "other").exists()


def test_drafts_of_a_killed_run_are_leftovers(plant_file):
    (plant_file.parent / "lake/contract.json.tmp").write_text("{")
    status, message = only(look(plant_file)["leftovers"])
    assert status == WARNING
    assert "contract.json.tmp" in message


def test_readings_from_the_future_are_found(plant_file):
    assert only(look(plant_file, now_us=NOW_US)["clock"])[0] == OK
    status, message = only(look(plant_file, now_us=NOW_US - 7_200_000_000)["clock"])
    assert status == FAILED
    assert "7,140 s ahead" in message


def test_a_registry_that_does_not_answer_is_found(plant_file):
    replace(plant_file, "[registry]", '[registry]\ntracking_uri = "http://127.0.0.1:9"')
    status, message = only(look(plant_file)["registry"])
    assert status == FAILED
    assert "127.0.0.1:9" in message


def test_a_registry_that_is_not_there_is_not_made(plant_file):
    import re

    text = plant_file.read_text(encoding="utf-8")
    plant_file.write_text(re.sub(r'folder = ".*"', 'folder = "nowhere"', text), encoding="utf-8")
    status, message = only(look(plant_file)["registry"])
    assert status == WARNING
    assert "run train" in message
    assert not (plant_file.parent / "nowhere").exists()


def test_a_model_without_champion_is_found(plant_file):
    replace(plant_file, "[registry]", '[registry]\nmodel_name = "other"')
    status, message = only(look(plant_file)["registry"])
    assert status == WARNING
    assert "None of 0 versions" in message


def test_golden_rows_that_were_moved_are_found(plant_file, plant, trained_plant):
    (golden,) = Path(plant.registry.folder).rglob("golden.parquet")
    moved = golden.with_name("elsewhere.parquet")
    golden.rename(moved)
    try:
        assert only(look(plant_file)["registry"])[0] == FAILED
    finally:
        moved.rename(golden)
    assert only(look(plant_file)["registry"])[0] == OK


def test_flows_that_are_overdue_are_found(plant_file, plant):
    assert {status for status, _ in look(plant_file)["flows"]} == {WARNING}
    for flow in FLOWS:
        note_success(plant, flow, None, duration_s=1.0)
    import time

    later = time.time_ns() // 1000 + 3600 * 1_000_000
    found = dict(zip(FLOWS, look(plant_file, now_us=later)["flows"], strict=True))
    statuses = {flow: status for flow, (status, _) in found.items()}
    assert statuses == {"ingest": FAILED, "train": OK, "score": FAILED, "monitor": OK}


class Healthy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/api/health" else 404)
        self.end_headers()

    def log_message(self, *_):
        pass


def test_the_prefect_server_of_the_environment_is_asked(plant_file, monkeypatch):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Healthy)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    try:
        monkeypatch.setenv("PREFECT_API_URL", f"{url}/api")
        assert only(look(plant_file)["server"])[0] == OK
        monkeypatch.setenv("PREFECT_API_URL", f"{url}/wrong")
        assert only(look(plant_file)["server"])[0] == FAILED
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    monkeypatch.setenv("PREFECT_API_URL", f"{url}/api")
    assert only(look(plant_file)["server"])[0] == FAILED


class Settings:
    """Settings that name variables, as those of notifications do."""

    def model_dump(self):
        channels = {"duty": {"url_env": "DUTY_URL", "secret_env": "", "kind": "webhook"}}
        return {"notify": {"channels": channels}, "seed": 0}


def test_secrets_that_the_environment_lacks_are_found_and_never_shown(monkeypatch):
    monkeypatch.delenv("DUTY_URL", raising=False)
    assert only(check_secrets(Settings())).status == FAILED
    monkeypatch.setenv("DUTY_URL", "https://secret.example")
    finding = only(check_secrets(Settings()))
    assert finding.status == OK
    assert "secret" not in finding.message


def test_versions_outside_of_their_bounds_are_found():
    found = list(
        compare_versions(
            python=">=3.99",
            requirements=["numpy<1", "no-such-package>=1", "pyarrow>=1", 'x; extra == "gpu"'],
        )
    )
    assert [one.status for one in found] == [FAILED] * 3
    assert "numpy" in found[1].message
    assert "no-such-package is not installed" in found[2].message


@pytest.mark.parametrize(
    ("free", "status"), [(0.5, FAILED), (2.0, WARNING), (20.0, OK)], ids=["none", "few", "enough"]
)
def test_little_room_is_found(free, status):
    assert judge_room(round(free * GIBIBYTE), where="/lake").status == status


def test_an_object_store_has_room(plant):
    store = plant.model_copy(update={"lake": plant.lake.model_copy(update={"root": "s3://lake"})})
    assert only(checks_of_machine.check_disk(store)).status == OK
