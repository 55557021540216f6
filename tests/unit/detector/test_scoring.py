from dataclasses import replace

import numpy as np
import pytest

from tests.unit.detector.plain_density import (
    KL,
    NO_RULES,
    PERIOD_S,
    SENSORS,
    make_density,
    make_record,
    make_table,
)
from vae_anomaly.config import ThresholdConfig
from vae_anomaly.detector.alerts import find_spans, make_alert_rules
from vae_anomaly.detector.row_scores import RowScores, score_rows
from vae_anomaly.detector.rules import RULE_EXCESS
from vae_anomaly.detector.scoring import Scorer, score_steps
from vae_anomaly.detector.table import make_score_table, read_traces
from vae_anomaly.domain import Sensor, SensorReason
from vae_anomaly.errors import ContractError
from vae_anomaly.model.density import Density
from vae_anomaly.model.roles import SensorRoles
from vae_anomaly.model.windows import order_steps
from vae_anomaly.readings.check import check_readings

NULL = None


def check(table, record):
    return check_readings(table, config=record.config.readings, contract=record.contract)


def score(table, record=None) -> RowScores:
    record = record or make_record()
    return score_rows(check(table, record), make_density(), record)


def test_the_score_is_the_energy_of_the_residuals():
    rows = score(make_table([0.0, 2.0, 4.0]))
    np.testing.assert_array_equal(rows.score, [0.0, 2.0, 8.0])
    assert rows.state.tolist() == ["ok", "ok", "anomalous"]
    assert rows.reason.tolist() == ["", "", ""]
    np.testing.assert_allclose(rows.nll, rows.contribution.sum(axis=1) + KL)


def test_a_score_on_the_threshold_is_still_ok():
    rows = score(make_table([4.0, 4.0 + 1e-9]), make_record({"asset": 8.0}))
    assert rows.state.tolist() == ["ok", "anomalous"]


def test_missing_sensors_scale_the_energy_of_the_others_up():
    rows = score(make_table([2.0, NULL], [NULL, 3.0]))
    np.testing.assert_array_equal(rows.score, [4.0, 9.0])
    assert (rows.contribution[[0, 1], [1, 0]] == 0).all()


def test_the_energy_of_a_sensor_counts_by_its_weight():
    density, record = make_density(), make_record()
    roles = replace(density.roles, weights=(1.0, 0.25))
    table = make_table([2.0, 0.0, NULL], [0.0, 2.0, 2.0])
    rows = score_rows(check(table, record), replace(density, roles=roles), record)
    np.testing.assert_array_equal(rows.score, [2.0, 0.5, 2.5])  # missing ones by weight too
    np.testing.assert_array_equal(rows.contribution, score(table).contribution)


def test_rows_without_enough_sensors_are_unscorable():
    rows = score(make_table([NULL, 1.0], [NULL, 1.0]))
    assert rows.state.tolist() == ["unscorable", "ok"]
    assert rows.reason.tolist() == ["too_few_sensors", ""]
    for numbers in (rows.nll, rows.score, rows.kl):
        assert np.isnan(numbers[0])
    assert np.isnan(rows.contribution[0]).all()


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_a_number_that_is_not_finite_never_becomes_ok(broken):
    class Broken:
        def decode(self, values, observed):
            decoded = make_density().engine.decode(values, observed)
            decoded.contribution[0] = broken
            return decoded

    density = Density(make_density().roles, 1, {}, Broken())
    record = make_record()
    rows = score_rows(check(make_table([9.0, 9.0]), record), density, record)
    assert rows.state.tolist() == ["unscorable", "anomalous"]
    assert rows.reason.tolist() == ["not_finite", ""]


def test_rows_without_a_time_or_with_an_impossible_one_are_unscorable():
    rows = score(make_table([0.0, 0.0, 0.0], ticks=[NULL, -10_000_000_000, 0]))
    assert rows.state.tolist() == ["unscorable", "unscorable", "ok"]
    assert rows.reason.tolist() == ["no_timestamp", "implausible_time", ""]


