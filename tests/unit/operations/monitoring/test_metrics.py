import threading
import urllib.request

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.steady import START, TRAINING_HOURS, write_hours
from tests.unit.operations.monitoring.conftest import STEADY_HOURS
from vae_anomaly.errors import TableError
from vae_anomaly.operations import pipeline
from vae_anomaly.operations.monitoring import metrics
from vae_anomaly.operations.monitoring.monitor import monitor_pipeline
from vae_anomaly.operations.monitoring.successes import note_success
from vae_anomaly.readings import delta
from vae_anomaly.readings.tables import Lake


def parse(text):
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def collect(config):
    return parse(metrics.write_metrics(config))


def test_figures_of_the_tables_are_those_of_the_lake(plant):
    found = collect(plant)
    lake = Lake(plant.lake.root)
    counts = lake.counts()
    for table in ("readings", "scores", "alerts", "ledger"):
        rows = found.get(("vae_anomaly_table_rows", (("table", table),)), 0)
        assert rows == delta.count_rows(lake.uri(table))
    assert counts.readings == (TRAINING_HOURS + STEADY_HOURS) * 60
    assert found["vae_anomaly_table_bytes", (("table", "readings"),)] > 1_000
    assert found["vae_anomaly_up", (("part", "lake"),)] == 1
    assert found["vae_anomaly_up", (("part", "registry"),)] == 1


def test_the_champion_is_named_with_its_age(plant):
    found = collect(plant)
    labels = (("model_name", "vae-anomaly"), ("model_version", "1"))
    assert found["vae_anomaly_champion_info", labels] == 1
    assert 0 < found["vae_anomaly_champion_age_seconds", ()] < 86_400


def test_readings_that_are_not_scored_are_a_lag(plant):
    result = pipeline.score_readings(plant)
    note_success(plant, "score", result, duration_s=1.5)
    before = collect(plant)
    assert before["vae_anomaly_scoring_lag_seconds", ()] == 0
    assert before["vae_anomaly_readings_versions_unscored", ()] == 0
    newest = START.timestamp() + (TRAINING_HOURS + STEADY_HOURS) * 3600 - 60
    assert before["vae_anomaly_newest_reading_timestamp_seconds", ()] == newest
    write_hours(folder_of(plant), TRAINING_HOURS + STEADY_HOURS, 2)
    pipeline.ingest_source(plant)
    after = collect(plant)
    assert after["vae_anomaly_scoring_lag_seconds", ()] == 7200
    assert after["vae_anomaly_readings_versions_unscored", ()] == 1


def folder_of(config):
    from pathlib import Path

    return Path(config.source).parent


def test_flows_are_shown_with_their_last_success_and_states(plant):
    result = pipeline.score_readings(plant)
    note_success(plant, "score", result, duration_s=1.5)
    note_success(plant, "train", None, duration_s=2.5)
    found = collect(plant)
    assert found["vae_anomaly_flow_duration_seconds", (("flow", "train"),)] == 2.5
    assert found["vae_anomaly_flow_last_success_timestamp_seconds", (("flow", "score"),)] > 1.7e9
    assert found["vae_anomaly_scored_rows", (("state", "ok"),)] == result.num_ok
    assert (
        sum(
            found["vae_anomaly_scored_rows", (("state", state),)]
            for state in ("ok", "anomalous", "unscorable")
        )
        == result.num_rows
    )


def test_the_last_check_is_shown_with_its_verdicts(plant):
    result = monitor_pipeline(plant)
    note_success(plant, "monitor", result, duration_s=0.5)
    found = collect(plant)
    assert found["vae_anomaly_drift_series", (("verdict", "ok"),)] == result.num_series
    assert found["vae_anomaly_drift_series", (("verdict", "drift"),)] == 0
    assert found["vae_anomaly_alert_events_per_week", (("asset", "asset"),)] >= 0


def test_alert_events_are_counted_by_status_and_severity_and_the_budget_shown(plant):
    lake = Lake(plant.lake.root)
    threshold = plant.detector.threshold.model_copy(update={"alert_budget_per_week": 2.0})
    detector = plant.detector.model_copy(update={"threshold": threshold})
    found = collect(plant.model_copy(update={"detector": detector}))
    assert found["vae_anomaly_alert_budget_per_week", ()] == 2.0
    shown = sum(value for (name, _), value in found.items() if name == "vae_anomaly_alert_events")
    assert shown == lake.read_alerts().num_rows


def test_messages_are_counted_by_status(plant):
    import pyarrow as pa

    lake = Lake(plant.lake.root)
    rows = pa.table({"key": ["a", "b", "c"], "status": ["pending", "pending", "sent"]})
    delta.append_once(lake.uri("outbox"), rows)
    found = collect(plant)
    assert found["vae_anomaly_outbox_messages", (("status", "pending"),)] == 2
    assert found["vae_anomaly_outbox_messages", (("status", "sent"),)] == 1


def test_an_empty_lake_and_no_champion_are_figures_too(plant, tmp_path):
    empty = plant.model_copy(
        update={
            "lake": plant.lake.model_copy(update={"root": str(tmp_path / "none")}),
            "registry": plant.registry.model_copy(update={"model_name": "nothing"}),
        }
    )
    found = collect(empty)
    assert found["vae_anomaly_up", (("part", "lake"),)] == 1
    assert found["vae_anomaly_up", (("part", "registry"),)] == 0


def test_a_lake_that_cannot_be_read_is_down_and_the_registry_is_shown(plant):
    (folder_of(plant) / "lake/readings/_delta_log/00000000000000000000.json").unlink()
    found = collect(plant)
    assert found["vae_anomaly_up", (("part", "lake"),)] == 0
    assert found["vae_anomaly_up", (("part", "registry"),)] == 1


def test_the_file_is_whole_and_its_folder_is_made(plant, tmp_path):
    file = tmp_path / "node" / "vae-anomaly.prom"
    metrics.write_metrics_file(plant, file)
    assert parse(file.read_text())["vae_anomaly_up", (("part", "lake"),)] == 1
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    with pytest.raises(TableError, match="Choose a folder that can be written"):
        metrics.write_metrics_file(plant, file / "below.prom")


def test_figures_are_served_anew_at_each_request(plant):
    stop, ports = threading.Event(), []
    started = threading.Event()

    def note(port):
        ports.append(port)
        started.set()

    options = {"host": "127.0.0.1", "port": 0, "on_start": note, "stop": stop}
    thread = threading.Thread(target=metrics.serve_metrics, args=(plant,), kwargs=options)
    thread.start()
    assert started.wait(30)
    try:
        with pytest.raises(TableError, match="Give another --serve"):
            metrics.serve_metrics(plant, **(options | {"port": ports[0]}))
        assert ask(ports[0])["vae_anomaly_scoring_lag_seconds", ()] == 0
        write_hours(folder_of(plant), TRAINING_HOURS + STEADY_HOURS, 1)
        pipeline.ingest_source(plant)
        assert ask(ports[0])["vae_anomaly_scoring_lag_seconds", ()] == 3600
    finally:
        stop.set()
        thread.join()


def ask(port):
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/metrics", headers={"Accept": "application/openmetrics-text"}
    )
    with urllib.request.urlopen(request) as response:  # noqa: S310
        return parse(response.read().decode())


def test_samples_are_plain_values(plant):
    samples = metrics.list_samples(plant)
    assert {"name": "vae_anomaly_up", "labels": {"part": "lake"}, "value": 1.0} in samples
