from pathlib import Path

import pyarrow as pa
import pytest

from tests.pipelines import raise_interrupt
from tests.steady import START, TRAINING_HOURS, write_hours
from tests.unit.operations.monitoring.conftest import STEADY_HOURS
from vae_anomaly.operations import pipeline
from vae_anomaly.operations.monitoring import monitor as module
from vae_anomaly.operations.monitoring.monitor import monitor_pipeline, note_announced
from vae_anomaly.operations.registry import CHAMPION, open_registry
from vae_anomaly.readings import delta
from vae_anomaly.readings.drift_tables import read_drift, read_reference
from vae_anomaly.readings.tables import Lake

FIRST = TRAINING_HOURS + STEADY_HOURS
NUM_SERIES = 8
"""Level and spread of three sensors and the score."""


def let_come(config, num, *, shift, first=FIRST):
    write_hours(Path(config.source).parent, first, num, shift=shift)
    pipeline.ingest_source(config)
    pipeline.score_readings(config)


def hours(num):
    return round((START.timestamp() + num * 3600) * 1e6)


def test_steady_readings_are_compared_and_have_not_drifted(plant):
    result = monitor_pipeline(plant)
    assert (result.num_series, result.num_unknown) == (NUM_SERIES, 1)
    assert result.drifts == ()
    assert result.event_id == ""
    assert result.until_us == hours(FIRST)
    rows = read_drift(Lake(plant.lake.root)).to_pylist()
    assert len(rows) == NUM_SERIES + 1
    by_statistic = {(row["sensor"], row["statistic"]): row for row in rows}
    rate = by_statistic["", "alert_rate"]
    assert rate["verdict"] == "unknown"
    assert "no budget of alert events was asked for" in rate["reason"]
    assert all(0 < row["p_value"] <= 1 for row in rows if row is not rate)
    (limit,) = {row["limit"] for row in rows}
    assert limit == pytest.approx(1.0 / (NUM_SERIES * 365.25 * 24))


def test_a_shift_that_lasts_is_a_drift_of_the_sensor_and_of_the_score(plant):
    let_come(plant, 8, shift=4.0)
    result = monitor_pipeline(plant)
    found = {(drift.sensor, drift.statistic): drift for drift in result.drifts}
    assert {("flow", "level"), ("", "level")} <= found.keys()
    assert not {sensor for sensor, _ in found} & {"level", "power"}
    assert found["flow", "level"].value == pytest.approx(4.0, abs=0.5)
    assert "sensor 'flow' is +" in found["flow", "level"].reason
    assert result.event_id


def test_the_same_blocks_are_compared_once_and_the_next_ones_anew(plant):
    first = monitor_pipeline(plant)
    again = monitor_pipeline(plant)
    assert (first.skipped, again.skipped) == (False, True)
    lake = Lake(plant.lake.root)
    before = read_drift(lake)
    assert delta.table_version(lake.uri("drift")) == 0
    let_come(plant, 1, shift=0.0)
    assert not monitor_pipeline(plant).skipped
    after = read_drift(lake)
    assert after.num_rows == 2 * before.num_rows
    assert after.slice(0, before.num_rows).equals(before)


def test_a_drift_is_announced_once_until_the_champion_changes(plant, tmp_path, trained_plant):
    let_come(plant, 8, shift=4.0)
    first = monitor_pipeline(plant)
    assert monitor_pipeline(plant).event_id == first.event_id  # killed before it was noted
    note_announced(plant, first)
    assert monitor_pipeline(plant).event_id == ""
    let_come(plant, 4, shift=4.0, first=FIRST + 8)
    later = monitor_pipeline(plant)
    assert later.drifts
    assert later.event_id == ""
    registry = open_registry(plant.registry)
    registry.move_alias(CHAMPION, "1", reason="promoted again")
    assert monitor_pipeline(plant).event_id not in {"", first.event_id}


def test_a_check_that_was_broken_off_ends_the_same(plant, monkeypatch):
    let_come(plant, 8, shift=4.0)
    with monkeypatch.context() as patch:
        patch.setattr(module, "append_drift", raise_interrupt)
        with pytest.raises(KeyboardInterrupt):
            monitor_pipeline(plant)
    lake = Lake(plant.lake.root)
    assert not delta.has_table(lake.uri("drift"))
    kept = delta.table_version(lake.uri("drift_reference"))
    result = monitor_pipeline(plant)
    assert result.event_id
    assert delta.table_version(lake.uri("drift_reference")) == kept == 0
    assert read_drift(lake).num_rows == NUM_SERIES + 1


def test_the_reference_is_read_once_and_is_small(plant):
    monitor_pipeline(plant)
    lake, name = Lake(plant.lake.root), plant.registry.model_name
    found = read_reference(lake, model_name=name, model_version="1", block_s=3600.0)
    assert found["sensor"].to_pylist() == ["", "flow", "level", "power"]
    num_base = found["num_base"].to_pylist()
    assert num_base[0] >= 1  # scores are smoothed, and alike for longer
    assert num_base[1:] == [1, 1, 1]
    assert found["num_blocks"].to_pylist() == [TRAINING_HOURS // num for num in num_base]
    assert found["level"].to_pylist()[1] == pytest.approx(5e-3, rel=0.05)
    assert found["step_spread"].to_pylist()[1] == pytest.approx(1e-3, rel=0.1)


def test_readings_from_the_future_do_not_stop_the_monitor(plant):
    let_come(plant, 2, shift=0.0, first=10_000_000)
    result = monitor_pipeline(plant, now_us=hours(FIRST) + 5)
    assert result.until_us == hours(FIRST)
    assert result.num_series == NUM_SERIES


def test_without_live_readings_nothing_can_be_said(plant):
    result = monitor_pipeline(plant, now_us=hours(TRAINING_HOURS) + 5)
    assert result.num_series == 0
    assert result.num_unknown == 4


def test_alert_events_above_the_budget_are_a_drift(trained_plant, plant, monkeypatch):
    """The detector has no budget; one is put into what it says of itself."""
    from dataclasses import replace

    lake = Lake(plant.lake.root)
    monitor_pipeline(plant)
    events = lake.read_alerts()
    row = {
        "asset": "asset",
        "model_name": plant.registry.model_name,
        "model_version": "1",
        "threshold": 1.0,
        "peak_score": 2.0,
        "num_steps": 3,
        "severity": "low",
        "status": "open",
        "top_sensors": ["flow"],
        "top_shares": [1.0],
        "reasons": [],
    }
    times = [hours(TRAINING_HOURS) + step * 600_000_000 for step in range(20)]
    rows = [
        row | {"alert_id": f"event-{at}", "start": at, "peak": at, "end": at + 60_000_000}
        for at in times
    ]
    delta.append_once(lake.uri("alerts"), pa.Table.from_pylist(rows, schema=events.schema))
    from vae_anomaly.operations.registry import Registry

    load = Registry.load_record

    def load_with_budget(self, reference):
        record = load(self, reference)
        budgets = {
            asset: replace(one, budget_per_week=1.0) for asset, one in record.calibrations.items()
        }
        return replace(record, calibrations=budgets)

    monkeypatch.setattr(Registry, "load_record", load_with_budget)
    let_come(plant, 1, shift=0.0)
    (drift,) = [one for one in monitor_pipeline(plant).drifts if one.statistic == "alert_rate"]
    assert drift.value > 100
    assert "at most 1 were promised" in drift.reason