def test_rows_without_an_asset_are_unscorable():
    record = make_record({"a": 5.0}, asset="asset")
    rows = score(make_table([0.0, 0.0], assets=["a", NULL]), record)
    assert rows.state.tolist() == ["ok", "unscorable"]
    assert rows.reason.tolist() == ["", "no_asset"]
    nobody = score(make_table([0.0, 0.0], assets=[NULL, NULL]), record)
    assert nobody.state.tolist() == ["unscorable"] * 2


def test_a_duplicate_gets_the_score_of_the_row_that_is_kept():
    rows = score(make_table([4.0, 0.0, 4.0, 0.0], ticks=[1, 0, 1, 2]))
    assert rows.state.tolist() == ["anomalous", "ok", "anomalous", "ok"]
    assert rows.nll[0] == rows.nll[2]
    np.testing.assert_array_equal(rows.contribution[0], rows.contribution[2])


def test_a_conflicting_duplicate_is_unscorable_and_the_kept_row_is_not():
    rows = score(make_table([4.0, 0.0], ticks=[1, 1]))
    assert sorted(rows.state.tolist()) == ["ok", "unscorable"]
    assert sorted(rows.reason.tolist()) == ["", "conflicting_duplicate"]


def test_duplicates_of_several_assets_do_not_mix():
    record = make_record({"a": 5.0, "b": 5.0}, asset="asset")
    table = make_table([4.0, 1.0, 4.0, 1.0], ticks=[1, 1, 1, 1], assets=["b", "a", "b", "a"])
    assert score(table, record).state.tolist() == ["anomalous", "ok", "anomalous", "ok"]


def test_every_asset_has_its_own_threshold_and_an_unknown_one_the_lowest():
    record = make_record({"a": 10.0, "b": 5.0}, asset="asset")
    rows = score(make_table([4.0] * 3, assets=["a", "b", "new"]), record)
    assert rows.threshold.tolist() == [10.0, 5.0, 5.0]
    assert rows.state.tolist() == ["ok", "anomalous", "anomalous"]


def test_smoothing_does_not_cross_assets_gaps_or_the_order_of_arrival():
    record = make_record({"a": 5.0, "b": 5.0}, asset="asset", smoothing_steps=3, normal_level=0.0)
    table = make_table([6.0, 0.0, 0.0, 0.0], ticks=[0, 1, 0, 100], assets=["a", "b", "b", "a"])
    rows = score(table, record)
    assert rows.score[0] > 5
    np.testing.assert_array_equal(rows.score[1:], 0.0)


def test_an_unscorable_row_has_no_influence_on_the_next_one():
    record = make_record(smoothing_steps=3)
    beside = score(make_table([1.0, NULL, 1.0], [0.0, NULL, 0.0]), record)
    normal = score(make_table([1.0, 2.0**0.5, 1.0], [0.0, 0.0, 0.0]), record)
    assert beside.score[2] == pytest.approx(normal.score[2])


def test_a_step_is_scored_where_any_sensor_is_present_when_few_are_asked_for():
    record = make_record()
    checked = check(make_table([NULL, 1.0], [NULL, NULL]), record)
    steps = order_steps(checked.readings, checked.usable, period_s=60.0, gap_steps=5)
    settings = ThresholdConfig(min_observed_share=1e-9)
    scored = score_steps(checked, steps, Scorer(make_density(), {}, None, NO_RULES, settings))
    assert scored.reason.tolist() == ["too_few_sensors", ""]


def test_a_constant_sensor_counts_as_present():
    density = Density(SensorRoles((0,), (1,), (0.0,), (), (0.0,)), 1, {}, make_density().engine)
    record = make_record()
    rows = score_rows(check(make_table([NULL, 0.0], [0.0, 7.0]), record), density, record)
    assert rows.state.tolist() == ["ok", "anomalous"]
    np.testing.assert_array_equal(rows.score, [0.0, 50.0])


