"""Unit tests of keeping a lake in order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from vae_anomaly.config import ReadingsConfig
from vae_anomaly.readings.housekeeping import compact, describe_tables, vacuum, verify_ledger
from vae_anomaly.readings.ingest import ingest
from vae_anomaly.readings.tables import Lake

START_US = 1_714_564_800_000_123
"""With microseconds, which delta-rs leaves out of its statistics."""

CONFIG = ReadingsConfig(period_s=1.0)


def deliver(lake: Lake, raw: Path, number: int, seed: int = 0) -> None:
    """Ingest a file of 30 rows of two assets; the first two files share ten times."""
    rng = np.random.default_rng(seed)
    times = START_US + (np.arange(30) + (20 if number < 2 else 100) * number) * 1_000_000
    table = pa.table(
        {
            "timestamp": pa.array(np.repeat(times, 2), pa.timestamp("us", "UTC")),
            "asset": ["pump / 1 %", "b"] * 30,
            "flow": rng.normal(size=60),
        }
    )
    raw.mkdir(exist_ok=True)
    pq.write_table(table, raw / f"{number}.parquet")
    assert not ingest(raw, lake, config=CONFIG).failed


def deliver_all(lake: Lake, raw: Path) -> None:
    """Ingest four files; the second is corrected before the last two come."""
    for number, seed in ((0, 0), (1, 1), (1, 9), (2, 2), (3, 3)):
        deliver(lake, raw, number, seed=seed)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(tmp_path / "lake")
    deliver_all(lake, tmp_path / "raw")
    return lake


def test_the_books_balance_after_conflicts_and_a_correction(lake: Lake) -> None:
    balances = verify_ledger(lake)
    assert [balance.what for balance in balances if not balance.holds] == []
    assert all(balance.found > 0 for balance in balances)


def test_a_row_that_got_lost_is_found(lake: Lake) -> None:
    DeltaTable(lake.uri("readings")).delete("flow > 1.5")
    DeltaTable(lake.uri("quarantine")).delete("source = '0.parquet'")
    found = {balance.what: balance.holds for balance in verify_ledger(lake)}
    assert not found["entries = rows of quarantine"]
    assert not found["kept - withdrawn + restored = rows of readings"]
    assert found["withdrawn = rows of superseded"]


def test_compaction_changes_no_row_and_corrections_go_on_after_it(
    lake: Lake, tmp_path: Path
) -> None:
    before = lake.read_readings(columns=["flow", "_source", "_batch"])
    num_files = describe_tables(lake)[0].num_files
    lines = compact(lake)
    assert any(line.startswith("readings: ") for line in lines)
    assert describe_tables(lake)[0].num_files < num_files
    assert lake.read_readings(columns=["flow", "_source", "_batch"]).equals(before)
    other = Lake(tmp_path / "other")
    for one, folder in ((lake, "raw"), (other, "raw-2")):
        if one is other:
            deliver_all(other, tmp_path / folder)
        deliver(one, tmp_path / folder, 2, seed=11)
    assert lake.read_readings().equals(other.read_readings())
    assert all(balance.holds for balance in verify_ledger(lake))


def test_a_vacuum_deletes_what_no_version_needs_and_keeps_the_rest(lake: Lake) -> None:
    compact(lake)
    orphan = next(Path(lake.uri("readings")).glob("asset=b/*")) / "part-of-a-killed-run.parquet"
    orphan.write_bytes(b"half a file")
    before = lake.read_readings()
    assert vacuum(lake, keep_days=30) == ()
    lines = vacuum(lake, keep_days=0)
    assert any(line.startswith("readings: ") for line in lines)
    assert not orphan.exists()
    assert lake.read_readings().equals(before)


def test_an_empty_lake_has_no_tables(tmp_path: Path) -> None:
    assert describe_tables(Lake(tmp_path / "nothing")) == ()
    assert compact(Lake(tmp_path / "nothing")) == ()
