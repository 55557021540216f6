"""Epoch numbers, local times with a zone from the settings, and what a clock change does."""

from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest

from vae_anomaly.config import LongConfig, ReadingsConfig, make_config
from vae_anomaly.domain import CheckedReadings
from vae_anomaly.errors import ConfigError, ContractError, ReadingsError
from vae_anomaly.readings.check import check_readings
from vae_anomaly.readings.local_time import LocalClock
from vae_anomaly.readings.source import open_source

START_S = 1_714_564_800
START_US = START_S * 1_000_000
BERLIN = "Europe/Berlin"
SPRING = "2024-03-31"
AUTUMN = "2024-10-27"


def check(times: pa.Array | list, **columns_and_settings: object) -> CheckedReadings:
    assets = columns_and_settings.pop("assets", None)
    table = pa.table({"timestamp": times, "flow": np.arange(len(times), dtype=float)})
    if assets is not None:
        table = table.append_column("asset", pa.array(assets))
    config = ReadingsConfig(**{"period_s": 1.0, **columns_and_settings})
    return check_readings(table, config=config)


def seen(checked: CheckedReadings) -> list[int]:
    return checked.readings.timestamps.tolist()


def as_utc(text: str, *, fold: int = 0) -> int:
    local = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(BERLIN), fold=fold)
    return round(local.timestamp()) * 1_000_000


@pytest.mark.parametrize(
    ("unit", "per_s"), [("s", 1), ("ms", 1_000), ("us", 1_000_000), ("ns", 1_000_000_000)]
)
@pytest.mark.parametrize("type_", [pa.int64(), pa.uint64(), pa.float64(), pa.decimal128(25, 3)])
def test_epoch_numbers_are_times_in_utc_where_their_unit_is_set(
    unit: str, per_s: int, type_: pa.DataType
) -> None:
    numbers = pa.array([(START_S + k) * per_s for k in range(3)]).cast(type_, safe=False)
    checked = check(numbers, timestamp_unit=unit, timezone=BERLIN)
    assert seen(checked) == [START_US, START_US + 1_000_000, START_US + 2_000_000]
    assert checked.notes == ()
    with pytest.raises(ReadingsError, match=r"does not say its unit.*timestamp_unit"):
        check(numbers)


def test_small_and_dictionary_encoded_epoch_numbers_and_missing_ones() -> None:
    numbers = pa.array([START_S, None, START_S + 1], pa.int32())
    for column in (numbers, numbers.dictionary_encode()):
        checked = check(column, timestamp_unit="s")
        assert seen(checked)[::2] == [START_US, START_US + 1_000_000]
        assert checked.quality.problems == {"no_timestamp": 1}


def test_fractions_of_epoch_seconds_are_kept_to_the_microsecond() -> None:
    numbers = pa.array([START_S + 0.25, START_S + 0.000_5, np.nan])
    assert seen(check(numbers, timestamp_unit="s"))[:2] == [START_US + 250_000, START_US + 500]
    exact = pa.array([Decimal(START_S) + Decimal("0.125"), Decimal(START_S)])
    assert seen(check(exact, timestamp_unit="s"))[0] == START_US + 125_000


@pytest.mark.parametrize(
    "numbers",
    [
        pa.array([START_S, START_S + 1, 2**63 - 1]),
        pa.array([START_S, START_S + 1, 2**64 - 1], pa.uint64()),
        pa.array([START_S, START_S + 1, -(2**63)]),
        pa.array([START_S, START_S + 1, np.inf]),
        pa.array([START_S, START_S + 1, -1e300]),
    ],
)
def test_epoch_numbers_out_of_reach_are_implausible_times(numbers: pa.Array) -> None:
    assert check(numbers, timestamp_unit="s").quality.problems == {"implausible_time": 1}


@pytest.mark.parametrize("type_", [pa.float32(), pa.float16(), pa.bool_()])
def test_numbers_too_coarse_to_be_times_are_refused(type_: pa.DataType) -> None:
    with pytest.raises(ContractError, match="expected numbers that can tell seconds apart"):
        check(pa.array([1, 0]).cast(pa.float32()).cast(type_), timestamp_unit="s")


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_local_times_are_utc_where_their_zone_is_set(unit: str) -> None:
    texts = ["2024-01-15T12:00:00", "2024-07-15T12:00:00"]
    column = pa.array([datetime.fromisoformat(text) for text in texts], pa.timestamp(unit))
    for times in (column, pa.array(texts), pa.array(texts).dictionary_encode()):
        checked = check(times, timezone=BERLIN)
        assert seen(checked) == [as_utc(text) for text in texts]
        assert f"times without a zone were taken as local times of {BERLIN}" in checked.notes
        assert "times without a zone were taken as UTC" not in checked.notes