def test_readings_far_sparser_than_those_of_the_fit_are_refused():
    sparse = make_table([0.0] * 20, ticks=[10 * i for i in range(20)])
    with pytest.raises(ContractError) as caught:
        score(sparse)
    assert str(caught.value) == (
        "Cannot score: expected a row every 60 s, got 100% of the rows more than 5 such steps "
        "after the one before. Give readings at the period the detector was fitted on, or fit "
        "one on readings like these."
    )
    assert set(score(sparse.slice(0, 5)).state.tolist()) == {"ok"}  # too few to judge


def test_one_row_of_each_of_many_assets_is_not_sparse():
    record = make_record({"a": 5.0}, asset="asset")
    fleet = make_table([0.0] * 20, assets=[f"pump-{i}" for i in range(20)])
    assert set(score(fleet, record).state.tolist()) == {"ok"}


# --- rules beside the density ---


def rule_record(*, latency="causal", **limits):
    """Rules for the first sensor, `flow`; smoothing only where there is a latency."""
    record = make_record(smoothing_steps=1 if latency == "causal" else 3, normal_level=0.0)
    own = {name: (value, getattr(NO_RULES, name)[1]) for name, value in limits.items()}
    threshold = record.config.threshold.model_copy(update={"latency": latency})
    config = record.config.model_copy(update={"threshold": threshold})
    return replace(record, config=config, rule_limits=replace(NO_RULES, **own))


def test_a_rule_makes_a_likely_step_anomalous_and_names_the_sensor():
    rows = score(make_table([0.1, 0.0, 0.0, 0.0, 0.1]), rule_record(flat_steps=2))
    assert rows.reason.tolist() == ["", "", "", "flat_line: flow", ""]
    assert rows.state.tolist() == ["ok", "ok", "ok", "anomalous", "ok"]
    assert rows.score[3] == RULE_EXCESS * rows.threshold[3]
    np.testing.assert_array_equal(rows.state.equals("anomalous"), rows.score > rows.threshold)
    assert rows.nll[3] == rows.nll[2]


def test_a_score_that_is_high_by_itself_stays_with_the_reason_of_the_rule():
    rows = score(make_table([9.0]), rule_record(high=5.0))
    assert rows.score.tolist() == [40.5]
    assert rows.reason.tolist() == ["out_of_range: flow"]


def test_a_rule_does_not_wait_for_later_steps_and_stays_with_its_own():
    rows = score(make_table([0.0, 0.0, 2.0, 2.0, 2.0]), rule_record(change=1.5, latency=2))
    assert rows.state.tolist() == ["ok", "ok", "anomalous", "ok", "ok"]


def test_an_unscorable_row_stays_so_whatever_a_rule_says():
    record = rule_record(high=5.0)
    settings = ThresholdConfig(min_observed_share=1.0, smoothing_steps=1, shift_steps=0)
    config = record.config.model_copy(update={"threshold": settings})
    rows = score(make_table([9.0], [NULL]), replace(record, config=config))
    assert (rows.state.tolist(), rows.reason.tolist()) == (["unscorable"], ["too_few_sensors"])
    assert np.isnan(rows.score[0])


def test_rules_open_an_alert_event_that_blames_the_sensor_and_no_other():
    record = rule_record(flat_steps=2)
    table = score_table(make_table([0.5] * 9, [2.5] * 9), record)
    [(_, trace)] = read_traces(table, record.contract, normal=np.zeros(2))
    shares = [table["contribution"][0].as_py()[name] for name in SENSORS]
    np.testing.assert_allclose(trace.excess[:2], [shares] * 2)
    np.testing.assert_allclose(trace.excess[2:], [[sum(shares), 0.0]] * 7)
    rules = make_alert_rules(record.config, PERIOD_S)
    [span] = find_spans(trace.timestamps, trace.score, threshold=5.0, rules=rules)
    assert (span.first, span.last) == (2, 8)


