import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from vae_anomaly.config import LakeConfig, PipelineConfig
from vae_anomaly.detector.alerts import AlertRules, find_spans
from vae_anomaly.operations import pipeline_traces
from vae_anomaly.operations.pipeline_alerts import list_alerts, read_live_alerts, update_alerts
from vae_anomaly.operations.pipeline_traces import find_quiet_end, find_quiet_start
from vae_anomaly.readings.spans import list_spans
from vae_anomaly.readings.tables import Lake

MODEL = {"model_name": "vae-anomaly", "model_version": "1"}
LIMIT = 10.0


@pytest.fixture
def lake(tmp_path, detector) -> Lake:
    lake = Lake(tmp_path / "lake")
    lake.write_contract(detector.contract)
    return lake


@pytest.fixture(scope="module")
def scores(detector, plant) -> pa.Table:
    """Scores of normal readings, named as in the lake; none is near the threshold."""
    table = detector.score(plant)
    columns = {"asset": pa.repeat("asset", table.num_rows)}
    columns |= {name: table[name] for name in table.column_names}
    columns["score"] = pa.array(np.zeros(table.num_rows))
    return pa.table(columns)


def flag(scores: pa.Table, detector, first: int, stop: int) -> pa.Table:
    """Raise the scores of some rows well above the threshold."""
    raised = scores["score"].to_numpy().copy()
    raised[first:stop] = 3 * detector.record.calibration_of("asset").threshold
    at = scores.column_names.index("score")
    return scores.set_column(at, "score", pa.array(raised))


def update(lake: Lake, detector, scores: pa.Table, **model) -> None:
    lake.write_scores(scores, **(MODEL | model))
    update_alerts(lake, detector, list_spans(scores), **(MODEL | model))


def statuses(lake: Lake) -> list[str]:
    return lake.read_alerts()["status"].to_pylist()


@given(
    scores=st.lists(st.sampled_from([0.0, 8.5, 12.0]), min_size=1, max_size=60),
    gaps=st.lists(st.sampled_from([1, 1, 1, 3, 9]), min_size=60, max_size=60),
    cut=st.integers(0, 60),
    merge_steps=st.integers(0, 5),
    min_steps=st.integers(1, 3),
)
@settings(max_examples=300)
def test_events_from_the_quiet_start_on_are_those_of_the_whole(
    scores, gaps, cut, merge_steps, min_steps
):
    rules = AlertRules(
        merge_steps=merge_steps,
        min_steps=min_steps,
        release_fraction=0.8,
        top_sensors=1,
        period_s=1.0,
        gap_steps=5,
    )
    times = np.cumsum(gaps[: len(scores)]) * 1_000_000
    values = np.array(scores)
    before_us = int(times[cut]) if cut < len(scores) else int(times[-1]) + 1
    earlier = times < before_us
    start_us = find_quiet_start(
        times[earlier],
        values[earlier],
        held_above=0.8 * LIMIT,
        merge_us=merge_steps * 1_000_000,
        before_us=before_us,
    )
    assert start_us <= before_us
    kept = times >= start_us
    offset = int(np.argmax(kept)) if kept.any() else len(times)
    whole = find_spans(times, values, threshold=LIMIT, rules=rules)
    part = find_spans(times[kept], values[kept], threshold=LIMIT, rules=rules)
    later = [(span.first, span.last) for span in whole if span.last >= offset]
    assert [(span.first + offset, span.last + offset) for span in part] == later
    assert all(span.first >= offset for span in whole if span.last >= offset)


@given(
    scores=st.lists(st.sampled_from([0.0, 0.0, 0.0, 8.5, 12.0]), min_size=30, max_size=60),
    gaps=st.lists(st.sampled_from([1, 1, 1, 3, 9]), min_size=60, max_size=60),
    cuts=st.tuples(st.integers(0, 10), st.integers(15, 60)),
    merge_steps=st.integers(0, 3),
)
@settings(max_examples=300)
def test_events_after_the_quiet_end_are_those_of_the_whole_whatever_was_before(
    scores, gaps, cuts, merge_steps
):
    rules = AlertRules(
        merge_steps=merge_steps,
        min_steps=1,
        release_fraction=0.8,
        top_sensors=1,
        period_s=1.0,
        gap_steps=5,
    )
    times, values = np.cumsum(gaps[: len(scores)]) * 1_000_000, np.array(scores)
    first, stop = (int(times[cut]) if cut < len(scores) else int(times[-1]) + 1 for cut in cuts)
    seen = (times >= first) & (times < stop)
    end_us = find_quiet_end(
        times[seen],
        values[seen],
        held_above=0.8 * LIMIT,
        merge_us=merge_steps * 1_000_000,
        after_us=first,
        until_us=stop,
    )
    assume(end_us is not None)
    assert end_us >= first
    later = []
    for before in (0.0, 8.5, 12.0):
        other = np.where(times < first, before, values)
        spans = find_spans(times, other, threshold=LIMIT, rules=rules)
        later.append([span for span in spans if times[span.last] >= end_us])
        assert all(times[span.first] >= end_us for span in later[-1])
    assert later[0] == later[1] == later[2]


