from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from vae_anomaly.domain import NO_TIME
from vae_anomaly.errors import ContractError, ReadingsError
from vae_anomaly.readings.columns import (
    ColumnKind,
    Times,
    Zone,
    column_kind,
    merge_columns,
    read_numbers,
    read_text,
    read_times,
)
from vae_anomaly.readings.source import RawPart

NOON = datetime(2024, 5, 1, 12, 0, 0, 250_000, tzinfo=UTC)
NOON_US = 1_714_564_800_250_000


def times(column: pa.Array) -> Times:
    return read_times(column, name="timestamp", part="'x.parquet'")


def part(name: str, num_rows: int = 1, **types: pa.DataType) -> RawPart:
    return RawPart(name, pa.schema(list(types.items())), num_rows, lambda _: iter(()))


@pytest.mark.parametrize(
    ("type_", "kind"),
    [
        (pa.int8(), ColumnKind.NUMBER),
        (pa.uint64(), ColumnKind.NUMBER),
        (pa.float16(), ColumnKind.NUMBER),
        (pa.bool_(), ColumnKind.NUMBER),
        (pa.decimal128(5, 2), ColumnKind.NUMBER),
        (pa.dictionary(pa.int8(), pa.float32()), ColumnKind.NUMBER),
        (pa.timestamp("ns"), ColumnKind.TIME),
        (pa.date32(), ColumnKind.TIME),
        (pa.string(), ColumnKind.TEXT),
        (pa.large_string(), ColumnKind.TEXT),
        (pa.string_view(), ColumnKind.TEXT),
        (pa.dictionary(pa.int8(), pa.string()), ColumnKind.TEXT),
        (pa.null(), ColumnKind.EMPTY),
        (pa.duration("s"), ColumnKind.OTHER),
        (pa.list_(pa.float64()), ColumnKind.OTHER),
        (pa.binary(), ColumnKind.OTHER),
    ],
    ids=str,
)
def test_kind_of_a_type(type_: pa.DataType, kind: ColumnKind) -> None:
    assert column_kind(type_) is kind


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([1.5, None]), [1.5, np.nan]),
        (pa.array([1.5, None], pa.float16()), [1.5, np.nan]),
        (pa.array([1, None], pa.int8()), [1.0, np.nan]),
        (pa.array([2**63], pa.uint64()), [2.0**63]),
        (pa.array([True, None]), [1.0, np.nan]),
        (pa.array([Decimal("1.25"), None]), [1.25, np.nan]),
        (pa.array([1.5, 1.5, None]).dictionary_encode(), [1.5, 1.5, np.nan]),
        (pa.nulls(2), [np.nan, np.nan]),
    ],
)
def test_numbers_of_any_type_are_float64(column: pa.Array, expected: list[float]) -> None:
    values = read_numbers(column)
    assert values.dtype == np.float64
    np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array(["b", " ", "", None, "b"]), ["b", None, None, None, "b"]),
        (pa.array(["b"]).dictionary_encode(), ["b"]),
        (pa.array([7, None]), ["7", None]),
        (pa.array([7.0, None]), ["7", None]),
        (pa.array([1e6, 2.5]), ["1000000", "2.5"]),
        (pa.array([True]), ["true"]),
    ],
)
def test_asset_names_of_any_type_are_text(column: pa.Array, expected: list[str | None]) -> None:
    assert read_text(column).to_pylist() == expected


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
def test_timestamps_of_any_unit_are_microseconds(unit: str, zone: str | None) -> None:
    column = pa.array([NOON_US, None]).cast(pa.timestamp("us")).cast(pa.timestamp(unit))
    found = times(
        column.cast(pa.timestamp(unit, zone))
        if zone is None
        else column.view(pa.timestamp(unit, zone))
    )
    assert found.values.tolist() == [NOON_US, NO_TIME]
    assert found.zone is (Zone.NAIVE if zone is None else Zone.AWARE)
    assert not found.is_cut


def test_nanoseconds_are_cut_and_said_so() -> None:
    found = times(pa.array([1_999], pa.timestamp("ns")))
    assert found.values.tolist() == [1]
    assert found.is_cut


