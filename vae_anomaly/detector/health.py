"""Health of a fitted detector: figures with limits, shown wherever the detector is shown."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vae_anomaly.detector.attribution import HitRates
from vae_anomaly.detector.baseline import BaselineFit
from vae_anomaly.domain import FloatArray, HealthCheck

MIN_ACTIVE_UNITS = 1
MAX_FLOOR_SHARE = 0.5
COVERAGE_SIGMAS = 2.0
MIN_COVERAGE = 0.80
"""A Gaussian has 95.4 % of its readings within 2 sigma; far fewer means that sigma is too small
on readings the network did not see."""

FLOOR_MARGIN = 1.01
"""A sigma within 1 % of its floor counts as at the floor."""


@dataclass(frozen=True)
class HeldOutFit:
    """Held-out readings beside what the decoder expected of them, modelled sensors only.

    Attributes:
        values: Raw values, NaN where missing. Shape `(rows, sensors)`.
        mean: Expected values. Shape `(rows, sensors)`.
        sigma: Standard deviations, raw units. Shape `(rows, sensors)`.
        floor: Their lower bounds, raw units. Shape `(sensors,)`.
    """

    values: FloatArray
    mean: FloatArray
    sigma: FloatArray
    floor: FloatArray


def check_health(
    fit: HeldOutFit, baseline: BaselineFit, attribution: HitRates, *, active_units: int
) -> tuple[HealthCheck, ...]:
    """Judge a fitted detector on held-out readings.

    Args:
        fit: Held-out readings and expectations.
        baseline: VAE and PCA on the same rows.
        attribution: How often the sensor to blame got the blame.
        active_units: Active latent units at the end of training.

    Returns:
        The figures; one without a limit always passes.
    """
    at_floor = float(np.mean(fit.sigma <= FLOOR_MARGIN * fit.floor))
    within = np.abs(fit.values - fit.mean) <= COVERAGE_SIGMAS * fit.sigma
    coverage = _mean_where(within, np.isfinite(fit.values))
    gain = baseline.pca_nll - baseline.vae_nll
    return (
        HealthCheck(
            "active_units",
            float(active_units),
            f"at least {MIN_ACTIVE_UNITS}",
            active_units >= MIN_ACTIVE_UNITS,
            "Latent units in use; none means that the code was ignored (collapse).",
        ),
        HealthCheck(
            "sigma_at_floor_share",
            at_floor,
            f"at most {MAX_FLOOR_SHARE:g}",
            at_floor <= MAX_FLOOR_SHARE,
            "Share of predicted sigmas at their lower bound; many mean redundant sensors.",
        ),
        HealthCheck(
            "two_sigma_coverage",
            coverage,
            f"at least {MIN_COVERAGE:g} (a Gaussian has 0.954)",
            coverage >= MIN_COVERAGE,
            "Share of held-out readings inside the mean plus or minus 2 sigma.",
        ),
        HealthCheck(
            "pit_distance",
            _find_pit_distance(fit),
            "",
            passed=True,
            meaning="How far held-out readings are from normal about their mean and sigma: "
            "distance of their probabilities from uniform (0 is calibrated, 1 the worst).",
        ),
        HealthCheck(
            "median_r_squared",
            _median_r_squared(fit),
            "",
            passed=True,
            meaning="Held-out variance of a sensor that the mean explains, median over sensors.",
        ),
        HealthCheck(
            "gain_over_pca_nats",
            gain,
            "above 0, where there are complete held-out rows to compare on",
            not gain <= 0,
            "Held-out NLL of PCA less that of the VAE, per row; below 0 PCA fits better.",
        ),
        HealthCheck(
            "attribution_top_1",
            attribution.top_1,
            "",
            passed=True,
            meaning="Share of faults injected into one sensor that blame it before all others.",
        ),
        HealthCheck(
            "attribution_top_3",
            attribution.top_3,
            "",
            passed=True,
            meaning="Share of such faults with that sensor among the first three.",
        ),
    )


def _mean_where(value: FloatArray | np.ndarray, chosen: np.ndarray) -> float:
    return float(value[chosen].mean()) if chosen.any() else math.nan


def _find_pit_distance(fit: HeldOutFit) -> float:
    """Find the Kolmogorov distance of the probability integral transform from uniform.

    Source:
        Gneiting, Balabdaoui and Raftery (2007), section 3.1.
    """
    from scipy import special

    residual = ((fit.values - fit.mean) / fit.sigma)[np.isfinite(fit.values)]
    if not len(residual):
        return math.nan
    share = special.ndtr(np.sort(residual))
    num = len(share)
    above = np.arange(1, num + 1) / num - share
    return float(max(above.max(), (share - np.arange(num) / num).max()))


def _median_r_squared(fit: HeldOutFit) -> float:
    seen = np.isfinite(fit.values)
    residual = np.where(seen, fit.values - fit.mean, 0.0)
    count = np.maximum(seen.sum(axis=0), 1)
    centre = np.where(seen, fit.values, 0.0).sum(axis=0) / count
    spread = np.where(seen, fit.values - centre, 0.0)
    total = (spread**2).sum(axis=0)
    moves = total > 0
    if not moves.any():
        return math.nan
    return float(np.median(1.0 - (residual**2).sum(axis=0)[moves] / total[moves]))
