"""Scoring of the pipeline on real tables: whatever arrives when, the tables end the same."""

import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from mlflow import MlflowClient

from tests.pipelines import (
    END,
    correct_file,
    let_arrive,
    raise_interrupt,
    read_config,
    tables,
)
from vae_anomaly.config import PipelineConfig, RegistryConfig, TrainingPeriod
from vae_anomaly.operations import pipeline, pipeline_score, pipeline_scorer
from vae_anomaly.operations.pipeline_live import read_live_periods
from vae_anomaly.operations.registry import open_registry
from vae_anomaly.readings import delta
from vae_anomaly.readings.tables import Lake


def test_scoring_gives_each_reading_from_the_end_of_training_on_one_state(config, undisturbed):
    pipeline.ingest_source(config)
    let_arrive(config, 4, 5)
    seen: list[tuple[int, int]] = []
    result = pipeline.score_readings(config, progress=lambda *step: seen.append(step))
    assert result.num_rows == result.num_ok + result.num_anomalous + result.num_unscorable
    assert result.num_rows == result.num_new_rows == undisturbed[0].num_rows
    assert result.num_rows > 1000
    assert result.num_new_events == result.num_events == undisturbed[1].num_rows
    assert (result.model_name, result.model_version, result.skipped) == ("vae-anomaly", "1", False)
    assert seen == [(result.num_rows, result.num_rows)]
    first = pc.min(undisturbed[0]["timestamp"]).as_py()
    assert timedelta(0) <= first - END < timedelta(minutes=10)


def test_scoring_finds_the_fault_and_lists_it(undisturbed, config):
    pipeline.ingest_source(config)
    let_arrive(config, 4, 5)
    pipeline.score_readings(config)
    alerts = pipeline.list_alerts(config)
    assert len(alerts) == undisturbed[1].num_rows >= 1
    assert all(
        alert.status in {"open", "resolved"} and alert.model_version == "1" for alert in alerts
    )
    assert all(alert.event.end_us > alert.event.start_us for alert in alerts)


def test_scoring_again_does_nothing(config):
    pipeline.ingest_source(config)
    let_arrive(config, 4)
    first = pipeline.score_readings(config)
    before, version = tables(config), Lake(config.lake.root).readings_version()
    again = pipeline.score_readings(config)
    assert again == replace(first, num_new_rows=0, num_new_events=0, skipped=True)
    assert tables(config) == before
    assert again.readings_version == version


def test_the_lake_may_have_nothing_after_the_training_period(config):
    pipeline.ingest_source(config)
    result = pipeline.score_readings(config)
    assert (result.num_rows, result.skipped) == (0, True)


def test_three_arrivals_end_in_the_tables_of_one(config, undisturbed):
    pipeline.ingest_source(config)
    num_new = []
    for day in (4, 5):
        let_arrive(config, day)
        num_new.append(pipeline.score_readings(config).num_new_rows)
    assert sum(num_new) == undisturbed[0].num_rows
    assert min(num_new) > 500
    scores, alerts = tables(config)
    assert scores.equals(undisturbed[0])
    assert alerts.equals(undisturbed[1])


def test_files_that_come_late_end_in_the_tables_of_files_on_time(config, undisturbed):
    pipeline.ingest_source(config)
    let_arrive(config, 5)
    first = pipeline.score_readings(config)
    let_arrive(config, 4)
    second = pipeline.score_readings(config)
    # 3 of the longest span, 12 steps, are 64, the present one counted; 21 blocks of 2 steps; and
    # before the first of them 3 spans of 5, 16 steps, which may be 5 periods apart
    lookback = 63 + 42 + 15 * 5
    assert second.num_new_rows == undisturbed[0].num_rows - first.num_rows + lookback
    scores, alerts = tables(config)
    assert scores.equals(undisturbed[0])
    still = alerts.filter(pc.not_equal(alerts["status"], "superseded"))
    assert still.equals(undisturbed[1])


