"""The registry on real MLflow: SQLite, several processes, and a model served over HTTP."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.conftest import PROJECT, make_plant
from vae_anomaly import Detector
from vae_anomaly.config import RegistryConfig
from vae_anomaly.domain import HealthCheck
from vae_anomaly.errors import DetectorError, RegistryError
from vae_anomaly.operations.model_package import list_requirements, make_signature
from vae_anomaly.operations.registry import (
    CHALLENGER,
    CHAMPION,
    DECISION_TAG,
    Registry,
    load_detector,
    open_registry,
)

pytestmark = pytest.mark.integration

START_LIMIT_S = 120
STOP_LIMIT_S = 30
MLFLOW = Path(sys.executable).with_name("mlflow")

USE_REGISTRY = """
import sys
from vae_anomaly import Detector
from vae_anomaly.config import RegistryConfig
from vae_anomaly.operations.registry import open_registry
registry = open_registry(RegistryConfig(folder=sys.argv[1]))
if len(sys.argv) > 2:
    version = registry.register(Detector.load(sys.argv[2]), training_note="a note")
    registry.load(version.uri)
"""

SCORE_WITHOUT_PACKAGE = """
import sys
sys.path = [entry for entry in sys.path if entry not in ("", sys.argv[1])]
import mlflow, pandas
model = mlflow.pyfunc.load_model(sys.argv[2])
import vae_anomaly
assert vae_anomaly.__file__.startswith(sys.argv[2]), vae_anomaly.__file__
frame = pandas.read_parquet(sys.argv[3])
model.predict(frame).to_json(sys.argv[4], orient="records", double_precision=15)
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """One MLflow store for all tests of this file: making one takes seconds."""
    folder = tmp_path_factory.mktemp("ml flow")
    open_registry(RegistryConfig(folder=str(folder)))
    return folder


@pytest.fixture
def registry(store, request):
    """A registry with a model of its own."""
    name = request.node.name.partition("[")[0]
    return Registry(tracking_uri="", folder=str(store), experiment="tests", model_name=name)


@pytest.fixture(scope="module")
def fleet(quick_config):
    """A detector of two assets, so that requests carry an asset column."""
    parts = [
        make_plant(600, seed=seed).append_column("asset", pa.array([name] * 600))
        for seed, name in enumerate(("pump-01", "pump-02"))
    ]
    return Detector.fit(pa.concat_tables(parts), config=quick_config)


@pytest.fixture(scope="module")
def healthy(detector):
    return with_health(detector, passed=True)


def with_health(detector, *, passed):
    check = HealthCheck("active_units", 2.0 * passed, "at least 1", passed, "Units in use.")
    record = replace(detector.record, health=(check,))
    return Detector(detector._density, record, detector._golden)


def run_code(code, *arguments, env=None):
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=PROJECT,
        env=env,
    )


def find_model_folder(registry, version):
    uri = registry._client.get_model_version_download_uri(version.model_name, version.version)
    return Path(uri.removeprefix("file://").replace("%20", " "))


# Registering and finding ----------------------------------------------------------------------


def test_a_registered_detector_comes_back_the_same_by_alias(registry, healthy, plant):
    version = registry.register(healthy, tags={"readings_version": "7"}, training_note="a note")
    loaded, found = registry.load("champion")
    assert loaded.score(plant).equals(healthy.score(plant))
    assert found == version
    assert version.aliases == (CHALLENGER, CHAMPION)
    assert version.tags["readings_version"] == "7"
    assert version.tags[DECISION_TAG].startswith("Champion")
    assert version.uri == f"models:/{version.model_name}/1"


def test_the_record_of_a_version_is_read_without_its_network(registry, healthy):
    version = registry.register(healthy)
    record = registry.load_record(version.version)
    assert record.calibrations == healthy.record.calibrations
    assert record.health == healthy.record.health
    assert record.contract == healthy.record.contract


def test_a_second_version_is_challenger_and_the_champion_stays(registry, healthy):
    first = registry.register(healthy)
    second = registry.register(healthy)
    assert registry.find("champion").version == first.version
    assert second.aliases == (CHALLENGER,)
    assert "version 1" in second.tags[DECISION_TAG]
    assert [version.version for version in registry.list_versions()] == ["2", "1"]


def test_an_unhealthy_detector_does_not_become_champion(registry, detector):
    version = registry.register(with_health(detector, passed=False))
    assert version.aliases == (CHALLENGER,)
    assert "active units is 0, expected at least 1" in version.tags[DECISION_TAG]
    with pytest.raises(RegistryError, match=r"its aliases are: challenger.*vae-anomaly run train"):
        registry.find("champion")


