"""Long input gives the readings that the same values in wide form give."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vae_anomaly.config import LongConfig, ReadingsConfig, make_config
from vae_anomaly.domain import CheckedReadings, Contract, Problem, Sensor
from vae_anomaly.errors import ConfigError, ContractError
from vae_anomaly.readings import long_form, pivot
from vae_anomaly.readings import source as source_module
from vae_anomaly.readings.check import check_readings
from vae_anomaly.readings.parts import write_notes
from vae_anomaly.readings.source import open_source

START_US = 1_714_564_800_000_000
LONG = LongConfig(sensor="sensor")
CONTRACT = Contract((Sensor("flow"), Sensor("level")), period_s=1.0)


def make_times(seconds: object) -> pa.Array:
    values = START_US + np.asarray(seconds, dtype=np.int64) * 1_000_000
    return pa.array(values, pa.timestamp("us", "UTC"))


def make_long(seconds: list[int], sensors: list, values: list, **columns: object) -> pa.Table:
    return pa.table(
        {"timestamp": make_times(seconds), "sensor": sensors, "value": values, **columns}
    )


def make_wide(num_rows: int, num_sensors: int, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(num_rows, num_sensors))
    values[rng.random(values.shape) < 0.1] = np.nan
    values[:, 0] = 1.0  # so that each time is there in long form as well
    columns = {f"s{k}": values[:, k] for k in range(num_sensors)}
    assets = rng.choice(["a", "b"], num_rows)
    return pa.table({"timestamp": make_times(range(num_rows)), "asset": assets, **columns})


def melt(wide: pa.Table, order: str) -> pa.Table:
    names = [name for name in wide.column_names if name.startswith("s")]
    table = pa.concat_tables(
        [
            wide.select(["timestamp", "asset"])
            .append_column("sensor", pa.array([name] * wide.num_rows))
            .append_column("value", wide[name])
            for name in names
        ]
    )
    rows = np.arange(table.num_rows)
    if order == "by time":
        rows = rows.reshape(len(names), -1).T.ravel()
    elif order == "shuffled":
        rows = np.random.default_rng(1).permutation(rows)
    is_there = ~np.isnan(table["value"].to_numpy())
    return table.take(rows[is_there[rows]])


def check(source: object, contract: Contract | None = None, **settings: object) -> CheckedReadings:
    config = ReadingsConfig(**{"long": LONG, **settings})
    return check_readings(source, config=config, contract=contract)


def read(source: object, *names: str) -> dict[str, list]:
    (part,) = open_source(source, config=ReadingsConfig(long=LONG))
    return pa.Table.from_batches(part.batches(names)).to_pydict()


def usable_rows(checked: CheckedReadings) -> dict[tuple[str, int], list[float]]:
    readings = checked.readings
    rows = np.flatnonzero(checked.problems == Problem.NONE.value)
    return {
        (readings.asset_names[readings.asset_codes[row]], int(readings.timestamps[row])): np.where(
            np.isnan(readings.values[row]), -99.0, readings.values[row]
        ).tolist()
        for row in rows
    }


@pytest.mark.parametrize("order", ["by time", "by sensor", "shuffled"])
@pytest.mark.parametrize("batch_rows", [7, 100, 131_072])
def test_long_input_gives_the_rows_of_the_same_values_in_wide_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: str, batch_rows: int
) -> None:
    wide = make_wide(60, 5)
    pq.write_table(melt(wide, order), tmp_path / "long.parquet")
    monkeypatch.setattr(source_module, "BATCH_ROWS", batch_rows)
    found = check(tmp_path)
    assert found.contract.sensor_names == tuple(f"s{k}" for k in range(5))
    assert usable_rows(found) == usable_rows(check(wide))


def test_input_sorted_by_time_gives_one_row_per_time_whatever_the_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = make_wide(60, 5)
    pq.write_table(melt(wide, "by time"), tmp_path / "long.parquet")
    for batch_rows in (7, 11, 64):
        monkeypatch.setattr(source_module, "BATCH_ROWS", batch_rows)
        checked = check(tmp_path)
        assert (checked.quality.num_rows, checked.quality.problems) == (60, {})


def test_wide_batches_are_bounded_however_many_sensors_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pivot, "CELLS_AT_ONCE", 12)
    (part,) = open_source(melt(make_wide(60, 5), "by time"), config=ReadingsConfig(long=LONG))
    batches = list(part.batches([f"s{k}" for k in range(5)]))
    assert {batch.num_rows for batch in batches} <= {1, 2}
    assert sum(batch.num_rows for batch in batches) == 60
    assert usable_rows(check(melt(make_wide(60, 5), "shuffled"))) == usable_rows(
        check(make_wide(60, 5))
    )


def test_several_values_of_one_cell_are_rows_of_one_time_and_none_is_lost() -> None:
    source = make_long(
        [0, 0, 0, 0, 1], ["flow"] * 3 + ["level", "flow"], [3.0, 1.0, 3.0, 7.0, 2.0]
    )
    checked = check(source)
    assert usable_rows(checked) == {
        ("asset", START_US): [1.0, 7.0],
        ("asset", START_US + 1_000_000): [2.0, -99.0],
    }
    assert checked.quality.problems == {"conflicting_duplicate": 1, "duplicate": 1}
    assert read(source, "flow") == {"flow": [3.0, 1.0, 3.0, 2.0]}


def test_a_value_without_a_sensor_has_a_problem_and_is_kept_as_text() -> None:
    source = make_long([0, 0, 0, 1], ["flow", None, " ", "flow"], [1.0, 2.5, 2.5, 3.0])
    checked = check(source)
    assert checked.quality.problems == {"no_sensor": 2}
    assert checked.quality.num_quarantined == 2
    assert len(usable_rows(checked)) == 2
    assert read(source, "_problem", "_given") == {
        "_problem": [None, "no_sensor", "no_sensor", None],
        "_given": [None, "value = 2.5", "value = 2.5", None],
    }


def test_rows_without_time_or_asset_have_their_problem() -> None:
    times = pa.array([START_US, None, START_US, START_US + 1], pa.timestamp("us", "UTC"))
    columns = {"asset": ["a", "a", None, "a"], "sensor": ["f"] * 4, "value": [1.0, 2.0, 3.0, 4.0]}
    checked = check(pa.table({"timestamp": times, **columns}))
    assert checked.quality.problems == {"no_asset": 1, "no_timestamp": 1}


def test_values_of_bad_quality_are_missing_and_counted() -> None:
    source = make_long(
        [0, 1, 2, 3], ["flow"] * 4, [1.0, 2.0, 3.0, 4.0], quality=pa.array([192, 0, None, 192])
    )
    long = LongConfig(sensor="sensor", quality="quality", good=("192",))
    checked = check(source, long=long)
    np.testing.assert_array_equal(checked.readings.values[:, 0], [1.0, np.nan, np.nan, 4.0])
    assert "2 values taken as missing: 'quality' is none of the good codes" in checked.notes
    without = LongConfig(sensor="sensor", quality="quality", good=("192", ""))
    assert np.isnan(check(source, long=without).readings.values).sum() == 1


def test_counts_are_those_of_one_reading_however_often_a_part_is_read() -> None:
    source = make_long([0, 1], ["flow"] * 2, [1.0, 2.0], quality=["good", "bad"])
    long = LongConfig(sensor="sensor", quality="quality", good=("good",))
    parts = open_source(source, config=ReadingsConfig(long=long))
    for _ in range(2):
        assert sum(batch.num_rows for batch in parts[0].batches(["flow"])) == 2
    assert write_notes(parts)[-1].startswith("1 value taken as missing")


def test_sensors_of_the_contract_come_first_and_need_not_be_in_each_file() -> None:
    source = make_long([0, 1, 1], ["level", "level", "new"], [1.0, 2.0, 3.0])
    checked = check(source, CONTRACT)
    np.testing.assert_array_equal(checked.readings.values, [[np.nan, 1.0], [np.nan, 2.0]])
    assert "sensors without a row in a long file are missing there: ('flow',)" in checked.notes
    assert "columns the contract does not know are left out: ('new',)" in checked.notes
    with pytest.raises(ContractError, match=r"got \('new',\) too"):
        check(source, CONTRACT, new_sensors="refuse")
    with pytest.raises(ContractError, match="got none of them"):
        check(make_long([0], ["other"], [1.0]), CONTRACT)


def test_wide_files_beside_long_ones_are_wide(tmp_path: Path) -> None:
    wide = make_wide(20, 2)
    pq.write_table(melt(wide.slice(0, 10), "by time"), tmp_path / "long.parquet")
    pq.write_table(wide.slice(10), tmp_path / "wide.parquet")
    assert usable_rows(check(tmp_path)) == usable_rows(check(wide))


def test_names_of_columns_sensors_and_types_may_be_any() -> None:
    source = pa.table(
        {
            "timestamp": make_times([0, 0, 1]),
            "machine": pa.array(["p", "p", "p"]).dictionary_encode(),
            "tag": pa.array([7, 8, 7]),
            "wert": pa.array([1, 2, 3], pa.int8()),
        }
    )
    long = LongConfig(sensor="tag", value="wert")
    checked = check(source, long=long, asset="machine", aliases={"7": "flow"})
    assert checked.contract.sensor_names == ("8", "flow")
    assert checked.readings.asset_names == ("p",)
    assert checked.readings.values[:, 1].tolist() == [1.0, 3.0]
    assert "sensor '7' is read as 'flow'" in checked.notes


def test_a_label_of_long_rows_is_the_largest_of_the_rows_that_become_one() -> None:
    source = make_long([0, 0, 1], ["a", "b", "a"], [1.0, 2.0, 3.0], label_x=[0, 1, None])
    source = source.append_column("label_name", pa.array(["p", "q", "r"]))
    assert read(source, "label_x", "label_name") == {
        "label_x": [1, None],
        "label_name": ["p", "r"],
    }


def test_text_values_are_refused_or_read_as_the_settings_say() -> None:
    source = make_long([0, 1, 2], ["flow"] * 3, ["1.5", "off", " 2 "])
    with pytest.raises(ContractError, match=r"expected numbers in column 'value'.*numeric_text"):
        check(source)
    checked = check(source, numeric_text=True)
    np.testing.assert_array_equal(checked.readings.values[:, 0], [1.5, np.nan, 2.0])
    assert "1 value of 'value', taken as missing: text that is no number" in checked.notes


def test_columns_that_are_not_there_or_cannot_be_long_are_named() -> None:
    source = make_long([0, 1], ["a", "b"], [1.0, 2.0])
    with pytest.raises(ContractError, match=r"as long input: expected columns \('sensor', 'w'\)"):
        check(source, long=LongConfig(sensor="sensor", value="w"))
    with pytest.raises(ContractError, match=r"expected columns \('tag', 'value'\)"):
        check(source, long=LongConfig(sensor="tag"))
    with pytest.raises(ContractError, match="expected names of sensors in column 'timestamp'"):
        check(source, long=LongConfig(sensor="timestamp"))
    with pytest.raises(ContractError, match=r"named like no other column, got \('timestamp',\)"):
        check(make_long([0], ["timestamp"], [1.0]))


def test_a_column_that_cannot_be_names_of_sensors_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(long_form, "MAX_SENSORS", 3)
    source = make_long(list(range(4)), [f"{k}" for k in range(4)], [1.0] * 4)
    with pytest.raises(ContractError, match="expected at most 3 different sensors in column"):
        check(source)


def test_settings_of_long_input_that_contradict_one_another_are_refused() -> None:
    for content, text in (
        ({"sensor": "x", "value": "x"}, "sensor, value and quality to be different columns"),
        ({"sensor": "x", "quality": "q"}, "good to list the quality codes"),
    ):
        with pytest.raises(ConfigError, match=text):
            make_config(LongConfig, content, origin="x")
