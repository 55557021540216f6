"""For each likelihood: a sensor that has it, readings to try, and what SciPy says of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from vae_anomaly.domain import FloatArray
from vae_anomaly.model.channels import Channels, ChosenLikelihood
from vae_anomaly.model.likelihoods import ALL_LIKELIHOODS, LOGIT_GAIN, Reading

STEP = 0.5
LEVELS = (-3.0, 0.0, 1.0, 10.0)
LOGITS = np.array([-1.0, 0.5, 2.0, -3.0])
COUNTS = np.arange(0.0, 60.0)
WIDE = np.linspace(-400.0, 400.0, 160_001)


@dataclass(frozen=True)
class Example:
    """A sensor of one likelihood.

    Attributes:
        chosen: The likelihood with its states or its step.
        values: Raw values that cover all the mass there is, rising. Shape `(values,)`.
        location: Decoded location, per channel.
        sigma: Decoded scale.
        log_density: Log density or log probability of raw values, by SciPy.
        is_discrete: Whether mass is summed, not integrated.
    """

    chosen: ChosenLikelihood
    values: FloatArray
    location: FloatArray
    sigma: float
    log_density: Callable[[FloatArray], FloatArray]
    is_discrete: bool = False

    @property
    def channels(self) -> Channels:
        return Channels((self.chosen,))

    def reading(self, values: FloatArray | None = None, *, dtype: type = np.float64) -> Reading:
        """Readings as channels. Shape `(values, channels)`."""
        raw = self.values if values is None else np.asarray(values)
        encoded = self.channels.encode(raw[:, None])
        zeros = np.zeros_like(encoded)
        parts = (
            (encoded - self.location) / self.sigma,
            zeros + np.log(self.sigma),
            encoded,
            zeros + self.location,
            zeros + 0.5 * self.chosen.step / self.sigma,
            np.ones((encoded.shape[-1],) * 2),
        )
        return Reading(*(part.astype(dtype) for part in parts))

    def find(self, function: Callable, values: FloatArray | None = None) -> FloatArray:
        """Return a figure of the likelihood, summed over the channels. Shape `(values,)`."""
        return np.asarray(function(self.reading(values))).sum(axis=-1)


def _quantised(values: FloatArray) -> FloatArray:
    # by the tail that does not cancel
    distance = np.abs(values - 0.2)
    near, far = stats.norm.sf([distance - STEP / 2, distance + STEP / 2], scale=0.7)
    return np.log(near - far) - np.log(STEP)


def _one(name: str, **settings) -> ChosenLikelihood:
    return ChosenLikelihood(name, **settings)


EXAMPLES = (
    Example(_one("gaussian"), WIDE, np.array([3.0]), 2.0, stats.norm(3.0, 2.0).logpdf),
    Example(_one("student_t"), WIDE, np.array([3.0]), 0.5, stats.t(4, 3.0, 0.5).logpdf),
    Example(_one("laplace"), WIDE, np.array([-3.0]), 2.0, stats.laplace(-3.0, 2.0).logpdf),
    Example(
        _one("quantised", step=STEP), STEP * np.arange(-40, 40), np.array([0.2]), 0.7, _quantised
    ),
    Example(
        _one("log_normal"),
        np.exp(np.linspace(-6.0, 9.0, 40_001)),
        np.array([1.5]),
        0.6,
        stats.lognorm(0.6, scale=np.exp(1.5)).logpdf,
    ),
    Example(
        _one("poisson"),
        COUNTS,
        np.array([2.0]),
        1.0,
        stats.poisson(np.exp(2.0)).logpmf,
        is_discrete=True,
    ),
    Example(
        _one("bernoulli", levels=(2.0, 7.0)),
        np.array([2.0, 7.0]),
        np.array([0.7]),
        1.0,
        lambda values: stats.bernoulli(special.expit(LOGIT_GAIN * 0.2)).logpmf(values == 7.0),
        is_discrete=True,
    ),
    Example(
        _one("categorical", levels=LEVELS),
        np.array(LEVELS),
        LOGITS / LOGIT_GAIN + 0.5,
        1.0,
        lambda values: special.log_softmax(LOGITS)[np.searchsorted(LEVELS, values)],
        is_discrete=True,
    ),
)
"""One per member of `ALL_LIKELIHOODS`, in their order."""

BY_NAME = {example.chosen.name: example for example in EXAMPLES}
MEMBERS = [(one, BY_NAME[one.name]) for one in ALL_LIKELIHOODS]
