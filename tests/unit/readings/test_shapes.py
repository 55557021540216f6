from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vae_anomaly.config import ReadingsConfig, make_config
from vae_anomaly.domain import CheckedReadings, Contract, Sensor
from vae_anomaly.errors import ConfigError, ContractError
from vae_anomaly.readings.check import check_readings
from vae_anomaly.readings.hive import describe_folders, read_folders
from vae_anomaly.readings.parts import write_notes
from vae_anomaly.readings.source import open_source

START_US = 1_714_564_800_000_000
CONTRACT = Contract((Sensor("flow"), Sensor("level")), period_s=1.0)


def make_table(num_rows: int = 3, **columns: object) -> pa.Table:
    times = pa.array(
        [START_US + k * 1_000_000 for k in range(num_rows)], pa.timestamp("us", "UTC")
    )
    return pa.table({"timestamp": times, **columns})


def write(path: Path, table: pa.Table) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


def check(source: object, contract: Contract | None = None, **settings: object) -> CheckedReadings:
    return check_readings(source, config=ReadingsConfig(**settings), contract=contract)


def test_a_column_is_read_under_its_alias_and_that_is_noted() -> None:
    source = make_table(P1_old=[1.0, 2.0, 3.0], other=[0.0, 1.0, 0.0])
    checked = check(source, aliases={"P1_old": "P1", "not there": "P2"})
    assert checked.contract.sensor_names == ("P1", "other")
    assert checked.readings.values[:, 0].tolist() == [1.0, 2.0, 3.0]
    assert checked.notes[0] == "column 'P1_old' is read as 'P1'"


def test_time_and_asset_columns_may_have_aliases() -> None:
    source = make_table(machine=["a", "b", "a"], flow=[1.0, 2.0, 3.0])
    source = source.rename_columns(["when", "machine", "flow"])
    checked = check(source, aliases={"when": "timestamp", "machine": "asset"})
    assert checked.readings.asset_names == ("a", "b")
    assert checked.quality.num_usable == 3


