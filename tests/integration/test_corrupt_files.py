"""Files that are broken, huge, or oddly named: none stops the others, none is lost sight of."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vae_anomaly.config import ReadingsConfig
from vae_anomaly.readings.housekeeping import verify_ledger
from vae_anomaly.readings.ingest import IngestResult, ingest
from vae_anomaly.readings.tables import Lake

pytestmark = pytest.mark.integration

START_US = 1_714_564_800_000_000
CONFIG = ReadingsConfig(period_s=1.0)
ODD_NAMES = (
    'it\'s "quoted".parquet',
    "two\nlines.parquet",
    "pump 🛢️ №5.parquet",
    "100%25 [a] {b} #1?.parquet",
    "back\\slash;semi,comma=.parquet",
    "sub folder/asset=pump/date=2024-05-01/x.parquet",
)
MEMORY_LIMIT_MIB = 3_000


def make_table(start_s: int, num_rows: int = 20) -> pa.Table:
    times = START_US + (start_s + np.arange(num_rows)) * 1_000_000
    return pa.table(
        {
            "timestamp": pa.array(times, pa.timestamp("us", "UTC")),
            "flow": np.arange(num_rows, dtype=float),
        }
    )


def write(folder: Path, name: str, table: pa.Table, **options: object) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file, **options)
    return file


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    write(tmp_path / "raw", "a good one.parquet", make_table(0))
    write(tmp_path / "raw", "z good one.parquet", make_table(100))
    return tmp_path / "raw"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


def take_in(raw: Path, lake: Lake) -> IngestResult:
    result = ingest(raw, lake, config=CONFIG)
    assert all(balance.holds for balance in verify_ledger(lake))
    return result


def refused(raw: Path, lake: Lake) -> str:
    """Ingest with one file that is refused; the good ones go through; return why."""
    result = take_in(raw, lake)
    assert result.num_kept == 40
    (failed,) = result.failed
    (entry,) = lake.read_quarantine().to_pylist()
    assert (entry["source"], entry["row"], entry["rule"]) == (failed.name, -1, failed.reason)
    return failed.reason


def test_a_truncated_file(raw: Path, lake: Lake) -> None:
    file = write(raw, "bad.parquet", make_table(50))
    file.write_bytes(file.read_bytes()[:-100])
    assert "got a truncated one" in refused(raw, lake)


def test_a_wrong_magic(raw: Path, lake: Lake) -> None:
    file = write(raw, "bad.parquet", make_table(50))
    file.write_bytes(b"NOPE" + file.read_bytes()[4:])
    assert "got one that starts with b'NOPE'" in refused(raw, lake)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8, 0.95])
def test_bytes_that_were_overwritten_at_random(raw: Path, lake: Lake, share: float) -> None:
    file = write(raw, "bad.parquet", make_table(50, 2_000))
    content = bytearray(file.read_bytes())
    rng = np.random.default_rng(round(share * 100))
    begin = round(share * len(content)) - 60
    content[begin : begin + 50] = rng.integers(0, 256, 50).astype(np.uint8).tobytes()
    file.write_bytes(content)
    result = take_in(raw, lake)
    assert result.num_new_files + len(result.failed) == 3
    assert [failed.name for failed in result.failed] in ([], ["bad.parquet"])


def test_a_file_without_columns_has_no_rows(raw: Path, lake: Lake) -> None:
    write(raw, "bad.parquet", pa.table({}))
    result = take_in(raw, lake)
    assert (result.num_new_files, result.num_kept) == (3, 40)
    assert result.notes == ("no rows (bad.parquet)",)


def test_a_file_without_rows_is_noted(raw: Path, lake: Lake) -> None:
    write(raw, "empty.parquet", make_table(50).slice(0, 0))
    result = take_in(raw, lake)
    assert (result.num_new_files, result.num_kept) == (3, 40)
    assert result.notes == ("no rows (empty.parquet)",)


def test_a_file_of_ten_thousand_columns_gives_those_of_the_contract(raw: Path, lake: Lake) -> None:
    wide = make_table(50)
    columns = {f"c{k}": np.zeros(wide.num_rows) for k in range(10_000)}
    write(
        raw,
        "wide.parquet",
        pa.table({**dict(zip(wide.column_names, wide.columns, strict=True)), **columns}),
    )
    result = take_in(raw, lake)
    assert (result.num_kept, result.failed) == (60, ())
    assert "columns the contract does not know are left out" in result.notes[0]
    assert len(result.notes[0]) < 1_000


def test_a_lake_of_ten_thousand_sensors(tmp_path: Path, lake: Lake) -> None:
    times = make_table(0)["timestamp"]
    columns = {f"c{k}": np.full(20, float(k)) for k in range(10_000)}
    write(tmp_path / "raw", "wide.parquet", pa.table({"timestamp": times, **columns}))
    assert take_in(tmp_path / "raw", lake).num_kept == 20
    assert lake.read_readings(columns=["c9999"])["c9999"].to_pylist() == [9_999.0] * 20


def test_a_folder_named_like_a_file_is_a_folder(raw: Path, lake: Lake) -> None:
    write(raw, "folder.parquet/inside.parquet", make_table(50))
    (raw / "nothing.parquet").mkdir()
    result = take_in(raw, lake)
    assert (result.num_kept, result.failed) == (60, ())
    assert "folder.parquet/inside.parquet" in lake.read_ledger()["source"].to_pylist()


def test_a_file_that_is_deleted_while_the_others_are_read(raw: Path, lake: Lake) -> None:
    file = write(raw, "b gone.parquet", make_table(50))
    result = ingest(raw, lake, config=CONFIG, on_file=lambda *_: file.unlink(missing_ok=True))
    assert result.num_kept == 40
    (failed,) = result.failed
    assert failed.name == "b gone.parquet"
    assert "no such file" in failed.reason


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_of_files(raw: Path, lake: Lake, name: str) -> None:
    write(raw, name, make_table(50))
    result = take_in(raw, lake)
    assert (result.num_kept, result.failed) == (60, ())
    assert name in lake.read_readings(columns=["_source"])["_source"].to_pylist()
    assert take_in(raw, lake).num_new_files == 0


def test_odd_names_of_assets_and_sensors(tmp_path: Path, lake: Lake) -> None:
    names = [name[:-8] for name in ODD_NAMES] + ["..", ".", " ", "a" * 200, "CON", "a/../../b"]
    parts = [
        pa.table(
            {
                "timestamp": make_table(0)["timestamp"],
                "asset": [name] * 20,
                **{f"s {other}": np.full(20, 1.0 * k) for k, other in enumerate(names)},
            }
        )
        for name in names
    ]
    write(tmp_path / "raw", "fleet.parquet", pa.concat_tables(parts))
    result = take_in(tmp_path / "raw", lake)
    kept = [name for name in names if name.strip()]
    assert result.num_kept == 20 * len(kept)
    table = lake.read_readings()
    assert set(table["asset"].to_pylist()) == set(kept)
    assert set(table.column_names) == {"asset", "timestamp", *(f"s {name}" for name in names)}
    outside = [path for path in tmp_path.iterdir() if path.name not in ("raw", "lake")]
    assert outside == []


BOMB = """
import resource, sys
from pathlib import Path
from vae_anomaly.config import ReadingsConfig
from vae_anomaly.readings.ingest import ingest
from vae_anomaly.readings.tables import Lake
limit = int(sys.argv[3]) << 20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
result = ingest(Path(sys.argv[1]), Lake(sys.argv[2]), config=ReadingsConfig(period_s=1.0))
print(result.num_kept, [failed.name for failed in result.failed])
print(result.failed[0].reason if result.failed else "")
"""


def test_a_small_file_that_unpacks_to_gigabytes(raw: Path, lake: Lake) -> None:
    """Its rows have no time, so that their content goes to quarantine: all of it is read."""
    note = pa.DictionaryArray.from_arrays([0] * 50, ["x" * 100_000_000])
    times = pa.nulls(50, pa.timestamp("us", "UTC"))
    table = pa.table({"timestamp": times, "flow": np.zeros(50), "note": note})
    file = write(raw, "bomb.parquet", table, compression="zstd")
    assert file.stat().st_size < 2_000_000
    command = [sys.executable, "-c", BOMB, str(raw), lake.root, str(MEMORY_LIMIT_MIB)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2_000:]
    assert done.stdout.startswith("40 []"), done.stdout
    rows = lake.read_quarantine()
    assert rows["reason"].to_pylist() == ["no_timestamp"] * 50
    assert 10_000 < len(rows["content"][0].as_py()) < 10_200


def test_a_sensor_whose_page_unpacks_to_gigabytes(raw: Path, lake: Lake) -> None:
    """A million rows of one value: a few kilobytes in the file, chunk after chunk in memory."""
    table = make_table(0, 1).append_column("level", pa.array([5.0]))
    many = pa.concat_tables([table] * 2).take(np.zeros(30_000_000, dtype=np.int32))
    del table
    file = write(raw, "bomb.parquet", many, compression="zstd")
    del many
    assert file.stat().st_size < 2_000_000
    command = [sys.executable, "-c", BOMB, str(raw), lake.root, str(MEMORY_LIMIT_MIB)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2_000:]
    assert done.stdout.startswith("40 []"), done.stdout
    assert sum(lake.read_ledger()["num_duplicates"].to_pylist()) == 30_000_000
