"""Raw files and lake in an object store: a server that speaks S3, on loopback."""

from __future__ import annotations

import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.fs as pa_fs
import pyarrow.parquet as pq
import pytest

from tests.pipelines import read_config
from vae_anomaly.config import ReadingsConfig
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


SERVER = """
import logging, sys
from moto.server import ThreadedMotoServer
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print("http://{}:{}".format(*server.get_host_and_port()), flush=True)
sys.stdin.read()
server.stop()
"""


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """Run the server in a process of its own: delta-rs waits without letting threads go on."""
    command = [sys.executable, "-c", SERVER]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        yield server.stdout.readline().strip()
        server.stdin.close()


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Set the environment as a person would, and make a bucket of the test's own."""
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_ALLOW_HTTP", "true"),
    ):
        monkeypatch.setenv(name, value)
    name = f"bucket-{uuid.uuid4()}"
    store = pa_fs.S3FileSystem(
        endpoint_override=endpoint, region="us-east-1", allow_bucket_creation=True
    )
    store.create_dir(name)
    return f"s3://{name}"


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


def test_a_pipeline_of_a_bucket_ends_in_the_scores_of_one_on_disk(
    bucket: str, tmp_path: Path
) -> None:
    local = read_config(tmp_path, num_files=4)
    later = sorted((tmp_path / "later").iterdir())
    root = f"{bucket}/lake"
    remote = local.model_copy(update={"lake": local.lake.model_copy(update={"root": root})})
    for config in (local, remote):
        pipeline.ingest_source(config)
        pipeline.train_detector(config)  # of the same readings: the second finds the first
    for file in later:
        file.rename(tmp_path / "raw" / file.name)
        for config in (local, remote):
            pipeline.ingest_source(config)
            pipeline.score_readings(config)
    lake = Lake(root)
    assert lake.read_scores().num_rows > 1_000
    assert lake.read_scores().equals(Lake(local.lake.root).read_scores())
    assert lake.read_alerts().equals(Lake(local.lake.root).read_alerts())
    before = lake.read_readings()
    assert any(line.startswith("ledger: ") for line in compact(lake))
    assert any(line.startswith("ledger: ") for line in vacuum(lake, keep_days=0.0))
    assert lake.read_readings().equals(before)
    assert all(balance.holds for balance in verify_ledger(lake))
    assert pipeline.score_readings(remote).skipped
