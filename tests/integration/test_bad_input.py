"""Bad input, through the front door of the package: each is refused with words that help."""

from __future__ import annotations

import re
import shutil
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import make_plant
from vae_anomaly import (
    CalibrationError,
    ContractError,
    Detector,
    DetectorConfig,
    DetectorError,
    ReadingsError,
    TrainingError,
    VaeAnomalyError,
)
from vae_anomaly.config import ReadingsConfig, ThresholdConfig

pytestmark = pytest.mark.integration

SENSORS = [f"sensor {i} (unit)" for i in range(5)]


def fit(readings, **options):
    return Detector.fit(readings, **options)


def refused(kind: type[Exception], action) -> str:
    with pytest.raises(kind) as caught:
        action()
    assert isinstance(caught.value, VaeAnomalyError)
    assert isinstance(caught.value, ValueError)
    text = str(caught.value)
    # what cannot be done, why, and at last what to do: whole sentences on one line
    assert re.fullmatch(r"Cannot [^\n]+: [^\n]+\.", text)
    return text


def put(table: pa.Table, name: str, values) -> pa.Table:
    column = values if isinstance(values, pa.Array) else pa.array(values)
    return table.set_column(table.column_names.index(name), name, column)


def write(folder, table: pa.Table, name: str = "readings.parquet"):
    pq.write_table(table, folder / name)
    return folder / name


@pytest.fixture(params=["fit", "score"])
def use(request, detector):
    """Both uses of readings: the same file is refused with the same words."""
    return fit if request.param == "fit" else detector.score


# --- the file ---


def test_no_such_file(use, tmp_path):
    text = refused(ReadingsError, lambda: use(tmp_path / "nothing.parquet"))
    assert text == (
        f"Cannot read '{tmp_path}/nothing.parquet': no such file or folder. Check the path."
    )


def test_not_parquet(use, tmp_path):
    file = tmp_path / "readings.parquet"
    file.write_text("timestamp,flow\n2024-01-01,1.0\n")
    text = refused(ReadingsError, lambda: use(file))
    assert text == (
        f"Cannot read '{file}': expected a Parquet file, got one that starts with b'time'. "
        "Convert it to Parquet or leave it out."
    )


def test_an_empty_file(use, tmp_path):
    file = tmp_path / "readings.parquet"
    file.touch()
    text = refused(ReadingsError, lambda: use(file))
    assert text == (
        f"Cannot read '{file}': expected a Parquet file, got an empty file (0 bytes). "
        "Write it again."
    )


def test_a_truncated_file(use, tmp_path, plant):
    file = write(tmp_path, plant)
    file.write_bytes(file.read_bytes()[:-100])
    assert "expected a complete Parquet file, got a truncated one" in refused(
        ReadingsError, lambda: use(file)
    )


def test_a_file_without_rows(use, tmp_path, plant):
    file = write(tmp_path, plant.slice(0, 0))
    assert refused(ReadingsError, lambda: use(file)) == (
        f"Cannot read '{file}': expected at least one row, got 0 rows. "
        "Check the export that wrote it."
    )


def test_something_that_is_no_readings_at_all(use):
    assert "got dict." in refused(ReadingsError, lambda: use({"flow": [1.0]}))


# --- the columns ---


def test_no_timestamp(use, plant):
    bare = plant.drop_columns(["timestamp"])
    text = refused(ContractError, lambda: use(bare))
    assert "expected a time column 'timestamp', got columns ('sensor 0 (unit)', " in text
    assert text.endswith(". Name it in the settings of the readings, or with --timestamp.")


def test_a_timestamp_of_another_name_is_pointed_at(use, plant):
    renamed = plant.rename_columns(["time", *SENSORS])
    text = refused(ContractError, lambda: use(renamed))
    assert "'time' holds times: set timestamp = 'time' in the settings of the readings, or" in text


def test_a_timestamp_of_numbers(use, plant):
    numbers = put(plant, "timestamp", np.arange(plant.num_rows))
    text = refused(ReadingsError, lambda: use(numbers))
    assert (
        "expected timestamps or ISO 8601 text, got int64: a number does not say its unit" in text
    )


