import keras
import numpy as np
import pytest

from tests.unit.model.small_vae import numbers
from vae_anomaly.model.optimiser import AVERAGE_MOMENTUM, AveragingAdamW


@pytest.fixture
def weight():
    return keras.Variable(np.array([1.0, -2.0], dtype=np.float32))


def built(weight, **options) -> AveragingAdamW:
    optimiser = AveragingAdamW(learning_rate=0.1, weight_decay=0.0, **options)
    optimiser.build([weight])
    return optimiser


def gradient(*values: float):
    return keras.ops.convert_to_tensor(np.array(values, dtype=np.float32))


def test_a_finite_gradient_moves_the_weights_and_is_not_counted(weight):
    optimiser = built(weight)
    optimiser.apply([gradient(1.0, -1.0)], [weight])
    np.testing.assert_allclose(numbers(weight.value), [0.9, -1.9], rtol=1e-4)
    assert int(numbers(optimiser.skipped.value)) == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_gradient_that_is_not_finite_moves_nothing_and_is_counted(weight, bad):
    optimiser = built(weight)
    for _ in range(3):
        optimiser.apply([gradient(1.0, bad)], [weight])
    np.testing.assert_array_equal(numbers(weight.value), [1.0, -2.0])
    assert int(numbers(optimiser.skipped.value)) == 3
    optimiser.apply([gradient(1.0, 1.0)], [weight])
    assert np.isfinite(numbers(weight.value)).all()
    assert numbers(weight.value)[0] < 1.0


def test_one_bad_weight_drops_the_step_of_all(weight):
    other = keras.Variable(np.array([5.0], dtype=np.float32))
    optimiser = AveragingAdamW(learning_rate=0.1, weight_decay=0.0)
    optimiser.build([weight, other])
    optimiser.apply([gradient(1.0, 1.0), gradient(np.nan)], [weight, other])
    np.testing.assert_array_equal(numbers(weight.value), [1.0, -2.0])


def test_the_averages_follow_the_weights_step_by_step(weight):
    optimiser = built(weight)
    expected = numbers(weight.value).astype(np.float64)
    for step in range(5):
        optimiser.apply([gradient(1.0, float(step))], [weight])
        moved = numbers(weight.value)
        expected = AVERAGE_MOMENTUM * expected + (1 - AVERAGE_MOMENTUM) * moved
    np.testing.assert_allclose(numbers(optimiser.averages[0].value), expected, rtol=1e-6)
    optimiser.use_averages([weight])
    np.testing.assert_allclose(numbers(weight.value), expected, rtol=1e-6)


def test_building_twice_keeps_the_averages(weight):
    optimiser = built(weight)
    first = optimiser.averages
    optimiser.build([weight])
    assert optimiser.averages is first
