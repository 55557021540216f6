"""Unit tests of what changed between two versions of the readings."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from vae_anomaly.config import ReadingsConfig
from vae_anomaly.readings.changes import Changes, Touched, find_changes
from vae_anomaly.readings.ingest import ingest
from vae_anomaly.readings.tables import Lake

START = 1_714_564_800
CONFIG = ReadingsConfig(period_s=1.0)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return tmp_path / "raw"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


def deliver(raw: Path, lake: Lake, name: str, rows: dict[int, float | None]) -> int:
    """Ingest a file and return the version of the readings after it."""
    times = pa.array([START + second for second in rows], pa.timestamp("s", "UTC"))
    raw.mkdir(exist_ok=True)
    columns = {"timestamp": times, "x": list(rows.values()), "y": [1.0] * len(rows)}
    pq.write_table(pa.table(columns), raw / f"{name}.parquet")
    ingest(raw, lake, config=CONFIG)
    version = lake.readings_version()
    assert version is not None
    return version


def seconds(changes: Changes, first: int = 0, end: int = 1000) -> list[int]:
    """Return the seconds of all rows that changed in `[first, end)`."""
    found = look(changes, first, end)
    assert not found.unknown
    return [int(time) // 1_000_000 - START for time in found.times]


def look(changes: Changes, first: int, end: int) -> Touched:
    bounds = {"start_us": (START + first) * 1_000_000, "end_us": (START + end) * 1_000_000}
    return changes.find("asset", **bounds)


def test_nothing_changed_between_a_version_and_itself(raw, lake):
    version = deliver(raw, lake, "a", {0: 1.0})
    changes = find_changes(lake, since=version, until=version)
    assert (changes.assets, changes.is_everything) == ((), False)


def test_new_rows_are_found_by_their_files(raw, lake):
    since = deliver(raw, lake, "a", {0: 1.0, 1: 2.0})
    until = deliver(raw, lake, "b", {5: 1.0, 6: 2.0, 9: 3.0})
    changes = find_changes(lake, since=since, until=until)
    assert changes.assets == ("asset",)
    assert changes.spans_of("asset") == (((START + 5) * 1_000_000, end_of(9)),)
    assert seconds(changes) == [5, 6, 9]
    assert seconds(changes, 6, 9) == [6]


def test_of_a_file_written_again_only_rows_that_differ_are_found(raw, lake):
    since = deliver(raw, lake, "a", {0: 1.0, 1: 2.0, 2: None, 4: 4.0, 5: None})
    until = deliver(raw, lake, "a", {0: 1.0, 1: 2.5, 2: None, 3: 3.0, 5: 5.0})
    assert seconds(find_changes(lake, since=since, until=until)) == [1, 3, 4, 5]


def test_what_came_and_went_in_between_is_not_found(raw, lake):
    since = deliver(raw, lake, "a", {0: 1.0, 1: 2.0})
    deliver(raw, lake, "a", {0: 7.0, 1: 2.0})
    until = deliver(raw, lake, "a", {0: 1.0, 1: 2.0})
    changes = find_changes(lake, since=since, until=until)
    assert changes.assets == ("asset",)
    assert seconds(changes) == []


def test_upkeep_changes_nothing_and_what_comes_after_it_is_found(raw, lake):
    deliver(raw, lake, "a", {0: 1.0})
    since = deliver(raw, lake, "b", {1: 1.0})
    DeltaTable(lake.uri("readings")).optimize.compact()
    compacted = lake.readings_version()
    assert compacted == since + 1
    assert find_changes(lake, since=since, until=compacted).assets == ()
    until = deliver(raw, lake, "c", {2: 1.0})
    changes = find_changes(lake, since=since, until=until)
    assert not changes.removed
    assert seconds(changes) == [2]


def test_upkeep_after_new_rows_shows_the_new_rows_only(raw, lake):
    since = deliver(raw, lake, "a", {0: 1.0})
    deliver(raw, lake, "b", {1: 1.0})
    DeltaTable(lake.uri("readings")).optimize.compact()
    changes = find_changes(lake, since=since, until=lake.readings_version())
    assert changes.removed
    assert seconds(changes) == [1]


def test_where_replaced_files_are_gone_all_of_their_span_counts(raw, lake):
    since = deliver(raw, lake, "a", {0: 1.0, 9: 1.0})
    until = deliver(raw, lake, "a", {0: 2.0, 4: 1.0, 9: 1.0})
    table = DeltaTable(lake.uri("readings"))
    table.vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False)
    found = look(find_changes(lake, since=since, until=until), 0, 1000)
    assert found.unknown == ((START * 1_000_000, end_of(9)),)


def end_of(second: int) -> int:
    """Return the last time of a file, which the log knows to the millisecond."""
    return (START + second) * 1_000_000 + 999


def test_commits_after_the_newer_version_do_not_count(raw, lake):
    since = deliver(raw, lake, "a", {0: 1.0})
    until = deliver(raw, lake, "b", {1: 1.0})
    DeltaTable(lake.uri("readings")).optimize.compact()
    assert seconds(find_changes(lake, since=since, until=until)) == [1]


@pytest.mark.parametrize("since", [None, 99])
def test_without_an_older_version_everything_counts(raw, lake, since):
    until = deliver(raw, lake, "a", {0: 1.0})
    changes = find_changes(lake, since=since, until=until)
    assert changes.is_everything
    assert look(changes, 0, 10).unknown


def test_where_the_log_of_the_older_version_is_gone_everything_counts(raw, lake):
    since = deliver(raw, lake, "a", {0: 1.0})
    until = deliver(raw, lake, "b", {1: 1.0})
    DeltaTable(lake.uri("readings")).create_checkpoint()
    log = Path(lake.root) / "readings" / "_delta_log"
    for number in range(since + 1):
        (log / f"{number:020d}.json").unlink()
    assert find_changes(lake, since=since, until=until).is_everything