def test_no_numeric_column(plant):
    words = plant.select(["timestamp"]).append_column("note", pa.array(["x"] * plant.num_rows))
    assert refused(ContractError, lambda: fit(words)) == (
        "Cannot read readings: expected at least one column of numbers beside the time column, "
        "got columns ('timestamp', 'note'). Check the column types."
    )


def test_labels_alone_are_no_sensors(plant):
    labels = plant.select(["timestamp"]).append_column("label_x", pa.array([1] * plant.num_rows))
    assert "expected at least one column of numbers" in refused(ContractError, lambda: fit(labels))


def test_text_in_a_sensor_column_at_scoring(detector, plant):
    words = put(plant, SENSORS[2], pa.array(["12,5"] * plant.num_rows))
    text = refused(ContractError, lambda: detector.score(words))
    assert text.startswith(
        "Cannot score: expected numbers in sensor column 'sensor 2 (unit)', got text (string) "
        "in the table. Convert it to numbers."
    )


def test_text_in_a_sensor_column_that_was_asked_for(plant):
    words = put(plant, SENSORS[2], pa.array(["12,5"] * plant.num_rows))
    config = DetectorConfig(readings=ReadingsConfig(sensors=tuple(SENSORS)))
    assert "expected numbers in sensor column 'sensor 2 (unit)', got text" in refused(
        ContractError, lambda: fit(words, config=config)
    )


def test_text_in_a_sensor_column_of_a_later_file(use, tmp_path, plant):
    first = write(tmp_path, plant, "a.parquet")
    words = put(plant, SENSORS[2], pa.array(["12,5"] * plant.num_rows))
    second = write(tmp_path, words, "b.parquet")
    text = refused(ContractError, lambda: use([first, second]))
    assert f"got text (string) in '{second}'" in text


def test_a_sensor_missing_at_scoring(detector, plant):
    text = refused(ContractError, lambda: detector.score(plant.drop_columns([SENSORS[3]])))
    assert text == (
        "Cannot score: expected sensors ('sensor 0 (unit)', 'sensor 1 (unit)', "
        "'sensor 2 (unit)', 'sensor 3 (unit)', 'sensor 4 (unit)'), got ('sensor 0 (unit)', "
        "'sensor 1 (unit)', 'sensor 2 (unit)', 'sensor 4 (unit)'); missing "
        "('sensor 3 (unit)',). Add them, null where nothing was measured, or rename the columns "
        "that are theirs."
    )


def test_a_sensor_that_was_asked_for_and_is_missing(plant):
    config = DetectorConfig(readings=ReadingsConfig(sensors=("flow",)))
    said = refused(ContractError, lambda: fit(plant, config=config))
    assert "expected sensors ('flow',), got none of them, but columns ('timestamp', " in said


def test_an_extra_sensor_at_scoring_is_left_out_and_noted(detector, plant):
    extra = plant.append_column("new", pa.array(np.arange(plant.num_rows, dtype=float)))
    found = detector.examine(extra)
    assert found.scores.equals(detector.score(plant))
    assert found.checked.quality.notes == (
        "columns the contract does not know are left out: ('new',)",
    )


# --- the times ---


