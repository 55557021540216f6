import json
import shutil
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vae_anomaly.config import ReadingsConfig
from vae_anomaly.errors import ContractError, ReadingsError, TableError
from vae_anomaly.readings.files import list_files
from vae_anomaly.readings.ingest import FailedFile, IngestResult, hash_file, ingest
from vae_anomaly.readings.tables import Lake

START = 1_714_564_800
CONFIG = ReadingsConfig(period_s=1.0)


def write(path: Path, seconds: list[int | None], **values) -> Path:
    times = [None if s is None else START + s for s in seconds]
    table = pa.table({"timestamp": pa.array(times, pa.timestamp("s", "UTC")), **values})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return tmp_path / "raw"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


def take_in(raw: Path, lake: Lake, **settings) -> IngestResult:
    return ingest(raw, lake, config=ReadingsConfig(**{"period_s": 1.0, **settings}))


def counts(result: IngestResult) -> tuple[int, int, int, int]:
    assert result.num_rows == result.num_kept + result.num_quarantined + result.num_duplicates
    return result.num_rows, result.num_kept, result.num_quarantined, result.num_duplicates


def contents(lake: Lake) -> list[list[dict]]:
    ledger = lake.read_ledger().drop_columns(["modified"])  # null where a file is too new
    tables = (lake.read_readings(), lake.read_quarantine(), ledger, lake.read_alerts())
    return [table.to_pylist() for table in tables]


def test_files_are_taken_in_once(raw: Path, lake: Lake) -> None:
    write(raw / "b.parquet", [2, 3], flow=[3.0, 4.0])
    write(raw / "a.parquet", [0, 1], flow=[1.0, 2.0])
    done = []
    first = ingest(raw, lake, config=CONFIG, on_file=lambda *step: done.append(step))
    assert done == [("a.parquet", 1, 2), ("b.parquet", 2, 2)]
    assert (first.num_files, first.num_new_files, first.readings_version) == (2, 2, 2)
    assert counts(first) == (4, 4, 0, 0)
    assert lake.read_readings(columns=["flow", "_source"]).to_pylist()[-1] == {
        "asset": "asset",
        "timestamp": datetime.fromtimestamp(START + 3, UTC),
        "flow": 4.0,
        "_source": "b.parquet",
    }
    before = contents(lake)
    second = take_in(raw, lake)
    assert (second.num_files, second.num_new_files, second.readings_version) == (2, 0, 2)
    assert counts(second) == (0, 0, 0, 0)
    assert contents(lake) == before


def test_known_content_under_another_name_is_left_out(raw: Path, lake: Lake) -> None:
    path = write(raw / "a.parquet", [0, 1], flow=[1.0, 2.0])
    shutil.copy(path, raw / "copy.parquet")
    result = take_in(raw, lake)
    assert (result.num_files, result.num_new_files, result.num_rows) == (2, 1, 2)


def test_bad_rows_go_to_quarantine_as_they_came(raw: Path, lake: Lake) -> None:
    path = write(
        raw / "a.parquet",
        [0, None, 1, 1, 1],
        flow=[1.0, float("inf"), 0.1, 0.1, 0.2],
        level=pa.array([None, 0.1, None, None, None], pa.float32()),
        label_fault=[0, 1, 0, 0, 0],
        note=["é", "b", None, None, None],
        price=pa.array([Decimal("1.10")] * 5),
        raw=[b"\x00\xff"] * 5,
        more=[{"x": [1.5, float("nan")]}] * 5,
        when=pa.array([1, 2, 3, 4, 5], pa.timestamp("ns")),
    )
    result = take_in(raw, lake)
    assert counts(result) == (5, 2, 2, 1)
    first, second = lake.read_quarantine().to_pylist()
    assert (first["source"], first["row"], first["reason"]) == ("a.parquet", 1, "no_timestamp")
    assert first["rule"] == "a row needs a time"
    assert first["first_seen"] == datetime.fromtimestamp(0, UTC) + timedelta(
        microseconds=path.stat().st_mtime_ns // 1000
    )
    assert json.loads(first["content"]) == {
        "timestamp": None,
        "flow": "inf",
        "level": float(np.float32(0.1)),
        "label_fault": 1,
        "note": "b",
        "price": "1.10",
        "raw": "00ff",
        "more": {"x": [1.5, "nan"]},
        "when": "1970-01-01 00:00:00.000000002",
    }
    assert (second["row"], second["reason"]) == (4, "conflicting_duplicate")
    assert json.loads(second["content"])["timestamp"] == "2024-05-01 12:00:01.000Z"


