"""The steps of the pipeline on real tables and a real registry, with one short training."""

from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from tests.pipelines import END, read_config, write_pipeline
from vae_anomaly.config import (
    LakeConfig,
    PipelineConfig,
    RegistryConfig,
    TrainingPeriod,
    read_pipeline_config,
)
from vae_anomaly.detector.detector import Detector
from vae_anomaly.domain import NO_TIME
from vae_anomaly.errors import (
    ConfigError,
    RegistryError,
    ReportError,
    TableError,
    TrainingError,
)
from vae_anomaly.operations import pipeline, pipeline_report, pipeline_score, pipeline_train
from vae_anomaly.operations.pipeline import TrainResult
from vae_anomaly.operations.pipeline_tables import name_as_raw, parse_time
from vae_anomaly.operations.pipeline_train import fingerprint_training
from vae_anomaly.operations.registry import open_registry
from vae_anomaly.readings import delta
from vae_anomaly.readings.tables import Lake

DAY_US = 86_400_000_000


@dataclass(frozen=True)
class Trained:
    """A pipeline with all files ingested and a champion, and nothing scored."""

    config: PipelineConfig
    result: TrainResult
    steps: list[tuple[int, int]]


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Trained:
    config = read_config(tmp_path_factory.mktemp("trained"))
    pipeline.ingest_source(config)
    steps: list[tuple[int, int]] = []
    result = pipeline.train_detector(config, progress=lambda *step: steps.append(step))
    return Trained(config, result, steps)


@pytest.fixture
def config(trained, tmp_path) -> PipelineConfig:
    """The trained pipeline with a lake and files of its own, the last two files held back."""
    folder = Path(trained.config.registry.folder)
    return read_config(tmp_path, registry=folder, num_files=4)


def let_arrive(config: PipelineConfig, *days: int) -> None:
    """Move the files of days that were held back to the source, and ingest."""
    source = Path(config.source)
    for day in days:
        name = f"station_{END + timedelta(days=day - 4):%Y-%m-%d}.parquet"
        (source.parent / "later" / name).rename(source / name)
    pipeline.ingest_source(config)


def tables(config: PipelineConfig) -> tuple[pa.Table, pa.Table]:
    lake = Lake(config.lake.root)
    return lake.read_scores(), lake.read_alerts()


@pytest.fixture(scope="session")
def undisturbed(trained, tmp_path_factory) -> tuple[pa.Table, pa.Table]:
    """Scores and alerts of one run over all files."""
    folder = Path(trained.config.registry.folder)
    config = read_config(tmp_path_factory.mktemp("undisturbed"), registry=folder)
    pipeline.ingest_source(config)
    pipeline.score_readings(config)
    return tables(config)


def test_training_registers_a_champion(trained):
    result = trained.result
    assert (result.model_name, result.model_version) == ("vae-anomaly", "1")
    assert result.is_champion
    assert "champion" in result.decision.lower()
    assert (result.num_assets, result.skipped) == (1, False)
    assert result.num_rows > 2000
    assert result.calibrations["asset"].threshold > 0
    assert result.health
    assert result.baseline
    assert trained.steps[-1] == (400, 400)  # two fits of 200 steps
    assert pipeline.has_champion(trained.config)


def test_training_tells_the_registry_what_it_was_trained_on(trained):
    version = open_registry(trained.config.registry).find("champion")
    assert version.tags["readings_version"] == str(trained.result.readings_version)
    assert version.tags["training_end"] == END.isoformat()
    assert len(version.tags["fingerprint"]) == 64


def test_training_again_on_the_same_readings_does_nothing(trained):
    again = pipeline.train_detector(trained.config)
    assert again.skipped
    assert again.calibrations == {}
    kept = ("model_version", "run_id", "is_champion", "decision", "num_rows")
    assert [getattr(again, name) for name in kept] == [
        getattr(trained.result, name) for name in kept
    ]


def test_readings_after_the_training_period_train_nothing(config):
    pipeline.ingest_source(config)
    assert pipeline.train_detector(config).skipped
    let_arrive(config, 4)
    assert pipeline.train_detector(config).skipped


