"""Who is told what: exactly once, whatever late readings and people do to alert events."""

import pyarrow as pa
import pytest

from tests.notifying import SECRET_VARIABLE
from vae_anomaly.config import ChannelConfig
from vae_anomaly.operations.notify.deliver import NotifyResult
from vae_anomaly.operations.notify.enqueue import EnqueueResult, enqueue_messages
from vae_anomaly.readings import delta
from vae_anomaly.readings.layout import ALERTS

BEFORE = pa.schema([item for item in ALERTS if item.name not in {"mute", "group_id"}])
"""Columns of a table that was written before there were these."""


def test_without_channels_nothing_is_written(desk):
    desk.put("a")
    assert enqueue_messages(desk.config) == EnqueueResult()
    assert desk.deliver() == NotifyResult()
    assert not delta.has_table(str(desk.root / "outbox"))


def test_without_alert_events_nothing_is_written(desk, duty):
    assert desk.deliver().num_enqueued == 0
    assert duty.requests == []


def test_an_alert_event_is_told_once_however_often_scoring_runs(desk, duty):
    desk.put("a")
    for _ in range(3):
        enqueue_messages(desk.config, now_us=desk.clock())
    assert desk.statuses() == [("a", "opened", "pending")]
    for _ in range(3):
        desk.deliver()
    assert duty.events == [("opened", "pump-07")]
    assert len(duty.requests) == 1


def test_a_second_run_writes_nothing(desk, duty):
    desk.put("a")
    desk.deliver()
    version = delta.table_version(str(desk.root / "outbox"))
    desk.deliver()
    assert delta.table_version(str(desk.root / "outbox")) == version


def test_each_channel_has_a_row_and_a_key_of_its_own(desk, duty):
    desk.channels["other"] = desk.channels["duty"]
    desk.put("a")
    desk.deliver()
    assert len({row.key for row in desk.rows()}) == 2
    assert duty.events == [("opened", "pump-07")] * 2


def test_an_event_that_grows_is_not_told_again(desk, duty):
    desk.put("a")
    desk.deliver()
    desk.put("a", length_min=60, peak_score=12.0)
    desk.deliver()
    assert len(duty.requests) == 1


def test_an_event_that_grows_before_it_is_sent_is_told_as_it_is_now(desk, duty):
    desk.change("duty", digest="hourly")
    desk.put("a", peak_score=2.0)
    desk.deliver()
    desk.put("a", peak_score=9.0)
    desk.clock.forward(hours=1)
    desk.deliver()
    (body,) = duty.taken.values()
    assert body["events"][0]["ratio"] == 9.0


def test_an_event_that_grows_severe_enough_is_told_then(desk, duty):
    desk.change("duty", min_severity="medium")
    desk.put("a", severity="low")
    desk.deliver()
    assert duty.requests == []
    desk.put("a", severity="high")
    desk.deliver()
    assert duty.events == [("opened", "pump-07")]


@pytest.mark.parametrize(("assets", "told"), [((), True), (("pump-*",), True), (("fan",), False)])
def test_a_channel_may_ask_for_some_assets(desk, duty, assets, told):
    desk.change("duty", assets=assets)
    desk.put("a")
    desk.deliver()
    assert bool(duty.events) is told


def test_tables_without_mute_and_group_are_read(desk, duty):
    desk.put("a", columns=BEFORE)
    desk.deliver()
    assert duty.events == [("opened", "pump-07")]


def test_an_event_that_was_over_before_anybody_looked_is_told_and_then_its_end(desk, duty):
    desk.put("a", status="resolved")
    desk.deliver()
    desk.deliver()
    assert duty.events == [("opened", "pump-07"), ("resolved", "pump-07")]
    desk.deliver()
    assert len(duty.events) == 2


def test_events_of_other_models_are_not_told(desk, duty):
    desk.put("a", model_name="other")
    desk.deliver()
    assert duty.requests == []


def test_a_muted_event_is_never_sent(desk, duty):
    desk.put("a", mute="maintenance")
    desk.deliver()
    desk.put("a", mute="maintenance", status="resolved")
    desk.deliver()
    assert duty.requests == []
    assert desk.rows() == []


def test_an_event_that_is_muted_before_it_is_sent_is_cancelled_and_may_come_back(desk, duty):
    desk.put("a")
    duty.answers.append((500, {}))
    desk.deliver()
    desk.put("a", mute="maintenance")
    desk.clock.forward(hours=2)
    desk.deliver()
    assert desk.statuses() == [("a", "opened", "cancelled")]
    desk.put("a", mute="")
    desk.deliver()
    assert desk.statuses() == [("a", "opened", "sent")]
    assert len(set(duty.keys)) == 1


def test_an_end_of_a_muted_event_is_not_sent(desk, duty):
    desk.put("a")
    desk.deliver()
    desk.put("a", status="resolved", mute="maintenance")
    desk.deliver()
    assert duty.events == [("opened", "pump-07")]


