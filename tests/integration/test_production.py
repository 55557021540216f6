"""The production profile: a Prefect server, a worker, PostgreSQL, an object store; all real.

Flows run when they are due, on events, and once for what was missed. Then worker, database and
server are killed while a pipeline runs; PRODUCTION_KILLS sets how often. Without PostgreSQL the
same happens on SQLite.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pa_fs
import pytest

from flows.deployments import CLOSER
from flows.schedules import DRIFT_EVENT
from tests.conftest import PROJECT
from tests.pipelines import THRESHOLD, write_pipeline
from tests.postgres import PASSWORD, Postgres, run_postgres
from tests.services import Site, now, wait_until
from tests.stores import describe_store, make_bucket, run_store
from vae_anomaly.config import PipelineConfig, read_pipeline_config
from vae_anomaly.errors import RegistryError
from vae_anomaly.operations import pipeline
from vae_anomaly.operations.registry import open_registry
from vae_anomaly.readings import delta
from vae_anomaly.readings.files import open_filesystem
from vae_anomaly.readings.housekeeping import verify_ledger
from vae_anomaly.readings.tables import Lake

pytestmark = pytest.mark.integration

KILLS = int(os.environ.get("PRODUCTION_KILLS", "3"))
FLOWS = ("ingest", "train", "score", "monitor")
POOL = "vae-anomaly"
NUM_FIRST_FILES = 4
NUM_MISSED = 8
TABLES = ("readings", "scores", "alerts", "quality", "quarantine")
SETTINGS = """
source = "{bucket}/raw"
report = "report.html"

[lake]
root = "{bucket}/lake"

