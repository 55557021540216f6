"""Input of every shape in the lake: long, in folders that are columns, local, drifting."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vae_anomaly.config import LongConfig, ReadingsConfig
from vae_anomaly.readings.housekeeping import verify_ledger
from vae_anomaly.readings.ingest import IngestResult, ingest
from vae_anomaly.readings.tables import Lake

pytestmark = pytest.mark.integration

START_US = 1_714_564_800_000_000


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


def make_times(seconds: object) -> pa.Array:
    values = START_US + np.asarray(seconds, dtype=np.int64) * 1_000_000
    return pa.array(values, pa.timestamp("us", "UTC"))


def write(file: Path, **columns: object) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), file)
    return file


def take_in(source: Path, lake: Lake, **settings: object) -> IngestResult:
    result = ingest(source, lake, config=ReadingsConfig(**{"period_s": 1.0, **settings}))
    assert all(balance.holds for balance in verify_ledger(lake))
    return result


def rows(lake: Lake, *columns: str) -> list[tuple]:
    table = lake.read_readings()
    return list(zip(*(table[name].to_pylist() for name in columns), strict=True))


@pytest.mark.parametrize("order", ["by time", "by sensor"])
def test_long_files_end_in_the_readings_of_wide_ones(
    tmp_path: Path, lake: Lake, order: str
) -> None:
    flow, level = np.arange(50.0), np.arange(50.0) / 7
    wide = Lake(tmp_path / "wide lake")
    write(tmp_path / "wide" / "x.parquet", timestamp=make_times(range(50)), flow=flow, level=level)
    take_in(tmp_path / "wide", wide)
    shape = np.arange(100).reshape(2, 50)
    take = (shape.T if order == "by time" else shape).ravel()
    write(
        tmp_path / "long" / "x.parquet",
        timestamp=make_times([*range(50), *range(50)]).take(pa.array(take)),
        sensor=pa.array(["flow"] * 50 + ["level"] * 50).take(pa.array(take)),
        value=np.concatenate([flow, level])[take],
    )
    result = take_in(tmp_path / "long", lake, long=LongConfig(sensor="sensor"))
    assert result.failed == ()
    assert rows(lake, "flow", "level") == rows(wide, "flow", "level")


def test_values_without_a_sensor_and_skipped_times_go_to_quarantine(
    tmp_path: Path, lake: Lake
) -> None:
    write(
        tmp_path / "raw" / "x.parquet",
        timestamp=["2024-03-31 01:59:59", "2024-03-31 02:30:00", "2024-03-31 03:00:00"] * 2,
        sensor=["flow"] * 3 + [None, "flow", "flow"],
        value=[1.0, 2.0, 3.0, 4.0, 2.0, 3.0],
    )
    settings = {"long": LongConfig(sensor="sensor"), "timezone": "Europe/Berlin"}
    result = take_in(tmp_path / "raw", lake, **settings)
    assert (result.num_kept, result.num_quarantined) == (2, 3)
    found = {(row["reason"], row["content"]) for row in lake.read_quarantine().to_pylist()}
    assert {reason for reason, _ in found} == {"no_sensor", "implausible_time"}
    assert any("value = 4" in content for _, content in found)
    assert any("2024-03-31 02:30:00" in content for _, content in found)
    assert any("local times of Europe/Berlin" in note for note in result.notes)


def test_folders_that_name_assets_and_days(tmp_path: Path, lake: Lake) -> None:
    for asset in ("pump-1", "pump%2F2"):
        for day in (0, 1):
            file = tmp_path / "raw" / f"asset={asset}" / f"date=2024-05-0{day + 1}" / "x.parquet"
            times = make_times(day * 86_400 + np.arange(3))
            write(file, timestamp=times, flow=np.arange(3.0) + day)
    assert take_in(tmp_path / "raw", lake).num_kept == 12
    assert rows(lake, "asset") == [("pump-1",)] * 6 + [("pump/2",)] * 6


def test_files_that_drift_are_handled_as_the_settings_say(tmp_path: Path, lake: Lake) -> None:
    raw = tmp_path / "raw"
    write(raw / "a.parquet", timestamp=make_times(range(3)), flow=[1.0] * 3, level=[1.0] * 3)
    write(raw / "b.parquet", timestamp=make_times(range(3, 6)), P1=[2, 2, 2])
    write(
        raw / "c.parquet",
        timestamp=make_times(range(6, 9)),
        flow=["3", "3", "x"],
        level=[1.0] * 3,
        new=[1.0] * 3,
    )
    settings = {"aliases": {"P1": "flow"}}
    result = take_in(raw, lake, **settings)
    assert [failed.name for failed in result.failed] == ["b.parquet", "c.parquet"]
    settings |= {"missing_sensors": "missing", "numeric_text": True}
    result = take_in(raw, lake, **settings, new_sensors="refuse")
    assert [failed.name for failed in result.failed] == ["c.parquet"]
    assert "got ('new',) too" in result.failed[0].reason
    result = take_in(raw, lake, **settings)
    assert (result.failed, result.num_kept) == ((), 3)
    assert (
        "1 value of 'flow', taken as missing: text that is no number (c.parquet)" in result.notes
    )
    assert rows(lake, "flow")[3:] == [(2.0,)] * 3 + [(3.0,)] * 2 + [(None,)]


def test_a_long_file_in_chunks_of_any_size(
    tmp_path: Path, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vae_anomaly.readings.chunks.CHUNK_CELLS", 1)
    monkeypatch.setattr("vae_anomaly.readings.chunks.MIN_CHUNK_ROWS", 5)
    monkeypatch.setattr("vae_anomaly.readings.source.BATCH_ROWS", 7)
    write(
        tmp_path / "raw" / "x.parquet",
        timestamp=make_times(np.repeat(np.arange(30), 2)),
        sensor=["flow", "level"] * 30,
        value=np.arange(60.0),
    )
    result = take_in(tmp_path / "raw", lake, long=LongConfig(sensor="sensor"))
    assert (result.num_rows, result.num_kept, result.failed) == (30, 30, ())
    assert rows(lake, "flow", "level") == [(2.0 * k, 2.0 * k + 1) for k in range(30)]
