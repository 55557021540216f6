import numpy as np
import pytest

from vae_anomaly.detector.smoothing import memory_steps, smooth

NAN = np.nan


def starts(num: int) -> np.ndarray:
    return np.zeros(num, dtype=np.int64)


def test_a_span_of_one_leaves_the_energy_as_it_is():
    energy = np.array([1.0, NAN, 7.0])
    np.testing.assert_array_equal(smooth(energy, starts(3), span=1, normal_level=2.0), energy)


def test_normal_energy_gives_the_normal_score():
    score = smooth(np.full(50, 3.0), starts(50), span=5, normal_level=3.0)
    np.testing.assert_allclose(score, 3.0)


def test_a_lasting_excess_is_reached_and_a_spike_fades():
    lasting = smooth(np.full(100, 9.0), starts(100), span=5, normal_level=1.0)
    assert lasting[0] < 4
    assert lasting[-1] == pytest.approx(9.0)
    spike = smooth(np.array([101.0] + [1.0] * 30), starts(31), span=5, normal_level=1.0)
    assert (np.diff(spike[:15]) < 0).all()
    assert spike[memory_steps(5)] == 1.0  # forgotten for good, not only nearly


def test_missing_energy_is_unscorable_and_counts_as_normal_for_the_next_steps():
    score = smooth(np.array([5.0, NAN, 1.0]), starts(3), span=3, normal_level=1.0)
    filled = smooth(np.array([5.0, 1.0, 1.0]), starts(3), span=3, normal_level=1.0)
    assert np.isnan(score[1])
    np.testing.assert_array_equal(score[[0, 2]], filled[[0, 2]])


def test_a_segment_begins_anew():
    energy = np.array([100.0, 100.0, 1.0])
    score = smooth(energy, np.array([0, 0, 2]), span=3, normal_level=1.0)
    assert score[2] == 1.0


@pytest.mark.parametrize("latency", [0, 3])
def test_no_step_has_no_score(latency):
    score = smooth(np.empty(0), starts(0), span=5, normal_level=1.0, latency_steps=latency)
    assert score.shape == (0,)


@pytest.mark.parametrize(("span", "steps"), [(1, 1), (2, 8), (20, 64), (50, 256)])
def test_the_memory_is_three_spans_rounded_up_to_a_power_of_two(span, steps):
    assert memory_steps(span) == steps