@pytest.mark.parametrize(
    ("broken", "counts"),
    [
        ("", (20, 0)),
        ("", (0, 20)),
        ("write_scores", (20, 20)),
        ("write_alerts", (20, 20)),
        ("mark", (20, 20)),
        ("old version", (20, 20)),
        ("vacuum", (20, 20)),
    ],
)
def test_corrected_files_end_in_the_tables_of_files_that_were_right_at_once(
    config, trained, tmp_path, monkeypatch, broken, counts
):
    """So many rows have other values, and so many are no more."""
    folder = Path(trained.config.registry.folder)
    right_at_once = read_config(tmp_path / "right", registry=folder)
    pipeline.ingest_source(config)
    let_arrive(config, 4, 5)
    first = pipeline.score_readings(config)
    for one in (config, right_at_once):
        correct_file(one, 5, *counts)
        pipeline.ingest_source(one)
    pipeline.score_readings(right_at_once)
    if broken == "old version":
        version = first.readings_version
        log = Path(config.lake.root) / "readings" / "_delta_log"
        DeltaTable(config.lake.root + "/readings").create_checkpoint()
        for number in range(version + 1):
            (log / f"{number:020d}.json").unlink()
    elif broken == "vacuum":
        DeltaTable(config.lake.root + "/readings").vacuum(
            retention_hours=0, dry_run=False, enforce_retention_duration=False
        )
    elif broken:
        with monkeypatch.context() as patch:
            patch.setattr(delta if broken == "mark" else Lake, broken, raise_interrupt)
            with pytest.raises(KeyboardInterrupt):
                pipeline.score_readings(config)
    second = pipeline.score_readings(config)
    if not broken:
        assert 40 < second.num_new_rows < first.num_rows / 2  # not all, and more than changed
    scores, alerts = tables(config)
    expected_scores, expected_alerts = tables(right_at_once)
    assert scores.equals(expected_scores)
    assert alerts.filter(pc.not_equal(alerts["status"], "superseded")).equals(expected_alerts)
    assert pipeline.score_readings(config).skipped


def test_with_a_latency_the_last_steps_wait_and_all_others_end_as_if_they_had_not(tmp_path):
    settings = "\n[detector.threshold]\nlatency = 3\nsmoothing_steps = 5\nadaptation_steps = 0\n"
    whole, parts, late = (
        read_config(
            tmp_path / name,
            registry=tmp_path / "registry",
            num_files=num_files,
            settings=settings,
        )
        for name, num_files in (("whole", 6), ("parts", 4), ("late", 6))
    )
    pipeline.ingest_source(whole)
    pipeline.train_detector(whole)
    pipeline.score_readings(whole)
    assert pipeline.score_readings(whole).skipped
    pipeline.ingest_source(parts)
    let_arrive(parts, 4)
    first = pipeline.score_readings(parts)
    let_arrive(parts, 5)
    second = pipeline.score_readings(parts)
    scores, alerts = tables(parts)
    assert scores.equals(tables(whole)[0])
    assert alerts.equals(tables(whole)[1])
    readings = Lake(parts.lake.root).read_readings()
    later = pc.greater_equal(readings["timestamp"], pa.scalar(END, readings["timestamp"].type))
    assert scores.num_rows == pc.sum(later).as_py() - 3
    assert second.num_new_rows == scores.num_rows - first.num_rows
    let_arrive_in_pieces(late)
    assert tables(late)[0].equals(scores)


