"""Readings of one sensor of each likelihood, all driven by one hidden factor."""

from __future__ import annotations

import numpy as np

from vae_anomaly.domain import FloatArray

SENSORS = (
    "poisson",
    "gaussian",
    "categorical",
    "laplace",
    "bernoulli",
    "log_normal",
    "student_t",
    "quantised",
)
"""Sensors named after their likelihoods, in another order than that of their channels."""


def make_mixed(num_rows: int = 400, *, seed: int = 0) -> FloatArray:
    rng = np.random.default_rng(seed)
    load = rng.normal(size=num_rows)

    def noisy() -> FloatArray:
        return load + 0.2 * rng.normal(size=num_rows)

    columns = {
        "gaussian": noisy(),
        "student_t": 1e5 * (load + 0.2 * rng.standard_t(4, size=num_rows)),
        "laplace": 1e-3 * (load + 0.2 * rng.laplace(size=num_rows)),
        "quantised": np.round(noisy() / 0.5) * 0.5,
        "log_normal": 40.0 * np.exp(0.5 * noisy()),
        "poisson": rng.poisson(np.exp(load + 1.5)).astype(np.float64),
        "bernoulli": np.where(noisy() > 0.0, 7.0, 3.0),
        "categorical": 10.0 * np.digitize(noisy(), [-1.0, 0.0, 1.0]),
    }
    return np.column_stack([columns[name] for name in SENSORS])
