import numpy as np
import pytest

from vae_anomaly.evaluation.injected import (
    FAULT_STEPS,
    KINDS,
    InjectedFault,
    find_spread,
    inject,
    plan_faults,
)

CODES = np.repeat([0, 1], 500)
SENSORS = np.arange(3)


def plan(is_free, *, num_faults=40, apart_steps=40):
    return plan_faults(is_free, CODES, SENSORS, num_faults=num_faults, apart_steps=apart_steps)


def test_faults_lie_on_free_rows_of_one_asset_and_apart():
    is_free = np.ones(1000, dtype=bool)
    is_free[100:130] = False
    passes = plan(is_free)
    assert sum(map(len, passes)) >= 40
    for faults in passes:
        starts = np.array([fault.start for fault in faults])
        rows = starts[:, None] + np.arange(FAULT_STEPS)
        assert is_free[rows].all()
        assert (CODES[rows] == CODES[starts][:, None]).all()
        assert (np.diff(starts) >= FAULT_STEPS + 40).all()


def test_every_kind_hits_every_sensor():
    faults = [fault for one in plan(np.ones(1000, dtype=bool)) for fault in one]
    assert {(fault.kind, fault.sensor) for fault in faults} == {
        (kind, sensor) for kind in KINDS for sensor in range(3)
    }
    assert len({fault.size for fault in faults}) == 4


def test_many_rows_need_one_copy_and_few_hold_few_faults():
    free = np.ones(1000, dtype=bool)
    assert len(plan(free, num_faults=5)) == 1
    assert len(plan(free, num_faults=5)[0]) == 5
    few = np.zeros(1000, dtype=bool)
    few[: FAULT_STEPS + 2] = True
    assert 1 <= sum(map(len, plan(few, num_faults=1000))) <= 50


@pytest.mark.parametrize("num_rows", [FAULT_STEPS - 1, 1000])
def test_no_room_is_no_fault(num_rows):
    none = np.zeros(num_rows, dtype=bool)
    assert plan_faults(none, CODES[:num_rows], SENSORS, num_faults=5, apart_steps=5) == ()
    free = np.ones(1000, dtype=bool)
    assert plan_faults(free, CODES, SENSORS[:0], num_faults=5, apart_steps=5) == ()


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_changes_its_sensor_and_rows_only(kind):
    values = np.random.default_rng(0).normal(size=(1000, 3))
    fault = InjectedFault(start=600, sensor=1, kind=kind, size=3.0)
    faulty = inject(values, CODES, (fault,), spread=np.ones(3), seed=0)
    changed = np.argwhere(faulty != values)
    assert set(changed[:, 1]) == {1}
    assert changed[:, 0].min() >= 600
    assert changed[:, 0].max() < 600 + FAULT_STEPS
    own = faulty[600 : 600 + FAULT_STEPS, 1]
    healthy = values[600 : 600 + FAULT_STEPS, 1]
    if kind == "step":
        assert np.allclose(own - healthy, 3.0)
    elif kind == "drift":
        assert own[0] == healthy[0]
        assert own[-1] - healthy[-1] == pytest.approx(6.0)
    elif kind == "stuck":
        assert (own == healthy[0]).all()
    elif kind == "foreign":
        assert (own == values[850 : 850 + FAULT_STEPS, 1]).all()


def test_the_same_seed_gives_the_same_faults():
    values = np.zeros((1000, 3))
    fault = InjectedFault(start=10, sensor=0, kind="noise", size=1.0)
    first, again, other = (
        inject(values, CODES, (fault,), spread=np.ones(3), seed=seed) for seed in (0, 0, 1)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_spread_is_that_of_the_middle_and_0_where_nothing_moves():
    rng = np.random.default_rng(0)
    switch = np.zeros(1000)
    switch[:10] = 5.0
    values = np.column_stack(
        [rng.normal(size=1000) * 3, np.full(1000, 7.0), np.full(1000, np.nan), switch]
    )
    spread = find_spread(values)
    assert spread[0] == pytest.approx(3.0, rel=0.1)
    assert spread[1:3].tolist() == [0.0, 0.0]
    assert spread[3] == pytest.approx(switch.std())
    assert find_spread(np.full((3, 2), np.nan)).tolist() == [0.0, 0.0]