def test_scores_of_another_detector_make_no_traces():
    record = make_record()
    table = score_table(make_table([9.0]), record)
    other = replace(record.contract, sensors=(*record.contract.sensors, Sensor("level")))
    for scores, contract, missing in (
        (table, other, r"\('contribution.level',\)"),
        (table.drop_columns(["score"]), record.contract, r"\('score',\)"),
    ):
        with pytest.raises(ContractError, match=f"expected the scores of .* missing {missing}"):
            list(read_traces(scores, contract, normal=np.zeros(3)))


@pytest.mark.parametrize("reason", SensorReason)
def test_every_reason_that_names_a_sensor_blames_it(reason):
    record = make_record()
    table = score_table(make_table([9.0]), record)
    named = table.set_column(
        table.column_names.index("reason"), "reason", [[reason.of("pressure")]]
    )
    [(_, trace)] = read_traces(named, record.contract, normal=np.zeros(2))
    assert trace.excess[0, 0] == 0
    assert trace.excess[0, 1] > 1


# --- the table and its traces ---


def score_table(table, record=None):
    record = record or make_record()
    checked = check(table, record)
    return make_score_table(checked, score_rows(checked, make_density(), record))


def test_the_table_has_one_row_per_row_and_null_where_there_is_no_number():
    table = score_table(make_table([0.0, NULL], [0.0, NULL]))
    assert table.column_names == [
        "timestamp",
        "nll",
        "score",
        "threshold",
        "state",
        "reason",
        "kl",
        "contribution",
    ]
    assert table["nll"].null_count == table["score"].null_count == table["kl"].null_count == 1
    assert table["contribution"][1].as_py() == {"flow": None, "pressure": None}
    assert str(table.schema.field("timestamp").type) == "timestamp[us, tz=UTC]"
    assert table["state"].to_pylist() == ["ok", "unscorable"]


def test_missing_times_and_assets_stay_missing_in_the_table():
    record = make_record({"a": 5.0}, asset="asset")
    table = score_table(make_table([0.0] * 3, ticks=[0, NULL, 1], assets=["a", "a", NULL]), record)
    assert table["timestamp"].null_count == 1
    assert table["asset"].to_pylist() == ["a", "a", None]


def test_traces_hold_the_scored_steps_of_each_asset_in_order_and_once():
    record = make_record({"a": 5.0, "b": 5.0}, asset="asset")
    table = make_table(
        [4.0, 1.0, 4.0, NULL, 2.0],
        [0.0, 0.0, 0.0, NULL, 0.0],
        ticks=[5, 3, 5, 1, 0],
        assets=["b", "a", "b", "a", "b"],
    )
    scores = score_table(table, record)
    normal = np.array([0.5, 0.0])
    traces = dict(read_traces(scores, record.contract, normal=normal))
    assert list(traces) == ["a", "b"]
    np.testing.assert_array_equal(traces["b"].score, [2.0, 8.0])
    assert len(traces["a"].score) == 1
    shares = scores["contribution"][4].as_py()
    np.testing.assert_allclose(traces["b"].excess[0], [shares["flow"] - 0.5, shares["pressure"]])


def test_without_a_scored_row_there_is_no_trace():
    record = make_record()
    scores = score_table(make_table([NULL], [NULL]), record)
    assert list(read_traces(scores, record.contract, normal=np.zeros(2))) == []


def test_sensor_names_may_be_anything():
    name, record = "a.b [m³/h]", make_record()
    contract = replace(record.contract, sensors=(Sensor(name), Sensor("score")))
    table = make_table([9.0, 0.0]).rename_columns(["timestamp", name, "score"])
    scores = score_table(table, replace(record, contract=contract))
    assert list(scores["contribution"][0].as_py()) == [name, "score"]
    traces = dict(read_traces(scores, contract, normal=np.zeros(2)))
    assert traces["asset"].excess.shape == (2, 2)
