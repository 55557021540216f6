"""G3, G4, G10: scores and alert events do not depend on what came when, nor on broken runs."""

from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from tests.pipelines import END, correct_file, let_arrive, raise_interrupt, read_config, tables
from vae_anomaly.operations import pipeline, pipeline_score, pipeline_traces
from vae_anomaly.readings import delta
from vae_anomaly.readings.tables import Lake

NUM_ORDERS = 20


def live(alerts: pa.Table) -> pa.Table:
    return alerts.filter(pc.not_equal(alerts["status"], "superseded"))


def write_wrong(rows: pa.Table, file: Path, rng: np.random.Generator) -> None:
    """Write rows of which some have other values, and some that there never were."""
    k = rows.column_names.index("discharge_pressure")
    factor = pa.array(np.where(rng.random(rows.num_rows) < 0.3, 1.5, 1.0))
    wrong = rows.set_column(k, rows.field(k), pc.multiply(rows[k], factor))
    shifted = rows.slice(0, 5)
    later = pc.add(shifted["timestamp"], pa.scalar(timedelta(seconds=37)))
    shifted = shifted.set_column(0, "timestamp", later.cast(shifted["timestamp"].type))
    pq.write_table(pa.concat_tables([wrong, shifted]), file)


@pytest.fixture(scope="module")
def late_rows(trained, tmp_path_factory) -> pa.Table:
    """Rows of one day after training."""
    config = read_config(tmp_path_factory.mktemp("rows"), registry=Path("mlflow"))
    file = next(Path(config.source).glob(f"station_{END + timedelta(days=1):%Y-%m-%d}.parquet"))
    return pq.read_table(file).slice(0, 500)


