from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from vae_anomaly.domain import AlertEvent
from vae_anomaly.errors import EvaluationError
from vae_anomaly.evaluation.planted import KindFound, planted_kinds_found

START = datetime(2024, 1, 1, tzinfo=UTC)
START_US = int(START.timestamp()) * 1_000_000
MINUTE_US = 60_000_000


def make_scores(kinds, **columns):
    return pa.table(
        {
            "timestamp": [START + timedelta(minutes=i) for i in range(len(kinds))],
            "score": [1.0] * len(kinds),
            "state": ["ok"] * len(kinds),
            "label_kind": kinds,
        }
        | columns
    )


def make_event(start_minute, end_minute, *, asset="asset"):
    start_us, end_us = START_US + start_minute * MINUTE_US, START_US + end_minute * MINUTE_US
    return AlertEvent(
        f"{asset}-{start_minute}", asset, start_us, end_us, start_us, 5.0, 2.0, 1, (), (), "low"
    )


def test_each_kind_is_counted_with_the_anomalies_an_alert_overlaps():
    scores = make_scores(["", "drift", "drift", "", "step", "", "step", None, "", ""])
    events = [make_event(2, 3), make_event(6, 7), make_event(8, 9)]
    result = planted_kinds_found(scores, events)
    assert result.kinds == (KindFound("drift", 1, 1), KindFound("step", 2, 1))
    assert result.num_kinds_found == 2
    assert result.false_events == (events[2],)


def test_kinds_that_touch_are_two_anomalies():
    result = planted_kinds_found(make_scores(["drift", "step", "step"]), [make_event(1, 2)])
    assert result.kinds == (KindFound("drift", 1, 0), KindFound("step", 1, 1))


@pytest.mark.parametrize(("tolerance_s", "num_false"), [(0.0, 1), (60.0, 1), (61.0, 0)])
def test_an_alert_soon_after_an_anomaly_is_not_false_and_not_a_find(tolerance_s, num_false):
    scores = make_scores(["", "step", "", "", ""])
    result = planted_kinds_found(scores, [make_event(3, 4)], tolerance_s=tolerance_s)
    assert len(result.false_events) == num_false
    assert result.kinds == (KindFound("step", 1, 0),)


def test_alerts_of_another_asset_are_false():
    scores = make_scores(["step", ""], asset=["a", "b"])
    events = [make_event(1, 2, asset="b"), make_event(0, 1, asset="b")]
    result = planted_kinds_found(scores, events)
    assert result.num_kinds_found == 0
    assert result.false_events == (events[1], events[0])


def test_no_kind_and_no_event_give_empty_results():
    result = planted_kinds_found(make_scores([None, None]), [])
    assert (result.kinds, result.false_events, result.num_kinds_found) == ((), (), 0)


def test_kinds_may_be_dictionary_encoded():
    kinds = pa.array(["", "step"]).dictionary_encode()
    assert planted_kinds_found(make_scores(kinds), [make_event(1, 2)]).num_kinds_found == 1


def test_a_missing_or_numeric_kind_column_is_refused():
    with pytest.raises(EvaluationError, match="expected a column 'label_fault'"):
        planted_kinds_found(make_scores(["", "step"]), [], kind="label_fault")
    with pytest.raises(EvaluationError, match="expected text in 'label_kind', got int64"):
        planted_kinds_found(make_scores([0, 1]), [])