def test_files_with_the_old_and_the_new_name_are_one_sensor(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", make_table(P1_old=[1.0, 2.0, 3.0]))
    write(tmp_path / "b.parquet", make_table(P1=[1.0, 2.0, 3.0]).slice(1))
    checked = check(tmp_path, aliases={"P1_old": "P1"})
    assert checked.contract.sensor_names == ("P1",)
    assert checked.quality.problems == {"duplicate": 2}


def test_two_columns_for_one_name_are_refused_unless_one_never_held_a_value() -> None:
    source = make_table(P1=[1.0, 2.0, 3.0], P1_old=[4.0, 5.0, 6.0])
    with pytest.raises(ContractError, match=r"one column to be read as 'P1', got 'P1' and 'P1_o"):
        check(source, aliases={"P1_old": "P1"})
    assert check(source, aliases={"P1_old": "P1"}, ignore=("P1_old",)).readings.values[0] == 1.0
    for empty, kept in (("P1", 4.0), ("P1_old", 1.0)):
        place = source.column_names.index(empty)
        half = source.set_column(place, empty, pa.nulls(3))
        assert check(half, aliases={"P1_old": "P1"}).readings.values[0] == kept


def test_an_alias_of_an_alias_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected an alias of 'a' that is no alias itself"):
        make_config(ReadingsConfig, {"aliases": {"a": "b", "b": "c"}}, origin="x")


def test_a_new_sensor_is_noted_or_refused_as_the_settings_say() -> None:
    source = make_table(flow=[1.0] * 3, level=[1.0] * 3, extra=[1, 2, 3], note=["x"] * 3)
    checked = check(source, CONTRACT)
    assert "columns the contract does not know are left out: ('extra', 'note')" in checked.notes
    with pytest.raises(
        ContractError, match=r"no sensors but those of the contract, got \('extra'"
    ):
        check(source, CONTRACT, new_sensors="refuse")
    assert check(source, CONTRACT, new_sensors="refuse", ignore=("extra",)).quality.num_rows == 3
    labelled = source.drop_columns("extra").append_column("label_fault", pa.array([0, 0, 1]))
    assert check(labelled, CONTRACT, new_sensors="refuse").quality.num_rows == 3


def test_a_missing_sensor_is_refused_or_missing_as_the_settings_say() -> None:
    source = make_table(flow=[1.0, 2.0, 3.0])
    with pytest.raises(ContractError, match=r"missing \('level',\)"):
        check(source, CONTRACT)
    checked = check(source, CONTRACT, missing_sensors="missing")
    assert checked.readings.values[:, 0].tolist() == [1.0, 2.0, 3.0]
    assert checked.quality.sensors[1].missing_share == 1.0
    assert "sensors that a file lacks are missing there: ('level',)" in checked.notes


def test_a_file_without_any_sensor_of_the_contract_is_refused_all_the_same() -> None:
    with pytest.raises(ContractError, match="got none of them"):
        check(make_table(other=[1.0] * 3), CONTRACT, missing_sensors="missing")


def test_folders_that_name_the_asset_give_the_asset(tmp_path: Path) -> None:
    for name, asset in (("pump-1", "pump-1"), ("a%2Fb%20%C3%BC", "a/b ü")):
        file = tmp_path / f"asset={name}" / "date=2024-05-01" / "part.parquet"
        write(file, make_table(flow=[1.0, 2.0, 3.0]))
        assert check(file).readings.asset_names == (asset,)
    checked = check(tmp_path)
    assert checked.readings.asset_names == ("a/b ü", "pump-1")
    assert checked.quality.num_usable == 6
    assert checked.contract.sensor_names == ("flow",)


def test_folders_may_hold_the_asset_under_another_name_and_the_time(tmp_path: Path) -> None:
    for day in ("2024-05-01", "2024-05-02"):
        file = tmp_path / "pump=P1" / f"date={day}" / "x.parquet"
        write(file, pa.table({"flow": [1.0]}))
    checked = check(tmp_path, asset="pump", timestamp="date")
    assert checked.readings.asset_names == ("P1",)
    assert checked.contract.period_s == 86_400.0
    assert check(tmp_path, aliases={"pump": "asset"}, timestamp="date").readings.asset_names == (
        "P1",
    )


def test_folders_give_way_to_columns_and_dates_are_left_out(tmp_path: Path) -> None:
    table = make_table(asset=["inside"] * 3, flow=[1.0] * 3)
    file = write(tmp_path / "asset=outside/year=2024/month=05/site=x y/f.parquet", table)
    (part,) = open_source(file, config=ReadingsConfig())
    assert part.schema.names == ["timestamp", "asset", "flow", "site"]
    assert check(file).readings.asset_names == ("inside",)
    (batch,) = part.batches(["site"])
    assert batch["site"].to_pylist() == ["x y"] * 3


def test_without_settings_columns_are_as_they_came(tmp_path: Path) -> None:
    file = write(tmp_path / "asset=a" / "x.parquet", make_table(flow=[1.0] * 3))
    assert open_source(file)[0].schema.names == ["timestamp", "flow"]


def test_files_of_equal_bytes_in_folders_of_other_assets_are_told_apart() -> None:
    found = {
        describe_folders(f"{folder}/x.parquet", config=ReadingsConfig(), contract=None)
        for folder in ("asset=a", "asset=b", "raw", "date=2024-05-01", "site=x")
    }
    assert found == {'{"asset": "a"}', '{"asset": "b"}', ""}


def test_a_folder_is_a_sensor_where_the_settings_say_so(tmp_path: Path) -> None:
    write(tmp_path / "load=0.5/x.parquet", make_table(flow=[1.0] * 3))
    checked = check(tmp_path, sensors=("flow", "load"))
    assert checked.readings.values[:, 1].tolist() == [0.5] * 3
    write(tmp_path / "load=full/x.parquet", make_table(flow=[1.0] * 3))
    with pytest.raises(ContractError, match="expected numbers in sensor column 'load'"):
        check(tmp_path, sensors=("flow", "load"))


def test_a_folder_for_missing_values_leaves_the_asset_missing(tmp_path: Path) -> None:
    write(tmp_path / "asset=__HIVE_DEFAULT_PARTITION__/x.parquet", make_table(flow=[1.0] * 3))
    write(tmp_path / "asset=a/x.parquet", make_table(flow=[1.0] * 3))
    assert check(tmp_path).quality.problems == {"no_asset": 3}


@pytest.mark.parametrize("path", ["x.parquet", "=/x.parquet", "a=/x.parquet", "a=1.parquet"])
def test_names_of_folders_that_say_nothing(path: str) -> None:
    assert not any(read_folders(path).values())


def test_notes_of_several_files_are_one(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / f"{name}.parquet", make_table(old=[1.0, 2.0, 3.0]))
    parts = open_source(tmp_path, config=ReadingsConfig(aliases={"old": "new"}))
    assert write_notes(parts) == ("column 'old' is read as 'new'",)
