"""Unit tests of deliveries on their way into the lake: merged, corrected, done once."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError

from tests.pipelines import raise_interrupt
from vae_anomaly.config import ReadingsConfig
from vae_anomaly.errors import ContractError, TableError
from vae_anomaly.readings import chunks, delta, intake
from vae_anomaly.readings import ingest as ingest_module
from vae_anomaly.readings.check import check_readings
from vae_anomaly.readings.data_files import WRITER, FileChange, commit_files
from vae_anomaly.readings.housekeeping import verify_ledger
from vae_anomaly.readings.ingest import IngestResult, ingest
from vae_anomaly.readings.layout import readings_schema
from vae_anomaly.readings.tables import Lake

START = 1_714_564_800
CONFIG = ReadingsConfig(period_s=1.0)
NUM_ORDERS = 20


def write(path: Path, seconds: list[int], **values: object) -> Path:
    times = pa.array([START + s for s in seconds], pa.timestamp("s", "UTC"))
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"timestamp": times, **values}), path)
    return path


def take_in(raw: Path, lake: Lake) -> IngestResult:
    result = ingest(raw, lake, config=CONFIG)
    check_books(lake)
    return result


def check_books(lake: Lake) -> None:
    """Check that the ledger and the tables say the same."""
    done = [row for row in lake.read_ledger().to_pylist() if row["status"] == "done"]
    for row in done:
        assert row["num_rows"] == (
            row["num_kept"] + row["num_quarantined"] + row["num_duplicates"]
        )
    counts = lake.counts()
    assert counts.readings == sum(
        row["num_kept"] - row["num_withdrawn"] + row["num_restored"] for row in done
    )
    assert counts.quarantine == sum(row["num_entries"] for row in lake.read_ledger().to_pylist())


def flows(lake: Lake) -> dict[int, float | None]:
    table = lake.read_readings(columns=["flow"])
    seconds = table["timestamp"].cast(pa.int64()).to_numpy() // 1_000_000 - START
    return dict(zip(seconds.tolist(), table["flow"].to_pylist(), strict=True))


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return tmp_path / "raw"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


def make_dirty_rows(rng: np.random.Generator, num_rows: int) -> pa.Table:
    """Make rows of three assets over four days with gaps, duplicates and contradictions."""
    seconds = rng.integers(0, 4 * 86_400, num_rows) // 600 * 600
    values = {name: rng.integers(0, 3, num_rows).astype(float) for name in ("flow", "level")}
    for column in values.values():
        column[rng.random(num_rows) < 0.3] = np.nan
    return pa.table(
        {
            "timestamp": pa.array(START + seconds, pa.timestamp("s", "UTC")),
            "asset": pa.array(rng.choice(["a", "b", "c/d é"], num_rows)),
            **{name: pa.array(column, from_pandas=True) for name, column in values.items()},
        }
    )


def test_twenty_orders_and_splits_of_arrival_give_the_same_readings(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = make_dirty_rows(rng, 3_000)
    wholes = []
    for number in range(NUM_ORDERS):
        raw, lake = tmp_path / f"raw-{number}", Lake(tmp_path / f"lake-{number}")
        shuffled = rows.take(rng.permutation(rows.num_rows))
        num_parts = int(rng.integers(1, 7))
        cuts = np.sort(rng.integers(0, rows.num_rows, num_parts - 1)).tolist()
        raw.mkdir()
        for part, (begin, end) in enumerate(zip([0, *cuts], [*cuts, rows.num_rows], strict=True)):
            pq.write_table(shuffled.slice(begin, end - begin), raw / f"{part}.parquet")
            if rng.random() < 0.5:  # some deliveries come one by one, others together
                take_in(raw, lake)
        take_in(raw, lake)
        conflicts = {row["reason"] for row in lake.read_quarantine().to_pylist()}
        assert conflicts == {"conflicting_duplicate"}
        assert sum(lake.read_ledger()["num_rows"].to_pylist()) == rows.num_rows
        wholes.append(lake.read_readings())
    assert all(table.equals(wholes[0]) for table in wholes[1:])
    keys = wholes[0].select(["asset", "timestamp"])
    assert keys.group_by(["asset", "timestamp"]).aggregate([]).num_rows == keys.num_rows


@pytest.mark.parametrize("merge_cells", [intake.MERGE_CELLS, 500])
def test_a_file_is_the_same_in_chunks_of_any_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, merge_cells: int
) -> None:
    rows = make_dirty_rows(np.random.default_rng(1), 2_000)
    (tmp_path / "raw").mkdir()
    pq.write_table(rows, tmp_path / "raw" / "a.parquet", row_group_size=150)
    whole, cut = Lake(tmp_path / "whole"), Lake(tmp_path / "cut")
    first = take_in(tmp_path / "raw", whole)
    monkeypatch.setattr("vae_anomaly.readings.source.BATCH_ROWS", 100)
    monkeypatch.setattr(chunks, "CHUNK_CELLS", 1)
    monkeypatch.setattr(chunks, "MIN_CHUNK_ROWS", 300)
    monkeypatch.setattr(intake, "MERGE_CELLS", merge_cells)
    second = take_in(tmp_path / "raw", cut)
    assert cut.read_readings().equals(whole.read_readings())
    assert (first.num_rows, first.num_kept) == (second.num_rows, second.num_kept)


def test_sensors_in_files_of_their_own_end_in_the_same_rows(raw: Path, lake: Lake) -> None:
    nothing = pa.nulls(3, pa.float64())
    write(raw / "a.parquet", [0, 1, 2], flow=[1.0, 2.0, 3.0], level=nothing)
    write(raw / "b.parquet", [1, 2, 3], flow=nothing, level=[7.0, 8.0, 9.0])
    result = take_in(raw, lake)
    assert (result.num_kept, result.num_duplicates, result.num_quarantined) == (4, 2, 0)
    table = lake.read_readings()
    assert table["flow"].to_pylist() == [1.0, 2.0, 3.0, None]
    assert table["level"].to_pylist() == [None, 7.0, 8.0, 9.0]


def test_of_several_values_of_one_time_the_smallest_stays_and_the_others_are_kept_aside(
    raw: Path, lake: Lake
) -> None:
    write(raw / "a.parquet", [0, 1], flow=[5.0, 6.0], level=[1.0, 1.0])
    take_in(raw, lake)
    write(raw / "b.parquet", [0, 1], flow=[4.0, 7.0], level=[1.0, 0.5])
    take_in(raw, lake)
    assert flows(lake) == {0: 4.0, 1: 6.0}
    entries = lake.read_quarantine().to_pylist()
    assert [(row["source"], row["row"], row["reason"]) for row in entries] == [
        ("a.parquet", 0, "conflicting_duplicate"),
        ("a.parquet", 1, "conflicting_duplicate"),
        ("b.parquet", 1, "conflicting_duplicate"),
    ]
    assert '"flow": 5.0' in entries[0]["content"]
    assert '"flow"' not in entries[1]["content"]


def test_other_content_of_a_file_corrects_what_it_gave_before(raw: Path, lake: Lake) -> None:
    write(raw / "a.parquet", [0, 1, 2, 3], flow=[1.0, 2.0, 3.0, 4.0])
    write(raw / "z.parquet", [10], flow=[0.0])
    take_in(raw, lake)
    write(raw / "a.parquet", [0, 1, 3], flow=[1.0, 9.0, 4.0])
    result = take_in(raw, lake)
    assert (result.num_new_files, result.num_kept, result.num_withdrawn) == (1, 1, 2)
    assert flows(lake) == {0: 1.0, 1: 9.0, 3: 4.0, 10: 0.0}
    history = delta.read_table(lake.uri("superseded"))
    assert sorted(history["flow"].to_pylist()) == [2.0, 3.0]
    assert lake.read_quarantine().num_rows == 0
    assert take_in(raw, lake).num_new_files == 0


def test_a_file_that_always_holds_the_newest_rows_loses_none(raw: Path, lake: Lake) -> None:
    for hour in range(3):
        write(raw / "latest.parquet", [10 * hour, 10 * hour + 1], flow=[hour, hour + 0.5])
        take_in(raw, lake)
    assert flows(lake) == {0: 0.0, 1: 0.5, 10: 1.0, 11: 1.5, 20: 2.0, 21: 2.5}


def test_a_correction_leaves_alone_what_lies_beyond_its_times(raw: Path, lake: Lake) -> None:
    write(raw / "a.parquet", [0, 1, 2, 3], flow=[1.0, 2.0, 3.0, 4.0])
    take_in(raw, lake)
    write(raw / "a.parquet", [1, 2], flow=[8.0, 9.0])
    take_in(raw, lake)
    assert flows(lake) == {0: 1.0, 1: 8.0, 2: 9.0, 3: 4.0}


def test_a_correction_that_is_taken_back_is_a_correction(raw: Path, lake: Lake) -> None:
    for value in (1.0, 2.0, 1.0):
        write(raw / "a.parquet", [0, 1], flow=[value, 5.0])
        take_in(raw, lake)
        assert flows(lake) == {0: value, 1: 5.0}
    assert len(set(lake.read_ledger()["batch"].to_pylist())) == 3


@pytest.mark.parametrize("age_s", [0, 3_600])
def test_a_correction_of_the_same_size_and_time_is_noticed_right_after_the_file(
    raw: Path, lake: Lake, age_s: int
) -> None:
    """Stores keep whole seconds; later on a file is known by name, size and time of change."""
    file = write(raw / "a.parquet", [0, 1], flow=[1.0, 2.0])
    time_ns = file.stat().st_mtime_ns - age_s * 10**9
    os.utime(file, ns=(time_ns, time_ns))
    size = file.stat().st_size
    take_in(raw, lake)
    write(raw / "a.parquet", [0, 1], flow=[1.0, 9.0])
    os.utime(file, ns=(time_ns, time_ns))
    assert file.stat().st_size == size
    take_in(raw, lake)
    assert flows(lake)[1] == (2.0 if age_s else 9.0)


def test_a_copy_keeps_what_a_correction_of_the_other_takes_away(raw: Path, lake: Lake) -> None:
    write(raw / "b.parquet", [0, 1, 2], flow=[1.0, 2.0, 3.0])
    take_in(raw, lake)
    write(raw / "a.parquet", [0, 1, 2], flow=[1.0, 2.0, 3.0])  # sorts before the one it copies
    take_in(raw, lake)
    write(raw / "b.parquet", [0, 2], flow=[1.0, 3.0])
    take_in(raw, lake)
    assert flows(lake) == {0: 1.0, 1: 2.0, 2: 3.0}
    assert take_in(raw, lake).num_new_files == 0


def test_late_and_corrected_rows_are_merged_span_by_span_as_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(2)
    rows = [make_dirty_rows(rng, 600) for _ in range(3)]
    lakes = []
    for name, merge_cells in (("whole", intake.MERGE_CELLS), ("cut", 400)):
        monkeypatch.setattr(intake, "MERGE_CELLS", merge_cells)
        raw, lake = tmp_path / f"raw-{name}", Lake(tmp_path / name)
        raw.mkdir()
        for file, table in (("a", rows[0]), ("b", rows[1]), ("a", rows[2])):
            pq.write_table(table, raw / f"{file}.parquet")
            take_in(raw, lake)
        lakes.append(lake)
    whole, cut = lakes
    columns = ["flow", "level", "_source", "_row"]
    assert cut.read_readings(columns=columns).equals(whole.read_readings(columns=columns))
    assert all(balance.holds for balance in verify_ledger(cut))


def test_readings_of_an_older_version_are_refused(raw: Path, lake: Lake) -> None:
    write(raw / "a.parquet", [0, 1], flow=[1.0, 2.0])
    take_in(raw, lake)
    uri = lake.uri("readings")
    old = delta.read_table(uri).drop_columns(["_deliveries"])
    shutil.rmtree(uri)
    delta.append_once(uri, old, partition_by=("asset", "date"))
    with pytest.raises(TableError, match="those of an older version"):
        ingest(raw, lake, config=CONFIG)


def test_settings_that_training_refuses_do_not_keep_readings_out(raw: Path, lake: Lake) -> None:
    write(raw / "a.parquet", list(range(8)), flow=np.arange(8.0), valve=[0, 1] * 4)
    config = ReadingsConfig(period_s=1.0, align="mean")
    assert ingest(raw, lake, config=config).num_kept == 8
    with pytest.raises(ContractError, match="two states"):
        check_readings(raw, config=config)


def test_tables_that_grow_with_each_delivery_stay_a_few_files(
    raw: Path, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest_module, "MAX_FILES", 3)
    for k in range(9):
        write(raw / f"{k}.parquet", [k], flow=[float(k)])
        take_in(raw, lake)
        for name in ingest_module.READ_WHOLE:
            assert len(DeltaTable(lake.uri(name)).file_uris()) <= 3
    assert lake.read_ledger()["delivery"].to_pylist() == list(range(1, 10))
    assert lake.read_quality()["num_rows"].to_pylist() == [1] * 9
    assert take_in(raw, lake).num_new_files == 0


def test_a_file_touched_but_not_changed_is_no_delivery(raw: Path, lake: Lake) -> None:
    file = write(raw / "a.parquet", [0, 1], flow=[1.0, 2.0])
    take_in(raw, lake)
    file.touch()
    assert take_in(raw, lake).num_new_files == 0


@pytest.mark.parametrize(
    "broken",
    ["append_quality", "append_quarantine", "append_superseded", "commit_files", "append_ledger"],
)
def test_a_correction_that_was_broken_off_is_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    raw, whole, disturbed = tmp_path / "raw", Lake(tmp_path / "whole"), Lake(tmp_path / "cut")

    def deliver(lake: Lake) -> None:
        write(raw / "a.parquet", [0, 1, 2], flow=[1.0, 2.0, 3.0])
        write(raw / "b.parquet", [2, 3], flow=[2.5, 4.0])
        take_in(raw, lake)
        write(raw / "a.parquet", [0, 1, 1], flow=[1.0, 8.0, 9.0])

    deliver(whole)
    take_in(raw, whole)
    deliver(disturbed)

    def fail(*_: object, **__: object) -> None:
        raise TableError("disk full")

    where = ingest_module if broken == "commit_files" else Lake
    with monkeypatch.context() as patch:
        patch.setattr(where, broken, fail)
        with pytest.raises(TableError, match="disk full"):
            ingest(raw, disturbed, config=CONFIG)
    take_in(raw, disturbed)
    columns = ["flow", "_source", "_batch"]
    assert disturbed.read_readings(columns=columns).equals(whole.read_readings(columns=columns))
    drop = ["modified"]
    assert disturbed.read_ledger().drop(drop).equals(whole.read_ledger().drop(drop))
    assert disturbed.read_quality().equals(whole.read_quality())


def test_a_file_that_changes_after_a_kill_corrects_what_was_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run was killed between the commit on `readings` and the row of the ledger."""
    raw, whole, killed = tmp_path / "raw", Lake(tmp_path / "whole"), Lake(tmp_path / "killed")
    write(raw / "a.parquet", [0, 1, 2], flow=[1.0, 2.0, 3.0])
    take_in(raw, whole)
    with monkeypatch.context() as patch:
        patch.setattr(Lake, "append_ledger", raise_interrupt)
        with pytest.raises(KeyboardInterrupt):
            ingest(raw, killed, config=CONFIG)
    write(raw / "a.parquet", [0, 2], flow=[1.0, 9.0])
    for lake in (whole, killed):
        take_in(raw, lake)
        assert flows(lake) == {0: 1.0, 2: 9.0}
    assert killed.read_ledger().drop("modified").equals(whole.read_ledger().drop("modified"))
    assert killed.read_quality().equals(whole.read_quality())