def test_an_alias_moves_with_a_reason_and_its_history_stays(registry, healthy):
    registry.register(healthy)
    registry.register(healthy)
    moved = registry.move_alias(CHAMPION, "2", reason="better on the same rows")
    assert moved.aliases == (CHALLENGER, CHAMPION)
    assert moved.tags[DECISION_TAG] == "better on the same rows"
    registry.move_alias(CHAMPION, "1", reason="rolled back")
    moves = registry.list_alias_moves(CHAMPION)
    assert [move.version for move in moves] == ["1", "2", "1"]
    assert moves[0].reason == "rolled back"
    assert registry.find("champion").version == "1"


def test_a_version_is_found_by_its_tag_once_it_is_complete(registry, healthy):
    assert registry.find_by_tag("training", "a") is None
    version = registry.register(healthy, tags={"training": "a"})
    assert registry.find_by_tag("training", "a") == version
    assert registry.find_by_tag("training", "b") is None
    # a registration that was killed has no decision yet
    registry._client.delete_model_version_tag(version.model_name, "1", DECISION_TAG)
    assert registry.find_by_tag("training", "a") is None


def test_what_is_not_there_is_said_with_what_is(registry, healthy):
    assert registry.list_versions() == ()
    with pytest.raises(RegistryError, match="expected a registered model, got none"):
        registry.find("champion")
    registry.register(healthy)
    with pytest.raises(RegistryError, match=r"version 9 .* its versions are: 1"):
        registry.find("9")
    with pytest.raises(RegistryError, match="model 'nobody'"):
        registry.find("models:/nobody@champion")


def test_load_detector_takes_an_address(registry, store, healthy, plant):
    version = registry.register(healthy)
    config = RegistryConfig(folder=str(store), experiment="tests")
    loaded, found = load_detector(f"models:/{version.model_name}@champion", config=config)
    assert found == version
    assert loaded.score(plant).equals(healthy.score(plant))


# What a run holds -----------------------------------------------------------------------------


def test_the_run_holds_parameters_curves_tables_and_figures(registry, healthy, tmp_path):
    report = tmp_path / "report.html"
    report.write_text("<p>a report</p>", encoding="utf-8")
    figure = {"data": [{"type": "bar", "x": [1], "y": [2]}], "layout": {}}
    version = registry.register(
        healthy,
        tags={"readings_version": "7"},
        figures={"Scores": figure, "report": report},
        training_note="Trained on <normal> readings.",
    )
    client = registry._client
    run = client.get_run(version.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["model.window"] == "1"
    assert run.data.metrics["health.active_units"] == 2.0
    assert run.data.tags["readings_version"] == "7"
    assert run.data.tags["mlflow.note.content"] == "Trained on <normal> readings."
    steps = [point.step for point in client.get_metric_history(version.run_id, "training.nll")]
    assert steps == sorted(set(steps))
    assert steps[-1] == healthy.record.facts.num_steps
    names = {artifact.path for artifact in client.list_artifacts(version.run_id)}
    tables = {"data_profile.json", "health.json", "calibration.json"}
    assert names == tables | {"figures.html", "attachments"}
    page = Path(client.download_artifacts(version.run_id, "figures.html", str(tmp_path)))
    assert "<h2>Scores</h2>" in page.read_text(encoding="utf-8")


def test_the_model_is_described_pinned_and_free_of_pickles(registry, healthy):
    version = registry.register(healthy)
    folder = find_model_folder(registry, version)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert not [file for file in files if file.suffix in {".pkl", ".pickle", ".joblib", ".pyc"}]
    code = [file for file in files if file.is_relative_to(folder / "code")]
    assert sum(file.stat().st_size for file in code) < 2e6
    lines = (folder / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert lines == list_requirements()
    assert all("==" in line for line in lines)
    assert json.loads((folder / "serving_input_example.json").read_text(encoding="utf-8"))


def test_the_signature_asks_for_an_asset_only_where_there_is_one(detector, fleet):
    assert "asset" not in make_signature(detector.contract).inputs.input_names()
    names = make_signature(fleet.contract).inputs.input_names()
    assert names == ["timestamp", "asset", *fleet.contract.sensor_names]


# What goes wrong ------------------------------------------------------------------------------


def test_missing_and_changed_files_are_told_apart(registry, healthy):
    version = registry.register(healthy)
    folder = find_model_folder(registry, version) / "artifacts/detector"
    record = folder / "score.onnx"
    record.write_bytes(record.read_bytes() + b"x")
    with pytest.raises(DetectorError, match="was changed"):
        registry.load("champion")
    shutil.rmtree(folder)
    with pytest.raises(RegistryError, match="Cannot load version 1"):
        registry.load("champion")


def test_a_registration_that_fails_raises_and_fails_its_run(registry, healthy, store):
    with pytest.raises(RegistryError, match="Cannot register a detector"):
        registry.register(healthy, figures={"report": store / "no such file.html"})
    assert registry.list_versions() == ()
    runs = registry._client.search_runs([registry._tracking.experiment_id])
    assert runs[0].info.status == "FAILED"


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("http://127.0.0.1:9", "Max retries exceeded"),
        ("postgresql://mlflow:secret@127.0.0.1:9/mlflow", r"postgresql://mlflow:\*\*\*@"),
        ("file:///nowhere", "maintenance mode"),
    ],
)
def test_a_registry_out_of_reach_is_given_up_within_seconds(uri, said, tmp_path):
    start = time.monotonic()
    with pytest.raises(RegistryError, match=said) as caught:
        open_registry(RegistryConfig(tracking_uri=uri, folder=str(tmp_path)))
    assert time.monotonic() - start < 60
    assert "change `tracking_uri`" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_deleted_experiment_is_refused_with_the_way_back(registry, store):
    registry._client.delete_experiment(registry._client.create_experiment("gone"))
    config = RegistryConfig(folder=str(store), experiment="gone")
    with pytest.raises(RegistryError, match="mlflow experiments restore"):
        open_registry(config)


