from dataclasses import fields, replace

import numpy as np
import pytest

from tests.unit.model.readings_of import EXAMPLES, LEVELS, MEMBERS, STEP, Example
from vae_anomaly.model.channels import (
    CHANGE_NATS,
    Channels,
    ChosenLikelihood,
    SensorScores,
    add_up,
    encode_sensor,
    find_parameters,
    make_fault,
    move_sensor,
)
from vae_anomaly.model.likelihoods import ALL_LIKELIHOODS

EVERY = Channels(tuple(example.chosen for example in reversed(EXAMPLES)))
"""A sensor of each likelihood, in another order than that of their channels."""

NAMES = [one.name for one in EVERY.sensors]
each = pytest.mark.parametrize(
    ("likelihood", "example"), MEMBERS, ids=[m.name for m, _ in MEMBERS]
)

MOVABLE = [(member, example) for member, example in MEMBERS if member.parameters is not None]
each_movable = pytest.mark.parametrize(
    ("likelihood", "example"), MOVABLE, ids=[m.name for m, _ in MOVABLE]
)


def make_values(num_rows: int = 40) -> np.ndarray:
    rng = np.random.default_rng(0)
    columns = [rng.choice(example.values[-70:], num_rows) for example in reversed(EXAMPLES)]
    return np.column_stack(columns)


def describe(channels: Channels, values: np.ndarray):
    shape = (len(values), channels.num_channels)
    return channels.describe(values, np.ones(shape), np.full(shape, 0.6), np.full(shape, 2.0))


def test_channels_of_one_likelihood_lie_side_by_side():
    expected = [one.name for one in ALL_LIKELIHOODS[:-1]] + ["categorical"] * len(LEVELS)
    assert list(EVERY.likelihoods) == expected
    assert [NAMES[sensor] for sensor in EVERY.groups] == expected
    assert [EVERY.likelihoods[at] for at in EVERY.first_channels] == NAMES
    assert EVERY.num_channels == len(expected)


def test_gaussian_sensors_are_their_own_channels():
    plain = Channels((ChosenLikelihood(),) * 3)
    values = np.ones((5, 3))
    assert plain.encode(values) is values
    assert plain.likelihoods == plain.groups == ()
    assert EVERY.is_plain is False


def test_readings_are_encoded_by_their_likelihood():
    channels = Channels(
        (
            ChosenLikelihood("log_normal"),
            ChosenLikelihood("poisson"),
            ChosenLikelihood("bernoulli", levels=(2.0, 7.0)),
            ChosenLikelihood("categorical", levels=(0.0, 10.0, 30.0)),
        )
    )
    encoded = channels.encode(np.array([[np.e, 3.0, 7.0, 10.0], [1.0, 0.0, 2.0, 30.0]]))
    expected = [[1.0, np.log(3.5), 1.0, 0.0, 1.0, 0.0], [0.0, np.log(0.5), 0.0, 0.0, 0.0, 1.0]]
    np.testing.assert_allclose(encoded, expected, atol=1e-12)
    impossible = np.array([[0.0, -1.0, 4.0, 11.0], [np.nan] * 4])
    assert np.isnan(channels.encode(impossible)).all()
    scores = describe(channels, impossible)
    for costs in (scores.contribution, scores.energy):
        assert (costs[0] == CHANGE_NATS).all()
    assert (scores.energy[1] == 0).all()


@each
def test_contributions_of_the_states_of_a_sensor_are_summed(likelihood, example):
    scores = describe(example.channels, example.values[-2:, None])
    assert scores.contribution[0, 0] == len(example.location)
    assert scores.energy.shape == scores.mean.shape == (2, 1)
    assert (scores.energy >= 0).all()


def test_sensors_described_together_are_as_each_alone():
    values = make_values()
    together = describe(EVERY, values)
    for place, chosen in enumerate(EVERY.sensors):
        alone = describe(Channels((chosen,)), values[:, [place]])
        for name in ("energy", "mean", "sigma"):
            np.testing.assert_allclose(
                getattr(together, name)[:, place], getattr(alone, name)[:, 0], rtol=1e-12
            )


