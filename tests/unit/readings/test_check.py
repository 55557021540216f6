import os
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vae_anomaly.config import ReadingsConfig
from vae_anomaly.domain import (
    DEFAULT_ASSET,
    NO_TIME,
    CheckedReadings,
    Contract,
    Sensor,
    SensorKind,
)
from vae_anomaly.errors import ContractError, ReadingsError
from vae_anomaly.readings import check as check_module
from vae_anomaly.readings.check import check_readings
from vae_anomaly.readings.source import RawPart

START = 1_714_564_800
CONTRACT = Contract(sensors=(Sensor("flow"),), period_s=1.0)
PROJECT = Path(__file__).parents[3]
REAL_DATA = Path(os.environ.get("VAE_ANOMALY_BENCHMARK_DATA", PROJECT.parent / "shared" / "data"))
REAL_FILES = sorted(REAL_DATA.glob("**/*.parquet"))


def table(seconds: list[int | None], **values) -> pa.Table:
    times = [None if s is None else START + s for s in seconds]
    return pa.table({"timestamp": pa.array(times, pa.timestamp("s", "UTC")), **values})


def check(source, **settings) -> CheckedReadings:
    return check_readings(source, config=ReadingsConfig(**settings))


def values_of(checked: CheckedReadings) -> np.ndarray:
    return checked.readings.values  # noqa: PD011 - no pandas here


def test_clean_readings_are_read_as_they_are() -> None:
    source = table([0, 10, 20], flow=[1.0, 2.0, 3.0], on=[True, False, True])
    checked = check(source, units={"flow": "l/min"})
    assert checked.contract.sensors == (Sensor("flow", "l/min"), Sensor("on"))
    assert checked.contract.period_s == 10.0
    assert checked.readings.timestamps.tolist() == [(START + s) * 10**6 for s in (0, 10, 20)]
    assert checked.readings.asset_names == (DEFAULT_ASSET,)
    assert values_of(checked).tolist() == [[1.0, 1.0], [2.0, 0.0], [3.0, 1.0]]
    assert checked.problems.tolist() == ["", "", ""]
    quality = checked.quality
    assert (quality.num_rows, quality.num_usable, quality.num_assets) == (3, 3, 1)
    assert (quality.first_us, quality.last_us) == (START * 10**6, (START + 20) * 10**6)
    assert quality.irregular_share == quality.num_gaps == quality.num_out_of_order == 0
    assert quality.notes == ()


def test_infinities_and_sentinels_are_missing_and_counted() -> None:
    source = table(
        list(range(7)),
        flow=[1.0, np.inf, -np.inf, -1.18e42, -999.0, None, 2.0],
        level=pa.array([1.0, 1.0, -99.9, 1.0, 1.0, -999.0, 5.0], pa.float32()),
    )
    checked = check(source, sentinels=(-999.0, -99.9))
    flow, level = checked.quality.sensors
    assert (flow.num_infinite, flow.num_sentinel) == (2, 2)
    assert (level.num_infinite, level.num_sentinel) == (0, 2)
    assert np.isnan(values_of(checked)[1:6, 0]).all()
    assert checked.quality.num_usable == 7
    assert flow.missing_share == pytest.approx(5 / 7)
    assert source["flow"].to_pylist()[4] == -999.0


def test_each_row_problem_is_named() -> None:
    source = table(
        [None, -START, 2_400_000_000, 0, 1, 1, 1, 2, 3],
        asset=["a", "a", "a", None, "a", "a", "a", "a", "a"],
        flow=[1.0, 1.0, 1.0, 1.0, 5.0, 6.0, 5.0, 1.0, 1.0],
    )
    checked = check(source)
    assert checked.problems.tolist() == [
        "no_timestamp",
        "implausible_time",
        "implausible_time",
        "no_asset",
        "",
        "conflicting_duplicate",
        "duplicate",
        "",
        "",
    ]
    assert checked.quality.problems == {
        "conflicting_duplicate": 1,
        "duplicate": 1,
        "implausible_time": 2,
        "no_asset": 1,
        "no_timestamp": 1,
    }
    assert checked.quality.num_quarantined == 5
    assert checked.quality.num_duplicates == 1
    assert checked.readings.timestamps[0] == NO_TIME


def test_missing_values_make_equal_duplicates() -> None:
    source = table([0, 1, 1], flow=[1.0, None, None], level=[1.0, 2.0, 2.0])
    assert check(source).problems.tolist() == ["", "", "duplicate"]


def test_equal_times_of_two_assets_are_no_duplicates() -> None:
    checked = check(table([0, 0, 9, 9], asset=["b", "a", "b", "a"], flow=[1.0, 2.0, 3.0, 4.0]))
    assert checked.problems.tolist() == [""] * 4
    assert checked.readings.asset_names == ("a", "b")
    assert checked.readings.asset_codes.tolist() == [1, 0, 1, 0]
    assert checked.quality.num_out_of_order == 0
    assert checked.quality.num_assets == 2