def test_what_another_program_writes_meanwhile_is_not_written_over(
    raw: Path, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    for k in range(3):
        write(raw / f"{k}.parquet", [2 * k, 2 * k + 1], flow=[1.0, 2.0])
    take_in(raw, lake)
    write(raw / "1.parquet", [2, 3], flow=[8.0, 9.0])
    commit = ingest_module.commit_files

    def compact_first(*given: object, **more: object) -> None:
        DeltaTable(lake.uri("readings")).optimize.compact()
        commit(*given, **more)

    with monkeypatch.context() as patch:
        patch.setattr(ingest_module, "commit_files", compact_first)
        with pytest.raises(TableError, match="Another program has written it meanwhile"):
            ingest(raw, lake, config=CONFIG)
    take_in(raw, lake)
    assert flows(lake) == {0: 1.0, 1: 2.0, 2: 8.0, 3: 9.0, 4: 1.0, 5: 2.0}


def test_of_two_commits_from_one_version_one_is_refused(raw: Path, lake: Lake) -> None:
    """As where two runs write to a bucket, which has no lock."""
    write(raw / "a.parquet", [0], flow=[1.0])
    take_in(raw, lake)
    uri, version = lake.uri("readings"), lake.readings_version()
    table = DeltaTable(uri)
    schema = readings_schema(lake.reading_columns())
    commit_files(uri, FileChange((), (), since=version), schema=schema, commit_id="first")
    with pytest.raises(TableError, match="Another program"):
        commit_files(uri, FileChange((), (), since=version), schema=schema, commit_id="second")
    transaction = Transaction(WRITER, version + 1)
    with pytest.raises(CommitFailedError, match=r"[Cc]oncurrent"):
        table.create_write_transaction(
            [],
            mode="append",
            schema=table.schema(),
            partition_by=["asset", "date"],
            commit_properties=CommitProperties(app_transactions=[transaction]),
        )


def test_sensors_in_files_of_their_own_come_in_where_files_may_lack_sensors(
    raw: Path, lake: Lake
) -> None:
    write(raw / "flow.parquet", [0, 1, 2], flow=[1.0, 2.0, 3.0])
    write(raw / "level.parquet", [1, 2, 3], level=[7.0, 8.0, 9.0])
    (raw / "broken.parquet").write_bytes(b"PAR1")
    config = CONFIG.model_copy(update={"missing_sensors": "missing"})
    result = ingest(raw, lake, config=config)
    assert [failed.name for failed in result.failed] == ["broken.parquet"]
    table = lake.read_readings()
    assert table["flow"].to_pylist() == [1.0, 2.0, 3.0, None]
    assert table["level"].to_pylist() == [None, 7.0, 8.0, 9.0]


def test_files_that_are_no_numbers_to_one_another_leave_the_contract_to_the_first(
    raw: Path, lake: Lake
) -> None:
    write(raw / "a.parquet", [0, 1], flow=[1.0, 2.0])
    write(raw / "b.parquet", [2, 3], flow=["x", "y"])
    config = CONFIG.model_copy(update={"missing_sensors": "missing"})
    result = ingest(raw, lake, config=config)
    assert [failed.name for failed in result.failed] == ["b.parquet"]
    assert flows(lake) == {0: 1.0, 1: 2.0}


def test_the_hour_that_comes_twice_is_noted_though_its_rows_go_to_quarantine(
    raw: Path, lake: Lake
) -> None:
    """Local times that say nothing of a zone, over the end of summer time."""
    start = int(np.datetime64("2024-10-27 00:00", "s").astype(np.int64)) - START
    minutes = [60 * k for k in [*range(180), *range(120, 240)]]
    flow = np.arange(len(minutes), dtype=float)
    write(raw / "a.parquet", [start + second for second in minutes], flow=flow)
    result = ingest(raw, lake, config=ReadingsConfig(period_s=60.0))
    assert result.num_quarantined == 60
    assert any("Set timezone in the settings" in note for note in result.notes)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([[1.0], [2.0]]),
        pa.array([{"a": 1}, {"a": 2}]),
        pa.array([b"\xff\xfe", b"\xff"], pa.binary()),
        pa.DictionaryArray.from_arrays([0, 1], pa.array([b"\xff", b"\xfe"]).view(pa.string())),
    ],
    ids=["list", "struct", "bytes", "no utf-8"],
)
@pytest.mark.parametrize("bad", ["0.parquet", "b.parquet"], ids=["first", "later"])
def test_an_asset_column_that_cannot_be_read_does_not_stop_the_other_files(
    raw: Path, lake: Lake, column: pa.Array, bad: str
) -> None:
    names = pa.array(["p", "p"])
    write(raw / "a.parquet", [0, 1], flow=[1.0, 2.0], asset=names)
    write(raw / bad, [2, 3], flow=[1.0, 2.0], asset=column)
    write(raw / "c.parquet", [4, 5], flow=[1.0, 2.0], asset=names)
    result = take_in(raw, lake)
    assert [failed.name for failed in result.failed] == [bad]
    assert result.num_kept == 4