def test_rows_of_other_files_are_known(raw: Path, lake: Lake) -> None:
    write(raw / "a.parquet", [0, 1, 2], asset=["x", "y", "x"], flow=[1.0, None, 3.0])
    write(raw / "b.parquet", [0, 1, 2, 3, 2], asset=list("xyxxz"), flow=[1.0, None, 9.0, 4.0, 3.0])
    result = take_in(raw, lake)
    assert counts(result) == (8, 5, 1, 2)
    table = lake.read_readings()
    assert table["asset"].to_pylist() == ["x", "x", "x", "y", "z"]
    assert table["flow"].to_pylist() == [1.0, 3.0, 4.0, None, 3.0]
    (row,) = lake.read_quarantine().to_pylist()
    assert (row["source"], row["row"], row["reason"]) == ("b.parquet", 2, "conflicting_duplicate")


def test_ledger_adds_up_per_file(raw: Path, lake: Lake) -> None:
    write(raw / "a.parquet", [0, 1, 1], flow=[1.0, 2.0, 2.0])
    write(raw / "b.parquet", [1, 2, None], flow=[5.0, 2.0, 2.0])
    take_in(raw, lake)
    rows = lake.read_ledger().to_pylist()
    names = ("source", "status", "num_rows", "num_kept", "num_quarantined", "num_duplicates")
    assert [tuple(row[name] for name in names) for row in rows] == [
        ("a.parquet", "done", 3, 2, 0, 1),
        ("b.parquet", "done", 3, 1, 2, 0),
    ]
    assert rows[0]["batch"] == rows[0]["content_hash"][:16]


def test_contract_is_inferred_once_and_written_down(raw: Path, lake: Lake) -> None:
    write(raw / "a.parquet", [0, 10], flow=[1.0, 2.0], note=["x", "y"])
    ingest(raw, lake, config=ReadingsConfig(units={"flow": "l/min"}))
    contract = lake.read_contract()
    assert contract is not None
    assert contract.sensor_names == ("flow",)
    assert (contract.period_s, contract.sensors[0].unit) == (10.0, "l/min")
    assert contract.ignored == {"note": "text"}


def test_file_without_a_sensor_is_quarantined_and_others_go_through(raw: Path, lake: Lake) -> None:
    write(raw / "a.parquet", [0, 1], flow=[1.0, 2.0], level=[1.0, 2.0])
    write(raw / "b.parquet", [2, 3], flow=[1.0, 2.0])
    write(raw / "c.parquet", [4, 5], flow=[1.0, 2.0], level=[1.0, 2.0], extra=[1.0, 2.0])
    result = take_in(raw, lake)
    assert counts(result) == (4, 4, 0, 0)
    (failed,) = result.failed
    assert failed.name == "b.parquet"
    assert failed.reason.startswith("Cannot ingest: expected sensors ('flow', 'level'), got")
    (row,) = lake.read_quarantine().to_pylist()
    assert (row["row"], row["reason"], row["rule"]) == (-1, "broken_contract", failed.reason)
    assert result.notes == (
        "columns the contract does not know are left out: ('extra',) (c.parquet)",
    )
    before = contents(lake)
    assert take_in(raw, lake).failed == result.failed
    assert contents(lake) == before


def test_unreadable_files_are_quarantined_as_a_whole(raw: Path, lake: Lake) -> None:
    raw.mkdir()
    (raw / "a.parquet").write_bytes(b"PAR1 and then nothing")
    (raw / "b.parquet").touch()
    write(raw / "c.parquet", [0, 1], flow=[1.0, 2.0])
    write(raw / "d.parquet", [2, 3], asset=["x" * 250] * 2, flow=[1.0, 2.0])
    result = take_in(raw, lake)
    assert counts(result) == (2, 2, 0, 0)
    assert [failed.name for failed in result.failed] == ["a.parquet", "b.parquet", "d.parquet"]
    assert "expected asset names of at most 240 bytes" in result.failed[2].reason
    assert lake.read_quarantine()["reason"].to_pylist() == ["unreadable_file"] * 3
    assert lake.read_ledger()["status"].to_pylist() == ["failed", "failed", "done", "failed"]


def test_failed_file_is_tried_again(raw: Path, lake: Lake) -> None:
    write(raw / "a.parquet", [0], flow=[1.0])
    first = ingest(raw, lake, config=ReadingsConfig())
    assert "Cannot infer the period" in first.failed[0].reason
    assert first.readings_version is None
    assert lake.read_contract() is None
    second = take_in(raw, lake)
    assert counts(second) == (1, 1, 0, 0)
    assert lake.read_ledger()["status"].to_pylist() == ["done", "failed"]


def test_file_that_gives_no_contract_is_taken_in_under_that_of_another(
    raw: Path, lake: Lake
) -> None:
    write(raw / "a.parquet", [0], flow=[1.0])
    write(raw / "b.parquet", [1, 2], flow=[2.0, 3.0])
    result = ingest(raw, lake, config=ReadingsConfig())
    assert counts(result) == (3, 3, 0, 0)


