"""The steps of the pipeline on real tables and a real registry, with one short training."""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.pipelines import END, let_arrive, read_config, write_pipeline
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
from vae_anomaly.operations import pipeline, pipeline_report, pipeline_train
from vae_anomaly.operations.notify.manage import list_messages
from vae_anomaly.operations.pipeline_tables import name_as_raw, open_lake, parse_time
from vae_anomaly.operations.pipeline_train import fingerprint_training, roll_period
from vae_anomaly.operations.registry import open_registry
from vae_anomaly.readings.tables import Lake

DAY_US = 86_400_000_000


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


def test_a_retraining_takes_the_last_whole_days_once_there_is_a_champion(
    config, trained, tmp_path
):
    rolling = config.training.model_copy(update={"rolling_days": 3.5})
    own = config.model_copy(
        update={"training": rolling, "registry": RegistryConfig(folder=str(tmp_path / "own"))}
    )
    open_registry(own.registry).register(
        open_registry(trained.config.registry).load("champion")[0]
    )
    pipeline.ingest_source(own)
    let_arrive(own, 4, 5)
    result = pipeline.train_detector(own)
    assert (result.model_version, result.skipped) == ("2", False)
    tags = open_registry(own.registry).find("2").tags
    end = END + timedelta(days=1)
    assert datetime.fromisoformat(tags["training_end"]) == end
    assert datetime.fromisoformat(tags["training_start"]) == end - timedelta(days=3.5)
    assert pipeline.train_detector(own).skipped


def test_the_first_period_stays_while_there_is_nothing_after_it(config):
    pipeline.ingest_source(config)
    view = open_lake(config, verb="train")
    rolling = config.training.model_copy(update={"rolling_days": 3.5})
    assert roll_period(view, rolling) == rolling


def test_a_scoring_without_prefect_writes_down_who_is_to_be_told(trained, tmp_path):
    channel = '\n[notify]\nmax_age_h = 0\n[notify.channels.duty]\nkind = "apprise"\n'
    config = read_config(
        tmp_path,
        registry=Path(trained.config.registry.folder),
        settings=channel + 'url_env = "TEST_NO_ADDRESS"\n',
    )
    pipeline.ingest_source(config)
    pipeline.score_readings(config)
    alerts, rows = pipeline.list_alerts(config), list_messages(config)
    assert alerts
    assert {row.alert_id for row in rows} == {alert.event.alert_id for alert in alerts}
    assert {(row.channel, row.status) for row in rows} == {("duty", "pending")}
    pipeline.score_readings(config)
    assert list_messages(config) == rows
