"""Raw files and lake in an object store: a server that speaks S3, on loopback."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.pipelines import read_config
from tests.stores import describe_store, make_bucket, run_store
from vae_anomaly.config import PipelineConfig, ReadingsConfig
from vae_anomaly.errors import ReadingsError, TableError
from vae_anomaly.operations import pipeline
from vae_anomaly.readings import delta
from vae_anomaly.readings.check import check_readings
from vae_anomaly.readings.files import list_files, open_filesystem
from vae_anomaly.readings.housekeeping import compact, vacuum, verify_ledger
from vae_anomaly.readings.ingest import IngestResult, ingest
from vae_anomaly.readings.tables import Lake

pytestmark = pytest.mark.integration

START_US = 1_714_564_800_000_000
CONFIG = ReadingsConfig(period_s=1.0)
ODD_NAMES = (
    "a b/it's ü 🛢.parquet",
    "100% [x] {y}/z#1.parquet",
    "asset=p 1/date=2024-05-01/f.parquet",
)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with run_store() as url:
        yield url


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Set the environment as a person would, and make a bucket of the test's own."""
    for name, value in describe_store(endpoint).items():
        monkeypatch.setenv(name, value)
    return make_bucket(endpoint)


def make_table(start_s: int, num_rows: int = 20, *, level: float = 1.0) -> pa.Table:
    times = START_US + (start_s + np.arange(num_rows)) * 1_000_000
    return pa.table(
        {
            "timestamp": pa.array(times, pa.timestamp("us", "UTC")),
            "flow": np.arange(num_rows, dtype=float),
            "level": np.full(num_rows, level),
        }
    )


def write(bucket: str, name: str, content: pa.Table | bytes) -> None:
    filesystem, root = open_filesystem(bucket)
    with filesystem.open_output_stream(f"{root}/{name}") as stream:
        if isinstance(content, bytes):
            stream.write(content)
        else:
            pq.write_table(content, stream)


def take_in(bucket: str) -> tuple[IngestResult, Lake]:
    lake = Lake(f"{bucket}/lake")
    result = ingest(f"{bucket}/raw", lake, config=CONFIG)
    assert all(balance.holds for balance in verify_ledger(lake))
    return result, lake


def test_files_folders_and_globs_of_a_bucket_are_read(bucket: str) -> None:
    write(bucket, "raw/a.parquet", make_table(0))
    write(bucket, "raw/deep/b.parquet", make_table(20))
    write(bucket, "raw/_hidden/c.parquet", make_table(40))
    for source, num_rows in (
        (f"{bucket}/raw", 40),
        (f"{bucket}/raw/a.parquet", 20),
        (f"{bucket}/raw/*/*.parquet", 20),
        (f"{bucket}/**/*.parquet", 40),
        ([f"{bucket}/raw/a.parquet", f"{bucket}/raw/deep"], 40),
    ):
        assert check_readings(source, config=CONFIG).quality.num_rows == num_rows


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_in_a_bucket(bucket: str, name: str) -> None:
    write(bucket, f"raw/{name}", make_table(0))
    (file,) = list_files(f"{bucket}/raw")
    assert file.name == name
    result, lake = take_in(bucket)
    assert (result.num_kept, result.failed) == (20, ())
    assert set(lake.read_readings(columns=["_source"])["_source"].to_pylist()) == {name}


def test_an_address_with_spaces_and_letters_of_any_script(bucket: str) -> None:
    write(bucket, "Anlage Süd/x.parquet", make_table(0))
    for address in (f"{bucket}/Anlage Süd", f"{bucket}/Anlage%20S%C3%BCd"):
        assert check_readings(address, config=CONFIG).quality.num_rows == 20


def test_an_ingest_from_bucket_to_bucket_is_exactly_once(bucket: str) -> None:
    table = make_table(0, 30)
    write(bucket, "raw/a.parquet", table.slice(0, 20))
    write(bucket, "raw/b.parquet", table.slice(10))
    result, lake = take_in(bucket)
    assert (result.num_rows, result.num_kept, result.num_duplicates) == (40, 30, 10)
    assert lake.read_readings().num_rows == 30
    again, _ = take_in(bucket)
    assert (again.num_new_files, again.readings_version) == (0, result.readings_version)


def test_a_correction_in_a_bucket_supersedes(bucket: str) -> None:
    """Of one size and, since stores tell whole seconds, of one time of change."""
    write(bucket, "raw/a.parquet", make_table(0))
    (before,) = list_files(f"{bucket}/raw")
    take_in(bucket)
    write(bucket, "raw/a.parquet", make_table(0, level=2.0))
    (after,) = list_files(f"{bucket}/raw")
    assert after.size == before.size
    result, lake = take_in(bucket)
    assert result.num_withdrawn == 20
    assert lake.read_readings(columns=["level"])["level"].to_pylist() == [2.0] * 20


def test_a_broken_file_in_a_bucket_does_not_stop_the_others(bucket: str) -> None:
    write(bucket, "raw/a.parquet", make_table(0))
    write(bucket, "raw/bad.parquet", b"PAR1 and no more")
    result, _ = take_in(bucket)
    assert result.num_kept == 20
    (failed,) = result.failed
    assert failed.name == "bad.parquet"
    assert "truncated" in failed.reason


