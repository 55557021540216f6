from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from tests import naive
from vae_anomaly.evaluation.evaluate import evaluate
from vae_anomaly.evaluation.metrics import average_precision, roc_auc
from vae_anomaly.evaluation.vus import vus_pr

START = datetime(2024, 1, 1, tzinfo=UTC)

# few distinct values give ties, many give none
score_values = st.one_of(st.integers(0, 4).map(float), st.floats(-1e6, 1e6))
scored_labels = st.lists(st.tuples(score_values, st.booleans()), min_size=2, max_size=60)


def unzip(pairs):
    return np.array([p[0] for p in pairs], dtype=np.float64), np.array([p[1] for p in pairs])


@given(scored_labels)
@settings(deadline=None)
def test_average_precision_equals_its_naive_twin_and_sklearn(pairs):
    scores, labels = unzip(pairs)
    fast = average_precision(scores, labels)
    assert fast == pytest.approx(naive.average_precision(scores, labels), abs=1e-9, nan_ok=True)
    if labels.any() and not labels.all():
        assert fast == pytest.approx(average_precision_score(labels, scores), abs=1e-9)


@given(scored_labels)
@settings(deadline=None)
def test_roc_auc_equals_sklearn(pairs):
    scores, labels = unzip(pairs)
    assume(labels.any() and not labels.all())
    assert roc_auc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-9)


@given(scored_labels, st.integers(0, 14), st.sampled_from([1, 2, 7, 25]))
@settings(deadline=None)
def test_vus_pr_equals_its_naive_twin(pairs, window_steps, num_thresholds):
    scores, labels = unzip(pairs)
    sizes = {"window_steps": window_steps, "num_thresholds": num_thresholds}
    fast = vus_pr(scores, labels, **sizes)
    assert fast == pytest.approx(naive.vus_pr(scores, labels, **sizes), abs=1e-9, nan_ok=True)


@given(scored_labels, st.integers(0, 14))
@settings(deadline=None)
def test_vus_pr_keeps_its_value_under_any_rising_change_of_the_scores(pairs, window_steps):
    scores, labels = unzip(pairs)
    ranks = np.unique(scores, return_inverse=True)[1].astype(np.float64)
    before = vus_pr(scores, labels, window_steps=window_steps)
    after = vus_pr(np.exp(ranks / 10), labels, window_steps=window_steps)
    assert before == pytest.approx(after, abs=1e-12, nan_ok=True)


@given(scored_labels, scored_labels, st.integers(0, 14))
@settings(deadline=None)
def test_buffers_never_reach_into_another_asset(pairs, others, window_steps):
    scores, labels = unzip(pairs + others)
    codes = np.repeat([0, 1], [len(pairs), len(others)])
    apart = vus_pr(scores, labels, window_steps=window_steps, asset_codes=codes)
    swap = np.argsort(-codes, kind="stable")
    swapped = vus_pr(
        scores[swap], labels[swap], window_steps=window_steps, asset_codes=codes[swap]
    )
    assert apart == pytest.approx(swapped, abs=1e-12, nan_ok=True)


@given(
    st.lists(st.tuples(st.integers(1, 500), st.booleans(), st.booleans()), min_size=2, max_size=40)
)
@settings(deadline=None)
def test_anomalies_found_delays_and_false_alarms_equal_their_naive_twins(steps):
    times = np.cumsum([gap for gap, _, _ in steps])
    flags = [flag for _, flag, _ in steps]
    labels = [label for _, _, label in steps]
    scores = pa.table(
        {
            "timestamp": [START + timedelta(seconds=int(time)) for time in times],
            "score": [float(flag) for flag in flags],
            "state": ["anomalous" if flag else "ok" for flag in flags],
        }
    )
    result = evaluate(scores, labels)
    found, delay = result.event_recall, result.median_delay_s
    assert result.num_anomalies == len(naive.find_runs(labels))
    assert naive.event_recall(flags, labels) == pytest.approx(
        np.nan if found is None else found, nan_ok=True
    )
    assert naive.median_delay_s(times, flags, labels) == pytest.approx(
        np.nan if delay is None else delay, nan_ok=True
    )
    period_s = np.median(np.diff(times))
    days = labels.count(False) * period_s / 86_400
    if days:
        num_false = naive.count_false_alarms(flags, labels)
        assert result.false_alarms_per_day == pytest.approx(num_false / days)
    else:
        assert result.false_alarms_per_day is None