@pytest.mark.parametrize(
    "broken", ["append_quarantine", "append_superseded", "commit_files", "append_ledger"]
)
@pytest.mark.parametrize("then", ["changed", "gone", "back"])
def test_what_a_kill_left_of_a_delivery_that_never_comes_is_taken_back(
    raw: Path, lake: Lake, monkeypatch: pytest.MonkeyPatch, broken: str, then: str
) -> None:
    """The file changes, goes away, or is as it was, before the run is repeated."""
    file = write(raw / "a.parquet", [0, 1, 2], flow=[1.0, 2.0, 3.0])
    write(raw / "z.parquet", [9], flow=[1.0])
    take_in(raw, lake)
    write(raw / "a.parquet", [0, 2, 2], flow=[1.0, 7.0, 8.0])
    content = file.read_bytes()
    where = ingest_module if broken == "commit_files" else Lake
    with monkeypatch.context() as patch:
        patch.setattr(where, broken, raise_interrupt)
        with pytest.raises(KeyboardInterrupt):
            ingest(raw, lake, config=CONFIG)
    is_committed = broken == "append_ledger"
    if then == "changed":
        write(raw / "a.parquet", [0, 1], flow=[1.0, 5.0])
    else:
        file.unlink()
    take_in(raw, lake)
    assert all(balance.holds for balance in verify_ledger(lake))
    left = {2: 7.0} if is_committed else {2: 3.0}
    before = {0: 1.0, 9: 1.0} | left
    expected = before | ({1: 5.0} if then == "changed" else {} if is_committed else {1: 2.0})
    assert flows(lake) == expected
    if then == "back":
        file.write_bytes(content)
        take_in(raw, lake)
        assert all(balance.holds for balance in verify_ledger(lake))
        assert flows(lake) == {0: 1.0, 2: 7.0, 9: 1.0}
        assert lake.read_quarantine().num_rows == 1
    known = {row["batch"] for row in lake.read_ledger().to_pylist() if row["status"] == "done"}
    assert set(lake.read_quality()["batch"].to_pylist()) == known
