"""Special functions that neither ONNX nor `keras.ops` has, from what they share with NumPy.

`ops` is NumPy, `keras.ops` or the terms of an ONNX graph.
"""

from __future__ import annotations

import math
from typing import Any

HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)

ERFC_TERMS = (
    0.17087277,
    -0.82215223,
    1.48851587,
    -1.13520398,
    0.27886807,
    -0.18628806,
    0.09678418,
    0.37409196,
    1.00002368,
    -1.26551223,
)
"""Chebyshev fit of log(erfc(x) exp(x^2) / t) in t = 1 / (1 + x / 2), relative error 1.2e-7 for
every x >= 0, also far out. Press et al. (1992), Numerical Recipes in C, section 6.2."""


def log_mass(ops: Any, distance: Any, half_step: Any) -> Any:
    """Log of the standard normal mass in [distance - half_step, distance + half_step].

    1 - Q(near) - Q(far) where the interval holds 0, and Q(near) - Q(far) where it does not, so
    that neither cancels; Q is the upper tail, its log exact far out.
    """
    holds_zero = distance < half_step
    near = log_upper_tail(ops, ops.abs(distance - half_step))
    far = log_upper_tail(ops, distance + half_step)
    inside = ops.log1p(-(ops.exp(near) + ops.exp(far)))
    # what is not chosen must be finite too, or its gradient would be NaN
    # and far out, where both tails are one number, the bound of their ratio tells them apart
    ratio = ops.minimum(far - near, -2.0 * distance * half_step)
    apart = ops.where(holds_zero, near * 0.0 - 1.0, ratio)
    return ops.where(holds_zero, inside, near + ops.log1p(-ops.exp(apart)))


def log_upper_tail(ops: Any, bound: Any) -> Any:
    """Log P(Z > bound) of a standard normal Z, for bound >= 0."""
    share = 1.0 / (1.0 + bound * (0.5 / math.sqrt(2.0)))
    fit = share * ERFC_TERMS[0]
    for term in ERFC_TERMS[1:-1]:
        fit = share * (fit + term)
    return ops.log(share) + fit + (ERFC_TERMS[-1] - math.log(2.0)) - 0.5 * ops.square(bound)


def log_factorial(ops: Any, count: Any) -> Any:
    """Log x! by Stirling's series at x + 4, absolute error 3e-9 for every x >= 0."""
    far = count + 4.0
    part = 1.0 / ops.square(far)
    series = (1 / 12 - part * (1 / 360 - part * (1 / 1260 - part * (1 / 1680)))) / far
    shifted = (far - 0.5) * ops.log(far) - far + HALF_LOG_TWO_PI + series
    return shifted - ops.log((count + 1.0) * (count + 2.0) * (count + 3.0))