# Being a good guest ---------------------------------------------------------------------------


def test_somebody_elses_mlflow_settings_are_left_alone(registry, healthy, tmp_path, monkeypatch):
    import mlflow

    mine = f"sqlite:///{tmp_path}/mine.db"
    mlflow.set_tracking_uri(mine)
    try:
        registry.register(healthy)
        assert mlflow.get_tracking_uri() == mine
        assert os.environ["MLFLOW_TRACKING_URI"] == mine
        assert mlflow.active_run() is None
    finally:
        mlflow.set_tracking_uri(None)
    registry.register(healthy)
    assert "MLFLOW_TRACKING_URI" not in os.environ


def test_first_use_is_quiet_and_leaves_the_working_folder_alone(healthy, tmp_path):
    healthy.save(tmp_path / "detector")
    before = set(PROJECT.iterdir())
    process = run_code(USE_REGISTRY, tmp_path / "mlflow", tmp_path / "detector")
    assert process.communicate(timeout=300) == ("", "")
    assert process.returncode == 0
    assert not {path.name for path in set(PROJECT.iterdir()) - before} & {"mlruns", "mlflow.db"}


def test_processes_that_open_a_new_registry_at_once_all_succeed(tmp_path):
    processes = [run_code(USE_REGISTRY, tmp_path / "mlflow") for _ in range(3)]
    assert [process.communicate(timeout=300) for process in processes] == [("", "")] * 3
    assert [process.returncode for process in processes] == [0, 0, 0]


def test_a_process_that_is_killed_while_it_makes_the_database_leaves_none_behind(tmp_path):
    store = tmp_path / "mlflow"
    process = run_code(USE_REGISTRY, store)
    deadline = time.monotonic() + 120
    while not (store / "mlflow.db.new").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.005)
    process.kill()
    process.communicate()
    assert not (store / "mlflow.db").exists()
    again = run_code(USE_REGISTRY, store)
    assert again.communicate(timeout=300) == ("", "")
    assert again.returncode == 0


# Scoring through MLflow -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def served_version(store, fleet):
    name = "served"
    registry = Registry(tracking_uri="", folder=str(store), experiment="tests", model_name=name)
    registry.register(with_health(fleet, passed=True))
    return registry, registry.find("champion")


@pytest.fixture(scope="module")
def pyfunc_model(served_version):
    import mlflow

    registry, version = served_version
    path = list(sys.path)
    model = mlflow.pyfunc.load_model(str(find_model_folder(registry, version)))
    yield model
    sys.path[:] = path


@pytest.fixture(scope="module")
def readings(fleet):
    frame = fleet.golden_readings.to_pandas()
    frame.loc[5, list(fleet.contract.sensor_names)[:4]] = np.nan  # too few to score
    frame.loc[9, "sensor 1 (unit)"] = np.nan
    return frame


def assert_same_scores(rows, scores):
    assert len(rows) == scores.num_rows
    expected = scores.to_pylist()
    for row, wanted in zip(rows, expected, strict=True):
        for name in ("nll", "score", "threshold", "kl", "state", "reason"):
            assert row[name] == wanted[name]
        for sensor, nats in wanted["contribution"].items():
            assert row[f"contribution_{sensor}"] == nats


