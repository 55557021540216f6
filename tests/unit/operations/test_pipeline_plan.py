import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vae_anomaly.domain import Reach
from vae_anomaly.operations.pipeline_plan import Stretch, make_batches, plan_stretches

TIMES = np.arange(0, 100, 10)


def plan(touched_rows, *, start_us=0, lookback=2, max_steps=100, times=TIMES, lookahead=0):
    return plan_stretches(
        "a",
        times,
        times[sorted(touched_rows)],
        reach=Reach(lookback, lookahead),
        between=(start_us, 10**15),
        max_steps=max_steps,
    )


def steps_of(stretches, times=TIMES):
    return [
        position
        for stretch in stretches
        if stretch.num_steps
        for position in np.flatnonzero((times >= stretch.start_us) & (times < stretch.end_us))
    ]


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


def test_the_score_of_a_step_that_is_no_more_goes_and_those_after_it_are_scored_again():
    (stretch,) = plan_stretches("a", TIMES, np.array([45]), reach=Reach(2), max_steps=100)
    assert (stretch.start_us, stretch.end_us, stretch.num_steps) == (45, 61, 2)


def test_scores_of_an_asset_without_readings_only_go():
    gone = np.array([5, 9])
    (stretch,) = plan_stretches("a", TIMES[:0], gone, reach=Reach(2), max_steps=100)
    assert (stretch.start_us, stretch.end_us, stretch.num_steps) == (5, 10, 0)


def test_the_last_steps_wait_for_those_after_them_and_have_no_score_until_then():
    scored, waiting = plan(range(5, 10), lookahead=3)
    assert (scored.start_us, scored.end_us, scored.num_steps) == (20, 61, 5)
    assert (waiting.start_us, waiting.end_us, waiting.num_steps) == (70, 91, 0)
    assert scored.read_to_us == 91


@given(
    touched_rows=st.sets(st.integers(0, 39)),
    lookback=st.integers(0, 6),
    max_steps=st.integers(1, 12),
    start=st.integers(0, 40),
)
def test_what_is_scored_is_what_changed_or_depends_on_it(touched_rows, lookback, max_steps, start):
    times = np.cumsum(np.random.default_rng(0).integers(1, 9, size=40))
    start_us = int(times[start]) if start < 40 else int(times[-1]) + 1
    stretches = plan(
        touched_rows, start_us=start_us, lookback=lookback, max_steps=max_steps, times=times
    )
    wanted = {
        row
        for row in range(start, 40)
        if any(row - lookback <= changed <= row for changed in touched_rows)
    }
    scored = steps_of(stretches, times)
    assert sorted(scored) == sorted(set(scored))
    assert set(scored) == wanted
    for stretch in stretches:
        position = int(np.searchsorted(times, stretch.start_us))
        assert stretch.read_from_us == times[max(position - lookback, 0)]
        assert 1 <= stretch.num_steps <= max_steps


@given(
    arrivals=st.lists(st.sets(st.integers(0, 29)), max_size=6),
    values=st.integers(0, 2),
    lookback=st.integers(0, 4),
    lookahead=st.integers(0, 4),
    level=st.integers(0, 9),
    max_steps=st.integers(1, 12),
)
@example(arrivals=[{0, 7}, {7}], values=0, lookback=1, lookahead=0, level=0, max_steps=1)
@settings(max_examples=300)
def test_whatever_comes_changes_or_goes_scores_are_those_of_one_look(
    arrivals, values, lookback, lookahead, level, max_steps
):
    """Each arrival says which readings there are then; the values of some change with it."""
    clock = np.cumsum(np.random.default_rng(0).integers(1, 4, size=30)).tolist()

    def look(there, time):
        times = sorted(there)
        at = times.index(time)
        earliest = times[max(at - lookback, 0)] - level
        return [
            (other, there[other]) for other in times[: at + lookahead + 1] if other >= earliest
        ]

    scored: dict[int, list[tuple[int, int]]] = {}
    before: dict[int, int] = {}
    for number, places in enumerate(arrivals):
        there = {clock[k]: number * (k % 3 < values) for k in places}
        touched = {time for time in {*before, *there} if before.get(time) != there.get(time)}
        for stretch in plan_stretches(
            "a",
            np.array(sorted(there), dtype=np.int64),
            np.array(sorted(touched), dtype=np.int64),
            reach=Reach(lookback, lookahead, level),
            max_steps=max_steps,
        ):
            inside = range(stretch.start_us, stretch.end_us)
            scored = {time: seen for time, seen in scored.items() if time not in inside}
            read = range(stretch.read_from_us, stretch.read_to_us)
            seen = {time: value for time, value in there.items() if time in read}
            mine = [time for time in there if time in inside] if stretch.num_steps else []
            assert len(mine) == stretch.num_steps
            scored |= {time: look(seen, time) for time in mine}
        before = there
    assert scored == {
        time: look(before, time)
        for at, time in enumerate(sorted(before))
        if at + lookahead < len(before)
    }
