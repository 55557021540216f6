import numpy as np
import pyarrow as pa
import pytest

from tests.unit.detector.test_detector import change, make_asset, set_column
from vae_anomaly import Detector
from vae_anomaly.config import DetectorConfig, ModelConfig, ThresholdConfig
from vae_anomaly.detector.offsets import MIN_VALUES, find_offsets, remove_offsets
from vae_anomaly.domain import Sensor
from vae_anomaly.readings.quality import profile_sensors

NAMES = ("a", "b", "c")
FAR = 500.0


def find(values, codes, **likelihoods) -> dict[str, tuple[float, ...]]:
    sensors = [Sensor(f"s{i}") for i in range(values.shape[1])]
    profiles = profile_sensors(values, sensors=sensors, asset_codes=codes)
    return find_offsets(values, codes, NAMES, profiles, likelihoods=likelihoods)


def make_fleet(*middles: float, num: int = 200) -> tuple[np.ndarray, np.ndarray]:
    noise = np.random.default_rng(0).normal(size=(num, 1))
    values = np.concatenate([noise - np.median(noise) + middle for middle in middles])
    return values, np.repeat(np.arange(len(middles)), num)


def test_an_offset_is_the_way_from_the_middle_of_the_fleet_to_that_of_the_asset():
    values, codes = make_fleet(10.0, 13.0, 30.0)
    offsets = find(values, codes)
    assert [offsets[name] for name in NAMES] == [
        pytest.approx((offset,)) for offset in (-3.0, 0.0, 17.0)
    ]
    levelled = remove_offsets(values, codes, NAMES, offsets)
    for code in range(3):
        assert np.median(levelled[codes == code]) == pytest.approx(13.0)


def test_one_asset_has_no_offset_and_its_values_are_not_copied():
    values, codes = make_fleet(10.0)
    assert find(values, codes) == {}
    assert remove_offsets(values, codes, NAMES, {}) is values


def test_an_unknown_asset_is_taken_to_be_in_the_middle():
    values, codes = make_fleet(10.0, 13.0)
    levelled = remove_offsets(values, codes, ("elsewhere", "b"), {"a": (-1.5,), "b": (1.5,)})
    np.testing.assert_array_equal(levelled[codes == 0], values[codes == 0])
    np.testing.assert_array_equal(levelled[codes == 1], values[codes == 1] - 1.5)


def test_few_values_say_nothing_about_the_middle():
    values, codes = make_fleet(10.0, 13.0)
    values[codes == 1] = np.nan
    values[-(MIN_VALUES - 1) :] = 13.0
    assert find(values, codes)["b"] == (0.0,)
    values[-MIN_VALUES:] = 13.0
    assert find(values, codes)["b"] != (0.0,)


def test_switches_set_points_and_readings_that_are_no_sums_have_no_offset():
    noise, codes = make_fleet(10.0, 13.0)
    switch = np.where(noise > 11.0, 1.0, 0.0)
    set_point = np.where(codes == 0, 40.0, 55.5)[:, None]
    values = np.column_stack([noise, switch, set_point, noise])
    offsets = find(values, codes, s3="log_normal")
    for offset in offsets.values():
        assert offset[0] != 0.0
        assert offset[1:] == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("unit", [(1.0, 0.0), (1.8, 32.0)])
def test_a_set_point_per_asset_has_no_offset_whatever_its_unit(unit):
    codes = np.repeat(np.arange(3), 200)
    factor, start = unit
    values = (factor * np.array([41.2, 91.1, 5.3]) + start)[codes][:, None]
    assert set(find(values, codes).values()) == {(0.0,)}


def fit_fleet(table, **model) -> Detector:
    return Detector.fit(
        table,
        config=DetectorConfig(
            model=ModelConfig(min_training_steps=300, max_training_steps=300, **model),
            threshold=ThresholdConfig(provisional=True),
        ),
    )


def make_far_fleet(factor: float = 1.0, *, first_seed: int = 1) -> pa.Table:
    """Two pumps, the second one with far higher readings of one sensor."""
    one, two = (make_asset(f"pump-{i + 1}", 600, seed=first_seed + i) for i in range(2))
    name = "sensor 1 (unit)"
    values = two[name].to_numpy()
    return pa.concat_tables([one, set_column(two, name, values + factor * FAR)])


@pytest.fixture(scope="module")
def detector() -> Detector:
    return fit_fleet(make_far_fleet())


def test_where_an_asset_lies_changes_no_score(detector):
    moved = fit_fleet(make_far_fleet(2.0))
    scores = [
        one.score(make_far_fleet(factor, first_seed=7))["score"].to_numpy()
        for one, factor in ((detector, 1.0), (moved, 2.0))
    ]
    np.testing.assert_allclose(*scores, rtol=1e-2, atol=1e-2)


def test_expected_values_are_those_of_the_asset(detector):
    table = make_far_fleet(first_seed=7)
    seen = detector.examine(table)
    place = detector.contract.sensor_names.index("sensor 1 (unit)")
    values = table["sensor 1 (unit)"].to_numpy()
    off = np.abs(values - seen.mean[:, place]) / seen.sigma[:, place]
    assert np.median(off) < 2.0


def test_a_fault_is_plainer_with_offsets_than_without(detector):
    faulty = change(make_far_fleet(first_seed=7), "sensor 2 (unit)", slice(1000, 1040), 1.5)
    calm = make_far_fleet(first_seed=7)
    ratios = []
    for one in (detector, fit_fleet(make_far_fleet(), asset_offsets=False)):
        found, usual = (one.score(table)["nll"].to_numpy() for table in (faulty, calm))
        ratios.append(np.mean(found[1000:1040] - usual[1000:1040]))
    assert ratios[0] > ratios[1]


def test_offsets_survive_the_folder(detector, tmp_path):
    loaded = Detector.load(detector.save(tmp_path / "detector"))
    assert loaded.record.offsets == detector.record.offsets != {}
    table = make_far_fleet(first_seed=7)
    assert loaded.score(table).equals(detector.score(table))