def test_rows_before_an_earlier_row_are_out_of_order() -> None:
    assets = ["a", "a", "b", "a", "b", "b"]
    checked = check(table([5, 4, 1, 6, 0, 0], asset=assets, flow=[1.0] * 6))
    assert checked.quality.num_out_of_order == 3


def test_gaps_and_irregular_steps_are_counted() -> None:
    seconds = [0, 1, 2, 3, 4, 5, 6, 7, 13, 18, 19]
    quality = check(table(seconds, flow=np.arange(11.0))).quality
    assert (quality.num_gaps, quality.longest_gap_s) == (1, 6.0)
    assert quality.irregular_share == pytest.approx(0.2)
    assert check(table(seconds, flow=np.arange(11.0)), gap_steps=4).quality.num_gaps == 2


def test_period_that_is_given_is_kept() -> None:
    checked = check(table([0, 1, 2], flow=[1.0, 2.0, 3.0]), period_s=60.0)
    assert checked.contract.period_s == 60.0
    assert checked.quality.notes == ("the median step is 1 s, the contract says 60 s",)


def test_one_row_needs_a_period() -> None:
    source = table([0, 0], flow=[1.0, 2.0])
    with pytest.raises(
        ReadingsError, match=r"Cannot infer the period of the table: .* Set period"
    ):
        check(source)
    assert check(source, period_s=1.0).quality.num_usable == 1
    assert check_readings(source, contract=CONTRACT).quality.num_usable == 1


def test_readings_of_which_no_row_is_usable_are_still_counted() -> None:
    quality = check(table([None, None], flow=[1.0, 2.0]), period_s=1.0).quality
    assert (quality.num_rows, quality.num_usable, quality.num_assets) == (2, 0, 0)
    assert quality.first_us == quality.last_us == NO_TIME
    assert quality.sensors[0].kind is SensorKind.EMPTY


def test_times_without_a_zone_are_utc_and_noted() -> None:
    frame = pd.DataFrame(
        {"flow": [1.0, 2.0]}, index=pd.date_range("2024-05-01 12:00", periods=2, freq="s")
    )
    checked = check(frame)
    assert checked.readings.timestamps[0] == START * 10**6
    assert checked.quality.notes == ("times without a zone were taken as UTC",)


def test_nanoseconds_are_cut_and_noted() -> None:
    times = pa.array([START * 10**9 + 1, START * 10**9 + 2_001], pa.timestamp("ns", "UTC"))
    quality = check(pa.table({"timestamp": times, "flow": [1.0, 2.0]})).quality
    assert quality.notes == ("times were cut to whole microseconds",)


def test_sensor_without_values_is_kept_and_noted() -> None:
    empty = pa.nulls(2, pa.float64())
    quality = check(table([0, 1], flow=[1.0, 2.0], dead=empty)).quality
    assert quality.sensors[1].kind is SensorKind.EMPTY
    assert quality.notes == ("sensors without any value: ('dead',)",)


def test_sensor_without_a_type_is_kept_where_it_is_asked_for() -> None:
    source = table([0, 1], flow=[1.0, 2.0], dead=pa.nulls(2))
    assert check(source).contract.ignored == {"dead": "no values and no type"}
    asked = check(source, sensors=("dead", "flow"))
    assert asked.quality.sensors[0].kind is SensorKind.EMPTY


def test_files_with_other_columns_are_joined_and_noted(tmp_path: Path) -> None:
    pq.write_table(table([0, 1], flow=[1.0, 2.0]), tmp_path / "a.parquet")
    pq.write_table(table([2, 3], flow=[3, 4], level=[5.0, 6.0]), tmp_path / "b.parquet")
    pq.write_table(table([], flow=pa.array([], pa.string())), tmp_path / "c.parquet")
    checked = check(tmp_path)
    assert checked.readings.sensors == ("flow", "level")
    np.testing.assert_array_equal(
        values_of(checked), [[1.0, np.nan], [2.0, np.nan], [3.0, 5.0], [4.0, 6.0]]
    )
    empty, missing = checked.quality.notes
    assert empty.startswith("1 of 3 files has no rows: ")
    assert missing.startswith("column 'level' is missing from 1 of 3 files, first from ")


def test_file_without_the_time_or_asset_column_has_rows_without_them(tmp_path: Path) -> None:
    pq.write_table(table([0, 1], asset=["a", "a"], flow=[1.0, 2.0]), tmp_path / "a.parquet")
    pq.write_table(pa.table({"asset": ["a"], "flow": [3.0]}), tmp_path / "b.parquet")
    pq.write_table(table([2], flow=[3.0]), tmp_path / "c.parquet")
    assert check(tmp_path).problems.tolist() == ["", "", "no_timestamp", "no_asset"]


