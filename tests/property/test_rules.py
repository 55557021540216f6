import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import naive
from vae_anomaly.detector.rules import (
    ALL_RULES,
    RuleLimits,
    RuleSteps,
    find_breaches,
)
from vae_anomaly.domain import Contract, Sensor
from vae_anomaly.readings.quality import count_flat_steps

CONTRACT = Contract((Sensor("flow"), Sensor("level")), period_s=1.0)
INF = float("inf")

cells = st.sampled_from([1.0, 1.0, 1.0, 2.0, float("nan")])
columns = st.lists(st.tuples(cells, cells, st.booleans()), max_size=60)
limits_of_rules = st.builds(
    RuleLimits,
    st.tuples(st.integers(0, 8), st.integers(0, 8)),
    st.sampled_from([(-INF, -INF), (1.5, -INF)]),
    st.sampled_from([(INF, INF), (INF, 1.5)]),
    st.sampled_from([(INF, INF), (0.5, INF)]),
)


def make_steps(rows, *, is_often_cut=False) -> RuleSteps:
    """Steps of which a few, or every second one, begin a segment."""
    cut = np.array([row[2] and (is_often_cut or i % 7 == 0) for i, row in enumerate(rows)], bool)
    at = np.arange(len(rows))
    start = np.maximum.accumulate(np.where(cut, at, 0)) if len(rows) else at
    values = np.array([row[:2] for row in rows], dtype=np.float64).reshape(-1, 2)
    return RuleSteps(values, start, at * 1_000_000, period_s=1.0)


@given(columns, st.integers(1, 8), st.booleans())
@settings(deadline=None)
def test_flat_lines_equal_their_naive_twin(rows, limit, is_often_cut):
    steps = make_steps(rows, is_often_cut=is_often_cut)
    limits = RuleLimits((limit, 0), (-INF, -INF), (INF, INF), (INF, INF))
    fires = find_breaches(steps, limits, CONTRACT).to_array() == "flat_line: flow"
    start = steps.segment_start.tolist()
    flow = steps.values[:, 0]
    assert fires.tolist() == naive.flat_lines(flow.tolist(), start, limit=limit)
    longest = int(count_flat_steps(flow, steps.segment_start).max(initial=0))
    assert longest == naive.longest_flat(flow.tolist(), start)


@given(columns, limits_of_rules, st.integers(0, 59))
@settings(deadline=None)
def test_no_rule_looks_further_than_it_says(rows, limits, step):
    steps = make_steps(rows)
    whole = find_breaches(steps, limits, CONTRACT).to_array()
    step = min(step, len(rows) - 1)
    first = max(step + 1 - limits.memory_steps, 0)
    if step < 0:
        return
    alone = RuleSteps(
        steps.values[first : step + 1],
        np.maximum(steps.segment_start[first : step + 1] - first, 0),
        steps.timestamps[first : step + 1],
        steps.period_s,
    )
    assert find_breaches(alone, limits, CONTRACT).to_array()[-1] == whole[step]


@given(columns, limits_of_rules)
@settings(deadline=None)
def test_the_first_rule_and_sensor_give_the_reason(rows, limits):
    steps = make_steps(rows)
    found = find_breaches(steps, limits, CONTRACT).to_array()
    fires = [rule.find(steps, limits) for rule in ALL_RULES]
    for step, reason in enumerate(found):
        reasons = [
            rule.reason.of(sensor)
            for rule, fired in zip(ALL_RULES, fires, strict=True)
            if fired is not None
            for sensor, is_fired in zip(CONTRACT.sensor_names, fired[step], strict=True)
            if is_fired
        ]
        assert reason == (reasons or [""])[0]
