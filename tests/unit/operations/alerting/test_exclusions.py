import pytest

from tests.alerting import at
from vae_anomaly.config import TrainingPeriod
from vae_anomaly.errors import TrainingError
from vae_anomaly.operations.alerting.decisions import Deed, label_alert
from vae_anomaly.operations.alerting.entries import Entry
from vae_anomaly.operations.alerting.exclusions import find_excluded, find_labels
from vae_anomaly.operations.alerting.maintenance import add_window
from vae_anomaly.operations.pipeline_sample import read_training_rows
from vae_anomaly.operations.pipeline_tables import open_lake
from vae_anomaly.operations.pipeline_train import _read_training, fingerprint_training


def test_nothing_is_excluded_from_an_empty_lake(alert_lake):
    assert find_excluded(alert_lake.lake) == []
    assert find_labels(alert_lake.lake) == ()


def test_alerts_are_excluded_until_they_are_dismissed_or_labelled_normal(alert_lake):
    alert_lake.score([*range(10, 12), *range(40, 42), *range(70, 72)])
    first, second, third = alert_lake.live()
    assert [span[1:3] for span in find_excluded(alert_lake.lake)] == [
        (at(10), at(12)), (at(40), at(42)), (at(70), at(72)),
    ]  # fmt: skip
    alert_lake.decide(first.alert_id, "dismissed")
    label_alert(alert_lake.config, second.alert_id, "normal", deed=Deed("ann"))
    label_alert(alert_lake.config, third.alert_id, "anomaly", deed=Deed("ann", "bearing"))
    assert find_excluded(alert_lake.lake) == [
        ("a", at(70), at(72), f"alert {third.alert_id}"),
        ("a", at(70), at(72), "labelled anomaly: bearing"),
    ]
    assert [label.variant for label in find_labels(alert_lake.lake)] == ["normal", "anomaly"]


def test_superseded_alerts_and_silence_exclude_nothing(alert_lake):
    alert_lake.score(range(10, 12))
    alert_lake.score([])
    add_window(alert_lake.config, Entry("a", at(0), at(9), "ann", "", "mute"))
    assert find_excluded(alert_lake.lake) == []


def test_only_spans_of_the_assets_asked_for_and_of_all(alert_lake):
    for asset in ("a", "b", "*"):
        add_window(alert_lake.config, Entry(asset, at(0), at(9), "ann", "", "cli"))
    assert [span.asset for span in find_excluded(alert_lake.lake, assets=["b"])] == ["*", "b"]
    assert len(find_excluded(alert_lake.lake)) == 3


def test_training_leaves_excluded_readings_out_and_its_fingerprint_changes(alert_lake):
    alert_lake.ingest()
    view = open_lake(alert_lake.config, verb="train")
    asset = view.readings.assets[0]
    add_window(alert_lake.config, Entry(asset, at(100), at(150), "ann", "", "cli"))
    add_window(alert_lake.config, Entry("*", at(140), at(160), "ann", "", "cli"))
    whole, rest = (
        read_training_rows(
            view, start_us=None, end_us=None, max_rows=10_000, held_share=0.3, excluded=excluded
        )
        for excluded in ((), find_excluded(alert_lake.lake))
    )
    assert (whole.num_excluded, rest.num_excluded) == (0, 60)
    assert rest.table.num_rows == whole.table.num_rows - 60
    times = rest.table["timestamp"].cast("int64").to_numpy()
    assert not ((times >= at(100)) & (times < at(160))).any()
    config = alert_lake.config.detector
    prints = {fingerprint_training(rows.table, config, seed=0) for rows in (whole, rest)}
    assert len(prints) == 2


@pytest.mark.parametrize("source", ["cli", "mute"])
def test_a_training_period_all_of_which_is_excluded_is_refused(alert_lake, source):
    alert_lake.ingest()
    add_window(alert_lake.config, Entry("*", at(-1), at(2000), "ann", "", source))
    view = open_lake(alert_lake.config, verb="train")
    if source == "mute":
        assert _read_training(view, TrainingPeriod(), 0.3).num_excluded == 0
        return
    with pytest.raises(TrainingError, match=r"expected normal readings .*, got only .*\(1200\)"):
        _read_training(view, TrainingPeriod(), 0.3)