@pytest.mark.parametrize("status", ["resolved", "dismissed", "superseded"])
def test_an_end_is_told_once_where_the_beginning_was(desk, duty, status):
    desk.put("a")
    desk.deliver()
    desk.put("a", status=status)
    desk.deliver()
    desk.deliver()
    assert duty.events == [("opened", "pump-07"), (status, "pump-07")]


@pytest.mark.parametrize("status", ["superseded", "acknowledged", "dismissed"])
def test_an_event_that_is_settled_before_it_was_told_is_not_told(desk, duty, status):
    desk.put("a", status=status)
    desk.deliver()
    assert desk.rows() == []
    desk.put("b", start_min=-100)
    enqueue_messages(desk.config, now_us=desk.clock())
    desk.put("b", start_min=-100, status=status)
    desk.deliver()
    assert desk.statuses() == [("b", "opened", "cancelled")]
    assert duty.requests == []


def test_an_end_is_told_where_the_beginning_may_have_arrived(desk, duty):
    desk.change("duty", timeout_s=0.05)
    duty.delay_s = 0.3
    desk.put("a")
    assert desk.deliver().num_again == 1
    duty.delay_s = 0.0
    desk.change("duty", timeout_s=5)
    desk.put("a", status="superseded")
    desk.clock.forward(hours=1)
    desk.deliver()
    assert desk.statuses() == [("a", "opened", "cancelled"), ("a", "superseded", "sent")]


def test_a_channel_that_asks_for_beginnings_only_hears_no_end(desk, duty):
    desk.change("duty", what=("opened",))
    desk.put("a")
    desk.deliver()
    desk.put("a", status="superseded")
    desk.deliver()
    assert duty.events == [("opened", "pump-07")]
    assert desk.statuses()[1] == ("a", "superseded", "skipped")


def test_an_event_that_comes_back_after_its_end_was_told_rings_again(desk, duty):
    for status in ("open", "superseded", "open"):
        desk.put("a", status=status)
        desk.deliver()
    assert [what for what, _ in duty.events] == ["opened", "superseded", "opened"]
    assert len(set(duty.keys)) == 3


def test_an_end_that_is_taken_back_before_it_was_sent_is_not_told(desk, duty):
    desk.put("a")
    desk.deliver()
    desk.put("a", status="superseded")
    enqueue_messages(desk.config, now_us=desk.clock())
    desk.put("a", status="open")
    desk.deliver()
    desk.deliver()
    assert duty.events == [("opened", "pump-07")]
    desk.put("a", status="superseded")
    desk.deliver()
    assert [what for what, _ in duty.events] == ["opened", "superseded"]


def test_an_end_that_was_tried_in_vain_is_not_told_where_the_event_is_back(desk, duty):
    desk.put("a")
    desk.deliver()
    duty.answers.append((500, {}))
    for status in ("superseded", "open"):
        desk.put("a", status=status)
        desk.deliver()
    desk.clock.forward(hours=2)
    desk.deliver()
    assert duty.events == [("opened", "pump-07")]
    assert desk.statuses()[1] == ("a", "superseded", "cancelled")


def test_that_an_event_is_back_does_not_overtake_an_end_that_may_have_arrived(desk, duty):
    desk.put("a", start_min=-1)
    desk.deliver()
    desk.change("duty", timeout_s=0.05)
    duty.delay_s = 0.3
    desk.put("a", start_min=-1, status="superseded")
    desk.deliver()
    duty.delay_s = 0.0
    duty.taken.popitem()  # it had not arrived after all
    desk.change("duty", timeout_s=5)
    desk.put("a", start_min=-1, status="open")
    desk.deliver()
    assert len(duty.taken) == 1
    for _ in range(2):
        desk.clock.forward(hours=1)
        desk.deliver()
    assert [what for what, _ in duty.events] == ["opened", "superseded", "opened"]


def test_late_readings_that_move_the_start_do_not_ring_twice(desk, duty):
    """The event gets another id; its end is told in the thread of the first."""
    desk.put("a", start_min=-10)
    desk.deliver()
    desk.put("a", start_min=-10, status="superseded")
    desk.put("b", start_min=-12, length_min=7)
    desk.deliver()
    assert duty.events == [("opened", "pump-07")]
    assert ("b", "opened", "skipped") in desk.statuses()
    desk.put("b", start_min=-12, length_min=7, status="resolved")
    desk.deliver()
    *_, last = duty.taken.values()
    assert (last["events"][0]["what"], last["events"][0]["thread"]) == ("resolved", "a")


def test_a_successor_of_what_was_not_told_rings(desk, duty):
    desk.put("a", start_min=-10)
    enqueue_messages(desk.config, now_us=desk.clock())
    desk.put("a", start_min=-10, status="superseded")
    desk.put("b", start_min=-12, length_min=7)
    desk.deliver()
    assert desk.statuses() == [("a", "opened", "cancelled"), ("b", "opened", "sent")]


def test_a_successor_of_what_may_have_arrived_does_not_ring(desk, duty):
    desk.change("duty", timeout_s=0.05)
    duty.delay_s = 0.3
    desk.put("a", start_min=-10)
    desk.deliver()
    desk.put("a", start_min=-10, status="superseded")
    desk.put("b", start_min=-12, length_min=7)
    duty.delay_s = 0.0
    desk.clock.forward(hours=1)
    desk.change("duty", timeout_s=5)
    desk.deliver()
    assert duty.events == [("opened", "pump-07")]
    assert len(set(duty.keys)) == 1


