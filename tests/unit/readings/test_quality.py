import numpy as np
import pytest

from vae_anomaly.domain import Sensor, SensorKind
from vae_anomaly.readings.quality import find_kind, profile_sensors, suggest_sentinels

RNG = np.random.default_rng(7)
NORMAL = RNG.normal(20.0, 3.0, size=5_000)


@pytest.mark.parametrize(
    ("values", "kind", "step"),
    [
        ([], SensorKind.EMPTY, 0.0),
        ([4.5] * 10, SensorKind.CONSTANT, 0.0),
        ([0.0, 0.0, 5.0], SensorKind.BINARY, 5.0),
        ([1.0, 2.37, 5.1] * 100, SensorKind.QUANTISED, 1.37),
        (np.round(NORMAL), SensorKind.QUANTISED, 1.0),
        (np.round(NORMAL, 2), SensorKind.CONTINUOUS, 0.01),
        (NORMAL, SensorKind.CONTINUOUS, 0.0),
        (NORMAL[:5], SensorKind.CONTINUOUS, 0.0),
        (np.arange(50.0), SensorKind.QUANTISED, 1.0),
        (np.arange(2_000.0), SensorKind.CONTINUOUS, 1.0),
    ],
    ids=str,
)
def test_kind_and_step_of_values(values: list[float], kind: SensorKind, step: float) -> None:
    found_kind, found_step = find_kind(np.asarray(values, dtype=np.float64))
    assert found_kind is kind
    assert found_step == pytest.approx(step)


def test_float_noise_does_not_make_a_binary_sensor_quantised() -> None:
    values = np.array([0.0, 1.0, 0.1 + 0.2 + 0.7, 1.0 - 1e-12] * 5)
    assert find_kind(values)[0] is SensorKind.BINARY


def test_one_wild_spike_does_not_hide_the_grid() -> None:
    values = np.append(np.round(NORMAL), 1.2345e9)
    assert find_kind(values) == (SensorKind.QUANTISED, pytest.approx(1.0))


def test_rare_glitches_off_the_grid_do_not_hide_it() -> None:
    values = np.round(NORMAL, 1)
    values[::100] += 0.0123
    assert find_kind(values)[1] == pytest.approx(0.1)


def test_changes_that_the_sample_misses_are_still_seen() -> None:
    values = np.full(400_001, 3.0)
    values[[1, 2, 3]] = [4.0, 5.0, 6.0]
    kind, step = find_kind(values)
    assert kind is SensorKind.QUANTISED
    assert step == pytest.approx(1.0)


def test_float32_values_keep_their_decimal_step() -> None:
    values = np.round(NORMAL + 1_000.0, 2).astype(np.float32).astype(np.float64)
    assert find_kind(values)[1] == pytest.approx(0.01, rel=1e-4)


def test_sentinel_far_from_all_other_values_is_suggested() -> None:
    values = NORMAL.copy()
    values[:4] = -999.0
    assert suggest_sentinels(values) == (-999.0,)


def test_a_sentinel_of_one_sensor_is_suspected_in_the_others() -> None:
    often, once, never = NORMAL.copy(), NORMAL.copy(), NORMAL.copy()
    often[:4], once[7] = -999.0, -999.0
    sensors = tuple(Sensor(name) for name in ("often", "once", "never"))
    profiles = profile_sensors(np.column_stack([often, once, never]), sensors=sensors)
    assert [profile.suggested_sentinels for profile in profiles] == [(-999.0,), (-999.0,), ()]


def test_sentinels_on_both_sides_are_suggested() -> None:
    values = NORMAL.copy()
    values[:4], values[4:8] = -999.0, 9_999.0
    assert suggest_sentinels(values) == (-999.0, 9_999.0)


def test_value_of_nines_is_suggested_where_most_values_are_equal() -> None:
    values = np.where(np.arange(1_000) % 100 == 0, -999.9, 0.0)
    values[:50] = 1.0
    values[50] = 2.0
    assert suggest_sentinels(values) == (-999.9,)


@pytest.mark.parametrize(
    "values",
    [
        np.append(NORMAL, [-999.0, -999.0]),
        np.append(NORMAL, [-999.0, -999.0, -999.0, -998.0]),
        np.append(NORMAL, [200.0, 500.0, 800.0]),
        np.where(np.arange(1_000) % 100 == 0, 75.0, 0.0),
        NORMAL,
        NORMAL[:3],
    ],
    ids=["twice", "not alone", "single", "flat sensor", "none", "too few"],
)
def test_values_that_are_no_sentinel_are_not_suggested(values: np.ndarray) -> None:
    assert suggest_sentinels(values) == ()


def test_profile_describes_each_sensor() -> None:
    values = np.column_stack([[1.0, np.nan, 3.0, 3.0, 3.0, 9.0], np.full(6, np.nan)])
    first, second = profile_sensors(
        values,
        sensors=(Sensor("flow", "l/min"), Sensor("dead")),
        num_infinite=np.array([1, 0]),
        num_sentinel=np.array([0, 2]),
    )
    assert (first.name, first.unit, first.kind) == ("flow", "l/min", SensorKind.CONTINUOUS)
    assert first.missing_share == pytest.approx(1 / 6)
    assert (first.minimum, first.median, first.maximum) == (1.0, 3.0, 9.0)
    assert first.longest_flat_steps == 3
    assert first.num_infinite == 1
    assert (second.kind, second.missing_share, second.num_sentinel) == (SensorKind.EMPTY, 1.0, 2)
    assert np.isnan(second.median)
    assert second.longest_flat_steps == 0


def test_flat_run_does_not_cross_assets() -> None:
    values = np.full((5, 1), 2.0)
    codes = np.array([0, 0, 0, 1, 1])
    (profile,) = profile_sensors(values, sensors=(Sensor("a"),), asset_codes=codes)
    assert profile.longest_flat_steps == 3


def test_a_missing_value_neither_ends_a_flat_run_nor_counts() -> None:
    values = np.array([np.nan, 2.0, np.nan, 2.0, np.nan, np.nan, 7.0, 7.0, 7.0, 2.0])[:, None]
    codes = np.array([0, 0, 0, 0, 0, 0, 0, 1, 1, 1])
    (profile,) = profile_sensors(values, sensors=(Sensor("a"),), asset_codes=codes)
    assert profile.longest_flat_steps == 2


def test_no_rows_are_an_empty_sensor() -> None:
    (profile,) = profile_sensors(np.empty((0, 1)), sensors=(Sensor("a"),))
    assert profile.kind is SensorKind.EMPTY
    assert profile.missing_share == 1.0