def test_other_settings_seeds_and_readings_have_other_fingerprints(trained):
    lake = Lake(trained.config.lake.root)
    table, detector = lake.read_readings(), trained.config.detector
    other = detector.model_copy(update={"model": detector.model.model_copy(update={"hidden": 8})})
    names = table.column_names
    prints = {
        fingerprint_training(table, detector, seed=0),
        fingerprint_training(table, detector, seed=1),
        fingerprint_training(table, other, seed=0),
        fingerprint_training(table.slice(1), detector, seed=0),
        fingerprint_training(table.select([*names[:2], *names[:1:-1]]), detector, seed=0),
        fingerprint_training(
            table.set_column(0, "asset", pa.repeat("b", table.num_rows)), detector, seed=0
        ),
    }
    assert len(prints) == 6


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
    assert all(alert.status == "open" and alert.model_version == "1" for alert in alerts)
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
    still = alerts.filter(pc.equal(alerts["status"], "open"))
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
    elif broken:
        with monkeypatch.context() as patch:
            patch.setattr(delta if broken == "mark" else Lake, broken, raise_interrupt)
            with pytest.raises(KeyboardInterrupt):
                pipeline.score_readings(config)
    second = pipeline.score_readings(config)
    if not broken:
        assert 20 < second.num_new_rows < first.num_rows / 2  # not all, and more than changed
    scores, alerts = tables(config)
    expected_scores, expected_alerts = tables(right_at_once)
    assert scores.equals(expected_scores)
    assert alerts.filter(pc.equal(alerts["status"], "open")).equals(expected_alerts)
    assert pipeline.score_readings(config).skipped


def correct_file(config: PipelineConfig, day: int, num_changed: int, num_withdrawn: int) -> None:
    """Write the file of a day again, some rows of it with other values and some left out."""
    file = Path(config.source) / f"station_{END + timedelta(days=day - 4):%Y-%m-%d}.parquet"
    table = pq.read_table(file)
    first = table.slice(0, 200)
    changed = table.slice(200, num_changed)
    k = table.column_names.index("discharge_pressure")
    changed = changed.set_column(k, table.field(k), pc.multiply(changed[k], 1.2))
    rest = table.slice(200 + num_changed + num_withdrawn)
    pq.write_table(pa.concat_tables([first, changed, rest]), file)


