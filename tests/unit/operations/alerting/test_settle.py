import itertools

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.alerting import MERGE_STEPS, NUM_STEPS, AlertLake, at
from vae_anomaly.config import AlertingConfig
from vae_anomaly.errors import AlertingError, TableError
from vae_anomaly.operations.alerting import settle
from vae_anomaly.operations.alerting.decisions import Deed, label_alert
from vae_anomaly.operations.alerting.entries import Entry
from vae_anomaly.operations.alerting.events import find_event
from vae_anomaly.operations.alerting.maintenance import add_window, remove_window
from vae_anomaly.operations.alerting.settle import settle_alerts
from vae_anomaly.readings import delta


def test_an_event_is_open_until_a_step_is_scored_past_the_merge_gap(alert_lake):
    alert_lake.score(range(20, 30), stop=30 + MERGE_STEPS)
    assert alert_lake.statuses() == ["open"]
    alert_lake.score(range(20, 30), first=30, stop=31 + MERGE_STEPS)
    assert alert_lake.statuses() == ["resolved"]
    (event,) = alert_lake.live()
    assert [
        (change.number, change.status, change.at_us, change.by)
        for change in alert_lake.history(event.alert_id)
    ] == [(1, "open", at(20), "system"), (2, "resolved", at(30), "system")]


def test_rows_without_a_score_do_not_end_an_event(alert_lake):
    alert_lake.score(range(20, 30), unscorable=range(30, NUM_STEPS))
    assert alert_lake.statuses() == ["open"]


def test_an_event_that_goes_on_is_open_again(alert_lake):
    alert_lake.score(range(20, 30), stop=50, unscorable=range(30, 40))
    alert_lake.score(range(20, 45), first=30, stop=46)
    assert alert_lake.statuses() == ["open"]
    (event,) = alert_lake.live()
    statuses = [change.status for change in alert_lake.history(event.alert_id)]
    assert statuses == ["open", "resolved", "open"]


def test_a_second_settling_writes_nothing(alert_lake):
    alert_lake.score(range(20, 30))
    versions = [
        delta.table_version(alert_lake.lake.uri(name)) for name in ("alerts", "alert_changes")
    ]
    assert settle_alerts(alert_lake.config) == 0
    assert versions == [
        delta.table_version(alert_lake.lake.uri(name)) for name in ("alerts", "alert_changes")
    ]


def test_decisions_survive_scoring_again(alert_lake):
    alert_lake.score([*range(20, 30), *range(60, 70)], stop=71)
    first, second = alert_lake.live()
    alert_lake.decide(first.alert_id, "dismissed")
    alert_lake.decide(second.alert_id, "acknowledged")
    alert_lake.score([*range(20, 30), *range(60, 71)], stop=72)
    assert alert_lake.statuses() == ["dismissed", "acknowledged"]


def test_an_acknowledged_event_that_ends_is_resolved(alert_lake):
    alert_lake.score(range(20, 30), stop=31)
    (event,) = alert_lake.live()
    alert_lake.decide(event.alert_id, "acknowledged")
    alert_lake.score(range(20, 30))
    assert alert_lake.statuses() == ["resolved"]
    assert alert_lake.decide(event.alert_id, "acknowledged").status == "resolved"
    statuses = [change.status for change in alert_lake.history(event.alert_id)]
    assert statuses == ["open", "acknowledged", "resolved", "acknowledged", "resolved"]


def test_late_data_carry_a_dismissal_over_to_the_event_that_overlaps(alert_lake):
    alert_lake.score(range(20, 30), first=20, stop=60)
    (before,) = alert_lake.live()
    alert_lake.decide(before.alert_id, "dismissed")
    alert_lake.score(range(12, 30), stop=60)
    (after,) = alert_lake.live()
    assert after.alert_id != before.alert_id
    assert after.status == "dismissed"
    carried = alert_lake.history(after.alert_id)[-1]
    assert (carried.status, carried.by) == ("dismissed", "system")
    assert carried.reason == f"ann decided so on alert {before.alert_id} (why)"
    assert alert_lake.history(before.alert_id)[-1].status == "superseded"
    assert alert_lake.decide(after.alert_id, "open").status == "resolved"


def test_what_cannot_be_decided_is_refused(alert_lake):
    alert_lake.score([*range(20, 30), *range(60, 70)])
    first, second = alert_lake.live()
    alert_lake.decide(first.alert_id[:6], "dismissed")
    with pytest.raises(AlertingError, match=r"got one that is dismissed\. Reopen it first"):
        alert_lake.decide(first.alert_id, "acknowledged")
    with pytest.raises(AlertingError, match="expected one alert whose id begins so, got none"):
        alert_lake.decide("zzz", "dismissed")
    with pytest.raises(AlertingError, match="got none"):
        find_event(alert_lake.lake, "", model_name="vae-anomaly")
    with pytest.raises(AlertingError, match="expected the name of a person, got the one of the"):
        Deed("system")
    with pytest.raises(AlertingError, match="expected anomaly, normal or none, got 'odd'"):
        label_alert(alert_lake.config, second.alert_id, "odd", deed=Deed("ann"))