@given(
    marks=st.lists(st.sampled_from([0, 0, 0, 1, 2]), min_size=200, max_size=200),
    rewritten=st.lists(
        st.tuples(st.integers(0, 199), st.integers(1, 60), st.sampled_from([0, 1, 2])), max_size=4
    ),
)
@settings(max_examples=25, deadline=None)
def test_events_after_scores_were_written_again_are_those_of_the_whole(
    tmp_path_factory, detector, scores, marks, rewritten
):
    """Anywhere in the history, with traces read a few steps at a time."""
    threshold, few = detector.record.calibration_of("asset").threshold, scores.slice(0, 200)
    values = np.array([0.0, 0.9, 3.0])[marks] * threshold
    lakes = [Lake(tmp_path_factory.mktemp("lake")) for _ in range(2)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline_traces, "TRACE_STEPS", 30)
        patch.setattr(pipeline_traces, "FIRST_LOOK_STEPS", 3)
        for lake in lakes:
            lake.write_contract(detector.contract)
        update(lakes[0], detector, with_scores(few, values))
        for first, length, mark in rewritten:
            values[first : first + length] = [0.0, 0.9, 3.0][mark] * threshold
            update(lakes[0], detector, with_scores(few, values).slice(first, length))
    update(lakes[1], detector, with_scores(few, values))
    mine, whole = (read_live_alerts(lake, model_name="vae-anomaly") for lake in lakes)
    assert mine.equals(whole)


def with_scores(scores: pa.Table, values: np.ndarray) -> pa.Table:
    at = scores.column_names.index("score")
    return scores.set_column(at, "score", pa.array(values))


def test_there_are_no_alerts_before_the_first_scoring(lake):
    assert list_alerts(PipelineConfig(lake=LakeConfig(root=lake.root))) == ()


def test_events_are_written_open(lake, detector, scores):
    update(lake, detector, flag(scores, detector, 300, 310))
    (alert,) = list_alerts(PipelineConfig(lake=LakeConfig(root=lake.root)))
    assert (alert.model_name, alert.model_version, alert.status) == ("vae-anomaly", "1", "open")
    start = scores["timestamp"].cast("int64")[300].as_py()
    assert (alert.event.start_us, alert.event.num_steps) == (start, 10)
    assert alert.event.peak_score > alert.event.threshold


def test_an_event_that_goes_on_in_the_next_scores_stays_one(lake, detector, scores):
    flagged = flag(scores, detector, 390, 410)
    update(lake, detector, flagged.slice(0, 400))
    update(lake, detector, flagged.slice(400))
    assert lake.read_alerts()["num_steps"].to_pylist() == [20]


def test_events_found_in_pieces_are_those_found_at_once(tmp_path, lake, detector, scores):
    flagged = scores
    for first, length in ((50, 3), (190, 20), (395, 2), (404, 9), (800, 1), (1150, 50)):
        flagged = flag(flagged, detector, first, first + length)
    for first in range(0, 1200, 200):
        update(lake, detector, flagged.slice(first, 200))
    whole = Lake(tmp_path / "whole")
    whole.write_contract(detector.contract)
    update(whole, detector, flagged)
    assert whole.read_alerts().num_rows >= 4
    assert lake.read_alerts().equals(whole.read_alerts())


def test_an_event_that_new_scores_do_not_bear_out_is_superseded(lake, detector, scores):
    update(lake, detector, flag(scores, detector, 300, 310))
    update(lake, detector, scores.slice(290, 40))
    assert statuses(lake) == ["superseded"]
    assert read_live_alerts(lake, model_name="vae-anomaly").num_rows == 0


def test_an_event_that_comes_back_is_open_again(lake, detector, scores):
    flagged = flag(scores, detector, 300, 310)
    for table in (flagged, scores, flagged):
        update(lake, detector, table)
    assert statuses(lake) == ["open"]


def test_events_before_the_new_scores_are_left_alone(lake, detector, scores):
    update(lake, detector, flag(scores, detector, 300, 310).slice(0, 600))
    update(lake, detector, scores.slice(600))
    assert statuses(lake) == ["open"]


def test_events_after_the_new_scores_are_left_alone(lake, detector, scores):
    update(lake, detector, flag(scores, detector, 900, 910).slice(600))
    update(lake, detector, scores.slice(0, 600), model_version="2")
    assert statuses(lake) == ["open"]


def test_the_next_champion_replaces_the_events_of_the_one_before(lake, detector, scores):
    update(lake, detector, flag(scores, detector, 300, 310))
    update(lake, detector, flag(scores, detector, 304, 312), model_version="2")
    alerts = lake.read_alerts().select(["model_version", "status"]).to_pylist()
    assert alerts == [
        {"model_version": "1", "status": "superseded"},
        {"model_version": "2", "status": "open"},
    ]


def test_other_models_have_their_own_events(lake, detector, scores):
    update(lake, detector, flag(scores, detector, 300, 310), model_name="other")
    update(lake, detector, scores)
    assert statuses(lake) == ["open"]


def test_assets_that_the_detector_does_not_know_have_their_own_events(lake, detector, scores):
    flagged = flag(scores, detector, 300, 310)
    other = flagged.set_column(0, "asset", pa.repeat("pump-2", flagged.num_rows))
    update(lake, detector, pa.concat_tables([flagged, other]))
    alerts = lake.read_alerts()
    assert alerts["asset"].to_pylist() == ["asset", "pump-2"]
    assert len(set(alerts["alert_id"].to_pylist())) == 2


def test_unscorable_steps_raise_nothing(lake, detector, scores):
    at = scores.column_names.index("score")
    nothing = scores.set_column(at, "score", pa.nulls(scores.num_rows, pa.float64()))
    update(lake, detector, nothing)
    assert statuses(lake) == []
