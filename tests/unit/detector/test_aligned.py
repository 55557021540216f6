"""A detector of readings at their own times."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vae_anomaly import Detector
from vae_anomaly.cli.inputs import append_labels
from vae_anomaly.config import ReadingsConfig
from vae_anomaly.operations.predictions import predict_frame

OFFSET_US = 7_000_000
PERIOD_US = 60_000_000


def spread_out(plant: pa.Table) -> pa.Table:
    """Give each sensor rows of its own, a few seconds after one another, before the tick."""
    sensors = plant.column_names[1:]
    times = plant["timestamp"].cast(pa.int64()).to_numpy() // PERIOD_US * PERIOD_US
    parts = []
    for k, name in enumerate(sensors):
        own = pa.array(times + (k + 1) * OFFSET_US).cast(plant["timestamp"].type)
        columns = {
            "timestamp": own,
            name: plant[name],
            "label_anomaly": pa.array([k == 2] * len(own)),
        }
        parts.append(pa.table(columns))
    return pa.concat_tables(parts, promote_options="default").sort_by("timestamp")


@pytest.fixture(scope="module")
def aligned(plant, quick_config):
    config = quick_config.model_copy(
        update={"readings": ReadingsConfig(align="last", period_s=60.0)}
    )
    return Detector.fit(spread_out(plant).select([*plant.column_names]), config=config)


def test_readings_at_their_own_times_score_as_those_at_ticks(aligned, detector, plant):
    raw, wide = aligned.score(spread_out(plant)), detector.score(plant)
    ticks = -(-plant["timestamp"].cast(pa.int64()).to_numpy() // PERIOD_US) * PERIOD_US
    assert raw.num_rows == plant.num_rows
    assert np.isin(raw["timestamp"].cast(pa.int64()).to_numpy(), ticks).all()
    assert raw["score"].to_pylist() == wide["score"].to_pylist()
    assert raw["state"].to_pylist() == wide["state"].to_pylist()


def test_a_saved_detector_aligns_as_it_did_in_training(aligned, plant, tmp_path):
    folder = aligned.save(tmp_path / "detector")
    record = json.loads((folder / "detector.json").read_text())
    assert record["config"]["readings"]["align"] == "last"
    loaded = Detector.load(folder)
    few = spread_out(plant.slice(0, 100))
    assert loaded.score(few).equals(aligned.score(few))
    assert loaded.score(few).num_rows == 100


def test_labels_of_raw_rows_come_to_the_tick(aligned, plant, tmp_path):
    file = str(tmp_path / "labelled.parquet")
    pq.write_table(spread_out(plant.slice(0, 50)), file)
    seen = aligned.examine([file])
    labelled = append_labels(seen.scores, [file], ticks=seen.checked.ticks)
    assert labelled["label_anomaly"].to_pylist() == [True] * 50


def test_predictions_are_one_per_tick(aligned, plant):
    frame = spread_out(plant.slice(0, 40)).to_pandas()
    assert len(predict_frame(aligned, frame)) == 40