def test_twenty_orders_and_splits_of_arrival_give_the_same_scores_and_alert_events(
    trained, late_rows, tmp_path, monkeypatch
):
    """Scored after each delivery, in small batches; some come wrong first and are corrected."""
    monkeypatch.setattr(pipeline_score, "BATCH_STEPS", 150)
    monkeypatch.setattr(pipeline_traces, "TRACE_STEPS", 100)
    monkeypatch.setattr(pipeline_traces, "FIRST_LOOK_STEPS", 10)
    rng, found = np.random.default_rng(0), []
    for number in range(NUM_ORDERS + 1):
        folder = Path(trained.config.registry.folder)
        config = read_config(tmp_path / f"{number}", registry=folder, num_files=4)
        pipeline.ingest_source(config)
        num_parts = int(rng.integers(2, 5)) if number else 1
        block = int(rng.choice([1, 20, 100]))  # rows that stay together
        parts = rng.integers(num_parts, size=-(-late_rows.num_rows // block)).repeat(block)
        for part in range(num_parts):
            rows = late_rows.filter(pa.array(parts[: late_rows.num_rows] == part))
            file = Path(config.source) / f"{part}.parquet"
            if number % 2 and part == 0:
                write_wrong(rows, file, rng)
                pipeline.ingest_source(config)
                pipeline.score_readings(config)
            pq.write_table(rows, file)
            pipeline.ingest_source(config)
            if part == num_parts - 1 or rng.random() < 0.7:
                pipeline.score_readings(config)
        assert pipeline.score_readings(config).skipped
        scores, alerts = tables(config)
        found.append((scores, live(alerts)))
    scores, alerts = found[0]
    assert scores.num_rows == len(pc.unique(late_rows["timestamp"]))
    assert alerts.num_rows
    assert all(other.equals(scores) for other, _ in found)
    assert all(other.equals(alerts) for _, other in found)


def test_readings_that_scores_do_not_depend_on_are_not_opened(config, undisturbed):
    """The files of the days before are gone, and nobody notices."""
    pipeline.ingest_source(config)
    let_arrive(config, 4)
    pipeline.score_readings(config)
    let_arrive(config, 5)
    for file in DeltaTable(f"{config.lake.root}/readings").file_uris():
        day = file.partition("date=")[2][:10]
        if day < f"{END:%Y-%m-%d}":
            Path(file).unlink()
    pipeline.score_readings(config)
    scores, alerts = tables(config)
    assert scores.equals(undisturbed[0])
    assert alerts.equals(undisturbed[1])


def test_a_correction_before_the_run_that_was_broken_off_is_repeated_is_seen(
    config, trained, tmp_path, monkeypatch
):
    """The wrong rows were scored, but no run says so: they were never there."""
    right_at_once = read_config(tmp_path / "right", registry=Path(trained.config.registry.folder))
    pipeline.ingest_source(config)
    let_arrive(config, 4, 5)
    with monkeypatch.context() as patch:
        patch.setattr(delta, "mark", raise_interrupt)
        with pytest.raises(KeyboardInterrupt):
            pipeline.score_readings(config)
    for one in (config, right_at_once):
        correct_file(one, 5, 20, 20)
        pipeline.ingest_source(one)
        pipeline.score_readings(one)
    assert tables(config)[0].equals(tables(right_at_once)[0])
    assert live(tables(config)[1]).equals(tables(right_at_once)[1])


def test_rows_of_the_training_period_that_come_late_change_the_first_scores(
    config, undisturbed, tmp_path
):
    source = Path(config.source)
    last = sorted(source.glob("*.parquet"))[-1]
    late = last.rename(tmp_path / last.name)
    pipeline.ingest_source(config)
    let_arrive(config, 4, 5)
    pipeline.score_readings(config)
    assert not tables(config)[0].equals(undisturbed[0])
    late.rename(last)
    pipeline.ingest_source(config)
    result = pipeline.score_readings(config)
    assert 0 < result.num_new_rows < undisturbed[0].num_rows
    assert tables(config)[0].equals(undisturbed[0])
    assert live(tables(config)[1]).equals(undisturbed[1])


def test_compacted_tables_have_nothing_to_score(config, undisturbed):
    pipeline.ingest_source(config)
    let_arrive(config, 4, 5)
    pipeline.score_readings(config)
    for name in ("readings", "scores"):
        DeltaTable(f"{config.lake.root}/{name}").optimize.compact()
    assert pipeline.score_readings(config).skipped
    assert tables(config)[0].equals(undisturbed[0])


@pytest.mark.parametrize("where", ["readings", "scores"])
def test_a_table_made_anew_is_scored_from_the_beginning(config, undisturbed, where):
    """Its versions count from 0 again: nothing of before holds for it."""
    pipeline.ingest_source(config)
    let_arrive(config, 4, 5)
    pipeline.score_readings(config)
    lake = Lake(config.lake.root)
    remake(lake.uri(where))
    result = pipeline.score_readings(config)
    assert result.num_new_rows == undisturbed[0].num_rows
    assert tables(config)[0].equals(undisturbed[0])
    assert live(tables(config)[1]).equals(undisturbed[1])


def remake(uri: str) -> None:
    """Write a table anew at its place, with a log that begins at 0 and is as long as before."""
    table = DeltaTable(uri)
    rows, partitions = table.to_pyarrow_table(), table.metadata().partition_columns
    folder = Path(uri)
    folder.rename(folder.with_name("before"))
    num_versions = table.version() + 1
    bounds = np.linspace(0, rows.num_rows, num_versions + 1).astype(int)
    for first, end in pairwise(bounds.tolist()):
        delta.append_once(uri, rows.slice(first, end - first), partition_by=partitions)
    assert DeltaTable(uri).version() == table.version()


def test_readings_that_are_no_more_have_no_scores(config, undisturbed):
    """Rows that another program deletes from the table."""
    pipeline.ingest_source(config)
    let_arrive(config, 4, 5)
    pipeline.score_readings(config)
    cut = END + timedelta(hours=36)
    table = DeltaTable(f"{config.lake.root}/readings")
    table.delete(f"timestamp >= '{cut.isoformat()}'")
    pipeline.score_readings(config)
    before = pc.less(undisturbed[0]["timestamp"], pa.scalar(cut, pa.timestamp("us", "UTC")))
    assert tables(config)[0].equals(undisturbed[0].filter(before))
    alerts = pipeline.list_alerts(config)
    assert all(alert.event.end_us <= cut.timestamp() * 1e6 for alert in alerts)
    assert 0 < len(alerts) < undisturbed[1].num_rows
