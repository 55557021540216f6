"""The densities of one reading given its decoded parameters, in nats.

| symbol | name in code | shape | unit |
|---|---|---|---|
| (x - mu) / sigma | `residual` | `(..., channels)` | none |
| log sigma | `log_sigma` | `(..., channels)` | log of the unit of x |
| m, s | `mean`, `sigma` | `(rows, latent)` | none |
"""

from __future__ import annotations

import math
from typing import Any

from keras import ops

HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)

QUESTION_BETA = 1e-4
"""Weight of the KL term beside a mean squared error, as the question of this project had it."""


def gaussian_nll(residual: Any, log_sigma: Any) -> Any:
    """Negative log density of a Gaussian whose mean and scale are both decoded.

    (x - mu)^2 / (2 sigma^2) + log sigma + 0.5 log 2 pi

    Args:
        residual: Standardised residual (x - mu) / sigma.
        log_sigma: Log of sigma in the unit of x, same shape.

    Returns:
        Nats per value, higher is stranger; negative where the density exceeds 1.

    Source:
        Kingma and Welling (2014), appendix C.2.
    """
    return 0.5 * ops.square(residual) + log_sigma + HALF_LOG_TWO_PI


def standard_normal_kl(mean: Any, sigma: Any) -> Any:
    """KL of a diagonal normal from the standard normal, summed over the last axis.

    0.5 sum_j (m_j^2 + s_j^2 - 1 - log s_j^2)

    It holds for every real m and every s > 0, whatever the range of the readings.

    Args:
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
