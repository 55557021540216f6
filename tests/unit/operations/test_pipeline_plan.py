import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vae_anomaly.domain import Reach
from vae_anomaly.operations.pipeline_plan import (
    Stretch,
    find_due,
    make_batches,
    plan_stretches,
)

TIMES = np.arange(0, 100, 10)


def plan(due_rows, *, start_us=None, lookback=2, max_steps=100, times=TIMES):
    due = np.zeros(times.size, dtype=bool)
    due[list(due_rows)] = True
    return plan_stretches(
        "a", times, due, start_us=start_us, reach=Reach(lookback), max_steps=max_steps
    )


def steps_of(stretches, times=TIMES):
    return [
        position
        for stretch in stretches
        for position in np.flatnonzero((times >= stretch.start_us) & (times < stretch.end_us))
    ]


def test_steps_without_a_score_are_due():
    due = find_due(TIMES, np.array([90, 0, 10]), start_us=None)
    assert np.flatnonzero(due).tolist() == [2, 3, 4, 5, 6, 7, 8]


def test_steps_before_the_start_are_never_due():
    due = find_due(TIMES, np.array([80]), start_us=70)
    assert np.flatnonzero(due).tolist() == [7, 9]


def test_scores_of_readings_that_are_gone_do_not_matter():
    assert not find_due(TIMES, np.append(TIMES, 5), start_us=None).any()


def test_where_nothing_is_due_there_is_no_stretch():
    assert plan([]) == ()


def test_an_asset_without_readings_has_no_stretch():
    assert plan([], times=TIMES[:0]) == ()


def test_a_late_step_has_the_steps_after_it_scored_again():
    assert steps_of(plan([4], lookback=3)) == [4, 5, 6, 7]


def test_the_steps_before_are_read_too():
    (stretch,) = plan([4], lookback=3)
    assert stretch.read_from_us == 10


def test_at_the_beginning_there_are_fewer_steps_to_read():
    (stretch,) = plan([1], lookback=3)
    assert stretch.read_from_us == 0


def test_steps_before_the_start_are_read_but_not_scored():
    (stretch,) = plan(range(5, 10), start_us=50)
    assert (stretch.read_from_us, stretch.start_us, stretch.num_steps) == (30, 50, 5)


def test_late_steps_far_apart_make_two_stretches():
    assert [stretch.start_us for stretch in plan([0, 6])] == [0, 60]


def test_long_stretches_are_cut():
    stretches = plan(range(10), max_steps=4)
    assert [stretch.num_steps for stretch in stretches] == [4, 4, 2]
    assert [stretch.read_from_us for stretch in stretches] == [0, 20, 60]


def test_batches_hold_all_stretches_in_order():
    stretches = plan(range(10), max_steps=1)
    batches = list(make_batches(stretches, max_steps=3))
    assert [len(batch) for batch in batches] == [3, 3, 3, 1]
    assert tuple(item for batch in batches for item in batch) == stretches


def test_no_stretch_makes_no_batch():
    assert list(make_batches([], max_steps=3)) == []


def test_a_stretch_larger_than_a_batch_is_a_batch():
    stretch = Stretch("a", 0, 0, 1, 1, num_steps=9)
    assert list(make_batches([stretch, stretch], max_steps=3)) == [(stretch,), (stretch,)]


@given(
    due_rows=st.sets(st.integers(0, 39)),
    lookback=st.integers(0, 6),
    max_steps=st.integers(1, 12),
    start=st.integers(-1, 45),
)
def test_what_is_scored_is_what_is_due_or_depends_on_it(due_rows, lookback, max_steps, start):
    times = np.cumsum(np.random.default_rng(0).integers(1, 9, size=40))
    start_us = None if start < 0 else int(times[start]) if start < 40 else int(times[-1]) + 1
    first = 0 if start < 0 else start
    due_rows = {row for row in due_rows if row >= first}
    stretches = plan(
        due_rows, start_us=start_us, lookback=lookback, max_steps=max_steps, times=times
    )
    wanted = {
        row
        for row in range(first, 40)
        if any(row - lookback <= changed <= row for changed in due_rows)
    }
    scored = steps_of(stretches, times)
    assert sorted(scored) == sorted(set(scored))
    assert set(scored) == wanted
    for stretch in stretches:
        position = int(np.searchsorted(times, stretch.start_us))
        assert stretch.read_from_us == times[max(position - lookback, 0)]
        assert 1 <= stretch.num_steps <= max_steps


def test_the_last_steps_wait_for_those_after_them():
    due = find_due(TIMES, TIMES[:0], start_us=None, lookahead_steps=3)
    assert np.flatnonzero(due).tolist() == list(range(7))
    assert not find_due(TIMES[:3], TIMES[:0], start_us=None, lookahead_steps=3).any()


@given(
    order=st.permutations(range(30)),
    cuts=st.lists(st.integers(0, 30), max_size=6),
    lookback=st.integers(0, 4),
    lookahead=st.integers(0, 4),
    level=st.integers(0, 9),
    max_steps=st.integers(1, 12),
)
def test_whatever_the_order_of_arrival_scores_see_all_their_neighbours(
    order, cuts, lookback, lookahead, level, max_steps
):
    clock = np.cumsum(np.random.default_rng(0).integers(1, 4, size=30)).tolist()

    def look(times, time):
        at = times.index(time)
        earliest = times[max(at - lookback, 0)] - level
        return [other for other in times[: at + lookahead + 1] if other >= earliest]

    scored: dict[int, list[int]] = {}
    for end in [*sorted(cuts), 30]:
        there = sorted(clock[place] for place in order[:end])
        times = np.array(there, dtype=np.int64)
        due = find_due(times, np.array(list(scored)), start_us=None, lookahead_steps=lookahead)
        for stretch in plan_stretches(
            "a",
            times,
            due,
            reach=Reach(lookback, lookahead, level),
            max_steps=max_steps,
        ):
            read = [time for time in there if stretch.read_from_us <= time < stretch.read_to_us]
            for time in read:
                if stretch.start_us <= time < stretch.end_us:
                    scored[time] = look(read, time)
    assert scored == {time: look(clock, time) for time in clock[: 30 - lookahead]}
