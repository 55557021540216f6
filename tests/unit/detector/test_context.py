from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from tests.conftest import make_plant
from tests.unit.detector.test_detector import change, set_column
from vae_anomaly import Detector
from vae_anomaly.config import DetectorConfig, ModelConfig, ThresholdConfig
from vae_anomaly.detector.record import CONTEXT, read_record, write_record
from vae_anomaly.errors import ConfigError, DetectorError, TrainingError

LOAD, FLOW, SPEED = "load", "flow", "speed"


def make_machine(num_rows: int, *, seed: int) -> pa.Table:
    """A machine whose flow and speed follow a load that stays at a level for an hour or so."""
    rng = np.random.default_rng(seed)
    load = np.repeat(rng.uniform(20.0, 90.0, size=num_rows // 60 + 1), 60)[:num_rows]
    return pa.table(
        {
            "timestamp": make_plant(num_rows, seed=seed)["timestamp"],
            LOAD: load,
            FLOW: 3.0 * load + rng.normal(scale=6.0, size=num_rows),
            SPEED: 1500.0 - 4.0 * load + rng.normal(scale=8.0, size=num_rows),
        }
    )


def fit(context: tuple[str, ...], table: pa.Table | None = None) -> Detector:
    return Detector.fit(
        make_machine(3000, seed=1) if table is None else table,
        config=DetectorConfig(
            model=ModelConfig(min_training_steps=300, max_training_steps=300, context=context),
            threshold=ThresholdConfig(provisional=True),
        ),
    )


@pytest.fixture(scope="module")
def detector() -> Detector:
    return fit((LOAD,))


def score_changed(detector: Detector, name: str) -> tuple[np.ndarray, pa.Table]:
    rows = slice(1000, 1050)
    seen = detector.score(change(make_machine(1500, seed=2), name, rows, 1.3))
    return seen["score"].to_numpy()[1010:1050], seen


def test_context_has_no_contribution_and_is_never_blamed(detector):
    _, seen = score_changed(detector, LOAD)
    contribution = seen["contribution"].combine_chunks()
    assert not contribution.field(LOAD).to_numpy().any()
    total = sum(contribution.field(name).to_numpy() for name in (LOAD, FLOW, SPEED))
    np.testing.assert_array_equal(total + seen["kl"].to_numpy(), seen["nll"].to_numpy())
    for event in detector.find_events(seen):
        assert LOAD not in event.top_sensors
    assert not any(LOAD in reason for reason in seen["reason"].to_pylist())


def test_sensors_that_do_not_follow_their_context_are_anomalous(detector):
    scores, _ = score_changed(detector, FLOW)
    assert (scores > detector.record.calibration_of("").threshold).all()


def test_a_row_without_its_sensors_is_unscorable_though_its_context_is_there(detector):
    table = make_machine(100, seed=3)
    for name in (FLOW, SPEED):
        table = set_column(table, name, pa.nulls(100, pa.float64()))
    assert set(detector.score(table)["state"].to_pylist()) == {"unscorable"}


def test_a_row_without_its_context_is_scored(detector):
    table = set_column(make_machine(100, seed=3), LOAD, pa.nulls(100, pa.float64()))
    assert "unscorable" not in detector.score(table)["state"].to_pylist()


def test_context_is_on_record_and_has_no_rule_of_its_own(detector):
    record = detector.record
    assert record.likelihoods == {LOAD: CONTEXT, FLOW: "gaussian", SPEED: "gaussian"}
    assert record.roles.num_scored == 2
    assert record.rule_limits.flat_steps[0] == 0
    assert record.shift_model.watched == (1, 2)
    assert read_record(write_record(record), origin="here").roles == record.roles
    roles = replace(record.roles, context=(7,))
    with pytest.raises(DetectorError, match="context among the modelled sensors"):
        read_record(write_record(replace(record, roles=roles)), origin="here")


def test_health_is_that_of_the_scored_sensors(detector):
    health = {check.name: check for check in detector.record.health}
    assert health["gain_over_pca_nats"].value > -1.0


def test_context_that_never_moved_says_nothing():
    table = make_machine(600, seed=1)
    table = set_column(table, LOAD, np.full(600, 50.0))
    roles = fit((LOAD,), table).record.roles
    assert (roles.context, roles.constant, roles.empty) == ((), (), (0,))


def test_an_unknown_sensor_cannot_be_context():
    with pytest.raises(ConfigError, match=r"got 'laod'.*did you mean 'load'"):
        fit(("laod",))


def test_something_must_be_left_to_score():
    message = (
        "0 constant and 0 empty sensors, and 3 for context. Name fewer sensors in "
        "detector.model.context."
    )
    with pytest.raises(TrainingError, match=message):
        fit((LOAD, FLOW, SPEED))
