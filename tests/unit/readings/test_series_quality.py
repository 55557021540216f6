"""What the values of a sensor are like: spikes, runs, copies, and their table."""

from __future__ import annotations

import numpy as np
import pytest

from vae_anomaly.readings.series_quality import find_spikes, measure_series

WAVE = np.sin(np.arange(500) / 20.0)


def with_values(values: np.ndarray, **changed: float) -> np.ndarray:
    copied = values.copy()
    for place, value in changed.items():
        copied[int(place.removeprefix("at_"))] = value
    return copied


@pytest.mark.parametrize(
    ("values", "spikes"),
    [
        (WAVE, []),
        (with_values(WAVE, at_100=9.0, at_300=-9.0), [100, 300]),
        (np.where(np.arange(500) < 250, WAVE, WAVE + 9.0), []),
        ((np.arange(500) % 7 == 0).astype(float), []),
        (with_values(np.zeros(500), at_100=9.0), []),
        (with_values(WAVE, at_0=9.0, at_499=9.0), []),
        (with_values(WAVE, at_100=9.0, at_101=9.0), []),
        (np.array([1.0, 9.0]), []),
        (with_values(np.repeat(np.sin(np.arange(2_000.0)), 10), at_5005=1e6), [5005]),
    ],
    ids=[
        "wave",
        "two",
        "step",
        "switch",
        "one of a flat line",
        "ends",
        "two in a row",
        "short",
        "held",
    ],
)
def test_spikes_leave_both_neighbours_and_return(values, spikes):
    assert find_spikes(values).tolist() == spikes


@pytest.mark.parametrize(("factor", "offset"), [(1e6, 0.0), (1e-6, 5.0), (-3.0, 1e3)])
def test_spikes_are_the_same_in_any_unit(factor, offset):
    values = with_values(WAVE, at_100=9.0, at_300=-9.0)
    assert find_spikes(values * factor + offset).tolist() == [100, 300]


def test_sensors_with_the_same_values_are_found_where_they_move():
    noise = np.random.default_rng(0).normal(size=5_000)
    other = noise.copy()
    other[4_321] += 1.0  # one of 5,000, which no sample of rows has to hold
    zeros = np.zeros(5_000)
    values = np.column_stack([noise, zeros, noise, other, zeros])
    listed = measure_series(np.arange(5_000), values, tuple("abcde")).list_sensors("x", "abcde")
    assert [item.copy_of for item in listed] == ["", "", "a", "", ""]
    flat = [(item.longest_flat_steps, item.last_flat_steps) for item in listed]
    assert flat == [(1, 1), (5_000, 5_000), (1, 1), (1, 1), (5_000, 5_000)]
