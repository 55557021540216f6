import numpy as np
import pyarrow as pa
import pytest

from vae_anomaly.config import ReadingsConfig
from vae_anomaly.domain import Contract, Readings, Sensor
from vae_anomaly.errors import ContractError
from vae_anomaly.readings.aligned_tables import align_labels, align_table
from vae_anomaly.readings.alignment import align_readings, find_ticks, list_rules
from vae_anomaly.readings.check import check_readings

START = 1_714_564_800
NAN = float("nan")


def make_readings(times: list[int], *columns: list[float], assets: list[int] | None = None):
    return Readings(
        timestamps=np.array(times, dtype=np.int64),
        asset_codes=np.array(assets or [0] * len(times), dtype=np.int64),
        asset_names=("a", "b"),
        values=np.array(columns).T.reshape(len(times), len(columns)),
        sensors=tuple(f"s{k}" for k in range(len(columns))),
    )


def align(readings: Readings, *rules: str) -> tuple[list[int], list[list[float]]]:
    chosen = dict(zip(readings.sensors, rules, strict=True))
    found = align_readings(readings, period_s=1e-5, rules=chosen)
    return found.timestamps.tolist(), found.values.T.tolist()


def table(seconds: list[float], **values) -> pa.Table:
    times = [round((START + s) * 1_000_000) for s in seconds]
    return pa.table({"timestamp": pa.array(times, pa.timestamp("us", "UTC")), **values})


def test_a_tick_takes_the_readings_since_the_one_before():
    assert find_ticks(np.array([0, 1, 10, 11, -9, -10]), period_s=1e-5).tolist() == [
        *[0, 10, 10, 20],
        *[0, -10],
    ]


def test_last_takes_the_latest_value_and_passes_over_missing_ones():
    times, (first,) = align(make_readings([1, 3, 7, 12], [1.0, 2.0, NAN, 4.0]), "last")
    assert (times, first) == ([10, 20], [2.0, 4.0])


def test_mean_counts_present_values_alone():
    times, (first,) = align(make_readings([1, 3, 7, 12], [1.0, 4.0, NAN, 4.0]), "mean")
    assert (times, first) == ([10, 20], [2.5, 4.0])


def test_none_counts_the_value_at_the_tick_itself():
    times, (kept, other) = align(
        make_readings([9, 10, 13], [1.0, 2.0, 3.0], [5.0, NAN, 7.0]), "none", "last"
    )
    assert (times, other) == ([10, 20], [5.0, 7.0])
    np.testing.assert_equal(kept, [2.0, NAN])


def test_gaps_stay_gaps_and_a_tick_without_values_stays_a_row():
    times, (first,) = align(make_readings([1, 42], [NAN, 1.0]), "mean")
    assert times == [10, 50]
    np.testing.assert_equal(first, [NAN, 1.0])


def test_no_value_crosses_assets():
    readings = make_readings([1, 2, 3, 4], [1.0, 2.0, 3.0, 4.0], assets=[1, 0, 1, 0])
    found = align_readings(readings, period_s=1e-5, rules={"s0": "last"})
    assert found.asset_codes.tolist() == [0, 1]
    assert found.values[:, 0].tolist() == [4.0, 3.0]


def test_the_mean_of_equal_values_is_that_value_behind_any_offset():
    value = 1e15 + 0.125
    _, (first,) = align(make_readings([1, 2, 3], [value] * 3), "mean")
    assert first == [value]


def test_no_rows_give_no_ticks():
    assert align(make_readings([], []), "mean") == ([], [[]])


def test_a_period_below_a_microsecond_is_refused():
    with pytest.raises(ContractError, match=r"expected a period of at least a microsecond, got"):
        find_ticks(np.array([1]), period_s=1e-7)


def test_rules_are_those_of_the_settings_and_none_without_any():
    assert list_rules(ReadingsConfig(), ("a", "b")) == {}
    config = ReadingsConfig(align="mean", alignments={"b": "last"})
    assert list_rules(config, ("a", "b")) == {"a": "mean", "b": "last"}
    assert list_rules(ReadingsConfig(alignments={"b": "last"}), ("a", "b")) == {
        "a": "none",
        "b": "last",
    }


# --- on the way in ---


