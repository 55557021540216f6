import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vae_anomaly.model.affine import Affine, fit_affine


def skewed(num_rows: int = 500, num_sensors: int = 3) -> np.ndarray:
    return np.random.default_rng(0).gamma(2.0, size=(num_rows, num_sensors))


def test_a_normal_sensor_gets_its_mean_and_standard_deviation():
    values = np.random.default_rng(1).normal(3e6, 2e4, size=(50_000, 1))
    affine = fit_affine(values)
    assert affine.loc[0] == pytest.approx(3e6, rel=1e-3)
    assert abs(affine.scale[0]) == pytest.approx(2e4, rel=0.02)


def test_apply_keeps_missing_values_missing():
    affine = Affine(loc=np.array([1.0, 2.0]), scale=np.array([2.0, -4.0]))
    np.testing.assert_array_equal(
        affine.apply(np.array([[3.0, np.nan], [np.nan, 6.0]])), [[1.0, np.nan], [np.nan, -1.0]]
    )


@pytest.mark.parametrize(
    ("gain", "offset"),
    [(3.7, -5.0), (-3.7, 11.0), (1e-6, 0.0), (-2.5e8, 1e3), (1.0, 1e6)],
)
def test_another_unit_gives_the_same_affine_values(gain, offset):
    values = skewed()
    before = fit_affine(values).apply(values)
    after = fit_affine(gain * values + offset).apply(gain * values + offset)
    np.testing.assert_allclose(after, before, rtol=1e-8, atol=1e-8)


def test_a_power_of_two_changes_no_bit():
    values = skewed()
    for gain in (2.0, 2.0**-20, 1024.0):
        np.testing.assert_array_equal(
            fit_affine(gain * values).apply(gain * values), fit_affine(values).apply(values)
        )


def test_a_negative_gain_also_turns_a_sensor_whose_skew_says_nothing():
    values = np.array([[2.0], [-2.0], [1.0], [-1.0], [0.0]])
    np.testing.assert_allclose(
        fit_affine(-values).apply(-values), fit_affine(values).apply(values), atol=1e-12
    )


def test_the_affine_values_skew_to_the_right():
    values = skewed()
    for sign in (1.0, -1.0):
        affine = fit_affine(sign * values)
        assert (np.sign(affine.scale) == sign).all()
        assert (affine.apply(sign * values) ** 3).mean() > 0


@pytest.mark.parametrize("every", [10, 500])
def test_a_sensor_that_idles_is_scaled_by_its_standard_deviation(every):
    values = np.zeros((1000, 1))
    values[::every, 0] = 5.0
    assert fit_affine(values).scale[0] == pytest.approx(values.std())


def test_an_undeclared_sentinel_does_not_blind_its_sensor():
    values = np.random.default_rng(0).normal(20.0, 0.5, size=(10_000, 1))
    values[::500, 0] = -9999.0
    assert abs(fit_affine(values).scale[0]) < 10 * 0.5
    assert values.std() > 400


def test_missing_values_do_not_count():
    values = skewed()
    holes = np.insert(values, 100, np.nan, axis=0)
    assert fit_affine(holes).scale == pytest.approx(fit_affine(values).scale)
    assert fit_affine(holes).loc == pytest.approx(fit_affine(values).loc)


@given(
    hnp.arrays(
        np.float64,
        st.tuples(st.integers(2, 40), st.just(1)),
        elements=st.integers(-50, 50).map(lambda number: number / 8) | st.just(np.nan),
    )
)
@settings(deadline=None)
def test_whatever_moves_has_a_scale(values):
    seen = values[~np.isnan(values)]
    if len(np.unique(seen)) < 2:
        return
    affine = fit_affine(values)
    assert np.isfinite(affine.loc).all()
    assert (np.abs(affine.scale) > 0).all()
    assert np.isfinite(affine.scale).all()