def test_file_without_rows_is_in_the_ledger(raw: Path, lake: Lake) -> None:
    write(raw / "a.parquet", [], flow=pa.array([], pa.float64()))
    write(raw / "b.parquet", [], flow=pa.array([], pa.float32()))
    result = take_in(raw, lake)
    assert result.notes == ("no rows (a.parquet and 1 more)",)
    assert (result.num_new_files, result.readings_version) == (2, None)
    assert take_in(raw, lake).num_new_files == 0


def test_file_of_bad_rows_only_adds_no_readings(raw: Path, lake: Lake) -> None:
    write(raw / "a.parquet", [None, None], flow=[1.0, 2.0])
    write(raw / "b.parquet", [0], flow=[1.0])
    write(raw / "c.parquet", [None], flow=[7.0])
    assert counts(take_in(raw, lake)) == (4, 1, 3, 0)


def test_sensors_may_be_asked_for_in_any_order(raw: Path, lake: Lake) -> None:
    write(raw / "a.parquet", [0, 1], flow=[1.0, 2.0], level=[1.0, 2.0])
    take_in(raw, lake, sensors=("level", "flow"))
    take_in(raw, lake, sensors=("flow", "level"))
    take_in(raw, lake, ignore=("note",), period_s=None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sensors": ("flow",)}, r"sensors .* lake, \('flow', 'level'\), got \('flow',\)"),
        ({"ignore": ("flow",)}, r"sensors, .* lake, \('flow', 'level'\), got \('level',\)"),
        ({"timestamp": "when"}, "time column .* lake, 'timestamp', got 'when'"),
        ({"asset": "plant"}, "asset column .* lake, 'pump', got 'plant'"),
        ({"period_s": 10.0}, r"period in seconds .* lake, 1\.0, got 10\.0"),
    ],
)
def test_settings_that_contradict_the_contract_are_refused(
    raw: Path, lake: Lake, settings: dict, message: str
) -> None:
    write(raw / "a.parquet", [0, 1], pump=["a", "a"], flow=[1.0, 2.0], level=[1.0, 2.0])
    take_in(raw, lake, asset="pump")
    with pytest.raises(ContractError, match=message):
        take_in(raw, lake, **{"asset": "pump", **settings})


def test_an_asset_column_that_no_file_has_leaves_the_files_out(raw: Path, lake: Lake) -> None:
    write(raw / "a.parquet", [0, 1], flow=[1.0, 2.0])
    (failed,) = take_in(raw, lake, asset="pump").failed
    assert "expected the asset column 'pump'" in failed.reason
    take_in(raw, lake)
    write(raw / "b.parquet", [2, 3], flow=[1.0, 2.0])
    (failed,) = take_in(raw, lake, asset="pump").failed
    assert failed.reason.startswith("Cannot ingest: expected the asset column 'pump'")


def test_names_in_the_settings_without_a_column_are_noted_with_the_files(
    raw: Path, lake: Lake
) -> None:
    settings = {"units": {"Flw": "l/min"}, "ignore": ("spare",)}
    write(raw / "a.parquet", [0, 1], flow=[1.0, 2.0])
    write(raw / "b.parquet", [2, 3], flow=[1.0, 2.0])
    assert take_in(raw, lake, **settings).notes == (
        (
            "units in the settings of the readings names 'Flw', which is no column; "
            "did you mean 'flow'? (a.parquet and 1 more)"
        ),
        (
            "ignore in the settings of the readings names 'spare', which is no column "
            "(a.parquet and 1 more)"
        ),
    )


def test_no_files_are_an_error(raw: Path, lake: Lake) -> None:
    with pytest.raises(ReadingsError, match="no such file or folder"):
        take_in(raw, lake)


def test_file_that_goes_away_is_reported(
    raw: Path, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(raw / "a.parquet", [0, 1], flow=[1.0, 2.0])
    files = list_files(raw)
    path.unlink()
    monkeypatch.setattr("vae_anomaly.readings.ingest.list_files", lambda _: files)
    (failed,) = take_in(raw, lake).failed
    assert isinstance(failed, FailedFile)
    assert "no such file or folder" in failed.reason
    assert lake.read_ledger().num_rows == 0
    with pytest.raises(ReadingsError, match="no such file or folder"):
        hash_file(files[0])


@pytest.mark.parametrize("broken", ["append_quarantine", "append_ledger"])
def test_ingest_that_was_broken_off_is_completed(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    write(raw / "a.parquet", [0, 1, 1, None], flow=[1.0, 2.0, 2.0, 3.0])
    write(raw / "b.parquet", [1, 2, 3], flow=[2.0, 5.0, 6.0])
    undisturbed, disturbed = Lake(tmp_path / "one"), Lake(tmp_path / "two")
    take_in(raw, undisturbed)

    def fail(*_: object, **__: object) -> None:
        raise TableError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(Lake, broken, fail)
        with pytest.raises(TableError, match="disk full"):
            take_in(raw, disturbed)
    take_in(raw, disturbed)
    assert contents(disturbed) == contents(undisturbed)