def test_readings_at_their_own_times_become_one_row_per_tick():
    source = table(
        [0.2, 0.7, 1.1, 1.9, 2.3, 2.6],
        flow=[1.0, None, 2.0, None, 3.0, None],
        level=[None, 5.0, None, 6.0, None, 7.0],
    )
    checked = check_readings(source, config=ReadingsConfig(align="last", period_s=1.0))
    assert checked.readings.timestamps.tolist() == [(START + s) * 10**6 for s in (1, 2, 3)]
    assert checked.readings.values.tolist() == [[1.0, 5.0], [2.0, 6.0], [3.0, 7.0]]
    assert checked.problems.tolist() == ["", "", ""]
    assert checked.ticks.tolist() == [0, 0, 1, 1, 2, 2]
    assert checked.notes == ("6 usable rows became 3 ticks of 1 s",)
    assert checked.quality.irregular_share == 0
    assert checked.quality.num_rows == checked.quality.num_usable == 6


def test_rows_that_cannot_be_used_are_in_no_tick_and_counted():
    source = table([0.2, 0.2, 0.5, 5e9], flow=[1.0, 1.0, 3.0, 4.0])
    checked = check_readings(source, config=ReadingsConfig(align="mean", period_s=1.0))
    assert checked.ticks.tolist() == [0, -1, 0, -1]
    assert checked.readings.values.tolist() == [[2.0]]
    assert checked.quality.problems == {"duplicate": 1, "implausible_time": 1}


def test_the_period_of_aligned_readings_is_that_of_single_sensors():
    values = np.arange(20.0)
    is_flow = np.arange(20) % 2 == 0
    source = table(
        [0.5 * k for k in range(20)],
        flow=pa.array(values, mask=~is_flow),
        level=pa.array(values, mask=is_flow),
    )
    assert check_readings(source).contract.period_s == 0.5
    aligned = check_readings(source, config=ReadingsConfig(align="last"))
    assert aligned.contract.period_s == 1.0
    (note,) = check_readings(source).notes
    assert note.startswith(
        "100% of the rows have a value of one sensor only, each about every 1 s"
    )
    assert "set align to 'last' or 'mean'" in note


def test_a_sensor_without_values_does_not_make_the_others_irregular():
    source = table([0, 1, 2], flow=[1.0, 2.0, 3.0], spare=pa.array([None] * 3, pa.float64()))
    assert check_readings(source).notes == ("sensors without any value: ('spare',)",)


def test_a_sensor_of_two_states_is_not_averaged():
    source = table([0, 1, 2, 3], flow=[1.0, 2.0, 3.0, 4.0], valve=[0, 1, 0, 1])
    with pytest.raises(ContractError) as caught:
        check_readings(source, config=ReadingsConfig(align="mean", period_s=2.0))
    assert str(caught.value) == (
        "Cannot align sensor 'valve': expected amounts to take the mean of, got two states, "
        'between which there is nothing. Set alignments = { "valve" = "last" } in the settings '
        "of the readings."
    )
    config = ReadingsConfig(align="mean", alignments={"valve": "last"}, period_s=2.0)
    checked = check_readings(source, config=config)
    assert checked.readings.values[:, 1].tolist() == [0.0, 0.0, 1.0]


def test_labels_of_a_tick_are_the_largest_of_its_rows():
    labels = pa.table({"label_anomaly": [0, 1, -1, None, 0, 1], "label_b": [True] + [None] * 5})
    found = align_labels(labels, np.array([0, 0, 1, 2, 3, -1]))
    assert found.to_pydict() == {
        "label_anomaly": [1, -1, None, 0],
        "label_b": [True, None, None, None],
    }


# --- tables of the lake ---

CONTRACT = Contract(sensors=(Sensor("flow"), Sensor("level")), period_s=1.0)


def lake_table() -> pa.Table:
    return table(
        [0.2, 0.7, 1.1], asset=["b", "b", "a"], flow=[1.0, None, 2.0], level=[None, 5.0, None]
    ).select(["asset", "timestamp", "flow", "level"])


def test_a_table_of_the_lake_is_aligned_as_its_readings_are():
    found = align_table(lake_table(), CONTRACT, ReadingsConfig(align="last"))
    assert found.schema == lake_table().schema
    assert found["asset"].to_pylist() == ["a", "b"]
    assert found["timestamp"].cast(pa.int64()).to_pylist() == [
        (START + 2) * 10**6,
        (START + 1) * 10**6,
    ]
    assert found.select(["flow", "level"]).to_pydict() == {
        "flow": [2.0, 1.0],
        "level": [None, 5.0],
    }


def test_a_table_stays_as_it_is_where_nothing_is_aligned():
    assert align_table(lake_table(), CONTRACT, ReadingsConfig()) is not None
    assert align_table(lake_table(), CONTRACT, ReadingsConfig()).equals(lake_table())


def test_a_table_without_a_sensor_is_refused():
    with pytest.raises(ContractError, match=r"got none called \['level'\]"):
        align_table(lake_table().drop_columns("level"), CONTRACT, ReadingsConfig(align="last"))
