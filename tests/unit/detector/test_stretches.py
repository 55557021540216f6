import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vae_anomaly.detector import stretches
from vae_anomaly.detector.adaptation import Track
from vae_anomaly.detector.stretches import (
    MIN_MEMORIES,
    Stretch,
    run_side_by_side,
    split_into_stretches,
)

STEP_US = 1_000_000


def make_track(codes, *, adaptation_steps: int = 0, ticks=None) -> Track:
    ticks = np.arange(len(codes)) if ticks is None else np.asarray(ticks)
    return Track(ticks * STEP_US, np.asarray(codes, dtype=np.int64), 1.0, adaptation_steps)


def test_few_steps_are_one_stretch_and_none_are_none():
    assert split_into_stretches(make_track([0, 0, 0]), 5, num_sensors=8) == [Stretch(0, 0, 3)]
    assert split_into_stretches(make_track([]), 5, num_sensors=8) == []


@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=4),
    st.integers(0, 5),
    st.integers(0, 40),
    st.integers(1, 3),
    st.integers(0, 2**32 - 1),
)
@settings(deadline=None)
def test_every_step_is_in_one_stretch_that_reads_what_it_depends_on(
    lengths, lookback, adaptation_steps, num_sensors, seed
):
    codes = np.repeat(np.arange(len(lengths)), lengths)
    ticks = np.cumsum(np.random.default_rng(seed).integers(1, 4, size=len(codes)))
    track = make_track(codes, adaptation_steps=adaptation_steps, ticks=ticks)
    memory_us = 21 * track.block_us if adaptation_steps else 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stretches, "STRETCH_VALUES", 12)
        found = split_into_stretches(track, lookback, num_sensors=num_sensors)
    covered = np.concatenate([np.arange(stretch.start, stretch.stop) for stretch in found])
    np.testing.assert_array_equal(covered, np.arange(len(codes)))
    for stretch in found:
        assert 0 <= stretch.first <= stretch.start < stretch.stop
        several = len(set(codes[stretch.first : stretch.stop].tolist())) > 1
        assert not several or stretch.first == stretch.start  # whole assets share a stretch
        mine = np.flatnonzero(codes == codes[stretch.start])
        times = track.timestamps[mine]
        needed = mine[times >= track.timestamps[stretch.start] - memory_us][0] - lookback
        assert stretch.first <= max(needed, mine[0])


def test_a_long_memory_makes_long_stretches():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stretches, "STRETCH_VALUES", 10)
        found = split_into_stretches(make_track([0] * 1000), 20, num_sensors=1)
    for stretch in found[3:-1]:
        assert stretch.stop - stretch.start >= MIN_MEMORIES * (stretch.start - stretch.first) > 0


@pytest.mark.parametrize("num_cores", [1, 3])
def test_every_item_is_worked_on_once_however_many_cores_there_are(monkeypatch, num_cores):
    monkeypatch.setattr(stretches, "_count_cores", lambda: num_cores)
    seen = np.zeros(50, dtype=int)

    def count(rows):
        seen[rows] += 1

    run_side_by_side(count, [slice(i, i + 16) for i in range(0, 50, 16)])
    assert (seen == 1).all()


def test_an_error_in_one_item_is_raised(monkeypatch):
    monkeypatch.setattr(stretches, "_count_cores", lambda: 2)
    with pytest.raises(ZeroDivisionError):
        run_side_by_side(lambda item: 1 // item, [1, 0])
