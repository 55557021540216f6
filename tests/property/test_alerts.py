import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import naive
from vae_anomaly.detector.alerts import AlertRules, find_spans
from vae_anomaly.domain import MICROSECONDS_PER_S

PERIOD_S = 10
THRESHOLD = 8.0

# few levels, some of them just at the limits
levels = st.sampled_from([0.0, 3.9, 4.0, 4.1, 6.4, 6.5, 7.9, 8.0, 8.1, 20.0])
traces = st.lists(st.tuples(levels, st.sampled_from([1, 1, 1, 1, 2, 3, 9])), max_size=60)
rule_sets = st.builds(
    AlertRules,
    merge_steps=st.integers(0, 8),
    min_steps=st.integers(1, 4),
    release_fraction=st.sampled_from([0.5, 0.8, 1.0]),
    top_sensors=st.just(1),
    period_s=st.just(float(PERIOD_S)),
    gap_steps=st.integers(1, 5),
)


def unzip(trace) -> tuple[np.ndarray, np.ndarray]:
    steps_apart = np.array([step for _, step in trace], dtype=np.int64)
    times = np.cumsum(steps_apart) * PERIOD_S * MICROSECONDS_PER_S
    return times, np.array([score for score, _ in trace], dtype=np.float64)


def spans_of(trace, rules: AlertRules) -> list[tuple[int, int]]:
    times, score = unzip(trace)
    found = find_spans(times, score, threshold=THRESHOLD, rules=rules)
    return [(span.first, span.last) for span in found]


@given(traces, rule_sets)
@settings(deadline=None, max_examples=400)
def test_alert_spans_equal_the_state_machine(trace, rules):
    times, score = unzip(trace)
    step = PERIOD_S * MICROSECONDS_PER_S
    assert spans_of(trace, rules) == naive.alert_spans(
        times.tolist(),
        score.tolist(),
        threshold=THRESHOLD,
        release=rules.release_fraction,
        merge=rules.merge_steps * step,
        min_flags=rules.min_steps,
        gap=rules.gap_steps * step,
    )


@given(traces, rule_sets)
@settings(deadline=None)
def test_spans_are_apart_in_order_and_begin_with_a_flag(trace, rules):
    _, score = unzip(trace)
    spans = spans_of(trace, rules)
    edges = [edge for span in spans for edge in span]
    assert edges == sorted(edges)
    for (_, before), (after, _) in itertools.pairwise(spans):
        assert before < after
    for first, last in spans:
        assert score[first] > THRESHOLD
        assert np.sum(score[first : last + 1] > THRESHOLD) >= rules.min_steps
        assert score[last] > rules.release_fraction * THRESHOLD
