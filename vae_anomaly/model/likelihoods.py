"""The likelihoods: the density of one reading given its decoded parameters, in nats.

Every formula is written once, against the names that NumPy and `keras.ops` share (`ops`), and
serves training, scoring in Keras, the ONNX graph and NumPy alike.

| symbol | name in code | shape | unit |
|---|---|---|---|
| x | `value` | `(..., channels)` | that of the channel |
| mu, sigma | `location`, exp(`log_sigma`) | `(..., channels)` | that of the channel |
| r = (x - mu) / sigma | `residual` | `(..., channels)` | none |
| w = step / (2 sigma) | `half_step` | `(..., channels)` | none |
| m, s | `mean`, `sigma` | `(rows, latent)` | none |

A channel holds what the network sees of a sensor: the reading itself, its log, or its state.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vae_anomaly.domain import FloatArray
from vae_anomaly.model.special import HALF_LOG_TWO_PI, log_factorial, log_mass

QUESTION_BETA = 1e-4
"""Weight of the KL term beside a mean squared error, as the question of this project had it."""

STUDENT_DEGREES = 4.0
"""Degrees of freedom of the Student-t, fixed: heavy tails, and still a finite variance. A residual
of 10 costs 8 nats where a Gaussian has 50."""

LOGIT_GAIN = 8.0
"""A state is decoded as logit = 8 (mu - 1/2), so that the linear start, where mu is the expected
state, already gives probabilities near mu: 0.02 at 0, a half at a half, 0.98 at 1."""

MAX_LOGIT = 30.0
"""Largest logit; no state is less likely than exp(-30), or exp(-60) beside another one."""

LOG_RATE_RANGE = (-20.0, 30.0)

COUNT_OFFSET = 0.5
"""The channel of a count holds log(count + 1/2)."""

Pair = tuple[FloatArray, FloatArray]
Step = FloatArray | float


@dataclass(frozen=True)
class Reading:
    """Readings of channels beside what was decoded for them; arrays, tensors or graph terms.

    Attributes:
        residual: (x - mu) / sigma.
        log_sigma: Log of sigma.
        value: x, in the unit of the channel.
        location: mu, same unit.
        half_step: Half the quantisation step over sigma.
        group: 1 where two channels are states of one sensor. Shape `(channels, channels)`.
    """

    residual: Any = None
    log_sigma: Any = None
    value: Any = None
    location: Any = None
    half_step: Any = None
    group: Any = None

    def take(self, part: slice, group: Any) -> Reading:
        """Return some of the channels, with the group that goes with them."""
        return Reading(
            residual=self.residual[..., part],
            log_sigma=self.log_sigma[..., part],
            value=self.value[..., part],
            location=self.location[..., part],
            half_step=self.half_step[..., part],
            group=group,
        )


@dataclass(frozen=True)
class Likelihood:
    """One kind of density.

    Attributes:
        name: Its name in settings.
        nll: Nats per channel of a `Reading`, given `ops`; higher is stranger. Summed over the
            states of a sensor where it has several channels.
        energy: log p(mode) - log p(x) in NumPy, at least 0: what the score adds up.
        moments: Mean and standard deviation in NumPy, from location, sigma and quantisation
            step: of the reading, or of its state.
        parameters: Location and sigma from those, where a level can move the location.
        is_density: Whether its nats are those of a density in raw units, and so shift with the
            unit; others are those of a probability.
        is_on_raw: Whether its channel holds the reading as it is.
    """

    name: str
    nll: Callable[[Any, Reading], Any]
    energy: Callable[[Reading], FloatArray]
    moments: Callable[[FloatArray, FloatArray, Step], Pair]
    parameters: Callable[[FloatArray, FloatArray, Step], Pair] | None = None
    is_density: bool = True
    is_on_raw: bool = True


def gaussian_nll(ops: Any, reading: Reading) -> Any:
    """0.5 r^2 + log sigma + 0.5 log 2 pi.

    Source:
        Kingma and Welling (2014), appendix C.2.
    """
    return 0.5 * ops.square(reading.residual) + reading.log_sigma + HALF_LOG_TWO_PI


def student_t_nll(ops: Any, reading: Reading) -> Any:
    """(nu + 1) / 2 log(1 + r^2 / nu) + log sigma + const, with nu = `STUDENT_DEGREES`.

    Source:
        Takahashi et al. (2018).
    """
    return _student_t_energy(ops, reading) + reading.log_sigma + _STUDENT_CONSTANT


def laplace_nll(ops: Any, reading: Reading) -> Any:
    """|r| + log 2 sigma; sigma is the mean absolute residual."""
    return ops.abs(reading.residual) + reading.log_sigma + math.log(2.0)


def log_normal_nll(ops: Any, reading: Reading) -> Any:
    """Gaussian nats of log x, plus log x: the Jacobian that makes it a density of x."""
    return gaussian_nll(ops, reading) + reading.value


def quantised_nll(ops: Any, reading: Reading) -> Any:
    """-log of the Gaussian mass within half a step of x, plus log step.

    So it is the density of a reading that is even within its step, in nats of the raw unit like
    the others, and the Gaussian itself where sigma is many steps.
    """
    log_step = ops.log(2.0 * reading.half_step) + reading.log_sigma
    return log_step - log_mass(ops, ops.abs(reading.residual), reading.half_step)


def bernoulli_nll(ops: Any, reading: Reading) -> Any:
    """-log of the probability of the state x, 0 or 1, given logit l: log(1 + e^l) - x l."""
    logit = _logit(ops, reading.location)
    excess = ops.maximum(logit, 0.0) - reading.value * logit
    return excess + ops.log1p(ops.exp(-ops.abs(logit)))


def categorical_nll(ops: Any, reading: Reading) -> Any:
    """-log softmax at the state x; a sensor is one channel per state, 1 for x and 0 else.

    Logits are bounded, so that the sum over the states of a sensor needs no shift.
    """
    logit = _logit(ops, reading.location)
    return reading.value * (ops.log(ops.matmul(ops.exp(logit), reading.group)) - logit)


def poisson_nll(ops: Any, reading: Reading) -> Any:
    """Rate - x log rate + log x!, with log rate = mu and x of a channel log(x + 1/2)."""
    count = ops.exp(reading.value) - COUNT_OFFSET
    log_rate = _log_rate(ops, reading.location)
    return ops.exp(log_rate) - count * log_rate + log_factorial(ops, count)


def standard_normal_kl(ops: Any, mean: Any, sigma: Any) -> Any:
    """KL of a diagonal normal from the standard normal, summed over the last axis.

    0.5 sum_j (m_j^2 + s_j^2 - 1 - log s_j^2)

    It holds for every real m and every s > 0, whatever the range of the readings.

    Args:
        ops: `keras.ops`, or NumPy.
        mean: Posterior mean m. Shape `(rows, latent)`.
        sigma: Posterior standard deviation s. Shape `(rows, latent)`.

    Returns:
        Nats per row, at least 0. Shape `(rows,)`.

    Source:
        Kingma and Welling (2014), appendix B.
    """
    return 0.5 * ops.sum(
        ops.square(mean) + ops.square(sigma) - 1.0 - 2.0 * ops.log(sigma), axis=-1
    )


def squared_error_sigma(num_channels: int, *, beta: float) -> float:
    """Return the sigma at which a Gaussian NLL plus KL is a mean squared error plus beta KL.

    With D channels, MSE + beta KL = (2 sigma^2 / D) (NLL + KL) + const where sigma^2 = D beta / 2.

    Example:
        >>> squared_error_sigma(8, beta=1e-4)
        0.02
    """
    return math.sqrt(num_channels * beta / 2)


def _student_t_energy(ops: Any, reading: Reading) -> Any:
    share = ops.square(reading.residual) / STUDENT_DEGREES
    return 0.5 * (STUDENT_DEGREES + 1.0) * ops.log1p(share)


_STUDENT_CONSTANT = (
    math.lgamma(STUDENT_DEGREES / 2)
    - math.lgamma((STUDENT_DEGREES + 1) / 2)
    + 0.5 * math.log(STUDENT_DEGREES * math.pi)
)


def _logit(ops: Any, location: Any) -> Any:
    logit = LOGIT_GAIN * (location - 0.5)
    return ops.minimum(ops.maximum(logit, -MAX_LOGIT), MAX_LOGIT)


def _log_rate(ops: Any, location: Any) -> Any:
    low, high = LOG_RATE_RANGE
    return ops.minimum(ops.maximum(location, low), high)


def _log_normal_energy(reading: Reading) -> FloatArray:
    """0.5 (r + sigma)^2: the mode of x is at log x = mu - sigma^2."""
    energy: FloatArray = 0.5 * np.square(reading.residual + np.exp(reading.log_sigma))
    return energy


def _quantised_energy(reading: Reading) -> FloatArray:
    distance = np.abs(reading.residual)
    at_mode = log_mass(np, np.zeros_like(distance), reading.half_step)
    energy = at_mode - log_mass(np, distance, reading.half_step)
    return np.asarray(np.maximum(energy, 0.0))


def _bernoulli_energy(reading: Reading) -> FloatArray:
    logit = _logit(np, reading.location)
    energy: FloatArray = np.maximum(logit, 0.0) - reading.value * logit
    return energy


def _categorical_energy(reading: Reading) -> FloatArray:
    logit = _logit(np, reading.location)
    of_others = np.where(reading.group > 0, logit[..., None, :], -np.inf)
    energy: FloatArray = reading.value * (of_others.max(axis=-1) - logit)
    return energy


def _poisson_energy(reading: Reading) -> FloatArray:
    log_rate = _log_rate(np, reading.location)
    mode = np.floor(np.exp(log_rate))
    count = np.exp(reading.value) - COUNT_OFFSET
    energy = (mode - count) * log_rate + log_factorial(np, count) - log_factorial(np, mode)
    return np.asarray(np.maximum(energy, 0.0))


def _widen(factor: float) -> Callable[[FloatArray, FloatArray, Step], Pair]:
    return lambda location, sigma, _: (location, factor * sigma)


def _quantised_moments(location: FloatArray, sigma: FloatArray, step: Step) -> Pair:
    return location, np.hypot(sigma, step / math.sqrt(12.0))


def _quantised_parameters(mean: FloatArray, sigma: FloatArray, step: Step) -> Pair:
    return mean, np.sqrt(np.square(sigma) - np.square(step) / 12.0)


def _log_normal_parameters(mean: FloatArray, sigma: FloatArray, _: Step) -> Pair:
    variance = np.log1p(np.square(sigma / mean))
    return np.log(mean) - 0.5 * variance, np.sqrt(variance)


def _log_normal_moments(location: FloatArray, sigma: FloatArray, _: Step) -> Pair:
    variance = np.minimum(np.square(sigma), 50.0)  # beyond it the mean says nothing
    mean = np.exp(np.clip(location + 0.5 * variance, -300.0, 300.0))
    return mean, mean * np.sqrt(np.expm1(variance))


def _state_moments(probability: FloatArray) -> Pair:
    return probability, np.sqrt(probability * (1.0 - probability))


def _bernoulli_moments(location: FloatArray, _: FloatArray, __: Step) -> Pair:
    return _state_moments(1.0 / (1.0 + np.exp(-_logit(np, location))))


def _categorical_moments(location: FloatArray, _: FloatArray, __: Step) -> Pair:
    """Of the states of one sensor, along the last axis."""
    odds = np.exp(_logit(np, location))
    return _state_moments(odds / odds.sum(axis=-1, keepdims=True))


def _poisson_moments(location: FloatArray, _: FloatArray, __: Step) -> Pair:
    rate = np.exp(_log_rate(np, location))
    return rate, np.sqrt(rate)


GAUSSIAN = Likelihood(
    "gaussian", gaussian_nll, lambda one: 0.5 * np.square(one.residual), _widen(1.0), _widen(1.0)
)
_STUDENT_SPREAD = math.sqrt(STUDENT_DEGREES / (STUDENT_DEGREES - 2.0))
_LAPLACE_SPREAD = math.sqrt(2.0)

ALL_LIKELIHOODS = (
    GAUSSIAN,
    Likelihood(
        "student_t",
        student_t_nll,
        lambda one: np.asarray(_student_t_energy(np, one)),
        _widen(_STUDENT_SPREAD),
        _widen(1.0 / _STUDENT_SPREAD),
    ),
    Likelihood(
        "laplace",
        laplace_nll,
        lambda one: np.abs(one.residual),
        _widen(_LAPLACE_SPREAD),
        _widen(1.0 / _LAPLACE_SPREAD),
    ),
    Likelihood(
        "quantised",
        quantised_nll,
        _quantised_energy,
        _quantised_moments,
        _quantised_parameters,
    ),
    Likelihood(
        "log_normal",
        log_normal_nll,
        _log_normal_energy,
        _log_normal_moments,
        _log_normal_parameters,
        is_on_raw=False,
    ),
    Likelihood(
        "poisson",
        poisson_nll,
        _poisson_energy,
        _poisson_moments,
        is_density=False,
        is_on_raw=False,
    ),
    Likelihood(
        "bernoulli",
        bernoulli_nll,
        _bernoulli_energy,
        _bernoulli_moments,
        is_density=False,
        is_on_raw=False,
    ),
    Likelihood(
        "categorical",
        categorical_nll,
        _categorical_energy,
        _categorical_moments,
        is_density=False,
        is_on_raw=False,
    ),
)
"""Every likelihood, in the order in which their channels lie in a network."""

STATES = ("bernoulli", "categorical")
"""Those whose channels hold 0 or 1."""


def find_likelihood(name: str) -> Likelihood:
    """Return the likelihood of a name in `ALL_LIKELIHOODS`."""
    return next(one for one in ALL_LIKELIHOODS if one.name == name)


def split_channels(names: Sequence[str]) -> tuple[tuple[Likelihood, slice], ...]:
    """Return each likelihood with its channels; those of one likelihood lie side by side.

    Example:
        >>> split_channels(["gaussian", "gaussian", "poisson"])[1][1]
        slice(2, 3, None)
    """
    parts, start = [], 0
    for name, run in itertools.groupby(names):
        stop = start + len(list(run))
        parts.append((find_likelihood(name), slice(start, stop)))
        start = stop
    return tuple(parts)
