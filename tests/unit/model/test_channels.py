import numpy as np
import pytest

from tests.unit.model.readings_of import EXAMPLES, LEVELS, MEMBERS, STEP
from vae_anomaly.model.channels import CHANGE_NATS, Channels, ChosenLikelihood, make_fault
from vae_anomaly.model.likelihoods import ALL_LIKELIHOODS

EVERY = Channels(tuple(example.chosen for example in reversed(EXAMPLES)))
"""A sensor of each likelihood, in another order than that of their channels."""

NAMES = [one.name for one in EVERY.sensors]
each = pytest.mark.parametrize(
    ("likelihood", "example"), MEMBERS, ids=[m.name for m, _ in MEMBERS]
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


def test_a_level_moves_sensors_with_a_location_and_leaves_the_others():
    values = make_values()
    before = describe(EVERY, values)
    residual = EVERY.standardise(values, before.mean, before.sigma)
    fixed = [NAMES.index(name) for name in ("poisson", "bernoulli", "categorical")]
    movable = [i for i in range(len(NAMES)) if i not in fixed]
    assert np.isnan(residual[:, fixed]).all()
    level = np.zeros_like(values)
    level[:, movable] = residual[:, movable]  # to where the reading is
    moved = EVERY.move(values, before, level)
    for name in ("energy", "mean", "contribution"):
        np.testing.assert_array_equal(
            getattr(moved, name)[:, fixed], getattr(before, name)[:, fixed]
        )
    for name in ("gaussian", "student_t", "laplace", "quantised"):
        place = NAMES.index(name)
        np.testing.assert_allclose(moved.energy[:, place], 0.0, atol=1e-9)
        np.testing.assert_allclose(moved.mean[:, place], values[:, place])
        saved = (before.contribution - moved.contribution)[:, place]
        np.testing.assert_allclose(saved, before.energy[:, place], rtol=1e-6, atol=1e-9)
    place = NAMES.index("log_normal")
    again = EVERY.standardise(values, moved.mean, moved.sigma)
    np.testing.assert_allclose(again[:, place], 0.0, atol=1e-6)


def test_gaussian_sensors_move_alike_alone_and_among_others():
    plain = Channels((ChosenLikelihood(),))
    mixed = Channels((ChosenLikelihood(), ChosenLikelihood("laplace")))
    values = np.random.default_rng(0).normal(size=(20, 2))
    level = np.full((20, 2), 0.7)
    one = plain.move(values[:, :1], describe(plain, values[:, :1]), level[:, :1])
    other = mixed.move(values, describe(mixed, values), level)
    for name in ("contribution", "energy", "mean", "sigma"):
        np.testing.assert_allclose(getattr(one, name)[:, 0], getattr(other, name)[:, 0])


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
