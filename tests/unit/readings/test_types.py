"""Columns of every type that may hold numbers, assets or times."""

from datetime import date
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from vae_anomaly.config import ReadingsConfig
from vae_anomaly.domain import CheckedReadings, Contract, Sensor
from vae_anomaly.errors import ContractError
from vae_anomaly.readings.check import check_readings

START_US = 1_714_564_800_000_000


def check(contract: Contract | None = None, **columns_and_settings: object) -> CheckedReadings:
    fields = ReadingsConfig.model_fields
    settings = {k: v for k, v in columns_and_settings.items() if k in fields and k != "asset"}
    columns = {k: v for k, v in columns_and_settings.items() if k not in settings}
    num_rows = len(next(iter(columns.values())))
    times = pa.array(START_US + np.arange(num_rows) * 1_000_000, pa.timestamp("us", "UTC"))
    table = pa.table({"timestamp": times, **columns})
    return check_readings(
        table, config=ReadingsConfig(**{"period_s": 1.0, **settings}), contract=contract
    )


@pytest.mark.parametrize("type_", [pa.string(), pa.large_string(), pa.string_view()])
def test_text_that_holds_numbers_is_read_only_where_the_settings_say_so(
    type_: pa.DataType,
) -> None:
    texts = pa.array(["1.5", " -2e1", "", None, "off"]).cast(type_)
    with pytest.raises(ContractError, match="at least one column of numbers"):
        check(flow=texts)
    for column in (texts, texts.cast(pa.string()).dictionary_encode()):
        checked = check(flow=column, numeric_text=True)
        expected = [1.5, -20.0, np.nan, np.nan, np.nan]
        np.testing.assert_array_equal(checked.readings.values[:, 0], expected)
        assert "1 value of 'flow', taken as missing: text that is no number" in checked.notes


def test_text_that_is_mostly_no_numbers_is_no_sensor_unless_it_is_asked_for() -> None:
    columns = {"flow": ["1", "2", "3"], "note": ["x", "y", "1"], "asset": ["1", "2", "3"]}
    checked = check(**columns, numeric_text=True)
    assert checked.contract.sensor_names == ("flow",)
    assert checked.contract.ignored == {"note": "text"}
    assert checked.readings.asset_names == ("1", "2", "3")
    asked = check(**columns, numeric_text=True, sensors=("note",))
    np.testing.assert_array_equal(asked.readings.values[:, 0], [np.nan, np.nan, 1.0])


def test_text_becomes_numbers_where_the_contract_knows_the_sensor() -> None:
    contract = Contract((Sensor("flow"),), period_s=1.0)
    columns = {"flow": ["off", "off", "3"], "other": ["1", "2", "3"]}
    with pytest.raises(ContractError, match="got text"):
        check(contract, **columns)
    checked = check(contract, **columns, numeric_text=True)
    np.testing.assert_array_equal(checked.readings.values[:, 0], [np.nan, np.nan, 3.0])


@pytest.mark.parametrize("text", ["1,5", "0x10", "1_0", "--1", "1 2", "e5", "."])
def test_text_that_looks_like_a_number_and_is_none(text: str) -> None:
    checked = check(flow=["1", "2", text], numeric_text=True)
    np.testing.assert_array_equal(checked.readings.values[:, 0], [1.0, 2.0, np.nan])


@pytest.mark.parametrize("text", ["+1.5", "1.5e0", "1.5E+0", "1.50 ", "\t1.5", "0001.5", "15e-1"])
def test_numbers_written_otherwise_are_the_same_beside_text_that_is_none(text: str) -> None:
    for others in ([], ["off"]):
        checked = check(flow=[text, "2", "3", *others], numeric_text=True)
        assert checked.readings.values[0, 0] == 1.5


@pytest.mark.parametrize("text", ["inf", "-Infinity", "1e999", "nan"])
def test_infinities_and_nan_in_text_are_missing(text: str) -> None:
    checked = check(flow=["1", "2", text, "off"], numeric_text=True)
    np.testing.assert_array_equal(checked.readings.values[:, 0], [1.0, 2.0, np.nan, np.nan])


@pytest.mark.parametrize("type_", [pa.int64(), pa.uint64()])
def test_whole_numbers_beyond_what_float64_holds_are_noted(type_: pa.DataType) -> None:
    note = "whole numbers of 2^53 or more may have lost their last digits: ('flow',)"
    column = pa.array([1, 2**53 - 1, 3], type_)
    assert note not in check(flow=column).notes
    for larger in (pa.array([1, 2**53 + 1, 3], type_), pa.array([2**62, 1, 2], type_)):
        for one in (larger, larger.dictionary_encode()):
            checked = check(flow=one)
            assert note in checked.notes
            np.testing.assert_array_equal(checked.readings.values[:, 0], larger.to_numpy() * 1.0)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1, 2, 1], pa.int8()),
        pa.array([1, 2, 1], pa.uint8()),
        pa.array([1, 2, 1], pa.int16()),
        pa.array([1, 2, 1], pa.uint16()),
        pa.array([1, 2, 1], pa.int32()),
        pa.array([1, 2, 1], pa.uint32()),
        pa.array([1, 2, 1], pa.uint64()),
        pa.array([1.0, 2.0, 1.0], pa.float32()),
        pa.array(np.array([1, 2, 1], dtype=np.float16)),
        pa.array([Decimal("1.00"), Decimal("2.00"), Decimal("1.00")]),
        pa.array([Decimal(1), Decimal(2), Decimal(1)], pa.decimal256(50, 10)),
        pa.array([1, 2, 1]).dictionary_encode(),
        pa.array([1.0, 2.0, 1.0], pa.float32()).dictionary_encode(),
    ],
    ids=lambda column: str(column.type),
)
def test_numbers_of_any_type_are_the_same_sensor(column: pa.Array) -> None:
    checked = check(flow=column)
    assert checked.readings.values[:, 0].tolist() == [1.0, 2.0, 1.0]
    assert checked.notes == ()


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["a", None, "b"], pa.large_string()),
        pa.array(["a", None, "b"], pa.string_view()),
        pa.array(["a", None, "b"]).dictionary_encode(),
        pa.array(["a", " ", "b"]),
    ],
    ids=lambda column: str(column.type),
)
def test_assets_of_any_text_type(column: pa.Array) -> None:
    checked = check(asset=column, flow=[1.0, 2.0, 3.0])
    assert checked.readings.asset_names == ("a", "b")
    assert checked.quality.problems == {"no_asset": 1}


@pytest.mark.parametrize("type_", [pa.date32(), pa.date64()])
def test_dates_are_times(type_: pa.DataType) -> None:
    days = pa.array([date(2024, 5, 1), date(2024, 5, 2)], type_)
    checked = check_readings(pa.table({"timestamp": days, "flow": [1.0, 2.0]}))
    assert checked.contract.period_s == 86_400.0