def let_arrive_in_pieces(config: PipelineConfig) -> None:
    """Score without pieces of the last files, then with them: stretches lie close together."""
    source, rng = Path(config.source), np.random.default_rng(0)
    kept = {file: pq.read_table(file) for file in sorted(source.glob("*.parquet"))[-2:]}
    for file, rows in kept.items():
        is_there = rng.random(-(-rows.num_rows // 40)).repeat(40)[: rows.num_rows] < 0.7
        pq.write_table(rows.filter(pa.array(is_there)), file)
        pq.write_table(rows.filter(pa.array(~is_there)), source.parent / "later" / file.name)
    pipeline.ingest_source(config)
    pipeline.score_readings(config)
    for file in kept:
        (source.parent / "later" / file.name).rename(source / f"late-{file.name}")
    pipeline.ingest_source(config)
    pipeline.score_readings(config)


def test_scores_in_small_batches_are_those_of_one(config, undisturbed, monkeypatch):
    monkeypatch.setattr(pipeline_score, "BATCH_STEPS", 250)
    pipeline.ingest_source(config)
    let_arrive(config, 4, 5)
    seen: list[tuple[int, int]] = []
    result = pipeline.score_readings(config, progress=lambda *step: seen.append(step))
    assert len(seen) >= result.num_rows // 250
    assert seen[-1] == (result.num_rows, result.num_rows)
    assert all(done <= total for done, total in seen)
    scores, alerts = tables(config)
    assert scores.equals(undisturbed[0])
    assert alerts.equals(undisturbed[1])


def test_a_scoring_that_is_broken_off_is_completed_by_the_next(config, undisturbed, monkeypatch):
    monkeypatch.setattr(pipeline_score, "BATCH_STEPS", 400)
    pipeline.ingest_source(config)
    let_arrive(config, 4, 5)
    write, calls = Lake.write_scores, iter(range(9))

    def break_off(lake, scores, **model):
        if next(calls) == 1:
            raise KeyboardInterrupt
        write(lake, scores, **model)

    with monkeypatch.context() as patch:
        patch.setattr(Lake, "write_scores", break_off)
        with pytest.raises(KeyboardInterrupt):
            pipeline.score_readings(config)
    assert 0 < tables(config)[0].num_rows < undisturbed[0].num_rows
    pipeline.score_readings(config)
    scores, alerts = tables(config)
    assert scores.equals(undisturbed[0])
    assert alerts.equals(undisturbed[1])


def test_without_an_end_of_training_all_readings_are_scored(config):
    pipeline.ingest_source(config)
    everything = config.model_copy(update={"training": TrainingPeriod()})
    result = pipeline.score_readings(everything)
    assert result.num_rows == Lake(config.lake.root).read_readings(columns=()).num_rows


def test_only_the_champion_calls_somebody(config, trained, tmp_path):
    """A second version in a registry of its own: the first is its champion."""
    own = config.model_copy(update={"registry": RegistryConfig(folder=str(tmp_path / "two"))})
    registry, detector = (
        open_registry(own.registry),
        open_registry(trained.config.registry).load("champion")[0],
    )
    registry.register(detector)
    registry.register(detector)
    pipeline.ingest_source(own)
    let_arrive(own, 4, 5)
    aside = pipeline.score_readings(own, reference="challenger")
    assert (aside.model_version, aside.num_events) == ("2", 0)
    assert aside.num_anomalous > 0
    assert pipeline.list_alerts(own) == ()
    champion = pipeline.score_readings(own)
    assert (champion.model_version, champion.num_new_rows) == ("1", aside.num_rows)
    assert champion.num_events > 0
    assert Lake(own.lake.root).read_scores().num_rows == 2 * aside.num_rows


def register_twice(trained, config, folder):
    """Register the detector twice in a registry of its own; return pipeline and registry."""
    own = config.model_copy(update={"registry": RegistryConfig(folder=str(folder))})
    registry = open_registry(own.registry)
    detector = open_registry(trained.config.registry).load("champion")[0]
    registry.register(detector)
    registry.register(detector)
    return own, registry


def list_scored_days(config) -> list[tuple[str, str]]:
    """Return which versions have scored which days."""
    scores = Lake(config.lake.root).read_scores()
    days = pc.strftime(scores["timestamp"], format="%d")
    return sorted(set(zip(scores["model_version"].to_pylist(), days.to_pylist(), strict=True)))


def test_the_next_champion_goes_on_where_the_one_before_has_scored_to(config, trained, tmp_path):
    own, registry = register_twice(trained, config, tmp_path / "two")
    pipeline.ingest_source(own)
    let_arrive(own, 4)
    first = pipeline.score_readings(own)
    before = pipeline.list_alerts(own)
    registry.move_alias("champion", "2", reason="for this test")
    nothing = pipeline.score_readings(own)
    assert (nothing.model_version, nothing.num_rows, nothing.skipped) == ("2", 0, True)
    assert pipeline.list_alerts(own) == before
    let_arrive(own, 5)
    second = pipeline.score_readings(own)
    assert second.num_rows == second.num_new_rows > 0
    assert second.num_events == len(before) + second.num_new_events
    assert list_scored_days(own) == [("1", "09"), ("2", "10")]
    periods = read_live_periods(Lake(own.lake.root), model_name="vae-anomaly")
    assert [period.model_version for period in periods] == ["1", "2"]
    assert periods[0].end_us == periods[1].start_us is not None
    assert first.num_rows + second.num_rows == Lake(own.lake.root).read_scores().num_rows


def test_readings_that_come_late_are_scored_by_the_version_of_their_time(
    config, trained, tmp_path
):
    own, registry = register_twice(trained, config, tmp_path / "two")
    pipeline.ingest_source(own)
    let_arrive(own, 4)
    pipeline.score_readings(own)
    registry.move_alias("champion", "2", reason="for this test")
    let_arrive(own, 5)
    pipeline.score_readings(own)
    correct_file(own, 4, 300, 20)
    pipeline.ingest_source(own)
    assert pipeline.score_readings(own).num_new_rows > 0
    assert list_scored_days(own) == [("1", "09"), ("2", "10")]
    corrected = tables(own)
    shutil.rmtree(own.lake.root)
    registry.move_alias("champion", "1", reason="for this test")
    pipeline.ingest_source(own)
    pipeline.score_readings(own)
    afresh = tables(own)
    names = [name for name in afresh[0].column_names if name != "model_version"]
    assert corrected[0].select(names).equals(afresh[0].select(names))
    assert pipeline.score_readings(own).skipped


def test_a_roll_back_speaks_from_now_on_and_a_rescoring_from_where_it_is_told(
    config, trained, tmp_path
):
    own, registry = register_twice(trained, config, tmp_path / "two")
    pipeline.ingest_source(own)
    let_arrive(own, 4)
    pipeline.score_readings(own)
    registry.move_alias("champion", "2", reason="for this test")
    pipeline.score_readings(own)
    registry.move_alias("champion", "1", reason="rolled back")
    let_arrive(own, 5)
    pipeline.score_readings(own)
    assert list_scored_days(own) == [("1", "09"), ("1", "10")]
    alerts = [alert.event for alert in pipeline.list_alerts(own)]
    registry.move_alias("champion", "2", reason="for this test")
    start_us = round((END + timedelta(hours=12)).timestamp() * 1e6)
    result = pipeline.rescore_readings(own, start_us=start_us)
    assert result.num_new_rows == result.num_rows > 0
    assert list_scored_days(own) == [("1", "09"), ("1", "10"), ("2", "09"), ("2", "10")]
    found = pipeline.list_alerts(own)
    assert [alert.event for alert in found] == alerts
    late = [alert.model_version for alert in found if alert.event.start_us >= start_us]
    assert set(late) == {"2"}
    assert pipeline.score_readings(own).skipped
    assert pipeline.rescore_readings(own, start_us=start_us).skipped
    whole = pipeline.rescore_readings(own, start_us=0)
    assert whole.num_rows == whole.num_new_rows
    periods = read_live_periods(Lake(own.lake.root), model_name="vae-anomaly")
    assert [(p.model_version, p.start_us, p.end_us) for p in periods] == [("2", None, None)]


def test_a_version_that_is_no_more_does_not_stop_the_scoring(config, trained, tmp_path, caplog):
    own, registry = register_twice(trained, config, tmp_path / "two")
    pipeline.ingest_source(own)
    let_arrive(own, 4)
    pipeline.score_readings(own)
    registry.move_alias("champion", "2", reason="for this test")
    pipeline.score_readings(own)
    MlflowClient(registry.tracking_uri).delete_model_version("vae-anomaly", "1")
    let_arrive(own, 5)
    assert pipeline.score_readings(own).num_new_rows > 0
    assert "late readings of its time cannot be scored" in caplog.text


def test_corrected_rows_near_one_another_are_read_at_once(config, monkeypatch):
    pipeline.ingest_source(config)
    let_arrive(config, 4)
    pipeline.score_readings(config)
    file = Path(config.source) / f"station_{END:%Y-%m-%d}.parquet"
    table = pq.read_table(file)
    is_changed = np.arange(table.num_rows) % 200 == 100
    k = table.column_names.index("discharge_pressure")
    changed = pc.multiply(table[k], pa.array(np.where(is_changed, 1.2, 1.0)))
    pq.write_table(table.set_column(k, table.field(k), changed), file)
    pipeline.ingest_source(config)
    stretches: list[int] = []
    reads: list[str] = []
    read, read_stretches = pipeline_scorer.LakeView.read, pipeline_scorer.read_stretches
    monkeypatch.setattr(
        pipeline_scorer.LakeView,
        "read",
        lambda view, asset, **span: (reads.append(asset), read(view, asset, **span))[1],
    )
    monkeypatch.setattr(
        pipeline_scorer,
        "read_stretches",
        lambda view, found: (stretches.append(len(found)), read_stretches(view, found))[1],
    )
    assert pipeline.score_readings(config).num_new_rows > 0
    assert stretches == [np.count_nonzero(is_changed)]
    assert len(reads) == 1
    near = tables(config)
    shutil.rmtree(config.lake.root)
    pipeline.ingest_source(config)
    pipeline.score_readings(config)
    assert near[0].num_rows
    for corrected, afresh in zip(near, tables(config), strict=True):
        assert corrected.equals(afresh)
