"""The rows that detectors are compared on."""

import numpy as np
import pyarrow as pa
import pytest

from tests.unit.operations.test_pipeline_sample import ingest_rows, open_view
from vae_anomaly.domain import Reach
from vae_anomaly.evaluation.injected import FAULT_STEPS, InjectedFault
from vae_anomaly.operations.promotion import rows as promotion_rows
from vae_anomaly.operations.promotion.contenders import find_found
from vae_anomaly.operations.promotion.rows import read_comparison_rows

START_US = 20_000 * 86_400_000_000
MINUTE_US = 60_000_000
ASSETS = ("a", "b", "c")
NUM_ROWS = 3_000
NOWHERE = Reach(0)


@pytest.fixture(scope="module")
def view(tmp_path_factory):
    rng = np.random.default_rng(0)
    times = START_US + np.arange(NUM_ROWS) * MINUTE_US
    parts = [
        pa.table(
            {
                "timestamp": pa.array(times, pa.timestamp("us", "UTC")),
                "asset": pa.repeat(asset, NUM_ROWS),
                "x": rng.normal(size=NUM_ROWS),
            }
        )
        for asset in ASSETS
    ]
    folder = tmp_path_factory.mktemp("rows")
    return open_view(ingest_rows(folder, pa.concat_tables(parts), num_files=1))


def read(view, *, after_us=START_US, reach=NOWHERE, max_rows=100_000):
    return read_comparison_rows(view, after_us=after_us, reach=reach, max_rows=max_rows)


def test_only_rows_later_than_what_was_trained_on_are_compared(view):
    after_us = START_US + 1_000 * MINUTE_US
    found = read(view, after_us=after_us)
    assert found.is_compared.sum() == len(ASSETS) * (NUM_ROWS - 1_001)
    assert found.timestamps[found.is_compared].min() == after_us + MINUTE_US
    assert found.sensors == ("x",)
    assert set(np.unique(found.asset_codes)) == {0, 1, 2}


def test_rows_that_scores_look_back_at_are_read_but_not_compared(view):
    after_us = START_US + 1_000 * MINUTE_US
    found = read(view, after_us=after_us, reach=Reach(10, 0, 5 * MINUTE_US))
    assert (~found.is_compared).sum() == len(ASSETS) * 15
    assert found.timestamps.min() == after_us + MINUTE_US - 15 * MINUTE_US


def test_the_last_rows_wait_where_scores_look_ahead(view):
    found = read(view, reach=Reach(0, 7))
    last_us = START_US + (NUM_ROWS - 1) * MINUTE_US
    assert found.timestamps.max() == last_us
    assert found.timestamps[found.is_compared].max() == last_us - 7 * MINUTE_US


def test_the_latest_rows_of_some_assets_are_taken_where_there_are_many(view, monkeypatch):
    found = read(view, max_rows=6_000)
    assert found.is_compared.sum() == 3 * 2_000
    monkeypatch.setattr(promotion_rows, "MIN_ASSET_ROWS", 2_500)
    found = read(view, max_rows=5_000)
    assert found.table["asset"].unique().to_pylist() == ["a", "c"]
    assert found.timestamps[found.is_compared].max() == START_US + (NUM_ROWS - 1) * MINUTE_US


def test_no_rows_are_none(view):
    found = read(view, after_us=START_US + NUM_ROWS * MINUTE_US)
    assert found.is_compared.size == found.table.num_rows == 0


def test_stretches_end_at_gaps_and_assets(view):
    starts = read(view).find_segment_start(gap_us=5 * MINUTE_US)
    assert np.unique(starts).tolist() == [0, NUM_ROWS - 1, 2 * (NUM_ROWS - 1)]


def test_a_fault_is_found_by_flags_that_it_made():
    faults = tuple(InjectedFault(at, 0, "step", 1.0) for at in (0, 100, 200))
    clean, faulty = np.zeros(300, dtype=bool), np.zeros(300, dtype=bool)
    faulty[[5, 100 + FAULT_STEPS, 210]] = True
    clean[210] = True
    assert find_found(faults, faulty, clean).tolist() == [True, False, False]
