"""The production profile: PostgreSQL for MLflow and Prefect, an object store for files and tables.

Server, worker and database are killed while a pipeline runs. PRODUCTION_KILLS sets how often.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pa_fs
import pytest

from flows import deployments
from flows.deploy import deploy
from tests.pipelines import THRESHOLD, write_pipeline
from tests.postgres import PASSWORD, Postgres, run_postgres
from tests.services import Site, wait_until
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
NUM_FIRST_FILES = 4
TABLES = ("readings", "scores", "alerts", "quality", "quarantine")
SETTINGS = """
source = "{bucket}/raw"
report = "report.html"

[lake]
root = "{bucket}/lake"

[registry]
folder = "{bucket}/mlflow"

[schedule]
ingest_every_s = 10
train_every_s = 0
score_every_s = 10
"""
OPEN = """
import sys
from vae_anomaly.config import RegistryConfig
from vae_anomaly.operations.registry import open_registry
open_registry(RegistryConfig(tracking_uri=sys.argv[1], folder=sys.argv[2]))
"""


@dataclass(frozen=True)
class Profile:
    """What the production profile is made of.

    Attributes:
        config: Settings of the pipeline.
        database: PostgreSQL, with a database for MLflow and one for Prefect.
        raw: Raw files, of which the first lie in the bucket.
        site: Prefect's processes and the environment of all.
    """

    config: Path
    database: Postgres
    raw: list[Path]
    site: Site

    @property
    def tracking_uri(self) -> str:
        return self.database.address("mlflow")

    def read_config(self, lake: str = "lake") -> PipelineConfig:
        config = read_pipeline_config(self.config)
        root = config.lake.root.removesuffix("lake") + lake
        return config.model_copy(update={"lake": config.lake.model_copy(update={"root": root})})

    def upload(self, file: Path) -> None:
        filesystem, root = open_filesystem(read_pipeline_config(self.config).source)
        with filesystem.open_output_stream(f"{root}/{file.name}") as stream:
            stream.write(file.read_bytes())


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Profile]:
    """Start all but Prefect; two processes open the empty registry at once; train a champion."""
    folder = tmp_path_factory.mktemp("production")
    with (
        run_postgres() as database,
        run_store() as endpoint,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name in ("mlflow", "prefect"):
            database.make_database(name)
        variables = describe_store(endpoint) | {
            "VAE_ANOMALY_TRACKING_URI": database.address("mlflow"),
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": database.address(
                "prefect", scheme="postgresql+asyncpg"
            ),
        }
        for name, value in variables.items():
            patch.setenv(name, value)
        config, _ = write_pipeline(folder)
        raw = sorted((folder / "raw").iterdir())
        detector = config.read_text(encoding="utf-8")
        detector = detector[detector.index("[training]") : detector.index("[registry]")]
        settings = SETTINGS.format(bucket=make_bucket(endpoint))
        config.write_text(settings + detector + THRESHOLD, encoding="utf-8")
        profile = Profile(config, database, raw, Site(folder, variables))
        for file in raw[:NUM_FIRST_FILES]:
            profile.upload(file)
        open_at_once(profile)
        alone = profile.read_config("alone")
        pipeline.ingest_source(alone)
        assert pipeline.train_detector(alone).is_champion
        yield profile
        profile.site.close()


def open_at_once(profile: Profile) -> None:
    """Open a registry that is not there yet from two processes at once: both must find it."""
    folder = profile.read_config().registry.folder
    command = [sys.executable, "-c", OPEN, profile.tracking_uri, folder]
    openers = [subprocess.Popen(command) for _ in range(2)]
    assert [opener.wait() for opener in openers] == [0, 0]


def test_the_registry_is_in_postgresql_and_its_files_in_the_bucket(profile: Profile) -> None:
    config = profile.read_config()
    registry = open_registry(config.registry)
    (version,) = registry.list_versions()
    assert registry.load(version.uri)[0].contract is not None
    filesystem, root = open_filesystem(config.registry.folder)
    everything = pa_fs.FileSelector(root, recursive=True)
    names = [info.base_name for info in filesystem.get_file_info(everything)]
    assert "detector.json" in names
    assert not (profile.config.parent / "data" / "mlflow").exists()


def test_no_message_shows_the_password(profile: Profile) -> None:
    wrong = profile.read_config().registry.model_copy(
        update={"tracking_uri": profile.tracking_uri.replace("/mlflow", "/nothing")}
    )
    with pytest.raises(RegistryError, match=r"keeper:\*\*\*@") as caught:
        open_registry(wrong)
    shown = profile.site.run("vae-anomaly", "models", "--config", profile.config)
    for text in (str(caught.value), shown):
        assert "nobody sees" not in text
        assert "nobody%20sees" not in text


def test_killed_servers_workers_and_databases_leave_the_tables_of_an_undisturbed_run(
    profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, database = profile.site, profile.database
    rng = random.Random(0)  # noqa: S311 - moments, not secrets
    server, worker = site.start_server(), None
    monkeypatch.setattr(deployments, "DEAD_AFTER_S", 40)
    monkeypatch.setenv("PREFECT_API_URL", site.url)
    deploy(profile.config, pool="vae-anomaly")
    worker = site.start_worker()
    site.wait_for_run("ingest", state="RUNNING")
    left = profile.raw[NUM_FIRST_FILES:]
    for number in range(KILLS):
        if left:
            profile.upload(left.pop(0))
        time.sleep(rng.uniform(1.0, 6.0))
        if number % 3 == 0:
            site.kill(worker)
        elif number % 3 == 1:
            database.kill()
            database.start()
        else:
            site.kill(server)
        if server.poll() is not None:
            server = site.start_server()
        if worker.poll() is not None:
            worker = site.start_worker()
    for file in left:
        profile.upload(file)
    alone = profile.read_config("alone")
    pipeline.ingest_source(alone)
    pipeline.score_readings(alone)
    expected = read_tables(alone)
    assert expected["scores"].num_rows > 1_000

    def is_done() -> bool:
        if server.poll() is not None or worker.poll() is not None:
            pytest.fail(site.read_logs())
        return tell_differing(read_tables(profile.read_config()), expected) == []

    wait_until(is_done, why=lambda: explain(profile, expected))
    assert all(balance.holds for balance in verify_ledger(Lake(profile.read_config().lake.root)))
    for log in site.list_logs():
        assert PASSWORD not in log.read_text(encoding="utf-8", errors="replace"), log


def read_tables(config: PipelineConfig) -> dict[str, pa.Table]:
    """Read tables, each sorted by all that it has."""
    lake, tables = Lake(config.lake.root), {}
    for name in TABLES:
        if delta.has_table(lake.uri(name)):
            table = delta.read_table(lake.uri(name))
            plain = [c for c in table.column_names if not pa.types.is_nested(table[c].type)]
            tables[name] = table.sort_by([(column, "ascending") for column in plain])
    return tables


def tell_differing(found: dict[str, pa.Table], expected: dict[str, pa.Table]) -> list[str]:
    return [
        name
        for name in TABLES
        if (name in found) != (name in expected)
        or (
            name in found
            and not found[name].equals(expected[name].select(found[name].column_names))
        )
    ]


def explain(profile: Profile, expected: dict[str, pa.Table]) -> str:
    found = read_tables(profile.read_config())
    rows = {name: (table.num_rows, expected[name].num_rows) for name, table in found.items()}
    states = {name: profile.site.tell_states(name)[:10] for name in ("ingest", "score")}
    return f"{tell_differing(found, expected)} {rows}\n{states}\n{profile.site.read_logs()}"
