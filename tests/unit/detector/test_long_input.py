"""A detector that was fitted to wide readings scores the same readings in long form."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vae_anomaly import Detector
from vae_anomaly.cli.inputs import append_labels
from vae_anomaly.config import LongConfig, ReadingsConfig


def melt(plant: pa.Table) -> pa.Table:
    """Give each value a row of its own, time by time; the second sensor's rows are labelled."""
    parts = [
        pa.table(
            {
                "timestamp": plant["timestamp"],
                "sensor": [name] * plant.num_rows,
                "value": plant[name],
                "label_anomaly": pa.array([k == 1] * plant.num_rows),
            }
        )
        for k, name in enumerate(plant.column_names[1:])
    ]
    return pa.concat_tables(parts).sort_by([("timestamp", "ascending"), ("sensor", "ascending")])


@pytest.fixture(scope="module")
def of_long_input(plant, quick_config):
    sensors = tuple(plant.column_names[1:])
    settings = ReadingsConfig(sensors=sensors, long=LongConfig(sensor="sensor"))
    config = quick_config.model_copy(update={"readings": settings})
    return Detector.fit(melt(plant), config=config)


def test_long_input_is_scored_as_the_same_values_in_wide_form(of_long_input, detector, plant):
    wide = detector.score(plant)
    for source in (melt(plant), plant):
        found = of_long_input.score(source)
        assert found["score"].to_pylist() == wide["score"].to_pylist()
        assert found["state"].to_pylist() == wide["state"].to_pylist()


def test_labels_of_long_rows_come_to_the_row_they_became(of_long_input, plant, tmp_path):
    file = str(tmp_path / "labelled.parquet")
    pq.write_table(melt(plant.slice(0, 50)), file)
    seen = of_long_input.examine([file])
    labelled = append_labels(seen.scores, [file], detector=of_long_input)
    assert labelled["label_anomaly"].to_pylist() == [True] * 50


def test_a_saved_detector_knows_the_shape_of_its_input(of_long_input, plant, tmp_path):
    loaded = Detector.load(of_long_input.save(tmp_path / "detector"))
    few = melt(plant.slice(0, 100))
    assert loaded.score(few).equals(of_long_input.score(few))