def test_an_ambiguous_id_is_refused(alert_lake):
    flagged = list(range(5, NUM_STEPS, 7))  # 17 events: two of them begin with the same letter
    alert_lake.score(flagged)
    ids = sorted(event.alert_id for event in alert_lake.live())
    begin = next(a[0] for a, b in itertools.pairwise(ids) if a[0] == b[0])
    with pytest.raises(AlertingError, match=f"'{begin}': expected one alert.*, got {begin}.*, "):
        alert_lake.decide(begin, "dismissed")


@pytest.mark.parametrize("broken", ["append_changes", "write_settled"])
def test_what_was_killed_between_the_two_writes_is_healed(make_lake, monkeypatch, broken):
    undisturbed, killed = make_lake(), make_lake()
    for one in (undisturbed, killed):
        one.score(range(20, 30), stop=31)
    (event,) = killed.live()
    undisturbed.decide(event.alert_id, "dismissed", at_us=at(40))
    with monkeypatch.context() as patch:
        patch.setattr(settle, broken, raise_interrupt)
        with pytest.raises(KeyboardInterrupt):
            killed.score(range(20, 31), first=31)
    if broken == "write_settled":  # the history knows, the table does not
        assert killed.history(event.alert_id)[-1].status == "resolved"
        assert killed.statuses() == ["open"]
    killed.score(range(20, 31), first=31)
    assert killed.statuses() == ["resolved"]
    assert [change.number for change in killed.history(event.alert_id)] == [1, 2]
    killed.decide(event.alert_id, "dismissed", at_us=at(40))
    undisturbed.score(range(20, 31), first=31)
    assert killed.lake.read_alerts().equals(undisturbed.lake.read_alerts())


def test_a_decision_that_was_killed_before_the_table_is_healed(alert_lake, monkeypatch):
    alert_lake.score(range(20, 30), stop=31)
    (event,) = alert_lake.live()
    with monkeypatch.context() as patch:
        patch.setattr(settle, "write_settled", interrupt_changes)
        with pytest.raises(KeyboardInterrupt):
            alert_lake.decide(event.alert_id, "dismissed")
    assert alert_lake.statuses() == ["open"]
    settle_alerts(alert_lake.config)
    assert alert_lake.statuses() == ["dismissed"]
    with pytest.raises(AlertingError, match="got one that is dismissed"):
        alert_lake.decide(event.alert_id, "dismissed")


def raise_interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def interrupt_changes(_: object, settled: dict) -> None:
    if settled:
        raise KeyboardInterrupt


def test_a_window_mutes_backwards_and_its_withdrawal_unmutes(alert_lake):
    alert_lake.score([*range(20, 30), *range(60, 70)])
    window = Entry("a", at(25), at(40), "ann", "new bearing", "cli")
    added = add_window(alert_lake.config, window)
    assert [event.mute for event in alert_lake.live()] == ["maintenance: new bearing", ""]
    again = add_window(alert_lake.config, window)
    assert again.window_id == added.window_id
    remove_window(alert_lake.config, added.window_id[:5], by="bob")
    assert [event.mute for event in alert_lake.live()] == ["", ""]
    add_window(alert_lake.config, window)
    rows = delta.read_table(alert_lake.lake.uri("maintenance")).sort_by("number")
    assert rows["action"].to_pylist() == ["added", "withdrawn", "added"]
    assert rows["by"].to_pylist() == ["ann", "bob", "ann"]
    with pytest.raises(AlertingError, match="expected one window whose id begins so, got none"):
        remove_window(alert_lake.config, "zz", by="bob")
    with pytest.raises(AlertingError, match="expected a start before its end"):
        add_window(alert_lake.config, Entry("a", at(2), at(2), "ann", "", "cli"))


def test_windows_of_other_assets_and_times_mute_nothing(alert_lake):
    alert_lake.score(range(20, 30))
    for asset, first, end in (("b", 20, 30), ("a", 0, 20), ("a", 30, 40)):
        add_window(alert_lake.config, Entry(asset, at(first), at(end), "ann", "", "cli"))
    assert [event.mute for event in alert_lake.live()] == [""]
    add_window(alert_lake.config, Entry("*", at(29), at(40), "ann", "", "cli"))
    assert [event.mute for event in alert_lake.live()] == ["maintenance"]


def test_normal_labels_mute_until_they_are_taken_back(alert_lake):
    alert_lake.score(range(20, 30))
    (event,) = alert_lake.live()
    mutes = [
        label_alert(alert_lake.config, event.alert_id, kind, deed=Deed("ann")).mute
        for kind in ("normal", "anomaly", "normal", "none", "none")
    ]
    assert mutes == ["labelled normal by ann", "", "labelled normal by ann", "", ""]