def raise_interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_with_a_latency_the_last_steps_wait_and_all_others_end_as_if_they_had_not(tmp_path):
    settings = "\n[detector.threshold]\nlatency = 3\nsmoothing_steps = 5\nadaptation_steps = 0\n"
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    whole, parts = (
        read_config(
            tmp_path / name,
            registry=tmp_path / "registry",
            num_files=num_files,
            settings=settings,
        )
        for name, num_files in (("whole", 6), ("parts", 4))
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
    registry, detector = open_registry(own.registry), load_champion(trained)
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


def load_champion(trained: Trained):
    return open_registry(trained.config.registry).load("champion")[0]


def test_the_report_shows_what_was_scored(config, undisturbed):
    pipeline.ingest_source(config)
    let_arrive(config, 4, 5)
    result = pipeline.make_pipeline_report(config)
    assert result.path == Path(config.report)
    assert (result.num_rows, result.num_left_out) == (undisturbed[0].num_rows, 0)
    assert result.num_events == undisturbed[1].num_rows
    page = result.path.read_text(encoding="utf-8")
    assert "vae-anomaly, version 1" in page
    assert "duplicate" in page


def test_the_report_tells_its_progress_in_counts_that_add_up(config):
    pipeline.ingest_source(config)
    let_arrive(config, 4)
    counts = Lake(config.lake.root).read_ledger()
    pipeline.make_pipeline_report(config)
    page = Path(config.report).read_text(encoding="utf-8")
    assert f"counts of rows are of all files, {counts.num_rows} of them" in page


def test_a_long_report_shows_the_latest_rows_and_says_so(config, monkeypatch):
    monkeypatch.setattr(pipeline_report, "MAX_REPORT_ROWS", 500)
    pipeline.ingest_source(config)
    let_arrive(config, 4, 5)
    result = pipeline.make_pipeline_report(config)
    assert result.num_rows == 500
    page = result.path.read_text(encoding="utf-8")
    assert f"{result.num_left_out} earlier ones are left out" in page


def test_nothing_to_show_makes_no_report(config):
    pipeline.ingest_source(config)
    with pytest.raises(ReportError, match=r"after the end of the training period .* got none"):
        pipeline.make_pipeline_report(config)
    assert not Path(config.report).exists()


@pytest.mark.parametrize(
    "step", [pipeline.train_detector, pipeline.score_readings, pipeline.make_pipeline_report]
)
def test_nothing_ingested_says_what_to_do(tmp_path, step):
    config = read_config(tmp_path)
    with pytest.raises(TableError, match=r"got none\. Run 'vae-anomaly run ingest' first\."):
        step(config)


def test_no_champion_says_what_to_do(tmp_path):
    config = read_config(tmp_path)
    pipeline.ingest_source(config)
    assert not pipeline.has_champion(config)
    with pytest.raises(RegistryError, match="Train one with 'vae-anomaly run train'"):
        pipeline.score_readings(config)


def test_a_training_period_without_readings_is_refused(config):
    pipeline.ingest_source(config)
    period = TrainingPeriod(end="2020-01-01T00:00:00Z")
    with pytest.raises(TrainingError, match="from 'the first' to '2020-01-01T00:00:00Z', got non"):
        pipeline.train_detector(config.model_copy(update={"training": period}))


def test_a_training_period_that_ends_before_it_starts_is_refused(config):
    pipeline.ingest_source(config)
    period = TrainingPeriod(start="2026-02-01T00:00:00Z", end="2026-01-01T00:00:00Z")
    with pytest.raises(ConfigError, match=r"expected training\.start before training\.end"):
        pipeline.train_detector(config.model_copy(update={"training": period}))


@pytest.mark.parametrize("text", ["yesterday", "2026-01-01", "2026-01-01T00:00:00"])
def test_a_time_without_a_zone_is_refused(text):
    with pytest.raises(ConfigError, match=r"'training\.end': expected a time in ISO 8601 with"):
        parse_time(text, setting="training.end")


def test_times_are_exact_to_the_microsecond():
    assert parse_time("1970-01-01T00:00:01.999999Z", setting="x") == 1_999_999
    assert parse_time("", setting="x") is None
    assert parse_time("1969-12-31T23:59:59Z", setting="x") == -1_000_000 != NO_TIME


def test_raw_names_of_time_and_asset_are_kept_by_the_detector(tmp_path):
    """Readings of several assets under names of the raw files' own."""
    config, _ = write_pipeline(tmp_path)
    settings = read_pipeline_config(config)
    rng, days = np.random.default_rng(0), 3
    (tmp_path / "fleet").mkdir()
    times = np.arange(days * 720) * 120_000_000 + int(END.timestamp()) * 1_000_000 - 2 * DAY_US
    base = rng.normal(size=(times.size, 1))
    for name in ("a", "b"):
        values = base + 0.1 * rng.normal(size=(times.size, 3))
        columns = {"when": pa.array(times, pa.timestamp("us", "UTC"))}
        columns |= {"pump": pa.repeat(name, times.size)}
        columns |= {f"s{i}": values[:, i] for i in range(3)}
        pa.parquet.write_table(pa.table(columns), tmp_path / "fleet" / f"{name}.parquet")
    readings = settings.detector.readings.model_copy(update={"timestamp": "when", "asset": "pump"})
    settings = settings.model_copy(
        update={
            "source": str(tmp_path / "fleet"),
            "lake": LakeConfig(root=str(tmp_path / "fleet-lake")),
            "detector": settings.detector.model_copy(update={"readings": readings}),
        }
    )
    pipeline.ingest_source(settings)
    assert pipeline.train_detector(settings).num_assets == 2
    detector, _ = open_registry(settings.registry).load("1")
    assert (detector.contract.timestamp, detector.contract.asset) == ("when", "pump")
    raw = pa.parquet.read_table(tmp_path / "fleet")
    assert detector.score(raw)["pump"].to_pylist() == raw["pump"].to_pylist()
    result = pipeline.score_readings(settings, reference="1")
    assert result.num_rows == 2 * 720
    assert set(Lake(settings.lake.root).read_scores()["asset"].to_pylist()) == {"a", "b"}


def test_a_lake_without_assets_gets_an_asset_column_only_where_there_are_several(detector):
    contract = detector.contract
    one = pa.table({"asset": ["a", "a"], "timestamp": [1, 2], "x": [1.0, 2.0]})
    two = one.set_column(0, "asset", pa.array(["a", "b"]))
    assert name_as_raw(one, contract, asset="pump").column_names == ["timestamp", "x"]
    assert name_as_raw(two, contract, asset="pump").column_names == ["pump", "timestamp", "x"]


def test_a_lake_of_one_asset_trains_whatever_name_the_asset_column_would_have(
    config, detector, monkeypatch
):
    one = pa.table({"asset": ["a", "a"], "timestamp": [1, 2], "x": [1.0, 2.0]})
    readings = replace_readings(config, asset="pump")
    asked = []
    monkeypatch.setattr(Detector, "fit", lambda *_, config, **__: asked.append(config.readings))
    pipeline_train._fit(one, detector.contract, readings, progress=None)
    assert asked[0].asset == "asset"


def replace_readings(config: PipelineConfig, **changes) -> PipelineConfig:
    readings = config.detector.readings.model_copy(update=changes)
    detector = config.detector.model_copy(update={"readings": readings})
    return config.model_copy(update={"detector": detector})
