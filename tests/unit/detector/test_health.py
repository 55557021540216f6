import math

import numpy as np
import pytest
from scipy import stats

from vae_anomaly.detector.attribution import HitRates
from vae_anomaly.detector.baseline import BaselineFit
from vae_anomaly.detector.health import HeldOutFit, check_health


def check(*, values=None, mean=0.0, sigma=1.0, floor=0.05, active_units=2, gain=1.0):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(5000, 3)) if values is None else values
    shape = values.shape
    fit = HeldOutFit(
        values, np.broadcast_to(mean, shape), np.broadcast_to(sigma, shape), np.full(3, floor)
    )
    found = check_health(
        fit, BaselineFit(gain, 0.0, 10), HitRates(0.9, 1.0, 60), active_units=active_units
    )
    return {figure.name: figure for figure in found}


def test_a_healthy_detector_passes_everything():
    figures = check()
    assert all(figure.passed for figure in figures.values())
    assert figures["two_sigma_coverage"].value == pytest.approx(0.954, abs=0.01)
    assert figures["sigma_at_floor_share"].value == 0.0
    assert figures["active_units"].value == 2.0
    assert figures["gain_over_pca_nats"].value == 1.0
    assert all(figure.meaning.endswith(".") for figure in figures.values())
    assert [figures[f"attribution_top_{k}"].value for k in (1, 3)] == [0.9, 1.0]


def test_a_collapsed_code_fails():
    assert not check(active_units=0)["active_units"].passed


def test_sigmas_at_their_floor_fail():
    figure = check(sigma=0.0502, floor=0.05)["sigma_at_floor_share"]
    assert figure.value == 1.0
    assert not figure.passed


def test_too_small_a_sigma_fails():
    figure = check(sigma=0.5)["two_sigma_coverage"]
    assert figure.value == pytest.approx(0.683, abs=0.02)
    assert not figure.passed


def test_the_pit_distance_is_that_of_kolmogorov():
    values = np.random.default_rng(1).normal(size=(5000, 3))
    for mean, sigma in ((0.0, 1.0), (0.5, 1.0), (0.0, 3.0)):
        expected = stats.kstest(((values - mean) / sigma).ravel(), "norm").statistic
        found = check(values=values, mean=mean, sigma=sigma)["pit_distance"].value
        assert found == pytest.approx(expected)


def test_being_worse_than_pca_fails_and_having_no_comparison_does_not():
    assert not check(gain=0.0)["gain_over_pca_nats"].passed
    assert not check(gain=-2.0)["gain_over_pca_nats"].passed
    unknown = check(gain=math.nan)["gain_over_pca_nats"]
    assert unknown.passed
    assert math.isnan(unknown.value)


def test_r_squared_is_the_share_of_variance_that_the_mean_explains():
    values = np.random.default_rng(0).normal(size=(5000, 3))
    assert check(values=values, mean=0.0)["median_r_squared"].value == pytest.approx(0, abs=1e-3)
    mean = np.column_stack([values[:, 0], 0.5 * values[:, 1], 0 * values[:, 2]])
    figure = check(values=values, mean=mean)["median_r_squared"]
    assert figure.value == pytest.approx(0.75, abs=1e-3)


def test_missing_readings_do_not_count():
    values = np.random.default_rng(0).normal(size=(5000, 3))
    values[:4000, 0] = np.nan
    figures = check(values=values)
    assert figures["two_sigma_coverage"].value == pytest.approx(0.954, abs=0.01)
    assert figures["median_r_squared"].value == pytest.approx(0, abs=1e-2)


def test_without_any_reading_the_coverage_fails_and_r_squared_is_unknown():
    figures = check(values=np.full((5, 3), np.nan))
    assert not figures["two_sigma_coverage"].passed
    assert math.isnan(figures["median_r_squared"].value)
