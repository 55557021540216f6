"""The pipeline on readings that are not at ticks."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tests.pipelines import END, read_config
from vae_anomaly.config import PipelineConfig
from vae_anomaly.errors import ContractError
from vae_anomaly.operations import pipeline
from vae_anomaly.operations.pipeline_tables import open_lake
from vae_anomaly.readings.tables import Lake

PERIOD_US = 60_000_000
ALIGNED = """
[detector.threshold]
smoothing_steps = 5
shift_steps = 5
adaptation_steps = 40

[detector.rules]
flat_lines = false
"""


def shift_sensors(file: Path, *, late: bool) -> pa.Table:
    """Put half of the sensors into rows of their own, 20 s before those of the others."""
    table = pq.read_table(file)
    sensors = [name for name in table.column_names if name not in {"timestamp", "asset"}]
    half = sensors[::2] if late else sensors[1::2]
    moved = pa.array(
        table["timestamp"]
        .cast(pa.timestamp("us", "UTC"))
        .cast(pa.int64())
        .to_numpy(zero_copy_only=False)
        - (5_000_000 if late else 25_000_000)
    ).cast(pa.timestamp("us", "UTC"))
    other = [name for name in table.column_names if name == "asset"]
    return pa.table({"timestamp": moved} | {name: table[name] for name in [*other, *half]})


def read_aligned(folder: Path, **options) -> PipelineConfig:
    config = read_config(folder, settings=ALIGNED, **options)
    readings = config.detector.readings.model_copy(update={"align": "last", "period_s": 60.0})
    return config.model_copy(
        update={"detector": config.detector.model_copy(update={"readings": readings})}
    )


def split_files(config: PipelineConfig) -> None:
    """Split each file into two, of sensors of their own at times of their own."""
    for folder in (Path(config.source), Path(config.source).parent / "later"):
        for file in sorted(folder.glob("station_*.parquet")):
            early, late = (shift_sensors(file, late=late) for late in (False, True))
            both = pa.concat_tables([early, late], promote_options="default")
            pq.write_table(both.filter(pc.is_valid(both["timestamp"])), file)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> PipelineConfig:
    config = read_aligned(tmp_path_factory.mktemp("aligned"))
    split_files(config)
    pipeline.ingest_source(config)
    pipeline.train_detector(config)
    pipeline.score_readings(config)
    return config


def test_scores_of_the_lake_are_at_ticks_and_readings_as_they_came(trained):
    lake = Lake(trained.lake.root)
    times = lake.read_scores()["timestamp"].cast(pa.int64()).to_numpy()
    assert not np.any(times % PERIOD_US)
    raw = lake.read_readings(columns=())["timestamp"].cast(pa.int64()).to_numpy()
    due = np.unique(-(-raw // PERIOD_US) * PERIOD_US)
    start = round(END.timestamp() * 1e6)
    assert np.sort(times).tolist() == due[due >= start].tolist()
    assert np.any(raw % PERIOD_US)


def test_rows_that_come_late_to_a_scored_tick_score_it_again(trained, tmp_path):
    config = read_aligned(tmp_path, registry=Path(trained.registry.folder), num_files=4)
    split_files(config)
    source = Path(config.source)
    pipeline.ingest_source(config)
    for day in (4, 5):
        name = f"station_{END + timedelta(days=day - 4):%Y-%m-%d}.parquet"
        rows = pq.read_table(source.parent / "later" / name)
        times = rows["timestamp"].cast(pa.int64()).to_numpy()
        is_late = times % PERIOD_US == PERIOD_US - 5_000_000
        for part in (~is_late, is_late):
            pq.write_table(rows.filter(pa.array(part)), source / f"{day}-{part[0]}.parquet")
            pipeline.ingest_source(config)
            pipeline.score_readings(config)
    mine, whole = Lake(config.lake.root), Lake(trained.lake.root)
    assert mine.read_scores().equals(whole.read_scores())


def test_a_detector_of_other_alignment_is_refused(trained):
    readings = trained.detector.readings.model_copy(update={"align": "mean"})
    other = trained.model_copy(
        update={"detector": trained.detector.model_copy(update={"readings": readings})}
    )
    assert open_lake(other, verb="score").rules
    with pytest.raises(ContractError, match=r"^Cannot score: expected readings aligned as those"):
        pipeline.make_pipeline_report(other)