def test_times_that_know_their_zone_stay_as_they_are() -> None:
    texts = ["2024-01-15T12:00:00Z", "2024-01-15T12:00:01Z"]
    aware = pa.array(texts).cast(pa.timestamp("us", "UTC"))
    for times in (aware, pa.array(texts)):
        assert seen(check(times, timezone=BERLIN)) == seen(check(aware))


def test_missing_and_implausible_local_times_keep_their_problem() -> None:
    texts = ["2024-01-15T12:00:00", None, "1970-01-01T00:00:00", "2200-01-01T00:00:00"]
    problems = {"implausible_time": 2, "no_timestamp": 1}
    assert check(pa.array(texts), timezone=BERLIN).quality.problems == problems


def test_local_times_that_the_clock_skipped_go_to_quarantine_as_they_came() -> None:
    texts = [
        f"{SPRING} 01:59:59",
        f"{SPRING} 02:00:00",
        f"{SPRING} 02:59:59",
        f"{SPRING} 03:00:00",
    ]
    checked = check(pa.array(texts), timezone=BERLIN)
    assert checked.problems.tolist() == ["", "implausible_time", "implausible_time", ""]
    assert seen(checked)[3] - seen(checked)[0] == 1_000_000
    assert any(note.startswith("2 rows at a local time that does not") for note in checked.notes)
    table = pa.table({"timestamp": texts, "flow": [1.0] * 4})
    (part,) = open_source(table, config=ReadingsConfig(timezone=BERLIN))
    (batch,) = part.batches(["_given"])
    assert batch["_given"].to_pylist() == [None, texts[1], texts[2], None]


def make_autumn(step_min: int = 10) -> tuple[list[str], list[int]]:
    """Return local times round the clock change, and what they are in UTC."""
    first = as_utc(f"{AUTUMN} 01:30")
    utc = [first + k * step_min * 60_000_000 for k in range(180 // step_min)]
    zone = ZoneInfo(BERLIN)
    local = [datetime.fromtimestamp(one / 1e6, zone).strftime("%Y-%m-%d %H:%M") for one in utc]
    assert len(set(local)) < len(local)
    return local, utc


@pytest.mark.parametrize("step_min", [1, 5, 10, 30])
def test_the_hour_that_comes_twice_is_told_apart_by_the_step_back(step_min: int) -> None:
    local, utc = make_autumn(step_min)
    checked = check(pa.array(local), timezone=BERLIN)
    assert seen(checked) == utc
    assert checked.quality.problems == {}
    num = 60 // step_min
    start = f"{num:,} rows in an hour that comes twice, taken as the second time"
    assert any(note.startswith(start) for note in checked.notes)


@pytest.mark.parametrize("batch_rows", [1, 2, 3, 7])
@pytest.mark.parametrize("order", ["by time", "by asset"])
def test_the_clock_is_followed_over_batches_asset_by_asset(
    monkeypatch: pytest.MonkeyPatch, batch_rows: int, order: str
) -> None:
    monkeypatch.setattr("vae_anomaly.readings.source.BATCH_ROWS", batch_rows)
    local, utc = make_autumn()
    if order == "by asset":
        times, assets, wanted = local * 2, ["a"] * len(local) + ["b"] * len(local), utc * 2
    else:
        times, wanted = [t for t in local for _ in "ab"], [t for t in utc for _ in "ab"]
        assets = ["a", "b"] * len(local)
    checked = check(pa.array(times), assets=assets, timezone=BERLIN)
    assert seen(checked) == wanted


def test_an_hour_that_is_seen_once_is_taken_as_the_first_time_and_noted() -> None:
    texts = [f"{AUTUMN} 02:10", f"{AUTUMN} 02:20", f"{AUTUMN} 02:19", f"{AUTUMN} 03:00"]
    checked = check(pa.array(texts), timezone=BERLIN)
    assert seen(checked) == [as_utc(text) for text in texts]
    assert "3 rows in an hour that comes twice, taken as the first time" in checked.notes


def test_local_times_of_long_input_that_is_sorted_by_sensor() -> None:
    local, utc = make_autumn()
    table = pa.table(
        {
            "timestamp": local * 2,
            "sensor": ["a"] * len(local) + ["b"] * len(local),
            "value": np.arange(2.0 * len(local)),
        }
    )
    config = ReadingsConfig(timezone=BERLIN, period_s=600.0, long=LongConfig(sensor="sensor"))
    checked = check_readings(table, config=config)
    assert set(seen(checked)) == set(utc)


def test_a_zone_that_is_not_known_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'timezone': expected the name of a zone.*'Berlin'"):
        make_config(ReadingsConfig, {"timezone": "Berlin"}, origin="x")


def test_a_zone_that_the_system_has_no_data_of_says_what_to_install() -> None:
    clock = LocalClock("Europe/Nowhere")
    with pytest.raises(ReadingsError, match="tzdata of the system"):
        clock.to_utc(np.array([1_700_000_000_000_000]), np.array([0]), ["a"])
