import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from vae_anomaly.domain import AlertEvent
from vae_anomaly.errors import EvaluationError
from vae_anomaly.evaluation.evaluate import evaluate

START = datetime(2024, 1, 1, tzinfo=UTC)
START_US = int(START.timestamp()) * 1_000_000
MINUTE_US = 60_000_000
STATES = {"o": "ok", "A": "anomalous", "?": "unscorable"}


def make_scores(states, labels=None, **columns):
    """One row a minute; `states` spells them: o ok, A anomalous, ? unscorable."""
    table = {
        "timestamp": [START + timedelta(minutes=i) for i in range(len(states))],
        "score": [{"o": 1.0, "A": 5.0, "?": None}[s] for s in states],
        "state": [STATES[s] for s in states],
    }
    if labels is not None:
        table["label_anomaly"] = [int(label) for label in labels]
    scores = pa.table(table | columns)
    index = scores.column_names.index("score")
    return scores.set_column(index, "score", scores["score"].cast(pa.float64()))


def make_event(start_minute, end_minute, *, asset="asset"):
    start_us, end_us = START_US + start_minute * MINUTE_US, START_US + end_minute * MINUTE_US
    return AlertEvent(
        alert_id=f"{asset}-{start_minute}",
        asset=asset,
        start_us=start_us,
        end_us=end_us,
        peak_us=start_us,
        peak_score=5.0,
        threshold=2.0,
        num_steps=end_minute - start_minute,
        top_sensors=("flow",),
        top_shares=(1.0,),
        severity="low",
    )


def test_flags_in_an_anomaly_find_it_and_flags_elsewhere_are_false_alarms():
    result = evaluate(make_scores("oAooAAoooA", "0000111000"))
    assert result.num_rows == 10
    assert result.num_anomalous_rows == 3
    assert result.num_anomalies == 1
    assert result.event_recall == 1.0
    assert result.median_delay_s == 0.0
    assert result.recall == pytest.approx(2 / 3)
    assert result.precision == 0.5
    assert result.false_alarms_per_day == pytest.approx(2 / (7 / 1440))
    assert result.notes == ()


def test_a_flag_on_one_step_does_not_stand_for_the_whole_anomaly():
    result = evaluate(make_scores("ooooAooooo", "0011111100"))
    assert result.event_recall == 1.0
    assert result.median_delay_s == 120.0
    assert result.recall == pytest.approx(1 / 6)


def test_labels_given_as_an_array_go_before_the_column():
    scores = make_scores("oA", "10")
    assert evaluate(scores, np.array([False, True])).recall == 1.0
    assert evaluate(scores).recall == 0.0


def test_another_label_column_can_be_named():
    scores = make_scores("oA", label_fault=pa.array([0, 1], type=pa.int8()))
    assert evaluate(scores, label="label_fault").recall == 1.0


@pytest.mark.parametrize(
    "labels",
    [
        [None, 0, 1],
        [-1, 0, 1],
        np.array([np.nan, 0.0, 1.0]),
        pa.chunked_array([[None], [False, True]], type=pa.bool_()),
    ],
    ids=["null", "minus one", "nan", "chunked"],
)
def test_unlabelled_rows_are_left_out(labels):
    result = evaluate(make_scores("AoA"), labels)
    assert result.num_unlabelled_rows == 1
    assert (result.precision, result.recall, result.pr_auc) == (1.0, 1.0, 1.0)


def test_unscorable_rows_are_counted_and_never_flagged():
    result = evaluate(make_scores("oo??AA", "001111"))
    assert result.num_unscorable == 2
    assert result.recall == 0.5
    assert result.pr_auc == 1.0
    assert result.median_delay_s == 120.0
    assert "2 unscorable rows are left out of VUS-PR" in result.notes[0]


def test_an_anomaly_of_unscorable_rows_only_is_missed():
    result = evaluate(make_scores("oo??oA", "001100"))
    assert result.event_recall == 0.0
    assert result.median_delay_s is None
    assert result.missed_alarm_rate == 1.0


def test_a_score_on_an_unscorable_row_does_not_count():
    scores = make_scores("oA?", "010")
    scores = scores.set_column(1, "score", pa.array([1.0, 5.0, 9.0]))
    assert evaluate(scores).num_unscorable == 1


@pytest.mark.parametrize(("labels", "word"), [("000", "normal"), ("111", "anomalous")])
def test_one_class_leaves_ranking_undefined_and_says_so(labels, word):
    result = evaluate(make_scores("ooA", labels))
    assert (result.vus_pr, result.pr_auc, result.roc_auc) == (None, None, None)
    assert f"All labelled rows with a score are {word}" in result.notes[0]


def test_no_labelled_row_leaves_everything_undefined_and_says_so():
    result = evaluate(make_scores("oA"), [-1, -1])
    assert result.notes == ("No row is labelled, so nothing could be measured.",)
    assert result.f1 is None
    assert result.false_alarms_per_day is None


def test_no_scored_row_leaves_ranking_undefined_and_says_so():
    result = evaluate(make_scores("??", "01"))
    assert "No labelled row has a score" in result.notes[0]
    assert result.event_recall == 0.0


