"""Rows that several files gave values to, and corrections of one of the files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from tests.unit.readings.test_intake import flows, make_dirty_rows, take_in, write
from vae_anomaly.config import ReadingsConfig
from vae_anomaly.readings import delta
from vae_anomaly.readings.housekeeping import compact, verify_ledger
from vae_anomaly.readings.ingest import ingest
from vae_anomaly.readings.tables import Lake

NUM_HISTORIES = 20
SENSORS = ("flow", "level")
Values = tuple[float | None, ...]
Rows = dict[tuple[str, int], Values]


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return tmp_path / "raw"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


def deliveries(lake: Lake) -> list[list[tuple]]:
    table = delta.read_table(lake.uri("readings"), columns=["timestamp", "_deliveries"])
    found = table.sort_by("timestamp")["_deliveries"].to_pylist()
    return [[(one["source"], one["values"]) for one in row or ()] for row in found]


def test_a_correction_takes_away_what_its_file_gave_and_nothing_else(
    raw: Path, lake: Lake
) -> None:
    nothing = pa.nulls(3, pa.float64())
    write(raw / "a.parquet", [0, 1, 2], flow=[1.0, 2.0, 3.0], level=nothing)
    write(raw / "b.parquet", [1, 2, 3], flow=nothing, level=[5.0, 5.0, 5.0])
    take_in(raw, lake)
    write(raw / "b.parquet", [1, 3], flow=pa.nulls(2, pa.float64()), level=[7.0, 8.0])
    result = take_in(raw, lake)
    table = lake.read_readings()
    assert table["flow"].to_pylist() == [1.0, 2.0, 3.0, None]
    assert table["level"].to_pylist() == [None, 7.0, None, 8.0]
    assert (result.num_withdrawn, lake.read_quarantine().num_rows) == (3, 0)
    write(raw / "a.parquet", [0, 1, 2], flow=[1.0, 9.0, 3.0], level=nothing)
    take_in(raw, lake)
    table = lake.read_readings()
    assert table["flow"].to_pylist() == [1.0, 9.0, 3.0, None]
    assert table["level"].to_pylist() == [None, 7.0, None, 8.0]
    history = delta.read_table(lake.uri("superseded"))
    assert [(row["_source"], row["level"]) for row in history.sort_by("_source").to_pylist()] == [
        ("a.parquet", None),
        *[("b.parquet", 5.0)] * 3,
    ]


def test_rows_that_overlap_stay_where_one_of_their_files_no_longer_has_them(
    raw: Path, lake: Lake
) -> None:
    write(raw / "a.parquet", [0, 1, 2], flow=[1.0, 2.0, 3.0])
    write(raw / "b.parquet", [1, 2, 3], flow=[2.0, 3.0, 4.0])
    take_in(raw, lake)
    assert deliveries(lake)[1] == [("a.parquet", None), ("b.parquet", None)]
    write(raw / "a.parquet", [0, 2], flow=[1.0, 3.0])
    take_in(raw, lake)
    assert flows(lake) == {0: 1.0, 1: 2.0, 2: 3.0, 3: 4.0}
    assert deliveries(lake)[1:3] == [[], [("a.parquet", None), ("b.parquet", None)]]
    write(raw / "b.parquet", [1, 3], flow=[2.0, 4.0])
    take_in(raw, lake)
    assert flows(lake) == {0: 1.0, 1: 2.0, 2: 3.0, 3: 4.0}


def test_a_value_that_gave_way_comes_back_where_the_smaller_one_was_wrong(
    raw: Path, lake: Lake
) -> None:
    write(raw / "a.parquet", [0, 1], flow=[5.0, 6.0])
    write(raw / "b.parquet", [0, 1], flow=[-99.0, 6.0])
    take_in(raw, lake)
    assert flows(lake) == {0: -99.0, 1: 6.0}
    assert deliveries(lake)[0] == [("a.parquet", [5.0]), ("b.parquet", None)]
    write(raw / "b.parquet", [0, 1], flow=[5.5, 6.0])
    take_in(raw, lake)
    assert flows(lake) == {0: 5.0, 1: 6.0}


def read_rows(table: pa.Table) -> Rows:
    """Return the rows of a file; of several of one asset and time the smallest values."""
    rows: Rows = {}
    times = table["timestamp"].cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_pylist()
    values = zip(*(table[name].to_pylist() for name in SENSORS), strict=True)
    for asset, time, given in zip(table["asset"].to_pylist(), times, values, strict=True):
        rows[asset, time] = merge(rows.get((asset, time)), given)
    return rows


def merge(first: Values | None, second: Values) -> Values:
    pairs = zip(first or (None,) * len(second), second, strict=True)
    return tuple(min((x for x in pair if x is not None), default=None) for pair in pairs)


def deliver(known: dict[str, Rows], name: str, rows: Rows) -> None:
    """Put the content of a file in the place of what it gave before, in the span it covers."""
    kept = known.setdefault(name, {})
    for asset in {asset for asset, _ in rows}:
        times = [time for one, time in rows if one == asset]
        for key in [key for key in kept if key[0] == asset]:
            if min(times) <= key[1] <= max(times):
                del kept[key]
    kept.update(rows)


def expect(known: dict[str, Rows]) -> Rows:
    found: Rows = {}
    for rows in known.values():
        for key, given in rows.items():
            found[key] = merge(found.get(key), given)
    return found


@pytest.mark.parametrize("seed", range(NUM_HISTORIES))
def test_any_history_of_files_and_corrections_ends_in_what_the_files_say(
    raw: Path, lake: Lake, seed: int
) -> None:
    """Three files that overlap, each written anew several times; some runs see several."""
    rng = np.random.default_rng(seed)
    raw.mkdir()
    known: dict[str, Rows] = {}
    waiting: dict[str, Rows] = {}
    config = ReadingsConfig(period_s=600.0)

    def take_in_what_waits() -> None:
        ingest(raw, lake, config=config)
        for name in list(waiting):
            deliver(known, name, waiting.pop(name))

    for _ in range(6):
        for name in rng.permutation(["a.parquet", "b.parquet", "c.parquet"])[: rng.integers(1, 4)]:
            table = make_dirty_rows(rng, int(rng.integers(5, 120)))
            order = rng.permutation(table.num_rows)
            pq.write_table(table.take(pa.array(order)), raw / name)
            waiting[name] = read_rows(table)
            if rng.random() < 0.7:
                take_in_what_waits()
        if rng.random() < 0.2:
            compact(lake)
    take_in_what_waits()
    assert read_rows(lake.read_readings()) == expect(known)
    assert all(balance.holds for balance in verify_ledger(lake))
    assert ingest(raw, lake, config=config).num_new_files == 0


def test_other_programs_read_the_table_also_where_files_do_not_have_the_column(
    raw: Path, lake: Lake
) -> None:
    write(raw / "a.parquet", [0, 1], flow=[1.0, 2.0])
    write(raw / "b.parquet", [1, 90_000], flow=[2.0, 3.0])
    take_in(raw, lake)
    table = DeltaTable(lake.uri("readings")).to_pyarrow_table().sort_by("timestamp")
    assert table["flow"].to_pylist() == [1.0, 2.0, 3.0]
    assert [row is None for row in table["_deliveries"].to_pylist()] == [True, False, True]