def test_numbers_in_one_file_and_text_in_another_are_refused(tmp_path: Path) -> None:
    pq.write_table(table([0], flow=[1.0]), tmp_path / "a.parquet")
    pq.write_table(table([1], flow=["1.0"]), tmp_path / "b.parquet")
    with pytest.raises(ContractError, match=r"text \(string\) in .*b.parquet.*a.parquet"):
        check(tmp_path)


def test_files_with_and_without_a_zone_are_refused(tmp_path: Path) -> None:
    aware = table([0], flow=[1.0])
    pq.write_table(aware, tmp_path / "a.parquet")
    naive = aware.set_column(0, "timestamp", aware["timestamp"].cast(pa.timestamp("us")))
    pq.write_table(naive, tmp_path / "b.parquet")
    with pytest.raises(ReadingsError, match=r"a.parquet' and 1 more: .* got mixed time zones"):
        check(tmp_path)


def test_input_without_times_is_refused() -> None:
    with pytest.raises(ContractError, match=r"expected a time column 'timestamp', got columns"):
        check(pa.table({"flow": [1.0]}))


def test_part_that_does_not_hold_its_rows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    source = table([0, 1], flow=[1.0, 2.0])
    for declared, found in ((1, "more"), (3, "2")):
        part = RawPart("'x'", source.schema, declared, lambda _: iter(source.to_batches()))
        monkeypatch.setattr(check_module, "open_source", lambda *_, part=part, **__: (part,))
        with pytest.raises(ReadingsError, match=rf"expected the {declared} rows? .* got {found}"):
            check(source)


def test_contract_decides_what_is_read() -> None:
    source = table([0], extra=[9.0], flow=[1.0])
    checked = check_readings(source, contract=CONTRACT)
    assert values_of(checked).tolist() == [[1.0]]
    assert checked.contract == CONTRACT
    assert checked.quality.notes == (
        "columns the contract does not know are left out: ('extra',)",
    )


def test_missing_sensor_says_what_cannot_be_done() -> None:
    with pytest.raises(ContractError, match=r"^Cannot score 'x': expected sensors \('flow',\), g"):
        check_readings(table([0], level=[1.0]), contract=CONTRACT, purpose="score 'x'")


def test_assets_stay_apart_where_the_contract_knows_of_none() -> None:
    source = table([0, 0], asset=["a", "b"], flow=[1.0, 2.0])
    checked = check_readings(source, contract=CONTRACT)
    assert checked.contract.asset == "asset"
    assert checked.problems.tolist() == ["", ""]


def test_many_batches_and_assets_are_put_together() -> None:
    num_rows = 300_000
    rng = np.random.default_rng(3)
    order = rng.permutation(num_rows)
    source = table(
        (order // 3).tolist(),
        asset=pa.array(np.array(["c", "a", "b"])[order % 3]),
        flow=order.astype(np.float64),
    )
    checked = check(source)
    assert checked.readings.asset_names == ("a", "b", "c")
    assert checked.quality.num_usable == num_rows
    assert checked.contract.period_s == 1.0
    assert checked.quality.num_gaps == 0


@pytest.mark.skipif(not REAL_FILES, reason=f"no benchmark data in {REAL_DATA}")
@pytest.mark.parametrize(
    "folder", sorted({path.parent for path in REAL_FILES}), ids=lambda p: p.name
)
def test_real_files_read_without_a_warning(folder: Path) -> None:
    for path in sorted(folder.glob("*.parquet")):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            quality = check(path).quality
        assert quality.num_rows == pq.read_metadata(path).num_rows
        assert (
            quality.num_rows
            == quality.num_usable + quality.num_duplicates + quality.num_quarantined
        )


@pytest.mark.skipif(not REAL_FILES, reason=f"no benchmark data in {REAL_DATA}")
def test_steps_of_a_real_plant_are_those_of_its_instruments() -> None:
    sensors = {s.name: s for s in check(REAL_DATA / "gecco2018" / "train.parquet").quality.sensors}
    steps = {"Tp": 0.1, "Cl": 0.01, "pH": 0.01, "Redox": 1.0, "Leit": 1.0, "Trueb": 0.001}
    for name, step in steps.items():
        assert sensors[name].step == pytest.approx(step)


def test_names_in_the_settings_without_a_column_are_noted_once_the_contract_is_inferred() -> None:
    source = table([0, 1], flow=[1.0, 2.0])
    config = ReadingsConfig(units={"flwo": "l/min"}, ignore=("TypoCol",))
    checked = check_readings(source, config=config)
    assert checked.notes == (
        (
            "units in the settings of the readings names 'flwo', which is no column; "
            "did you mean 'flow'?"
        ),
        "ignore in the settings of the readings names 'TypoCol', which is no column",
    )
    assert check_readings(source, config=config, contract=checked.contract).notes == ()
