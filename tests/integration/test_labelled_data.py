"""Real labelled data that nobody here wrote: one file of each folder, fitted and scored."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vae_anomaly import Detector, DetectorConfig, evaluate
from vae_anomaly.config import ModelConfig

pytestmark = pytest.mark.integration

QUICK = DetectorConfig(model=ModelConfig(min_training_steps=100, max_training_steps=100))
SENTINEL = -1.180116e42
"""What the source of 3W writes into P-PDG for "missing" in files that are not in this set."""

WELL = "3w/class0_WELL-00004_20140806220033.parquet"
WELL_WITH_FAULT = "3w/class6_WELL-00004_20171031181509.parquet"
SPACECRAFT = "tsb_ad_m/002_MSL_id_1_Sensor_tr_500_1st_900.parquet"


def check(scores: pa.Table, readings: pa.Table) -> np.ndarray:
    """Every row in comes out once, with a state and, unless unscorable, with finite numbers."""
    assert scores.num_rows == readings.num_rows
    assert scores["timestamp"].combine_chunks().equals(readings["timestamp"].combine_chunks())
    states = np.array(scores["state"].to_pylist())
    assert set(states) <= {"ok", "anomalous", "unscorable"}
    scored = states != "unscorable"
    for name in ("nll", "score", "kl"):
        np.testing.assert_array_equal(np.isfinite(scores[name].to_numpy()), scored)
    reasons = np.array(scores["reason"].to_pylist())
    assert (reasons[~scored] != "").all()
    assert (reasons[states == "ok"] == "").all()  # an anomalous row may name its sensor
    return states


def measure(scores: pa.Table, readings: pa.Table):
    """Evaluate against the labels of the readings."""
    return evaluate(scores, readings["label_anomaly"], window_steps=10)


def test_skab_fits_a_water_circuit(benchmark_data):
    detector = Detector.fit(benchmark_data / "skab/anomaly-free.parquet", config=QUICK)
    readings = pq.read_table(benchmark_data / "skab/valve1_0.parquet")
    scores = detector.score(readings)
    check(scores, readings)
    result = measure(scores, readings)
    assert result.num_rows == 1147
    assert result.num_anomalies > 0
    assert result.pr_auc is not None
    assert len(detector.contract.sensors) == 8


@pytest.fixture(scope="module")
def well(benchmark_data) -> Detector:
    """An oil well: three of eight sensors always null, one frozen, one with sentinels."""
    return Detector.fit(plant_sentinels(pq.read_table(benchmark_data / WELL)), config=QUICK)


def test_3w_with_null_sensors_and_pressures_beside_temperatures(benchmark_data, well):
    kinds = {profile.name: profile.kind for profile in well.record.profiles}
    assert kinds["QGL"] == kinds["T-JUS-CKGL"] == kinds["P-JUS-CKGL"] == "empty"
    assert kinds["P-PDG"] == "constant"
    readings = pq.read_table(benchmark_data / WELL_WITH_FAULT)
    scores = well.score(readings)
    assert (check(scores, readings) != "unscorable").any()
    assert measure(scores, readings).num_rows == readings.num_rows


def test_3w_with_sentinels(benchmark_data, well):
    pressure = next(profile for profile in well.record.profiles if profile.name == "P-TPT")
    assert pressure.maximum < 1e9
    assert pressure.missing_share == pytest.approx(0.5, abs=0.15)
    readings = pq.read_table(benchmark_data / WELL_WITH_FAULT)
    dirty = plant_sentinels(readings)
    scores = well.score(dirty)
    check(scores, dirty)
    shares = scores["contribution"].combine_chunks().field("P-TPT").to_numpy()
    planted = dirty["P-TPT"].to_numpy() == SENTINEL
    assert planted.sum() == 1793
    assert np.isin(shares[planted], [0.0]).sum() + np.isnan(shares[planted]).sum() == 1793


def plant_sentinels(table: pa.Table) -> pa.Table:
    """Write sentinels into every other row of one pressure."""
    values = table["P-TPT"].to_numpy().copy()
    values[::2] = SENTINEL
    return table.set_column(table.column_names.index("P-TPT"), "P-TPT", pa.array(values))


def test_gecco_with_rows_of_nothing_but_nulls(benchmark_data):
    readings = pq.read_table(benchmark_data / "gecco2018/train.parquet")
    detector = Detector.fit(readings.slice(0, 16_165), config=QUICK)
    scores = detector.score(readings)
    states = check(scores, readings)
    values = np.stack(
        [readings[name].to_numpy() for name in detector.contract.sensor_names], axis=1
    )
    is_null = np.isnan(values).all(axis=1)
    assert is_null.sum() == 1044
    assert (states[is_null] == "unscorable").all()
    result = evaluate(scores, readings["label_anomaly"], window_steps=0)
    assert result.num_rows == 139_566
    assert result.num_anomalies == 51


@pytest.fixture(scope="module")
def process(benchmark_data) -> Detector:
    """A detector of the Tennessee Eastman Process: 350 rows, 52 sensors."""
    return Detector.fit(benchmark_data / "tep/d00_train.parquet", config=QUICK)


def test_tep_finds_the_step_of_fault_one(benchmark_data, process):
    readings = pq.read_table(benchmark_data / "tep/d01_test.parquet")
    found = process.examine(readings)
    check(found.scores, readings)
    result = measure(found.scores, readings)
    assert (result.num_anomalies, result.event_recall) == (1, 1.0)
    assert result.recall is not None
    assert result.recall > 0.9
    assert any(event.severity == "high" for event in found.events)


def test_tep_keeps_quiet_on_the_normal_run(benchmark_data, process):
    readings = pq.read_table(benchmark_data / "tep/d00_test.parquet")
    scores = process.score(readings)
    states = check(scores, readings)
    assert np.mean(states == "anomalous") < 0.1
    assert measure(scores, readings).event_recall is None


def test_nab_with_repeated_and_backward_times(benchmark_data):
    file = benchmark_data / "nab/machine_temperature_system_failure.parquet"
    readings = pq.read_table(file)
    detector = Detector.fit(readings.slice(0, 3000), config=QUICK)
    scores = detector.score(file)
    states = check(scores, readings)
    repeated = readings.num_rows - len(set(readings["timestamp"].to_pylist()))
    assert repeated > 0
    assert np.sum(states == "unscorable") <= repeated
    result = measure(scores, readings)
    assert result.num_anomalies > 0


def test_tsb_ad_m_with_many_binary_and_constant_channels(benchmark_data):
    readings = pq.read_table(benchmark_data / SPACECRAFT)
    num_training = int(re.findall(r"_tr_(\d+)_", Path(SPACECRAFT).name)[0])
    detector = Detector.fit(readings.slice(0, num_training), config=QUICK)
    scores = detector.score(readings)
    check(scores, readings)
    assert len(detector.record.roles.constant) > 10
    result = measure(scores, readings)
    assert result.vus_pr is not None