def test_of_writers_at_once_in_a_bucket_none_overwrites_another(bucket: str) -> None:
    """Commits are conditional puts: each version of the log is written by one of them."""
    uri = f"{bucket}/table"
    delta.append_once(uri, pa.table({"writer": [-1]}))
    failures: list[Exception] = []

    def write_some(writer: int) -> None:
        try:
            for number in range(4):
                delta.append_once(uri, pa.table({"writer": [writer * 10 + number]}))
        except Exception as error:  # noqa: BLE001 - a thread has no one to raise to
            failures.append(error)

    writers = [threading.Thread(target=write_some, args=(k,)) for k in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert failures == []
    assert delta.count_rows(uri) == 17
    assert delta.table_version(uri) == 16


def test_a_bucket_that_is_not_there_is_named(bucket: str) -> None:
    with pytest.raises(ReadingsError, match=r"Cannot read 's3://no-such-bucket"):
        check_readings("s3://no-such-bucket/raw", config=CONFIG)
    write(bucket, "raw/a.parquet", make_table(0))
    with pytest.raises(TableError, match="s3://no-such-bucket/lake"):
        ingest(f"{bucket}/raw", Lake("s3://no-such-bucket/lake"), config=CONFIG)


def test_an_empty_folder_of_a_bucket_is_refused(bucket: str) -> None:
    with pytest.raises(ReadingsError, match="no such file or folder"):
        check_readings(f"{bucket}/nothing", config=CONFIG)


@dataclass(frozen=True)
class Trained:
    """A pipeline on disk with a champion, and what its tables end as when all files are there."""

    config: PipelineConfig
    later: list[Path]
    scores: pa.Table
    alerts: pa.Table


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train on four files, then ingest and score the other two, one after the other."""
    folder = tmp_path_factory.mktemp("trained")
    config = read_config(folder, num_files=4)
    later = sorted((folder / "later").iterdir())
    pipeline.ingest_source(config)
    pipeline.train_detector(config)
    for number, file in enumerate(later):
        later[number] = file.rename(folder / "raw" / file.name)
        pipeline.ingest_source(config)
        pipeline.score_readings(config)
    lake = Lake(config.lake.root)
    return Trained(config, later, lake.read_scores(), lake.read_alerts())


def move_lake(config: PipelineConfig, root: str) -> PipelineConfig:
    return config.model_copy(update={"lake": config.lake.model_copy(update={"root": root})})


def test_a_pipeline_of_a_bucket_ends_in_the_scores_of_one_on_disk(
    bucket: str, trained: Trained, tmp_path: Path
) -> None:
    root = f"{bucket}/lake"
    remote = move_lake(trained.config, root).model_copy(update={"source": str(tmp_path)})
    raw = sorted(Path(trained.config.source).iterdir())
    for files in (raw[:-2], raw[-2:-1], raw[-1:]):
        for file in files:
            (tmp_path / file.name).hardlink_to(file)
        pipeline.ingest_source(remote)
        # of the readings that the champion was trained on: they are found in the registry
        assert pipeline.train_detector(remote).skipped
        if files is not raw[:-2]:
            pipeline.score_readings(remote)
    lake = Lake(root)
    assert lake.read_scores().num_rows > 1_000
    assert lake.read_scores().equals(trained.scores)
    assert lake.read_alerts().equals(trained.alerts)
    before = lake.read_readings()
    assert any(line.startswith("ledger: ") for line in compact(lake))
    assert any(line.startswith("ledger: ") for line in vacuum(lake, keep_days=0.0))
    assert lake.read_readings().equals(before)
    assert all(balance.holds for balance in verify_ledger(lake))
    assert pipeline.score_readings(remote).skipped


STEP = """
import sys
from pathlib import Path
from vae_anomaly.config import PipelineConfig
from vae_anomaly.operations import pipeline
config = PipelineConfig.model_validate_json(Path(sys.argv[2]).read_text())
print("ready", flush=True)
sys.stdin.readline()
{"ingest": pipeline.ingest_source, "score": pipeline.score_readings}[sys.argv[1]](config)
"""


def run_at_once(step: str, config: PipelineConfig, folder: Path) -> None:
    """Run a step in two processes at once that share the bucket and nothing else, as machines."""
    settings = folder / "settings.json"
    settings.write_text(config.model_dump_json(), encoding="utf-8")
    machines = []
    for name in ("one", "other"):
        (folder / name).mkdir(exist_ok=True)
        machines.append(
            subprocess.Popen(
                [sys.executable, "-c", STEP, step, settings],
                env={**os.environ, "TMPDIR": str(folder / name)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
    for machine in machines:
        assert machine.stdout is not None
        assert machine.stdout.readline() == "ready\n"
    for machine in machines:
        assert machine.stdin is not None
        machine.stdin.write("go\n")
        machine.stdin.flush()
    for machine in machines:
        machine.communicate()
    assert [machine.returncode for machine in machines] == [0, 0]


def test_of_two_machines_that_work_at_once_each_row_is_there_once(
    bucket: str, trained: Trained, tmp_path: Path
) -> None:
    remote = move_lake(trained.config, f"{bucket}/lake")
    run_at_once("ingest", remote, tmp_path)
    run_at_once("score", remote, tmp_path)
    lake, alone = Lake(remote.lake.root), Lake(trained.config.lake.root)
    for name in ("readings", "quality", "quarantine"):
        found, expected = (delta.count_rows(one.uri(name)) for one in (lake, alone))
        assert found == expected, name
    assert lake.read_readings(columns=["flow"]).equals(alone.read_readings(columns=["flow"]))
    assert lake.read_scores().equals(trained.scores)
    assert lake.read_alerts().equals(trained.alerts)
    assert all(balance.holds for balance in verify_ledger(lake))