[registry]
folder = "{bucket}/mlflow"
"""
OPEN = """
import sys
from vae_anomaly.config import RegistryConfig
from vae_anomaly.operations.registry import open_registry
open_registry(RegistryConfig(tracking_uri=sys.argv[1], folder=sys.argv[2]))
"""
EMIT = """
import sys
from prefect.events import emit_event
emit_event(sys.argv[1], resource={"prefect.resource.id": "vae-anomaly.model.vae-anomaly"})
"""
DEPLOY = """
import sys
from flows import deployments
deployments.DEAD_AFTER_S = 40  # more than the seconds between two signs of life
from flows.deploy import deploy
deploy(sys.argv[1], pool="vae-anomaly")
"""


@dataclass(frozen=True)
class Plant:
    """A folder as a clone is, with a pipeline in it, and all that it needs.

    Attributes:
        clone: Has `pipeline.toml`, `prefect.yaml` with an ingest every 15 s, and the flows.
        raw: Raw files, of which the first lie in the bucket.
        site: Prefect's processes and the environment of all.
        database: PostgreSQL, with a database for MLflow and one for Prefect, where there is one.
    """

    clone: Path
    raw: list[Path]
    site: Site
    database: Postgres | None

    @property
    def config_file(self) -> Path:
        return self.clone / "pipeline.toml"

    def read_config(self, lake: str = "lake") -> PipelineConfig:
        config = read_pipeline_config(self.config_file)
        root = config.lake.root.removesuffix("lake") + lake
        return config.model_copy(update={"lake": config.lake.model_copy(update={"root": root})})

    def set_intervals(self, **every_s: float) -> None:
        text = self.config_file.read_text(encoding="utf-8").partition("\n[schedule]")[0]
        lines = [f"{name}_every_s = {seconds}" for name, seconds in every_s.items()]
        self.config_file.write_text("\n".join([text, "[schedule]", *lines, ""]), encoding="utf-8")

    def upload(self, file: Path) -> None:
        filesystem, root = open_filesystem(self.read_config().source)
        with filesystem.open_output_stream(f"{root}/{file.name}") as stream:
            stream.write(file.read_bytes())

    def pause(self, *, is_paused: bool) -> None:
        """Let the work pool hand out nothing and wait until nothing runs; or let it go on."""
        self.site.ask(f"work_pools/{POOL}", {"is_paused": is_paused}, method="PATCH")
        if is_paused:
            wait_until(lambda: not any(self.count_unfinished(name) for name in FLOWS))

    def count_unfinished(self, name: str) -> int:
        runs = self.site.list_runs(name)
        return sum(run["state_type"] in {"PENDING", "RUNNING"} for run in runs)


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    folder = tmp_path_factory.mktemp("plant")
    with (
        run_postgres() as database,
        run_store() as endpoint,
        pytest.MonkeyPatch.context() as patch,
    ):
        variables = describe_store(endpoint) | name_databases(folder, database)
        for name, value in variables.items():
            patch.setenv(name, value)
        clone = folder / "clone"
        clone.mkdir()
        raw = make_clone(clone, bucket=make_bucket(endpoint))
        plant = Plant(clone, raw, Site(folder, variables), database)
        for file in raw[:NUM_FIRST_FILES]:
            plant.upload(file)
        try:
            plant.site.start_server()
            yield plant
        finally:
            plant.site.close()


def name_databases(folder: Path, database: Postgres | None) -> dict[str, str]:
    """Return the environment that names the databases, which are made."""
    if database is None:
        return {"VAE_ANOMALY_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
    for name in ("mlflow", "prefect"):
        database.make_database(name)
    return {
        "VAE_ANOMALY_TRACKING_URI": database.address("mlflow"),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": database.address(
            "prefect", scheme="postgresql+asyncpg"
        ),
    }


def make_clone(clone: Path, *, bucket: str) -> list[Path]:
    """Write what a clone has, for files and tables in a bucket; return the raw files."""
    config, _ = write_pipeline(clone)
    text = config.read_text(encoding="utf-8")
    text = text[text.index("[training]") : text.index("[registry]")]
    config.write_text(SETTINGS.format(bucket=bucket) + text + THRESHOLD, encoding="utf-8")
    shutil.copytree(PROJECT / "flows", clone / "flows")
    shutil.copy(PROJECT / "prefect.toml", clone)
    deployments = (PROJECT / "prefect.yaml").read_text(encoding="utf-8")
    (clone / "prefect.yaml").write_text(
        deployments.replace("interval: 300", "interval: 15", 1), encoding="utf-8"
    )
    return sorted((clone / "raw").iterdir())


def test_two_machines_may_open_an_empty_registry_at_once(plant: Plant) -> None:
    registry = plant.read_config().registry
    command = [sys.executable, "-c", OPEN, registry.tracking_uri, registry.folder]
    openers = [subprocess.Popen(command) for _ in range(2)]
    assert [opener.wait() for opener in openers] == [0, 0]


def test_flows_of_prefect_yaml_run_when_due_and_on_drift(plant: Plant) -> None:
    site = plant.site
    site.run("prefect", "work-pool", "create", POOL, "--type", "process")
    site.run("prefect", "--no-prompt", "deploy", "--all", cwd=plant.clone)
    deployments = site.ask("deployments/filter", {})
    assert {item["name"] for item in deployments} == set(FLOWS)
    strategies = {item["concurrency_options"]["collision_strategy"] for item in deployments}
    assert strategies == {"CANCEL_NEW"}
    site.start_worker()
    site.wait_for_run("ingest")
    assert site.list_runs("train") == []
    site.run("python", "-c", EMIT, DRIFT_EVENT)
    site.wait_for_run("train")
    (trained,) = site.list_runs("train")
    assert trained["created_by"]["type"] == "AUTOMATION"
    plant.pause(is_paused=True)


def test_what_was_trained_is_in_the_database_and_its_files_in_the_bucket(plant: Plant) -> None:
    config = plant.read_config().registry
    (version,) = open_registry(config).list_versions()
    assert version.aliases
    filesystem, root = open_filesystem(config.folder)
    everything = pa_fs.FileSelector(root, recursive=True)
    names = [info.base_name for info in filesystem.get_file_info(everything)]
    assert "detector.json" in names
    assert sorted(path.name for path in plant.clone.iterdir() if "mlflow" in path.name) == []


def test_no_message_shows_the_password(plant: Plant) -> None:
    if plant.database is None:
        pytest.skip("no PostgreSQL is installed")
    uri = plant.database.address("mlflow").replace("/mlflow", "/nothing")
    wrong = plant.read_config().registry.model_copy(update={"tracking_uri": uri})
    with pytest.raises(RegistryError, match=r"keeper:\*\*\*@") as caught:
        open_registry(wrong)
    assert "nobody" not in str(caught.value)


def test_deploy_replaces_deployments_and_their_automations(plant: Plant) -> None:
    site = plant.site
    plant.set_intervals(ingest=1, train=0, score=0, monitor=0)
    command = ("vae-anomaly", "deploy", "--config", plant.config_file)
    assert site.run(*command).splitlines()[:4] == [
        "ingest/ingest: every 1 s",
        "train/train: never",
        "score/score: never",
        "monitor/monitor: never",
    ]
    again = json.loads(site.run(*command, "--json"))
    assert [item["due"] for item in again["deployments"]] == ["every 1 s", *["never"] * 3]
    schedules = {
        item["name"]: [one["schedule"]["interval"] for one in item["schedules"]]
        for item in site.ask("deployments/filter", {})
    }
    assert schedules == {"ingest": [1.0], "train": [], "score": [], "monitor": []}
    names = [item["name"] for item in site.ask("automations/filter", {})]
    assert sorted(names) == sorted([CLOSER, "drift of vae-anomaly"])


def test_one_flow_run_makes_up_for_all_that_were_missed(plant: Plant) -> None:
    """While the pool is paused no worker takes a flow run, as if there were none."""
    site = plant.site
    before = {run["id"] for run in site.list_runs("ingest") if run["state_type"] != "SCHEDULED"}
    wait_until(lambda: len(site.list_runs("ingest", state_type="SCHEDULED")) >= NUM_MISSED)
    up = now()
    plant.pause(is_paused=False)

    def is_up_to_date() -> bool:
        done = site.list_runs("ingest", state_type="COMPLETED")
        return any(run["start_time"] > up for run in done)

    wait_until(is_up_to_date, why=lambda: str(site.tell_states("ingest")))
    missed = [
        run
        for run in site.list_runs("ingest")
        if run["expected_start_time"] <= up and run["id"] not in before
    ]
    states = Counter(run["state_name"] for run in missed)
    assert len(missed) >= NUM_MISSED
    assert states["Cancelled"] >= len(missed) - 1, site.tell_states("ingest")


def test_kills_leave_the_tables_of_an_undisturbed_run(plant: Plant) -> None:
    plant.set_intervals(ingest=20, train=0, score=20, monitor=0)
    plant.site.run("python", "-c", DEPLOY, plant.config_file)
    left = plant.raw[NUM_FIRST_FILES:]
    rng = random.Random(0)  # noqa: S311 - moments, not secrets
    for number in range(KILLS):
        if left:
            plant.upload(left.pop(0))
        time.sleep(rng.uniform(1.0, 8.0))
        kill_one(plant, number)
        keep_up(plant)
    for file in left:
        plant.upload(file)
    alone = plant.read_config("alone")
    pipeline.ingest_source(alone)
    pipeline.score_readings(alone)
    expected = read_tables(alone)
    assert expected["scores"].num_rows > 1_000

    def is_done() -> bool:
        keep_up(plant)
        return find_differing(read_tables(plant.read_config()), expected) == []

    wait_until(is_done, why=lambda: explain(plant, expected))
    assert all(balance.holds for balance in verify_ledger(Lake(plant.read_config().lake.root)))
    for log in plant.site.list_logs():
        assert PASSWORD not in log.read_text(encoding="utf-8", errors="replace"), log


def kill_one(plant: Plant, number: int) -> None:
    """Kill worker, database or server, one after the other, and start the database again."""
    kind = ("worker", "database", "server")[number % 3]
    if kind != "database":
        plant.site.kill(plant.site.running[kind])
    elif plant.database is not None:
        plant.database.kill()
        plant.database.start()


def keep_up(plant: Plant) -> None:
    """Start again what has ended, as systemd does."""
    running = plant.site.running
    if running["server"].poll() is not None:
        plant.site.start_server()
    if running["worker"].poll() is not None:
        plant.site.start_worker()


def read_tables(config: PipelineConfig) -> dict[str, pa.Table]:
    """Read tables, each sorted by all that it has."""
    lake, tables = Lake(config.lake.root), {}
    for name in TABLES:
        if delta.has_table(lake.uri(name)):
            table = delta.read_table(lake.uri(name))
            plain = [c for c in table.column_names if not pa.types.is_nested(table[c].type)]
            tables[name] = table.sort_by([(column, "ascending") for column in plain])
    return tables


def find_differing(found: dict[str, pa.Table], expected: dict[str, pa.Table]) -> list[str]:
    differing = []
    for name in TABLES:
        one, other = found.get(name), expected.get(name)
        if one is None or other is None:
            is_same = one is other
        else:
            is_same = one.equals(other.select(one.column_names))
        differing += [] if is_same else [name]
    return differing


def explain(plant: Plant, expected: dict[str, pa.Table]) -> str:
    found = read_tables(plant.read_config())
    rows = {name: (table.num_rows, expected[name].num_rows) for name, table in found.items()}
    states = {name: plant.site.tell_states(name)[:10] for name in ("ingest", "score")}
    return f"{find_differing(found, expected)} {rows}\n{states}\n{plant.site.read_logs()}"
