"""The float64 affine that turns raw units into units of each sensor's own spread."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vae_anomaly.domain import FloatArray

IQR_OF_UNIT_NORMAL = 1.3489795003921634
"""Interquartile range of a standard normal, 2 Phi^-1(3/4)."""

WINSOR_SHARE = 0.01
"""Share cut at each end before the spread that guards against a too small IQR is taken."""

MIN_IQR_TO_SPREAD = 0.2
"""A sensor that idles most of the time has a tiny IQR; its scale is at least this share of
its winsorised standard deviation, so that its working mode stays within tens of scales."""


@dataclass(frozen=True)
class Affine:
    """x = loc + scale * h, per sensor, in float64.

    `scale` carries a sign that makes h skew to the right, so that a sensor wired the other way
    round (a negative gain) gives the same h and therefore the same model.

    Attributes:
        loc: Middle of each sensor, in raw units. Shape `(sensors,)`.
        scale: Signed spread of each sensor, in raw units, never 0. Shape `(sensors,)`.
    """

    loc: FloatArray
    scale: FloatArray

    def apply(self, values: FloatArray) -> FloatArray:
        """Return h = (x - loc) / scale; NaN stays NaN."""
        return (values - self.loc) / self.scale


def fit_affine(values: FloatArray) -> Affine:
    """Fit location and scale of each sensor on training readings.

    loc is the median and |scale| the interquartile range over 1.349, at least
    `MIN_IQR_TO_SPREAD` of the winsorised standard deviation, or else the standard deviation.

    Args:
        values: Raw values, NaN where missing, no sensor constant. Shape `(rows, sensors)`.

    Returns:
        The affine. Under x -> a x + b its h does not change.
    """
    low, first, loc, third, high = np.nanquantile(
        values, [WINSOR_SHARE, 0.25, 0.5, 0.75, 1 - WINSOR_SHARE], axis=0
    )
    centred = values - loc
    spread = np.nanstd(np.clip(centred, low - loc, high - loc), axis=0)
    scale = np.maximum((third - first) / IQR_OF_UNIT_NORMAL, MIN_IQR_TO_SPREAD * spread)
    scale = np.where(scale > 0, scale, np.nanstd(centred, axis=0))
    return Affine(loc=loc, scale=scale * _orientation(centred / scale))


def _orientation(scaled: FloatArray) -> FloatArray:
    """Return +1 or -1 per sensor, turning with the sign of the sensor's gain."""
    skew = np.nansum(scaled**3, axis=0)
    first_moved = np.argmax(np.nan_to_num(scaled) != 0, axis=0)
    fallback = scaled[first_moved, np.arange(scaled.shape[1])]
    size = np.nansum(np.abs(scaled) ** 3, axis=0)
    decided = np.abs(skew) > 1e-6 * size
    return np.where(np.where(decided, skew, fallback) < 0, -1.0, 1.0)
