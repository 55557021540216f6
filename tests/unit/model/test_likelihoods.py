"""The contract of every likelihood, and the KL term beside them."""

from typing import get_args

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from scipy import integrate, stats

from tests.unit.model.readings_of import BY_NAME, EXAMPLES, MEMBERS, STEP
from vae_anomaly.config import LikelihoodName
from vae_anomaly.model.graph_terms import GraphOps, Term
from vae_anomaly.model.likelihoods import (
    ALL_LIKELIHOODS,
    Reading,
    find_likelihood,
    split_channels,
    squared_error_sigma,
    standard_normal_kl,
)

FIELDS = ("residual", "log_sigma", "value", "location", "half_step", "group")
each = pytest.mark.parametrize(
    ("likelihood", "example"), MEMBERS, ids=[m.name for m, _ in MEMBERS]
)


def numbers(tensor) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(tensor))


def nll_of(likelihood, example, values=None) -> np.ndarray:
    return example.find(lambda reading: likelihood.nll(np, reading), values)


def test_settings_know_every_likelihood_and_every_one_has_an_example():
    names = [one.name for one in ALL_LIKELIHOODS]
    assert sorted(get_args(LikelihoodName)) == sorted(names)
    assert [one.chosen.name for one in EXAMPLES] == names


@each
def test_the_nll_is_minus_the_log_density_of_scipy(likelihood, example):
    expected = -example.log_density(example.values)
    known = np.isfinite(expected)  # SciPy's tails of a difference end in log 0
    found = nll_of(likelihood, example)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[known], expected[known], rtol=2e-6, atol=2e-6)


@each
def test_the_density_integrates_to_one(likelihood, example):
    density = np.exp(-nll_of(likelihood, example))
    if example.chosen.step:
        total = density.sum() * STEP
    elif example.is_discrete:
        total = density.sum()
    else:
        total = integrate.trapezoid(density, example.values)
    assert total == pytest.approx(1.0, abs=1e-5)


@each
def test_the_energy_is_what_the_mode_is_ahead_by_and_grows_away_from_it(likelihood, example):
    energy = example.find(likelihood.energy)
    nll = nll_of(likelihood, example)
    assert (energy >= 0).all()
    mode = int(np.argmin(energy))
    assert energy[mode] == pytest.approx(0.0, abs=0.3 if example.chosen.step else 1e-4)
    np.testing.assert_allclose(energy - energy[mode], nll - nll[mode], atol=2e-6, rtol=1e-9)
    if example.chosen.name != "categorical":  # its states have no order
        assert (np.diff(energy[mode:]) > 0).all()
        assert (np.diff(energy[: mode + 1]) < 0).all()


def test_the_energy_of_a_reading_on_its_location_is_zero():
    for name in ("gaussian", "student_t", "laplace", "quantised"):
        example = BY_NAME[name]
        at = example.find(find_likelihood(name).energy, example.location)
        assert at[0] == 0.0
    log_normal = BY_NAME["log_normal"]
    mode = np.exp(log_normal.location - log_normal.sigma**2)
    energy = log_normal.find(find_likelihood("log_normal").energy, mode)
    assert energy[0] == pytest.approx(0.0, abs=1e-12)


