import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import naive
from vae_anomaly.detector.smoothing import memory_steps, smooth
from vae_anomaly.domain import MICROSECONDS_PER_S, Readings
from vae_anomaly.model.windows import gather_windows, order_steps

PERIOD_S = 10.0

rows_of_readings = st.lists(
    st.tuples(
        st.integers(0, 60).map(lambda tick: tick * 5 * MICROSECONDS_PER_S),  # half periods too
        st.integers(0, 2),
        st.sampled_from(["", "", "", "duplicate"]),
    ),
    min_size=1,
    max_size=40,
    unique_by=lambda row: row[:2],
)


def order(rows, gap_steps):
    readings = Readings(
        timestamps=np.array([row[0] for row in rows], dtype=np.int64),
        asset_codes=np.array([row[1] for row in rows], dtype=np.int64),
        asset_names=("a", "b", "c"),
        values=np.arange(len(rows), dtype=np.float64)[:, None],
        sensors=("row",),
    )
    problems = np.array([row[2] for row in rows], dtype=object)
    steps = order_steps(readings, problems == "", period_s=PERIOD_S, gap_steps=gap_steps)
    return readings, steps


@given(rows_of_readings, st.integers(1, 4), st.integers(1, 6))
@settings(deadline=None)
def test_windows_equal_their_naive_twin_and_never_cross_a_gap_or_an_asset(rows, gap_steps, window):
    readings, steps = order(rows, gap_steps)
    windows = gather_windows(
        readings.values[steps.rows],
        steps.segment_start,
        np.arange(steps.num_steps),
        window=window,
    )
    fast = {
        int(row): [None if np.isnan(value) else int(value) for value in found[:, 0]]
        for row, found in zip(steps.rows, windows, strict=True)
    }
    times, assets, problems = zip(*rows, strict=True)
    gap_us = gap_steps * PERIOD_S * MICROSECONDS_PER_S
    twin = naive.windows(times, assets, problems, gap_us=gap_us, window=window)
    assert fast == twin
    for found in fast.values():
        inside = [row for row in found if row is not None]
        assert len({assets[row] for row in inside}) == 1
        assert np.all(np.diff([times[row] for row in inside]) <= gap_us)


energies = st.lists(st.floats(0, 1e4) | st.just(float("nan")), min_size=1, max_size=40)


@given(energies, st.data(), st.integers(1, 6), st.floats(0, 10), st.integers(0, 9))
@settings(deadline=None)
def test_the_smoothed_score_equals_its_naive_twin(energy, data, span, normal_level, latency):
    cuts = data.draw(st.lists(st.booleans(), min_size=len(energy), max_size=len(energy)))
    starts = np.maximum.accumulate([i if cut else 0 for i, cut in enumerate(cuts)])
    form = {"span": span, "normal_level": normal_level, "latency_steps": latency}
    fast = smooth(np.array(energy), starts, **form)
    twin = naive.smooth(energy, starts.tolist(), **form)
    assert fast.tolist() == pytest.approx(twin, rel=1e-9, abs=1e-9, nan_ok=True)


@given(energies, st.integers(1, 4), st.integers(0, 60), st.integers(0, 9))
@settings(deadline=None)
def test_a_smoothed_score_depends_on_nothing_before_its_memory(energy, span, num_earlier, latency):
    form = {"span": span, "normal_level": 1.0, "latency_steps": latency}
    late = [*[1.0] * (memory_steps(span) - 1), *energy]
    long = np.array([*[99.0] * num_earlier, *late])
    whole = smooth(long, np.zeros(len(long), dtype=int), **form)
    alone = smooth(np.array(late), np.zeros(len(late), dtype=int), **form)
    np.testing.assert_array_equal(whole[-len(energy) :], alone[-len(energy) :])


@given(energies, st.integers(2, 4), st.integers(0, 9), st.lists(st.floats(0, 1e4), max_size=20))
@settings(deadline=None)
def test_a_smoothed_score_depends_on_nothing_after_its_latency(energy, span, latency, later):
    form = {"span": span, "normal_level": 1.0, "latency_steps": latency}
    long = np.array([*energy, *later])
    whole = smooth(long, np.zeros(len(long), dtype=int), **form)
    alone = smooth(np.array(energy), np.zeros(len(energy), dtype=int), **form)
    num_final = max(len(energy) - latency, 0)
    np.testing.assert_array_equal(whole[:num_final], alone[:num_final])
