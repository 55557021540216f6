"""The work of a scoring, found from the changes of real tables."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_anomaly.config import ReadingsConfig
from vae_anomaly.domain import Contract, Reach, Sensor
from vae_anomaly.operations.pipeline_due import DueWork
from vae_anomaly.operations.pipeline_scored import PinnedScores
from vae_anomaly.operations.pipeline_tables import LakeView
from vae_anomaly.readings.changes import find_changes
from vae_anomaly.readings.data_files import FileChange, commit_files, list_data_files
from vae_anomaly.readings.layout import name_columns, readings_schema
from vae_anomaly.readings.pinned import PinnedReadings
from vae_anomaly.readings.rows import LATEST_US
from vae_anomaly.readings.tables import Lake

DAY_US = 86_400_000_000
STEPS_US = np.cumsum(np.random.default_rng(0).integers(1, 4, 30)) * 1_000_000
CLOCK = [20_000 * DAY_US + int(time) + DAY_US * (k // 12) for k, time in enumerate(STEPS_US)]
"""30 times on three days."""

CONTRACT = Contract(sensors=(Sensor("x"),), period_s=1.0, asset="asset")
SCHEMA = readings_schema(name_columns(["x"]))
Rows = dict[int, float]


def write_version(lake: Lake, before: Rows, there: Rows, *, number: int, appends: bool) -> None:
    """Make the readings of each day those that there are now, in one commit."""
    uri = lake.uri("readings")
    added, removed = [], []
    for day in sorted({time // DAY_US for time in {*before, *there}}):
        old = {time: value for time, value in before.items() if time // DAY_US == day}
        new = {time: value for time, value in there.items() if time // DAY_US == day}
        if old == new:
            continue
        if appends and old.items() <= new.items():
            new = {time: value for time, value in new.items() if time not in old}
        else:
            mine = [file for file in list_data_files(uri) if file.first_us // DAY_US == day]
            removed += mine
        if new:
            added.append(lake.readings_folder().write(to_table(new), name=f"{number}"))
    change = FileChange(added, removed, since=lake.readings_version())
    commit_files(uri, change, schema=SCHEMA, commit_id=f"{number}")


def to_table(rows: Rows) -> pa.Table:
    times = pa.array(sorted(rows), pa.timestamp("us", "UTC"))
    count = len(rows)
    return pa.table(
        {
            "asset": pa.repeat("a", count),
            "timestamp": times,
            "date": times.cast(pa.date32()),
            "x": [rows[time] for time in sorted(rows)],
            "_source": pa.repeat("s", count),
            "_batch": pa.repeat("b", count),
            "_row": np.arange(count),
            "_deliveries": pa.nulls(count, SCHEMA.field("_deliveries").type),
        },
        schema=SCHEMA,
    )


def open_work(lake: Lake, since: int | None, *, reach: Reach, max_steps: int) -> DueWork:
    version = lake.readings_version()
    assert version is not None
    return DueWork(
        view=LakeView(lake, CONTRACT, PinnedReadings(lake, version), ReadingsConfig()),
        changes=find_changes(lake, since=since, until=version),
        scores=PinnedScores(lake, model_name="m", model_version="1"),
        reach=reach,
        between=(CLOCK[0], LATEST_US),
        max_steps=max_steps,
    )


def look(there: Rows, time: int, reach: Reach) -> list[tuple[int, float]]:
    """Return what the score of a step depends on."""
    times = sorted(there)
    at = times.index(time)
    earliest = times[max(at - reach.window_steps, 0)] - reach.level_us
    near = times[: at + reach.lookahead_steps + 1]
    return [(other, there[other]) for other in near if other >= earliest]


@given(
    arrivals=st.lists(
        st.tuples(st.sets(st.integers(0, 29)), st.integers(0, 2), st.booleans()),
        min_size=1,
        max_size=4,
    ),
    reach=st.builds(
        Reach, st.integers(0, 4), st.integers(0, 3), st.sampled_from([0, 5_000_000, DAY_US])
    ),
    max_steps=st.integers(1, 12),
)
@settings(max_examples=60, deadline=None)
def test_whatever_files_come_and_go_scores_see_all_that_they_depend_on(
    tmp_path_factory, arrivals, reach, max_steps
):
    lake = Lake(tmp_path_factory.mktemp("lake"))
    lake.write_contract(CONTRACT)
    scored: dict[int, list[tuple[int, float]]] = {}
    before: Rows = {}
    since = None
    for number, (places, changed, appends) in enumerate(arrivals):
        there = {CLOCK[k]: float(number * (k % 3 < changed)) for k in places}
        write_version(lake, before, there, number=number, appends=appends)
        work = open_work(lake, since, reach=reach, max_steps=max_steps)
        for stretch in work.plan():
            inside = range(stretch.start_us, stretch.end_us)
            scored = {time: seen for time, seen in scored.items() if time not in inside}
            if not stretch.num_steps:
                continue
            table = work.view.read("a", start_us=stretch.read_from_us, end_us=stretch.read_to_us)
            times = table["timestamp"].cast(pa.int64()).to_pylist()
            seen = dict(zip(times, table["x"].to_pylist(), strict=True))
            mine = [time for time in times if time in inside]
            assert len(mine) == stretch.num_steps
            scored |= {time: look(seen, time, reach) for time in mine}
        before, since = there, lake.readings_version()
    assert scored == {
        time: look(before, time, reach)
        for at, time in enumerate(sorted(before))
        if at + reach.lookahead_steps < len(before)
    }


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(tmp_path)
    lake.write_contract(CONTRACT)
    return lake


def test_few_changed_rows_of_a_file_are_few_steps_to_score(lake):
    rows = dict.fromkeys(CLOCK, 1.0)
    write_version(lake, {}, rows, number=0, appends=False)
    since = lake.readings_version()
    write_version(lake, rows, rows | {CLOCK[3]: 2.0, CLOCK[20]: 2.0}, number=1, appends=False)
    stretches = list(open_work(lake, since, reach=Reach(2), max_steps=100).plan())
    assert [(item.start_us, item.num_steps) for item in stretches] == [
        (CLOCK[3], 3),
        (CLOCK[20], 3),
    ]


def test_long_work_is_cut_and_estimated_before_anything_is_read(lake):
    write_version(lake, {}, dict.fromkeys(CLOCK, 1.0), number=0, appends=False)
    work = open_work(lake, None, reach=Reach(2), max_steps=10)
    assert work.estimate_steps() == 30
    stretches = list(work.plan())
    assert sum(item.num_steps for item in stretches) == 30
    assert max(item.num_steps for item in stretches) <= 10


def test_the_first_steps_are_scored_again_where_those_before_them_are_no_more(lake):
    rows = dict.fromkeys(CLOCK, 1.0)
    write_version(lake, {}, rows, number=0, appends=False)
    since = lake.readings_version()
    left = dict.fromkeys(CLOCK[4:], 1.0)
    write_version(lake, rows, left, number=1, appends=False)
    stretches = list(open_work(lake, since, reach=Reach(3), max_steps=2).plan())
    assert sum(item.num_steps for item in stretches) == 3
    assert stretches[-1].end_us == CLOCK[6] + 1