@each
def test_keras_and_the_graph_say_what_numpy_says(likelihood, example):
    reading = example.reading(example.values[:: max(len(example.values) // 200, 1)])
    expected = likelihood.nll(np, reading)
    tensors = Reading(*(keras.ops.convert_to_tensor(getattr(reading, name)) for name in FIELDS))
    by_keras = numbers(likelihood.nll(keras.ops, tensors))
    np.testing.assert_allclose(by_keras, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(run_graph(likelihood, reading), expected, rtol=1e-12, atol=1e-10)


class Graph:
    def __init__(self) -> None:
        self.nodes: list = []
        self.weights: list = []

    def node(self, kind, *inputs, **attributes):
        name = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def weight(self, value):
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name


def run_graph(likelihood, reading: Reading) -> np.ndarray:
    graph = Graph()
    terms = Reading(*(Term(graph.weight(getattr(reading, name)), graph) for name in FIELDS))
    found = likelihood.nll(GraphOps(graph), terms).name
    output = helper.make_tensor_value_info(found, TensorProto.DOUBLE, [None, None])
    model = helper.make_model(
        helper.make_graph(graph.nodes, "nll", [], [output], graph.weights),
        opset_imports=[helper.make_opsetid("", 18)],
    )
    model.ir_version = 8
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, {})[0]


def find_gradient(function, point: np.ndarray) -> np.ndarray:
    """Gradient of a scalar function by the backend's own means."""
    if keras.backend.backend() == "jax":
        import jax

        return np.asarray(jax.grad(function)(point))
    import tensorflow as tf

    variable = tf.Variable(point)
    with tf.GradientTape() as tape:
        total = function(variable)
    return numbers(tape.gradient(total, variable))


def nats_given(likelihood, example, value: float, dtype=np.float64):
    """Nats of one reading as a function of location(s) and log sigma, laid end to end."""
    reading = example.reading(np.array([value]), dtype=dtype)
    encoded, group = reading.value, reading.group
    width, half = encoded.shape[1], dtype(0.5 * example.chosen.step)

    def nats(parameters):
        location, log_sigma = parameters[None, :width], parameters[None, width:]
        sigma = keras.ops.exp(log_sigma)
        given = Reading(
            residual=(encoded - location) / sigma,
            log_sigma=log_sigma,
            value=encoded,
            location=location,
            half_step=half / sigma,
            group=group,
        )
        return keras.ops.sum(likelihood.nll(keras.ops, given))

    return nats, np.append(example.location, np.full(width, np.log(example.sigma))).astype(dtype)


@each
def test_the_gradient_is_that_of_finite_differences(likelihood, example):
    middle = example.values[len(example.values) // 2 - 1 :][:2]
    for value in middle + (0.0 if example.is_discrete or example.chosen.step else 0.31):
        nats, point = nats_given(likelihood, example, value)
        for axis, slope in enumerate(find_gradient(nats, point)):
            ahead, behind = point.copy(), point.copy()
            ahead[axis] += 1e-5
            behind[axis] -= 1e-5
            difference = float(numbers(nats(ahead))) - float(numbers(nats(behind)))
            assert slope == pytest.approx(difference / 2e-5, rel=1e-4, abs=1e-4)


@each
@pytest.mark.parametrize("shift", [-1e4, -30.0, 30.0, 1e4])
def test_the_gradient_is_finite_far_out_in_float32(likelihood, example, shift):
    for value in example.values[:: max(len(example.values) // 4, 1)]:
        nats, point = nats_given(likelihood, example, value, np.float32)
        point[: len(point) // 2] += np.float32(shift)
        assert np.isfinite(find_gradient(nats, point)).all()


@each
def test_moments_are_mean_and_standard_deviation(likelihood, example):
    channels = example.channels
    shape = (1, len(example.location))
    ones = np.ones(shape)
    found = channels.describe(
        example.values[:1, None], 0 * ones, example.location * ones, example.sigma * ones
    )
    mass = np.exp(-nll_of(likelihood, example))
    mass = mass if example.is_discrete else mass * np.gradient(example.values)
    mean = (mass * example.values).sum()
    assert found.mean[0, 0] == pytest.approx(mean, rel=1e-3)
    spread = np.sqrt((mass * (example.values - mean) ** 2).sum())
    assert found.sigma[0, 0] == pytest.approx(spread, rel=5e-3)


@each
def test_parameters_undo_the_moments(likelihood, example):
    if likelihood.parameters is None:
        assert likelihood.name in {"poisson", "bernoulli", "categorical"}
        return
    step = example.chosen.step
    sigma = np.array([example.sigma])
    back = likelihood.parameters(*likelihood.moments(example.location, sigma, step), step)
    np.testing.assert_allclose(back, (example.location, sigma), rtol=1e-9)


def test_a_quantised_sensor_whose_sigma_is_many_steps_is_a_gaussian():
    residual = np.linspace(-6, 6, 25)
    wide = Reading(residual=residual, log_sigma=0 * residual, half_step=0 * residual + 1e-3)
    quantised, gaussian = (find_likelihood(name) for name in ("quantised", "gaussian"))
    np.testing.assert_allclose(quantised.nll(np, wide), gaussian.nll(np, wide), atol=1e-3)


def test_channels_of_one_likelihood_are_one_part():
    names = ["gaussian", "gaussian", "categorical", "categorical"]
    assert [(one.name, part) for one, part in split_channels(names)] == [
        ("gaussian", slice(0, 2)),
        ("categorical", slice(2, 4)),
    ]
    assert split_channels(()) == ()


def test_the_nll_is_negative_where_the_density_exceeds_one():
    sharp = Reading(residual=np.zeros(1), log_sigma=np.log([0.01]))
    assert find_likelihood("gaussian").nll(np, sharp)[0] < 0


def kl_of(mean: list[float], sigma: list[float]) -> float:
    rows = (np.array([mean], dtype=np.float64), np.array([sigma], dtype=np.float64))
    return float(numbers(standard_normal_kl(keras.ops, *rows))[0])


@pytest.mark.parametrize(("mean", "sigma"), [(0.0, 1.0), (2.0, 0.3), (-8.0, 1.7), (0.5, 1e-3)])
def test_the_kl_equals_its_integral(mean, sigma):
    posterior, prior = stats.norm(mean, sigma), stats.norm()
    codes = mean + sigma * np.linspace(-12, 12, 20_001)
    gap = posterior.pdf(codes) * (posterior.logpdf(codes) - prior.logpdf(codes))
    assert kl_of([mean], [sigma]) == pytest.approx(integrate.trapezoid(gap, codes), abs=1e-6)


def test_the_kl_adds_up_over_latent_units():
    apart = [kl_of([m], [s]) for m, s in ((1.0, 0.5), (-3.0, 2.0), (0.0, 1.0))]
    assert kl_of([1.0, -3.0, 0.0], [0.5, 2.0, 1.0]) == pytest.approx(sum(apart))


def test_the_kl_is_zero_at_the_prior_alone_and_is_never_clamped():
    # PyOD clamps the KL to 0 by default: the code is then free and nothing is regularised
    assert kl_of([0.0], [1.0]) == 0.0
    assert kl_of([1e-2], [1.0]) == pytest.approx(0.5e-4)
    assert kl_of([9.0], [1.0]) == pytest.approx(40.5)
    assert kl_of([1e4], [1.0]) == pytest.approx(0.5e8)


def test_a_mean_squared_error_with_a_weighted_kl_is_a_gaussian_of_one_sigma():
    rng, beta, width = np.random.default_rng(0), 1e-2, 6
    sigma = squared_error_sigma(width, beta=beta)
    differences = []
    for _ in range(5):
        error, kl = rng.normal(size=width), float(rng.exponential())
        reading = Reading(residual=error / sigma, log_sigma=np.full(width, np.log(sigma)))
        likelihood = find_likelihood("gaussian").nll(np, reading).sum() + kl
        squared = np.mean(error**2) + beta * kl
        differences.append(squared - 2 * sigma**2 / width * likelihood)
    np.testing.assert_allclose(differences, differences[0])  # a constant, whatever the error