def score_alone(example: Example, *, scale: float) -> SensorScores:
    """What is said of the readings of an example, as columns."""
    example = replace(example, sigma=scale)
    likelihood, shape = example.channels.parts[0].likelihood, (len(example.values), 1)
    nats = example.find(lambda reading: likelihood.nll(np, reading))
    found = example.channels.describe(
        example.values[:, None],
        nats[:, None],
        np.full(shape, example.location),
        np.full(shape, scale),
    )
    return SensorScores(*(getattr(found, field.name)[:, 0] for field in fields(SensorScores)))


def test_sensors_with_a_density_are_those_with_a_level():
    for likelihood in ALL_LIKELIHOODS:
        assert likelihood.is_density == (likelihood.parameters is not None)


@each
def test_a_sensor_is_encoded_alone_as_among_others(likelihood, example):
    if likelihood.name != "categorical":
        alone = encode_sensor(example.chosen, example.values)
        np.testing.assert_array_equal(
            alone, example.channels.encode(example.values[:, None])[:, 0]
        )


@each_movable
def test_a_sensor_moves_to_where_its_reading_is(likelihood, example):
    values, before = example.values, score_alone(example, scale=2.0)
    there = encode_sensor(example.chosen, values)
    middle, spread = find_parameters(example.chosen, before.mean, before.sigma)
    level, width = (there - middle) / spread, np.ones_like(values)
    moved = move_sensor(example.chosen, values, before, level=level, width=width)
    again, same = find_parameters(example.chosen, moved.mean, moved.sigma)
    np.testing.assert_allclose(again, there, atol=1e-6)
    np.testing.assert_allclose(same, spread)
    if likelihood.is_on_raw:  # the mode of a log-normal is not where its location is
        np.testing.assert_allclose(moved.energy, 0.0, atol=1e-9)
        saved = before.contribution - moved.contribution
        np.testing.assert_allclose(saved, before.energy, rtol=1e-6, atol=1e-9)


@each_movable
def test_a_wider_sensor_is_one_of_a_larger_scale(likelihood, example):
    values, before = example.values, score_alone(example, scale=1.0)
    level, width = np.zeros_like(values), np.full_like(values, 1.5)
    wider = move_sensor(example.chosen, values, before, level=level, width=width)
    expected = score_alone(example, scale=1.5)
    for field in fields(SensorScores):
        one, other = (getattr(scores, field.name) for scores in (wider, expected))
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)


@each_movable
def test_a_step_that_did_not_move_is_as_it_was(likelihood, example):
    values, before = example.values, score_alone(example, scale=1.0)
    level, width = np.zeros_like(values), np.ones_like(values)
    level[2], width[4] = 1.0, 2.0
    after = move_sensor(example.chosen, values, before, level=level, width=width)
    for field in fields(SensorScores):
        differ = getattr(before, field.name) != getattr(after, field.name)
        assert set(np.flatnonzero(differ)) <= {2, 4}
    assert (before.contribution != after.contribution)[[2, 4]].all()


@each
def test_a_fault_is_another_reading_that_the_sensor_could_have(likelihood, example):
    values = example.values[-70:]
    for size in (-3.0, 3.0):
        wrong = make_fault(example.chosen, values, size)
        assert (wrong != values).all()
        assert not np.isnan(example.channels.encode(wrong[:, None])).any()


def test_floors_are_standard_deviations_where_there_is_a_bound():
    floors = dict(zip(NAMES, EVERY.find_floors(np.full(len(NAMES), 2.0)), strict=True))
    assert floors["gaussian"] == 2.0
    assert floors["student_t"] == pytest.approx(2.0 * 2**0.5)
    assert floors["quantised"] == pytest.approx(np.hypot(2.0, STEP / 12**0.5))
    for name in ("log_normal", "poisson", "bernoulli", "categorical"):
        assert floors[name] == 0.0


def test_a_row_adds_up_alike_alone_and_among_others():
    values = np.asfortranarray(np.random.default_rng(0).normal(size=(200, 11)))
    alone = [add_up(np.asfortranarray(values[i : i + 1]))[0] for i in range(200)]
    np.testing.assert_array_equal(alone, add_up(values))
    np.testing.assert_allclose(add_up(values), values.sum(axis=1))