@pytest.mark.parametrize(
    "other", [{"asset": "fan"}, {"start_min": -5}, {"start_min": -20}], ids=str
)
def test_an_event_that_does_not_overlap_is_no_successor(desk, duty, other):
    desk.put("a", start_min=-10)
    desk.deliver()
    desk.put("a", start_min=-10, status="superseded")
    desk.put("b", **({"start_min": -10} | other))
    desk.deliver()
    assert sorted(what for what, _ in duty.events) == ["opened", "opened", "superseded"]


def test_an_event_that_splits_goes_on_in_both_parts(desk, duty):
    desk.put("a", start_min=-10, length_min=9)
    desk.deliver()
    desk.put("a", start_min=-10, length_min=9, status="superseded")
    desk.put("b", start_min=-9, length_min=2)
    desk.put("c", start_min=-5, length_min=2)
    desk.deliver()
    assert duty.events == [("opened", "pump-07")]


def test_a_successor_that_is_muted_is_written_down_and_its_end_told(desk, duty):
    desk.put("a", start_min=-10)
    desk.deliver()
    desk.put("a", start_min=-10, status="superseded")
    desk.put("b", start_min=-12, length_min=7, mute="maintenance")
    desk.deliver()
    desk.put("b", start_min=-12, length_min=7, status="resolved")
    desk.deliver()
    assert [what for what, _ in duty.events] == ["opened", "resolved"]


def test_a_successor_after_the_end_was_told_rings(desk, duty):
    desk.put("a", start_min=-10)
    desk.deliver()
    desk.put("a", start_min=-10, status="superseded")
    desk.deliver()
    desk.put("b", start_min=-12, length_min=7)
    desk.deliver()
    assert [what for what, _ in duty.events] == ["opened", "superseded", "opened"]


def test_years_of_history_are_written_down_and_not_sent(desk, duty):
    for k in range(30):
        desk.put(f"a{k}", start_min=-60 * 24 * (10 + k))
    desk.put("new")
    result = desk.deliver()
    assert (result.num_expired, result.num_enqueued, result.num_sent) == (30, 1, 1)
    assert duty.events == [("opened", "pump-07")]
    assert {row.reason for row in desk.rows() if row.status == "expired"} == {
        "ended more than 72 h before it was seen (notify.max_age_h)"
    }
    assert desk.deliver().num_expired == 0


def test_the_end_of_an_expired_event_is_not_told(desk, duty):
    desk.put("a", start_min=-60 * 24 * 10)
    desk.deliver()
    desk.put("a", start_min=-60 * 24 * 10, status="resolved")
    desk.deliver()
    assert duty.requests == []


def test_history_that_is_scored_anew_withdraws_nothing_of_long_ago(desk, duty):
    desk.put("a")
    desk.deliver()
    desk.clock.forward(hours=100)
    desk.put("a", start_min=-10 - 6000, status="superseded")
    desk.deliver()
    assert len(duty.requests) == 1
    assert desk.statuses()[1] == ("a", "superseded", "skipped")


def test_an_expired_event_that_goes_on_until_now_is_told(desk, duty):
    desk.put("a", start_min=-60 * 24 * 10)
    desk.deliver()
    desk.put("a", start_min=-60 * 24 * 10, length_min=60 * 24 * 10)
    desk.deliver()
    assert duty.events == [("opened", "pump-07")]


def test_no_limit_of_age_tells_everything(desk, duty):
    desk.options["max_age_h"] = 0
    desk.put("a", start_min=-60 * 24 * 1000)
    assert desk.deliver().num_sent == 1


def test_a_channel_that_is_added_later_is_told_of_what_is_recent(desk, duty):
    desk.put("a")
    desk.put("old", start_min=-60 * 24 * 10)
    desk.deliver()
    desk.channels["late"] = desk.channels["duty"]
    result = desk.deliver()
    assert (result.num_sent, result.num_expired) == (1, 1)


def test_keys_do_not_depend_on_order_or_time(desk, duty, tmp_path):
    desk.put("a")
    desk.deliver()
    first = {row.key for row in desk.rows()}
    desk.root = tmp_path / "other"
    desk.clock.forward(hours=30)
    desk.put("b")
    desk.put("a")
    desk.deliver()
    assert first < {row.key for row in desk.rows()}


def test_a_channel_needs_not_be_reachable_to_enqueue(desk, monkeypatch):
    monkeypatch.delenv(SECRET_VARIABLE, raising=False)
    desk.channels["duty"] = ChannelConfig(
        kind="webhook", url="http://127.0.0.1:9/", secret_env=SECRET_VARIABLE
    )
    desk.put("a")
    result = desk.deliver()
    assert desk.statuses() == [("a", "opened", "pending")]
    assert result.num_waiting == 1
    assert isinstance(desk.rows()[0].payload, str)
