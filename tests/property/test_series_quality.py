"""Quality counted in parts is that of the whole, and that of plain loops."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.naive import count_copies, count_runs
from vae_anomaly.readings.series_quality import join_series, measure_series

SENSORS = ("a", "b", "c")
RANGES = {"a": (0.0, 1.0), "b": (-np.inf, 1.0)}
VALUES = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 30), st.just(len(SENSORS))),
    elements=st.sampled_from([np.nan, 0.0, 1.0, 2.0]),
    fill=st.nothing(),
)


@given(values=VALUES, cuts=st.sets(st.integers(1, 29)), seed=st.integers(0, 9))
def test_parts_join_to_the_whole_in_any_order(values, cuts, seed):
    times = np.arange(len(values))
    whole = measure_series(times, values, SENSORS, ranges=RANGES)
    places = [0, *sorted(cut for cut in cuts if cut < len(values)), len(values)]
    parts = [
        measure_series(times[first:end], values[first:end], SENSORS, ranges=RANGES)
        for first, end in itertools.pairwise(places)
    ]
    np.random.default_rng(seed).shuffle(parts)
    joined = join_series(parts)
    for field in dataclasses.fields(whole):
        if field.name != "num_spikes":  # what change is usual is found in each part by itself
            mine, theirs = getattr(joined, field.name), getattr(whole, field.name)
            np.testing.assert_array_equal(mine, theirs, err_msg=field.name)
    np.testing.assert_array_equal(joined.num_spikes, sum(part.num_spikes for part in parts))


@given(values=VALUES)
def test_counts_are_those_of_plain_loops(values):
    found = measure_series(np.arange(len(values)), values, SENSORS, ranges=RANGES)
    listed = found.list_sensors("asset", SENSORS)
    for k, item in enumerate(listed):
        present = [value for value in values[:, k].tolist() if not np.isnan(value)]
        runs = count_runs(present)
        assert item.num_missing == len(values) - len(present)
        assert item.longest_flat_steps == max(runs, default=0)
        assert item.last_flat_steps == (runs[-1] if runs else 0)
        low, high = RANGES.get(item.sensor, (-np.inf, np.inf))
        assert item.num_out_of_range == sum(not low <= value <= high for value in present)
        if present:
            assert (item.minimum, item.maximum) == (min(present), max(present))
        else:
            assert np.isnan(item.minimum)
            assert np.isnan(item.maximum)
        assert item.copy_of == count_copies(values.T.tolist(), SENSORS)[k]