def test_mixed_time_zones_in_text(use, plant):
    times = ["2024-05-01T12:00:00Z", "2024-05-01T12:01:00"] * (plant.num_rows // 2)
    text = refused(ReadingsError, lambda: use(put(plant, "timestamp", pa.array(times))))
    assert text == (
        "Cannot read times from column 'timestamp' of the table: expected times that all have a "
        "zone or all have none, got mixed time zones (some with a zone, some without). Write all "
        "of them with their zone."
    )


def test_mixed_time_zones_in_two_files(use, tmp_path, plant):
    aware = write(tmp_path, plant, "a.parquet")
    bare = put(plant, "timestamp", plant["timestamp"].combine_chunks().cast(pa.timestamp("us")))
    naive = write(tmp_path, bare, "b.parquet")
    assert "got mixed time zones" in refused(ReadingsError, lambda: use([aware, naive]))


def test_mixed_time_zones_in_a_data_frame(use):
    times = [datetime(2024, 5, 1, tzinfo=UTC), datetime(2024, 5, 2)] * 100  # noqa: DTZ001
    frame = pd.DataFrame(dict.fromkeys(SENSORS, 1.0), index=range(200))
    frame["timestamp"] = pd.Series(times, dtype=object)
    assert "got mixed time zones" in refused(ReadingsError, lambda: use(frame))


def test_readings_of_a_single_instant(plant):
    one = pa.concat_tables([plant.slice(0, 1)] * 200)
    text = refused(ReadingsError, lambda: fit(one))
    assert "expected at least two usable rows of one asset with different times" in text


# --- the values ---


def test_an_all_null_sensor_among_others_is_not_scored(detector, plant):
    nulls = put(plant, SENSORS[0], pa.nulls(plant.num_rows, pa.float64()))
    found = detector.examine(nulls)
    assert found.scores["score"].null_count == 0
    assert set(pa.compute.struct_field(found.scores["contribution"], SENSORS[0]).to_pylist()) == {
        0.0
    }
    assert "sensors without any value: ('sensor 0 (unit)',)" in found.checked.quality.notes


@pytest.mark.parametrize("type_", [pa.float64(), pa.null()])
def test_nothing_but_null_sensors_cannot_be_scored(detector, plant, type_):
    for name in SENSORS:
        plant = put(plant, name, pa.nulls(plant.num_rows, type_))
    scores = detector.score(plant)
    assert scores.num_rows == plant.num_rows
    assert set(scores["state"].to_pylist()) == {"unscorable"}
    assert set(scores["reason"].to_pylist()) == {"too_few_sensors"}


BAD_VALUES = {
    "null": None,
    "NaN": float("nan"),
    "infinity": float("inf"),
    "minus infinity": float("-inf"),
    "the sentinel of 3W": -1.180116e42,
}


@pytest.mark.parametrize("bad", BAD_VALUES.values(), ids=BAD_VALUES.keys())
def test_nothing_but_bad_values_cannot_be_trained_on(plant, bad):
    for name in SENSORS:
        plant = put(plant, name, pa.array([bad] * plant.num_rows, pa.float64()))
    assert refused(TrainingError, lambda: fit(plant)) == (
        "Cannot train on these readings: expected a sensor that moves, got 0 constant and 5 "
        "empty sensors. Choose another training period."
    )


def test_nothing_but_constants_cannot_be_trained_on(plant):
    for name in SENSORS:
        plant = put(plant, name, np.full(plant.num_rows, 3.0))
    assert "got 5 constant and 0 empty sensors" in refused(TrainingError, lambda: fit(plant))


def test_nan_and_infinities_everywhere_at_scoring(detector):
    table = make_plant(200, seed=3)
    bad = np.array([np.nan, np.inf, -np.inf, -1.18e42, 1e30])
    rng = np.random.default_rng(0)
    for name in SENSORS:
        values = table[name].to_numpy().copy()
        broken = rng.random(200) < 0.8
        values[broken] = rng.choice(bad, size=int(broken.sum()))
        table = put(table, name, values)
    found = detector.examine(table)
    states = np.array(found.scores["state"].to_pylist())
    present = np.isfinite(found.checked.readings.values).sum(axis=1)
    assert len(states) == 200
    np.testing.assert_array_equal(states == "unscorable", present < 3)
    quality = found.checked.quality
    assert sum(s.num_infinite for s in quality.sensors) > 0
    assert sum(s.num_sentinel for s in quality.sensors) > 0


# --- too little of it ---


def test_too_few_rows_to_train():
    assert refused(TrainingError, lambda: fit(make_plant(100))) == (
        "Cannot train a detector: expected at least 100 usable rows to train on, got 70 (and 30 "
        "held out for calibration). Use a longer training period."
    )


def test_rows_without_a_usable_time_are_not_counted(plant):
    times = plant["timestamp"].cast("int64").to_numpy().copy()
    times[50:] = 0  # a clock that was reset to 1970
    reset = put(plant, "timestamp", pa.array(times).cast(pa.timestamp("us", "UTC")))
    assert "expected at least 100 usable rows to train on, got 35" in refused(
        TrainingError, lambda: fit(reset)
    )


def test_too_few_rows_to_calibrate():
    assert refused(CalibrationError, lambda: fit(make_plant(200))) == (
        "Cannot set a threshold for asset 'asset' at a false-alarm rate of 0.01: expected at "
        "least 100 held-out steps, got 60. Use a longer training period, a larger "
        "calibration_share or a larger false_alarm_rate."
    )


def test_too_few_rows_for_an_alert_budget(plant):
    config = DetectorConfig(threshold=ThresholdConfig(alert_budget_per_week=2))
    assert refused(CalibrationError, lambda: fit(plant, config=config)) == (
        "Cannot set a threshold for asset 'asset' at 2 alert events a week: expected at least "
        "3.5 days of held-out normal readings, got 0.25. Use a longer training period or a larger "
        "budget, or accept an unproven threshold with provisional = true in the settings."
    )


def test_calibration_readings_of_another_asset_are_counted_by_themselves(plant):
    training = plant.append_column("asset", pa.array(["a"] * 600 + ["b"] * 600))
    held_out = make_plant(50, seed=2).append_column("asset", pa.array(["b"] * 50))
    text = refused(CalibrationError, lambda: fit(training, calibration=held_out))
    assert text.startswith("Cannot set a threshold for asset 'b'")
    assert "got 50." in text


@pytest.mark.parametrize("provisional", [False, True])
def test_calibration_readings_without_a_usable_row_are_refused(plant, provisional):
    training = plant.append_column("asset", pa.array(["a"] * plant.num_rows))
    nobody = plant.append_column("asset", pa.nulls(plant.num_rows, pa.string()))
    config = DetectorConfig(threshold=ThresholdConfig(provisional=provisional))
    text = refused(CalibrationError, lambda: fit(training, calibration=nobody, config=config))
    assert "for asset 'a'" in text
    assert "got 0." in text


def test_an_asset_too_short_to_hold_anything_out_is_refused(plant):
    few = plant.append_column("asset", pa.array(["a"] * 1199 + ["b"]))
    assert "for asset 'b'" in refused(CalibrationError, lambda: fit(few))


def test_calibration_readings_must_have_the_same_sensors(plant):
    text = refused(ContractError, lambda: fit(plant, calibration=plant.drop_columns([SENSORS[0]])))
    assert text.startswith("Cannot calibrate a detector: expected sensors ('sensor 0 (unit)', ")


# --- the detector ---


@pytest.fixture(scope="module")
def folder(detector, tmp_path_factory):
    return detector.save(tmp_path_factory.mktemp("bad_input") / "detector")


def test_a_wrong_detector_folder(tmp_path, folder):
    for wrong in (tmp_path, tmp_path / "nowhere", folder / "vae.keras"):
        assert refused(DetectorError, lambda wrong=wrong: Detector.load(wrong)) == (
            f"Cannot load a detector from '{wrong}': expected a folder with 'detector.json', got "
            "none. Give the folder that 'vae-anomaly fit --out' wrote."
        )


@pytest.mark.parametrize("name", ["vae.keras", "score.onnx"])
def test_tampered_weights(tmp_path, folder, name):
    copy = shutil.copytree(folder, tmp_path / "copy")
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(bytes(content))
    assert refused(DetectorError, lambda: Detector.load(copy)) == (
        f"Cannot load the detector from '{copy}': '{name}' was changed after it was saved. Fit "
        "it again or fetch it anew from the registry."
    )


def test_a_folder_that_holds_something_else_is_not_overwritten(detector, tmp_path):
    (tmp_path / "thesis.txt").write_text("ten years")
    text = refused(DetectorError, lambda: detector.save(tmp_path))
    assert "got something else. Choose another folder." in text
    assert (tmp_path / "thesis.txt").exists()