def test_the_pyfunc_model_gives_the_batch_scores_for_every_kind_of_time(
    pyfunc_model, fleet, readings
):
    scores = fleet.score(readings)
    assert set(scores["state"].to_pylist()) >= {"ok", "unscorable"}
    zoned = readings["timestamp"]
    for times in (
        zoned,
        zoned.dt.tz_convert(None),
        zoned.dt.tz_convert("Asia/Kolkata"),
        zoned.dt.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    ):
        predicted = pyfunc_model.predict(readings.assign(timestamp=times))
        assert_same_scores(predicted.to_dict(orient="records"), scores)


def test_the_pyfunc_model_takes_what_mlflow_lets_through(pyfunc_model, readings):
    few = readings.assign(**{"sensor 4 (unit)": np.int32(3), "label_fault": 1.0})
    assert len(pyfunc_model.predict(few)) == len(few)
    assert len(pyfunc_model.predict(readings.iloc[:0])) == 0


def test_the_model_scores_where_the_package_is_not_installed(
    served_version, fleet, readings, tmp_path
):
    moved = tmp_path / "elsewhere"
    shutil.copytree(find_model_folder(*served_version), moved)
    readings.to_parquet(tmp_path / "readings.parquet")
    out = tmp_path / "out.json"
    arguments = map(str, (PROJECT, moved, tmp_path / "readings.parquet", out))
    process = subprocess.run(
        [sys.executable, "-c", SCORE_WITHOUT_PACKAGE, *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=300,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    states = [row["state"] for row in json.loads(out.read_text(encoding="utf-8"))]
    assert states == fleet.score(readings)["state"].to_pylist()


@contextmanager
def serve(store, address, log):
    """Run `mlflow models serve` in its own process group; give its address, then stop it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = os.environ | {
        "MLFLOW_TRACKING_URI": f"sqlite:///{store}/mlflow.db",
        "PATH": f"{MLFLOW.parent}{os.pathsep}{os.environ['PATH']}",  # MLflow calls uvicorn
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [MLFLOW, "models", "serve", "-m", address, "--env-manager", "local", "-p", str(port)],
            stdout=output,
            stderr=output,
            cwd=log.parent,
            env=env,
            start_new_session=True,
        )
        try:
            wait_until_ready(process, f"http://127.0.0.1:{port}/ping", log)
            yield f"http://127.0.0.1:{port}/invocations"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=STOP_LIMIT_S)
            wait_until_stopped(port)


def wait_until_ready(process, url, log):
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - our own server
                return
        except OSError:
            assert process.poll() is None, log.read_text(encoding="utf-8")
            time.sleep(0.5)
    pytest.fail(f"no server after {START_LIMIT_S} s: {log.read_text(encoding='utf-8')}")


def wait_until_stopped(port):
    """Wait for the worker that `mlflow` leaves to end by itself."""
    deadline = time.monotonic() + STOP_LIMIT_S
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return
        time.sleep(0.1)
    pytest.fail(f"the server still listens {STOP_LIMIT_S} s after it was stopped")


def refuse_constant(name):
    raise ValueError(f"{name} is not JSON")


def post(url, body):
    request = urllib.request.Request(  # noqa: S310 - our own server
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return answer.status, json.loads(answer.read(), parse_constant=refuse_constant)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def make_request(frame):
    times = frame["timestamp"].dt.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    frame = frame.assign(timestamp=times).astype(object)
    return {"dataframe_split": frame.where(frame.notna(), None).to_dict(orient="split")}


def test_a_served_champion_answers_as_the_batch_path_does(
    served_version, store, fleet, readings, tmp_path
):
    log = tmp_path / "serve.log"
    with serve(store, "models:/served@champion", log) as url:
        status, answer = post(url, make_request(readings))
        assert status == 200
        assert_same_scores(answer["predictions"], fleet.score(readings))

        example = find_model_folder(*served_version) / "serving_input_example.json"
        status, _ = post(url, json.loads(example.read_text(encoding="utf-8")))
        assert status == 200

        status, answer = post(url, make_request(readings.drop(columns="sensor 2 (unit)")))
        assert status == 400
        assert "sensor 2 (unit)" in answer["message"]

        status, _ = post(url, make_request(readings.assign(**{"sensor 2 (unit)": "much"})))
        assert status == 400

        body = make_request(readings)
        body["dataframe_split"]["data"][0][0] = "yesterday"
        status, answer = post(url, body)
        assert status == 400
        assert "Cannot read times" in answer["message"]
        assert "Traceback" not in log.read_text(encoding="utf-8")
