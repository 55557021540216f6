"""What the values of each delivery are like, stored beside the readings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vae_anomaly.config import ReadingsConfig
from vae_anomaly.readings.check import check_readings
from vae_anomaly.readings.ingest import ingest
from vae_anomaly.readings.layout import quality_to_table
from vae_anomaly.readings.tables import Lake

START_US = 1_714_564_800_000_000
CONFIG = ReadingsConfig(period_s=60.0, sentinels=(-9999.0,))
RANGES = {"flow": (0.0, 5.0)}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


def make_rows(num_rows: int, *, shuffled: bool) -> pa.Table:
    """Make two pumps over days, with infinities, sentinels, spikes, copies and a dead sensor."""
    rng = np.random.default_rng(0)
    step = np.arange(num_rows)
    flow = 3.0 + np.sin(step / 50.0)
    flow[[100, 200]] = 90.0
    level = np.round(rng.normal(2.0, 0.1, num_rows), 1)
    level[[5, 6, 7]] = [np.inf, -np.inf, -9999.0]
    dead = rng.normal(size=num_rows)
    dead[num_rows // 2 :] = 0.5
    table = pa.table(
        {
            "timestamp": pa.array(START_US + step // 2 * 60_000_000, pa.timestamp("us", "UTC")),
            "asset": np.array(["pump-1", "pump-2"])[step % 2],
            "flow": flow,
            "level": level,
            "copy": flow,
            "dead": dead,
            "empty": pa.nulls(num_rows, pa.float64()),
        }
    )
    return table.take(rng.permutation(num_rows)) if shuffled else table


@pytest.mark.parametrize("shuffled", [False, True])
def test_stored_quality_is_that_of_a_check_of_the_file(
    tmp_path: Path, lake: Lake, *, shuffled: bool
) -> None:
    rows = make_rows(8_000, shuffled=shuffled)
    pq.write_table(rows, tmp_path / "raw.parquet")
    ingest(tmp_path / "raw.parquet", lake, config=CONFIG, ranges=RANGES)
    stored = lake.read_quality()
    found = check_readings(rows, config=CONFIG, ranges=RANGES).quality.by_asset
    batch = stored["batch"][0].as_py()
    expected = quality_to_table(found, source="raw.parquet", batch=batch)
    keys = [("asset", "ascending"), ("sensor", "ascending")]
    assert stored.sort_by(keys).equals(expected.sort_by(keys))
    of = {(row["asset"], row["sensor"]): row for row in stored.to_pylist()}
    assert of["pump-1", "flow"]["num_spikes"] == of["pump-1", "flow"]["num_out_of_range"] == 2
    assert of["pump-2", "flow"]["num_spikes"] == 0
    assert of["pump-1", "copy"]["copy_of"] == "flow"
    assert of["pump-2", "level"]["num_infinite"] == 1
    assert (of["pump-1", "level"]["num_infinite"], of["pump-2", "level"]["num_sentinel"]) == (1, 1)
    assert of["pump-2", "dead"]["last_flat_steps"] == 2_000
    assert of["pump-1", "empty"]["num_missing"] == of["pump-1", "empty"]["num_rows"] == 4_000
    assert of["pump-1", "empty"]["minimum"] is None


def test_each_delivery_has_its_own_quality_also_a_correction(tmp_path: Path, lake: Lake) -> None:
    file = tmp_path / "raw.parquet"
    for num_rows in (400, 402):
        pq.write_table(make_rows(num_rows, shuffled=False), file)
        ingest(file, lake, config=CONFIG)
    ingest(file, lake, config=CONFIG)
    stored = lake.read_quality()
    assert len(set(stored["batch"].to_pylist())) == 2
    assert sorted(set(stored["num_rows"].to_pylist())) == [200, 201]


def test_a_lake_without_deliveries_has_no_quality(lake: Lake) -> None:
    assert lake.read_quality().num_rows == 0