def test_an_empty_table_is_measured_without_a_crash():
    result = evaluate(make_scores("oA", "01").slice(0, 0))
    assert (result.num_rows, result.num_anomalies, result.event_recall) == (0, 0, None)


def test_a_single_row_has_no_rate_per_day():
    assert evaluate(make_scores("A", "0")).false_alarms_per_day is None


def test_alert_events_take_the_place_of_flag_runs():
    scores = make_scores("oAoAooAAoo", "0000001100")
    events = [make_event(1, 4), make_event(7, 8)]
    result = evaluate(scores, events=events)
    assert result.event_recall == 1.0
    assert result.median_delay_s == 60.0
    assert result.false_alarms_per_day == pytest.approx(1 / (8 / 1440))


def test_alert_events_over_no_labelled_row_are_told_and_not_counted():
    scores = make_scores("ooAAoo", [-1, -1, 1, 1, 0, 0])
    result = evaluate(scores, events=[make_event(0, 2), make_event(2, 4)])
    assert result.false_alarms_per_day == 0.0
    assert result.notes == ("1 alert event lies over no labelled row.",)


@pytest.mark.parametrize(("num_covered", "is_told"), [(5, False), (6, True)])
def test_alerts_over_most_rows_are_told(num_covered, is_told):
    scores = make_scores("oooooooooo", "1000000000")
    events = [make_event(0, num_covered), make_event(0, 2)]
    result = evaluate(scores, events=events)
    assert result.false_alarms_per_day == 0.0
    assert (
        any("Alerts cover 60 % of the labelled rows" in note for note in result.notes) == is_told
    )
    runs = evaluate(make_scores("A" * num_covered + "o" * (10 - num_covered), "1000000000"))
    assert any("Alerts cover 60 %" in note for note in runs.notes) == is_told


def test_assets_are_kept_apart_and_rows_may_come_in_any_order():
    scores = make_scores("AooooooA", "10000001", asset=["a", "b"] * 4)
    events = [make_event(0, 1, asset="a"), make_event(7, 8, asset="a")]
    result = evaluate(scores, events=events)
    assert result.num_anomalies == 2
    assert result.event_recall == 0.5
    shuffled = scores.take([5, 2, 7, 0, 3, 6, 1, 4])
    assert evaluate(shuffled, events=events) == result


def test_rows_without_time_or_asset_count_as_rows_only():
    scores = make_scores("oA??", "0110", asset=["a", "a", "a", None])
    times = pa.array([START, START + timedelta(minutes=1), None, START], pa.timestamp("us", "UTC"))
    result = evaluate(scores.set_column(0, "timestamp", times))
    assert (result.num_rows, result.num_unscorable, result.num_anomalies) == (4, 2, 1)


def test_nanosecond_times_and_dictionary_texts_are_read():
    scores = make_scores("oAo", "010", asset=["a", "a", "a"])
    same = scores.set_column(0, "timestamp", scores["timestamp"].cast(pa.timestamp("ns", "UTC")))
    same = same.set_column(2, "state", same["state"].dictionary_encode())
    same = same.set_column(4, "asset", same["asset"].dictionary_encode())
    assert evaluate(same) == evaluate(scores)


def test_wider_buffers_change_vus_pr_only():
    scores = make_scores("ooooAooooo", "0000010000")
    narrow, wide = evaluate(scores, window_steps=0), evaluate(scores, window_steps=4)
    assert wide.vus_pr > narrow.vus_pr
    assert wide.pr_auc == narrow.pr_auc


def test_the_result_is_plain_json():
    content = json.loads(json.dumps(evaluate(make_scores("oA", "00")).to_dict(), allow_nan=False))
    assert content["num_rows"] == 2
    assert content["pr_auc"] is None
    assert len(content["notes"]) == 1


def test_a_missing_label_column_is_told_with_the_columns_there_are():
    message = (
        "expected a column 'label_anomaly' of labels, got columns 'timestamp', 'score', 'state'. "
        r"Name the column with label=, or pass labels=\."
    )
    with pytest.raises(EvaluationError, match=message):
        evaluate(make_scores("oA"))


def test_a_missing_score_column_is_refused():
    with pytest.raises(EvaluationError, match="expected a column 'score'"):
        evaluate(make_scores("oA", "01").drop_columns(["score"]))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 1], "expected one label per row, got 3"),
        ([0, 3], r"against 'labels': expected 0 \(normal\), 1 \(anomalous\) or -1 .*got 3"),
        (["0", "1"], "expected numbers in 'labels', got string"),
        (np.zeros((2, 2)), "expected one number per row as labels"),
    ],
    ids=["length", "values", "text", "shape"],
)
def test_labels_that_do_not_fit_are_refused(labels, message):
    with pytest.raises(EvaluationError, match=message):
        evaluate(make_scores("oA"), labels)


def test_label_values_are_refused_by_the_name_of_their_column():
    with pytest.raises(EvaluationError, match=r"against 'label_class'.*got 103"):
        evaluate(make_scores("oA", label_class=[0, 103]), label="label_class")


def test_times_of_another_type_are_refused():
    scores = make_scores("oA", "01").set_column(0, "timestamp", pa.array([1, 2]))
    with pytest.raises(EvaluationError, match="expected 'timestamp' to hold times, got int64"):
        evaluate(scores)
