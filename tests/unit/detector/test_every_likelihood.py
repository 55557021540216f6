"""A detector with a sensor of every likelihood finds a plain fault of each."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from tests.unit.model.mixed_readings import SENSORS, make_mixed
from vae_anomaly import Detector
from vae_anomaly.config import AlertConfig, DetectorConfig, ModelConfig, ThresholdConfig

LENGTH = 12
WANTED = {name: name for name in SENSORS}
HEALTH = {"two_sigma_coverage", "attribution_top_1", "gain_over_pca_nats"}


def make_table(values: np.ndarray) -> pa.Table:
    times = np.arange(len(values)) * 60_000_000 + 1_750_000_000_000_000
    columns = {"timestamp": pa.array(times, pa.int64()).cast(pa.timestamp("us", "UTC"))}
    return pa.table(columns | {name: values[:, i] for i, name in enumerate(SENSORS)})


def spoil(values: np.ndarray, name: str) -> np.ndarray:
    """Return readings of one sensor that the others contradict."""
    if name == "bernoulli":
        return 10.0 - values
    if name == "categorical":
        return (values + 20.0) % 40.0
    if name == "poisson":
        return 5.0 * values + 60.0
    if name == "log_normal":
        return 20.0 * values
    return values + 10.0 * values.std()


@pytest.fixture(scope="module")
def detector() -> Detector:
    config = DetectorConfig(
        model=ModelConfig(
            hidden=16, min_training_steps=400, max_training_steps=400, likelihoods=WANTED
        ),
        threshold=ThresholdConfig(smoothing_steps=5),
        alerts=AlertConfig(min_steps=1),
    )
    return Detector.fit(make_table(make_mixed(1500)), config=config)


def test_a_plain_fault_of_each_sensor_is_flagged_and_contributions_add_up(detector):
    values = make_mixed(600, seed=1)
    places = {name: 40 + 60 * i for i, name in enumerate(SENSORS)}
    for i, name in enumerate(SENSORS):
        rows = slice(places[name], places[name] + LENGTH)
        values[rows, i] = spoil(values[:, i], name)[rows]
    scores = detector.score(make_table(values))
    anomalous = np.array(scores["state"].to_pylist()) == "anomalous"
    missed = [name for name, at in places.items() if not anomalous[at : at + LENGTH].any()]
    assert not missed
    shares = np.array([list(row.values()) for row in scores["contribution"].to_pylist()])
    total = shares.sum(axis=1) + scores["kl"].to_numpy()
    np.testing.assert_allclose(total, scores["nll"].to_numpy(), rtol=0, atol=1e-6)


def test_the_record_says_which_likelihood_each_sensor_has(detector, tmp_path):
    loaded = Detector.load(detector.save(tmp_path / "detector"))
    assert loaded.record.likelihoods == WANTED
    assert loaded.record.roles == detector.record.roles


def test_health_is_judged_whatever_the_likelihood(detector):
    found = {check.name: check.value for check in detector.record.health}
    assert all(np.isfinite(found[name]) for name in HEALTH)
    assert found["attribution_top_1"] > 0.5


def test_a_shift_is_looked_for_in_sensors_with_a_level_alone(detector):
    roles, shift = detector.record.roles, detector.record.shift_model
    dense = [SENSORS[i] for i in roles.dense]
    assert dense == ["gaussian", "laplace", "log_normal", "student_t", "quantised"]
    assert len(shift.spread) == len(dense)
    values = make_mixed(50)
    taken = roles.take_dense(values)
    for k, name in enumerate(dense):
        mine = values[:, SENSORS.index(name)]
        np.testing.assert_array_equal(taken[:, k], np.log(mine) if name == "log_normal" else mine)


@pytest.mark.parametrize("name", ["gaussian", "log_normal", "quantised"])
def test_a_small_lasting_shift_is_found_whatever_the_likelihood(detector, name):
    values = make_mixed(600, seed=2)
    mine = values[300:, SENSORS.index(name)]
    mine[:] = mine * np.exp(0.25) if name == "log_normal" else mine + 0.5
    reasons = detector.score(make_table(values))["reason"].to_pylist()
    assert f"shift: {name}" in reasons[320:]
    assert "shift: " not in "".join(reasons[:300])


def test_states_and_counts_alone_have_no_shift_model():
    wanted = {name: name for name in ("poisson", "bernoulli", "categorical")}
    table = make_table(make_mixed(400)).select(["timestamp", *wanted])
    config = DetectorConfig(
        model=ModelConfig(
            hidden=8, min_training_steps=20, max_training_steps=20, likelihoods=wanted
        )
    )
    detector = Detector.fit(table, config=config)
    assert detector.record.shift_model is None
    assert set(detector.score(table)["state"].to_pylist()) <= {"ok", "anomalous"}


def test_a_score_with_drift_and_gaps_depends_on_its_window_alone(detector):
    threshold = detector.record.config.threshold.model_copy(update={"adaptation_steps": 40})
    config = detector.record.config.model_copy(update={"threshold": threshold})
    quick = Detector(detector._density, replace(detector.record, config=config), pa.table({}))
    values = make_mixed(700, seed=3)
    values[250:] = values[250:] * 1.5
    for i, name in enumerate(SENSORS):
        if name in {"poisson", "bernoulli", "categorical"}:
            values[250:, i] /= 1.5
    values[np.random.default_rng(0).random(values.shape) < 0.1] = np.nan
    table = make_table(values)
    whole, without = quick.score(table), detector.score(table)
    assert (whole["nll"].to_numpy() != without["nll"].to_numpy())[300:].any()
    begin = 600 - quick.lookback_steps
    assert quick.score(table.slice(begin)).slice(600 - begin).equals(whole.slice(600))
    shares = np.array([list(row.values()) for row in whole["contribution"].to_pylist()])
    total = shares.sum(axis=1) + whole["kl"].to_numpy()
    np.testing.assert_allclose(total, whole["nll"].to_numpy(), rtol=0, atol=1e-6)
    assert (shares[np.isnan(values)] == 0.0).all()
