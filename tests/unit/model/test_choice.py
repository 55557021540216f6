import numpy as np
import pytest

from tests.unit.model.readings_of import EXAMPLES
from vae_anomaly.domain import Sensor, SensorKind
from vae_anomaly.errors import ConfigError, TrainingError
from vae_anomaly.model.choice import (
    CHECKS,
    DEFAULT_LIKELIHOODS,
    MAX_STATES,
    choose_likelihoods,
    find_states,
    require_known_sensors,
)
from vae_anomaly.model.likelihoods import ALL_LIKELIHOODS
from vae_anomaly.readings.quality import profile_sensors

RNG = np.random.default_rng(0)
NOISE = RNG.normal(size=500)
GRID = RNG.integers(0, 1000, size=5000) * 0.5  # a plain grid, and fine for its spread


def choose(values: np.ndarray, likelihood: str | None = None, **options):
    profiles = profile_sensors(values[:, None], sensors=(Sensor("flow"),))
    wanted = {"flow": likelihood} if likelihood else {}
    return choose_likelihoods(values[:, None], profiles, wanted=wanted, **options)[0]


@pytest.mark.parametrize("example", EXAMPLES, ids=[e.chosen.name for e in EXAMPLES])
def test_a_sensor_gets_the_likelihood_asked_for(example):
    values = RNG.choice(example.values[-70:], 500)
    chosen = choose(np.append(values, np.nan), example.chosen.name)
    assert chosen == example.chosen


@pytest.mark.parametrize(
    ("likelihood", "values", "problem"),
    [
        ("log_normal", NOISE.clip(-1.5), "expected values above 0, got -1.5"),
        ("poisson", np.append(NOISE.round() ** 2, 2.5), "expected counts: 0, 1, 2 and so on, got"),
        ("poisson", NOISE.round().clip(-2), "expected counts: 0, 1, 2 and so on, got -"),
        ("bernoulli", RNG.choice([0.0, 1.0, 2.0], 500), "expected exactly two states, got 3"),
        ("categorical", NOISE, f"expected at most {MAX_STATES} states, got 4"),
        ("quantised", NOISE, "expected steps of at least 1% of the spread, got none"),
        ("quantised", GRID, "expected steps of at least 1% of the spread, got 0.00"),
    ],
)
def test_a_sensor_that_cannot_have_it_is_refused(likelihood, values, problem):
    with pytest.raises(TrainingError) as caught:
        choose(values, likelihood)
    text = str(caught.value)
    assert text.startswith(f"Cannot fit a {likelihood} likelihood to sensor 'flow': {problem}")
    assert text.endswith("in detector.model.likelihoods, or leave the sensor out of it.")


def test_a_kind_that_cannot_have_its_usual_likelihood_is_gaussian():
    rare = np.append(RNG.choice([0.0, 1.0], 99_999), 0.5)  # a glitch between two states
    by_kind = {SensorKind.BINARY: "bernoulli"}
    assert choose(rare[:500], by_kind=by_kind).name == "bernoulli"
    assert choose(rare, by_kind=by_kind).name == "gaussian"


def test_every_kind_in_the_network_has_a_default_and_every_check_a_member():
    moving = set(SensorKind) - {SensorKind.CONSTANT, SensorKind.EMPTY}
    assert set(DEFAULT_LIKELIHOODS) == moving
    assert set(CHECKS) < {one.name for one in ALL_LIKELIHOODS}


def test_states_that_differ_by_rounding_are_one():
    assert find_states(np.array([0.1 + 0.2, 0.3, 1.0])) == (0.3, 1.0)


def test_a_sensor_that_there_is_not_is_refused():
    require_known_sensors({"flow": "laplace"}, ["flow"])
    with pytest.raises(ConfigError) as caught:
        require_known_sensors({"flwo": "laplace"}, ["flow", "level"])
    assert str(caught.value) == (
        "Cannot give sensor 'flwo' the laplace likelihood: expected one of flow, level, got "
        "'flwo'. Correct the name in detector.model.likelihoods; did you mean 'flow'?"
    )
