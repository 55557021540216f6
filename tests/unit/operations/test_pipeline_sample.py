"""Training on part of a long period: which part, and what is read for it."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from hypothesis import given
from hypothesis import strategies as st

from vae_anomaly.config import ReadingsConfig
from vae_anomaly.operations import pipeline, pipeline_sample
from vae_anomaly.operations.pipeline_sample import choose_blocks, read_training_rows
from vae_anomaly.operations.pipeline_tables import LakeView
from vae_anomaly.readings.ingest import ingest
from vae_anomaly.readings.pinned import PinnedReadings
from vae_anomaly.readings.tables import Lake

DAY_US = 86_400_000_000
START_US = 20_000 * DAY_US + 12_345_678
NUM_ROWS = 12_000


def make_rows(seed: int = 0) -> pa.Table:
    """Readings of two assets over some twelve days, at odd times, one asset with a long gap."""
    rng = np.random.default_rng(seed)
    parts = []
    for asset, num_rows in (("a", NUM_ROWS), ("b", NUM_ROWS // 3)):
        times = START_US + np.cumsum(rng.integers(1, 170_000_000, num_rows))
        times[num_rows // 2 :] += 3 * DAY_US if asset == "b" else 0
        columns = {"timestamp": pa.array(times, pa.timestamp("us", "UTC"))}
        columns |= {"asset": pa.repeat(asset, num_rows), "x": rng.normal(size=num_rows)}
        parts.append(pa.table(columns))
    return pa.concat_tables(parts)


def ingest_rows(folder: Path, rows: pa.Table, *, num_files: int, seed: int = 0) -> Lake:
    raw, lake = folder / "raw", Lake(folder / "lake")
    raw.mkdir(parents=True)
    shuffled = rows.take(np.random.default_rng(seed).permutation(rows.num_rows))
    bounds = np.linspace(0, rows.num_rows, num_files + 1).astype(int).tolist()
    for number, (first, end) in enumerate(pairwise(bounds)):
        pq.write_table(shuffled.slice(first, end - first), raw / f"{number}.parquet")
        ingest(raw, lake, config=ReadingsConfig(period_s=60.0))
    return lake


def open_view(lake: Lake) -> LakeView:
    version, contract = lake.readings_version(), lake.read_contract()
    assert version is not None
    assert contract is not None
    return LakeView(lake, contract, PinnedReadings(lake, version), ReadingsConfig())


def read(lake: Lake, *, max_rows: int = 3_000, **period: int | None):
    bounds = {"start_us": None, "end_us": None} | period
    return read_training_rows(open_view(lake), max_rows=max_rows, held_share=0.3, **bounds)


@pytest.fixture(scope="module")
def lake(tmp_path_factory) -> Lake:
    return ingest_rows(tmp_path_factory.mktemp("one"), make_rows(), num_files=1)


@given(
    num_rows=st.integers(0, 10**9),
    quota=st.integers(1, 10**7),
    held_share=st.floats(0.01, 0.99),
)
def test_blocks_are_apart_and_hold_what_was_asked_for(num_rows, quota, held_share):
    blocks = choose_blocks(num_rows, quota, held_share=held_share)
    assert sum(end - first for first, end in blocks) == min(num_rows, quota)
    assert all(first < end for first, end in blocks)
    assert all(one[1] <= other[0] for one, other in pairwise(blocks))
    assert not blocks or (blocks[0][0] >= 0 and blocks[-1][1] == num_rows)
    assert len(blocks) <= pipeline_sample.MAX_BLOCKS
    if quota < num_rows:
        assert blocks[-1][1] - blocks[-1][0] == int(np.ceil(quota * held_share))


def test_a_period_that_is_not_too_long_is_read_as_a_whole(lake):
    rows = read(lake, max_rows=100_000)
    assert rows.table.equals(lake.read_readings())
    assert (rows.num_period_rows, rows.num_blocks) == (rows.table.num_rows, 2)


def test_of_a_long_period_each_asset_gives_its_part_in_blocks(lake, monkeypatch):
    monkeypatch.setattr(pipeline_sample, "MIN_BLOCK_ROWS", 100)
    rows, whole = read(lake), lake.read_readings()
    assert rows.num_period_rows == whole.num_rows == NUM_ROWS + NUM_ROWS // 3
    counts = {
        row["values"]: row["counts"] for row in rows.table["asset"].value_counts().to_pylist()
    }
    assert counts == {"a": 2_250, "b": 750}
    assert rows.num_blocks == 15 + 1 + 5 + 1
    mine = whole.filter(pa.compute.equal(whole["asset"], "b"))
    taken = rows.table.filter(pa.compute.equal(rows.table["asset"], "b"))
    place = np.searchsorted(times_of(mine), times_of(taken))
    assert mine.take(place).equals(taken)
    expected = [range(*block) for block in choose_blocks(NUM_ROWS // 3, 750, held_share=0.3)]
    assert place.tolist() == [rank for block in expected for rank in block]


def test_a_small_asset_keeps_enough_beside_a_large_one(tmp_path):
    table = make_rows()
    large, small = (table.filter(pa.compute.equal(table["asset"], name)) for name in "ab")
    lake = ingest_rows(tmp_path, pa.concat_tables([large, small.slice(0, 60)]), num_files=1)
    rows = read(lake, max_rows=2_400)
    counts = rows.table["asset"].value_counts().to_pylist()
    by_share = 2_400 * large.num_rows // (large.num_rows + 60)
    assert {row["values"]: row["counts"] for row in counts} == {"a": by_share, "b": 60}


def times_of(table: pa.Table) -> np.ndarray:
    return table["timestamp"].cast(pa.int64()).to_numpy()


def test_which_rows_are_taken_depends_on_no_order_split_or_compaction(lake, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline_sample, "COUNT_ROWS", 77)
    expected = read(lake)
    other = ingest_rows(tmp_path, make_rows(), num_files=4, seed=3)
    assert read(other) == expected
    DeltaTable(other.uri("readings")).optimize.compact()
    assert read(other) == expected


def test_a_period_may_begin_and_end_within_a_day(lake):
    start, end = START_US + DAY_US // 3, START_US + 5 * DAY_US + 7
    rows, whole = (
        read(lake, start_us=start, end_us=end),
        lake.read_readings(start_us=start, end_us=end),
    )
    assert rows.num_period_rows == whole.num_rows
    assert rows.table.num_rows == 3_000 - 1  # each asset's part is a whole number
    assert rows.table.slice(rows.table.num_rows - 1).equals(whole.slice(whole.num_rows - 1))
    nothing = read(lake, start_us=0, end_us=START_US)
    assert (nothing.num_period_rows, nothing.table.num_rows, nothing.num_blocks) == (0, 0, 0)


def test_files_of_which_nothing_is_taken_are_not_opened(tmp_path):
    """Rows are counted by the statistics of the files."""
    lake = ingest_rows(tmp_path, make_rows(), num_files=1)
    expected = read(lake, max_rows=600)
    taken = {f"{time:%Y-%m-%d}" for time in expected.table["timestamp"].to_pylist()}
    gone = [
        file
        for file in DeltaTable(lake.uri("readings")).file_uris()
        if file.partition("date=")[2][:10] not in taken
    ]
    for file in gone:
        Path(file).unlink()
    assert gone
    assert read(lake, max_rows=600) == expected


def test_a_training_on_part_of_the_period_says_so(trained, tmp_path):
    registry = trained.config.registry.model_copy(update={"folder": str(tmp_path / "mlflow")})
    period = trained.config.training.model_copy(update={"max_rows": 2_000})
    config = trained.config.model_copy(update={"training": period, "registry": registry})
    result = pipeline.train_detector(config)
    assert (result.num_rows, result.num_blocks) == (2_000, 2)
    assert result.num_period_rows == trained.result.num_rows
    assert pipeline.train_detector(config).skipped
    assert trained.result.num_blocks == 1