def test_follow_ups_within_the_cool_down_name_the_first(make_lake):
    lake = make_lake(cooldown_s=15 * 60)
    lake.score([*range(10, 12), *range(20, 22), *range(34, 36), *range(60, 62)])
    lake.score([20], asset="b")
    mutes = {(event.asset, event.start_us): event.mute for event in lake.live()}
    first = lake.live()[0].alert_id
    assert mutes == {
        ("a", at(10)): "",
        ("a", at(20)): f"follow-up of {first}",
        ("a", at(34)): f"follow-up of {first}",
        ("a", at(60)): "",
        ("b", at(20)): "",
    }


def test_an_event_after_one_that_called_nobody_is_no_follow_up(make_lake):
    lake = make_lake(cooldown_s=15 * 60)
    lake.score([*range(10, 12), *range(20, 22)])
    add_window(lake.config, Entry("a", at(10), at(12), "ann", "", "cli"))
    assert [event.mute for event in lake.live()] == ["maintenance", ""]


def test_events_that_start_together_are_a_group_whatever_came_first(make_lake):
    starts = {"c": [10, 60], "a": [12], "b": [15, 90]}
    found = []
    for order in ("abc", "cba"):
        lake = make_lake(group_s=4 * 60)
        for asset in order:
            lake.score(starts[asset], asset=asset)
        found.append({(one.asset, one.start_us): one.group_id for one in lake.live()})
    assert found[0] == found[1]
    groups, ids = found[0], {(one.asset, one.start_us): one.alert_id for one in lake.live()}
    assert groups["a", at(12)] == groups["c", at(10)] == ids["c", at(10)]
    assert groups["b", at(15)] == ids["b", at(15)]
    assert groups["c", at(60)] == ids["c", at(60)]


def test_another_model_is_left_alone(alert_lake):
    alert_lake.score(range(20, 30))
    other = alert_lake.config.registry.model_copy(update={"model_name": "other"})
    assert settle_alerts(alert_lake.config.model_copy(update={"registry": other})) == 0


def test_an_unreadable_lake_is_an_error(alert_lake):
    alert_lake.score(range(20, 30))
    (alert_lake.folder / "alert_changes" / "_delta_log" / "00000000000000000000.json").write_text(
        "broken"
    )
    with pytest.raises(TableError, match="alert_changes"):
        settle_alerts(alert_lake.config)


FLAGGED = {"a": [*range(10, 14), *range(30, 33), *range(36, 40), *range(80, 84)], "b": [31, 100]}
PARTS = [(asset, first) for asset in FLAGGED for first in range(0, NUM_STEPS, 40)]
DEEDS = ("acknowledged", "dismissed", "maintenance", "label", "withdrawn")


@given(
    order=st.permutations([*PARTS, *DEEDS]),
    again=st.lists(st.sampled_from(PARTS), max_size=2),
)
# an example takes seconds: shrinking one that fails would take many minutes
@settings(max_examples=8, deadline=None, phases=(Phase.explicit, Phase.generate))
def test_any_order_of_scoring_and_deeds_ends_in_the_same_table(
    tmp_path_factory, detector, plant, order, again
):
    """Deeds on alerts that there are not yet wait until there are."""
    chosen = AlertingConfig(cooldown_s=20 * 60, group_s=120)
    reference, other = (
        AlertLake(tmp_path_factory.mktemp("order") / "lake", detector, plant, chosen)
        for _ in range(2)
    )
    play(reference, [*PARTS, *DEEDS])
    play(other, [*order, *again])
    rows = [one.lake.read_alerts().to_pylist() for one in (reference, other)]
    live = [[row for row in mine if row["status"] != "superseded"] for mine in rows]
    assert live[0] == live[1]
    assert {row["status"] for row in live[0]} == {"resolved", "dismissed"}


def play(lake: AlertLake, order: list) -> None:
    waiting = []
    for step in order:
        if isinstance(step, tuple):
            asset, first = step
            lake.score(FLAGGED[asset], asset=asset, first=first, stop=first + 40)
        else:
            waiting.append(step)
        waiting = [deed for deed in waiting if not do(lake, deed)]
    assert not waiting


def do(lake: AlertLake, deed: str) -> bool:
    """Do something; return whether there is an alert to do it to."""
    starts = {"acknowledged": at(80), "dismissed": at(10), "label": at(30)}
    event = next(
        (one for one in lake.live() if one.asset == "a" and one.start_us == starts.get(deed)), None
    )
    if deed == "maintenance":
        add_window(lake.config, Entry("b", at(99), at(101), "ann", "belt", "cli"))
    elif deed == "withdrawn":
        window = add_window(lake.config, Entry("*", at(0), at(50), "ann", "mistake", "cli"))
        remove_window(lake.config, window.window_id, by="ann")
    elif event is None:
        return False
    elif deed == "label":
        label_alert(lake.config, event.alert_id, "normal", deed=Deed("ann"))
    else:
        lake.decide(event.alert_id, deed, at_us=at(500))
    return True
