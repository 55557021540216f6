"""Guarantees of the readings room, on data that Hypothesis makes up."""

from __future__ import annotations

from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vae_anomaly.config import ReadingsConfig
from vae_anomaly.domain import CheckedReadings, Problem
from vae_anomaly.readings.check import check_readings
from vae_anomaly.readings.ingest import ingest
from vae_anomaly.readings.quality import find_kind
from vae_anomaly.readings.tables import Lake

START_US = 1_700_000_000_000_000
CONFIG = ReadingsConfig(period_s=1.0, sentinels=(-999.0,))
ROUNDING_SHARE = 5e-7
"""Rounding error of a difference, in spreads, behind an offset of 1e9 spreads (four half ulps)."""
DIRTY = (np.nan, np.inf, -np.inf, -1.18e42, -999.0, 0.0, -0.0, 1.5, 2.5)


@st.composite
def raw_tables(draw: st.DrawFn) -> pa.Table:
    """Rows with few keys and few values, so that every kind of clash comes up."""
    rows = draw(
        st.lists(
            st.tuples(
                st.sampled_from([None, -5, 0, 1, 2, 3, 4_000_000_000]),
                st.sampled_from([None, "", "a", "b"]),
                st.sampled_from(DIRTY),
                st.sampled_from(DIRTY),
            ),
            min_size=1,
            max_size=24,
        )
    )
    seconds, assets, flow, level = zip(*rows, strict=True)
    times = [None if s is None else START_US + s * 1_000_000 for s in seconds]
    return pa.table(
        {
            "timestamp": pa.array(times, pa.timestamp("us", "UTC")),
            "asset": pa.array(assets, pa.string()),
            "flow": pa.array(flow, pa.float64()),
            "level (m)": pa.array(level, pa.float64()),
        }
    )


def check(table: pa.Table) -> CheckedReadings:
    return check_readings(table, config=CONFIG)


def kept_rows(table: pa.Table) -> list[str]:
    checked = check(table)
    rows = checked.readings.take(checked.problems == Problem.NONE.value)
    names = [checked.readings.asset_names[code] for code in rows.asset_codes]
    values = [tuple(map(float.hex, map(float, row))) for row in rows.values]
    return sorted(map(repr, zip(names, rows.timestamps.tolist(), values, strict=True)))


@given(raw_tables())
def test_g2_every_row_is_counted_once(table: pa.Table) -> None:
    checked = check(table)
    quality = checked.quality
    assert quality.num_rows == table.num_rows == checked.problems.size
    assert (
        quality.num_rows == quality.num_usable + quality.num_duplicates + quality.num_quarantined
    )
    assert sum(quality.problems.values()) == quality.num_rows - quality.num_usable
    assert not np.isinf(checked.readings.values).any()


@given(raw_tables(), st.randoms(use_true_random=False))
def test_g3_kept_rows_do_not_depend_on_the_order_of_arrival(
    table: pa.Table, random: Random
) -> None:
    order = list(range(table.num_rows))
    random.shuffle(order)
    shuffled = table.take(order)
    assert kept_rows(table) == kept_rows(shuffled)
    assert check(table).quality.problems == check(shuffled).quality.problems


@st.composite
def sensor_values(draw: st.DrawFn) -> np.ndarray:
    seed = draw(st.integers(0, 2**32 - 1))
    num_rows = draw(st.integers(5, 400))
    rng = np.random.default_rng(seed)
    shape = draw(st.sampled_from(["normal", "uniform", "rounded", "integers", "levels", "binary"]))
    if shape == "normal":
        return rng.normal(size=num_rows)
    if shape == "uniform":
        return rng.random(num_rows)
    if shape == "rounded":
        return np.round(rng.normal(5.0, 2.0, size=num_rows), draw(st.integers(0, 3)))
    if shape == "integers":
        return rng.poisson(draw(st.sampled_from([0.5, 3.0, 80.0])), size=num_rows) * 1.0
    if shape == "levels":
        return rng.choice(rng.normal(size=draw(st.integers(2, 6))), size=num_rows)
    return rng.integers(0, 2, size=num_rows) * 1.0


@settings(max_examples=400)
@given(
    sensor_values(),
    st.sampled_from([-1e7, -3.7, -0.001, 1e-9, 0.3, 1.0, 1024.0, 1e6]),
    st.sampled_from([0.0, 1.0, -273.15 / 40, 1e3, -1e6, 1e9, -1e9]),
)
def test_g1_kind_and_step_follow_a_change_of_unit(
    values: np.ndarray, scale: float, offset_in_spreads: float
) -> None:
    spread = float(values.max() - values.min())
    offset = offset_in_spreads * abs(scale) * spread
    kind, step = find_kind(values)
    other_kind, other_step = find_kind(scale * values + offset)
    assert other_kind is kind
    assert abs(other_step - abs(scale) * step) <= ROUNDING_SHARE * abs(scale) * spread


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(raw_tables(), st.lists(st.integers(0, 2), min_size=24, max_size=24), st.randoms())
def test_g3_readings_table_does_not_depend_on_files_and_order(
    table: pa.Table, places: list[int], random: Random
) -> None:
    """Rows that contradict each other, within a file or across files, included."""
    whole, split = take_in([table]), take_in(scatter(table, places, random))
    assert whole == split


def scatter(table: pa.Table, places: list[int], random: Random) -> list[pa.Table]:
    rows = list(range(table.num_rows))
    random.shuffle(rows)
    parts = [[row for row in rows if places[row] == place] for place in range(3)]
    return [table.take(pa.array(part, pa.int64())) for part in parts]


def take_in(tables: list[pa.Table]) -> list[dict[str, object]]:
    """Ingest the tables as files and check the books on the way."""
    with TemporaryDirectory() as folder:
        for number, table in enumerate(tables):
            pq.write_table(table, Path(folder) / f"{number}.parquet")
        lake = Lake(Path(folder) / "lake")
        result = ingest(Path(folder), lake, config=CONFIG)
        assert not result.failed
        for row in lake.read_ledger().to_pylist():
            assert row["num_rows"] == (
                row["num_kept"] + row["num_quarantined"] + row["num_duplicates"]
            )
        counts = lake.counts()
        assert result.num_rows == sum(table.num_rows for table in tables)
        num_entries = sum(lake.read_ledger()["num_entries"].to_pylist())
        assert (result.num_kept, num_entries) == (counts.readings, counts.quarantine)
        return lake.read_readings().to_pylist() if counts.readings else []