def test_dates_are_midnights() -> None:
    for type_ in (pa.date32(), pa.date64()):
        found = times(pa.array([date(2024, 5, 1), None], type_))
        assert found.values.tolist() == [1_714_521_600_000_000, NO_TIME]
        assert found.zone is Zone.NAIVE


def test_times_beyond_the_calendar_stay_beyond_it() -> None:
    far = times(pa.array([2**62, -(2**62)], pa.timestamp("s"))).values
    assert far[0] > 2**62
    assert NO_TIME < far[1] < -(2**62)


def test_column_without_any_time_has_no_zone() -> None:
    for column in (pa.nulls(2), pa.nulls(2, pa.timestamp("us")), pa.array(["", None])):
        found = times(column)
        assert found.values.tolist() == [NO_TIME, NO_TIME]
        assert found.zone is Zone.UNKNOWN


@pytest.mark.parametrize(
    ("texts", "zone"),
    [
        (["2024-05-01T12:00:00.25", "2024-05-01 12:00:00.250000000"], Zone.NAIVE),
        (["2024-05-01T12:00:00.25Z", "2024-05-01T14:00:00.25+02:00"], Zone.AWARE),
        (["2024-05-01T17:30:00.25+0530", " 2024-05-01T07:00:00.250-05 "], Zone.AWARE),
    ],
)
def test_iso_text_is_read(texts: list[str], zone: Zone) -> None:
    for column in (pa.array([*texts, ""]), pa.array([*texts, None]).dictionary_encode()):
        found = times(column)
        assert found.values.tolist() == [NOON_US, NOON_US, NO_TIME]
        assert found.zone is zone


def test_text_with_and_without_zone_is_refused() -> None:
    with pytest.raises(ReadingsError, match=r"column 'timestamp' of 'x.parquet'.*mixed time zone"):
        times(pa.array(["2024-05-01T12:00:00Z", "2024-05-01T12:00:00", "2024-05-01"]))


@pytest.mark.parametrize("bad", ["noon", "01.05.2024", "2024-13-01", "2024-05-01T12:00+99:00"])
@pytest.mark.parametrize("others", [[], ["2024-05-01T12:00:00Z"] * 9, ["2024-05-01"] * 9])
def test_text_that_is_no_time_is_named(bad: str, others: list[str]) -> None:
    with pytest.raises(ReadingsError, match=r"expected ISO 8601 times such as .* got ") as caught:
        times(pa.array([*others, bad, *others[:4]]))
    assert repr(bad) in str(caught.value)


@pytest.mark.parametrize("type_", [pa.int64(), pa.float64(), pa.decimal128(20, 0)])
def test_epoch_numbers_are_refused(type_: pa.DataType) -> None:
    with pytest.raises(ReadingsError, match="a number does not say its unit or its first day"):
        times(pa.array([1_714_564_800]).cast(type_))


def test_column_that_cannot_be_times_is_refused() -> None:
    with pytest.raises(ContractError, match=r"expected timestamps or ISO 8601 text, got list"):
        times(pa.array([[1.0]]))


def test_python_times_with_a_fixed_offset_are_instants() -> None:
    zone = timezone(timedelta(hours=2))
    found = times(pa.array([NOON.astimezone(zone)]))
    assert found.values.tolist() == [NOON_US]
    assert found.zone is Zone.AWARE


def test_number_types_merge_and_clashes_are_carried() -> None:
    columns = merge_columns(
        [
            part("a", x=pa.null(), y=pa.int8(), z=pa.string()),
            part("b", x=pa.float32(), y=pa.float64()),
            part("c", num_rows=0, w=pa.float64()),
            part("d", x=pa.string(), y=pa.int64(), z=pa.string()),
        ]
    )
    assert list(columns) == ["x", "y", "z"]
    assert (columns["x"].kind, columns["x"].part) == (ColumnKind.NUMBER, "b")
    assert columns["x"].clash is not None
    assert (columns["x"].clash.type, columns["x"].clash.part) == ("string", "d")
    assert columns["y"].clash is None
    assert columns["z"].missing_from == ("b",)


def test_columns_of_input_without_rows_are_still_known() -> None:
    assert list(merge_columns([part("a", num_rows=0, x=pa.null())])) == ["x"]
