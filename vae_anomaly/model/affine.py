"""The float64 affine that turns raw units into units of each sensor's own spread."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vae_anomaly.domain import FloatArray

WINSOR_SHARE = 0.01
"""Share cut at each end for the spread that tells what an outlier is."""

OUTLIER_SPREADS = 100.0
"""Readings farther than this many spreads from the median count no more than one at that
distance: an undeclared sentinel must not blind its sensor. A nearer limit is worse: spikes and
rare switching are what a sensor does (docs/science/density.md has the figures)."""


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

    loc is the median and |scale| the standard deviation, with readings beyond
    `OUTLIER_SPREADS` winsorised standard deviations drawn in to that distance.

    Args:
        values: Raw values, NaN where missing, no sensor constant. Shape `(rows, sensors)`.

    Returns:
        The affine. Under x -> a x + b its h does not change.
    """
    shares = [WINSOR_SHARE, 0.5, 1 - WINSOR_SHARE]
    low, loc, high = np.nanquantile(values, shares, axis=0)
    centred = values - loc
    spread = np.nanstd(np.clip(centred, low - loc, high - loc), axis=0)
    # a sensor that moves less often than the share cut off has no outliers to speak of
    limit = np.where(spread > 0, OUTLIER_SPREADS * spread, np.inf)
    scale = np.nanstd(np.clip(centred, -limit, limit), axis=0)
    return Affine(loc=loc, scale=scale * _orientation(centred / scale))


def _orientation(scaled: FloatArray) -> FloatArray:
    """Return +1 or -1 per sensor, turning with the sign of the sensor's gain."""
    skew = np.nansum(scaled**3, axis=0)
    first_moved = np.argmax(np.nan_to_num(scaled) != 0, axis=0)
    fallback = scaled[first_moved, np.arange(scaled.shape[1])]
    size = np.nansum(np.abs(scaled) ** 3, axis=0)
    decided = np.abs(skew) > 1e-6 * size
    return np.where(np.where(decided, skew, fallback) < 0, -1.0, 1.0)
