"""A detector without a network: every sensor normal with mean 0 and sigma 1, KL 0.5 nats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from vae_anomaly.config import AlertConfig, DetectorConfig, ThresholdConfig
from vae_anomaly.detector.channels import ChannelLimits
from vae_anomaly.detector.record import FORMAT, DetectorRecord, TrainingFacts
from vae_anomaly.detector.rules import RuleLimits
from vae_anomaly.domain import (
    Calibration,
    Contract,
    FloatArray,
    HealthCheck,
    Sensor,
    TrainingCurves,
)
from vae_anomaly.model.density import Density
from vae_anomaly.model.engine import Decoded
from vae_anomaly.model.roles import SensorRoles
from vae_anomaly.readings.quality import profile_sensors

SENSORS = ("flow", "pressure")
KL = 0.5
PERIOD_S = 60.0
START_US = 1_750_000_000_000_000
STEP_US = 60_000_000
NAN = float("nan")
INF = float("inf")
NO_RULES = RuleLimits((0, 0), (-INF, -INF), (INF, INF), (INF, INF))


class StandardNormal:
    """An engine whose every channel is standard normal, whatever came before."""

    def decode(self, values: FloatArray, observed: FloatArray) -> Decoded:
        last, seen = values[:, -1, :], observed[:, -1, :]
        nll = 0.5 * last**2 + 0.5 * np.log(2 * np.pi)
        ones = np.ones_like(last)
        return Decoded(seen * nll, np.full(len(last), KL), 0 * ones, ones)


def make_density() -> Density:
    roles = SensorRoles((0, 1), (), (), (), (0.0, 0.0))
    return Density(roles, 1, {}, StandardNormal())


def make_calibration(threshold: float) -> Calibration:
    return Calibration("test", threshold, None, 0.01, 0.01, 0.0, 0.02, 100, 50.0, 6e3, False)


def make_record(
    thresholds: dict[str, float] | None = None,
    *,
    asset: str | None = None,
    smoothing_steps: int = 1,
    normal_level: float = 1.0,
) -> DetectorRecord:
    thresholds = thresholds or {"asset": 5.0}
    energy = (1.0,) if smoothing_steps == 1 else (1e300, 1.0)  # the span asked for, no other
    return DetectorRecord(
        format=FORMAT,
        config=DetectorConfig(
            threshold=ThresholdConfig(smoothing_steps=smoothing_steps, shift_steps=0),
            alerts=AlertConfig(merge_steps=2, min_steps=1),
        ),
        contract=Contract(tuple(Sensor(name) for name in SENSORS), PERIOD_S, asset=asset),
        profiles=profile_sensors(np.full((3, 2), NAN), sensors=[Sensor(n) for n in SENSORS]),
        roles=make_density().roles,
        offsets={},
        normal_level=normal_level,
        normal_contribution=(0.9, NAN),
        shift_model=None,
        rule_limits=NO_RULES,
        limits=dict.fromkeys(thresholds, ChannelLimits(energy=energy, shift=1.0)),
        calibrations={name: make_calibration(value) for name, value in thresholds.items()},
        fallback=min(thresholds, key=lambda name: thresholds[name]),
        health=(HealthCheck("gain_over_pca_nats", NAN, "above 0", True, "A figure."),),
        baseline={"pca_nll_nats": NAN, "vae_nll_nats": float("-inf"), "num_rows": 0.0},
        curves=TrainingCurves((1.0,), (2.5,), (0.5,), (), (2,)),
        facts=TrainingFacts(0, "none", 2, 200, 100, 20, 0, 1, 2, {"numpy": "2"}),
        files={},
    )


def make_table(
    flow: Sequence[float | None],
    pressure: Sequence[float | None] | None = None,
    *,
    ticks: Sequence[int | None] | None = None,
    assets: Sequence[str | None] | None = None,
) -> pa.Table:
    """Readings once a minute; `ticks` are the minutes."""
    ticks = list(range(len(flow))) if ticks is None else ticks
    times = [None if tick is None else START_US + tick * STEP_US for tick in ticks]
    columns = {"timestamp": pa.array(times, pa.int64()).cast(pa.timestamp("us", "UTC"))}
    if assets is not None:
        columns["asset"] = pa.array(assets, pa.string())
    columns["flow"] = pa.array(flow, pa.float64())
    columns["pressure"] = pa.array([0.0] * len(flow) if pressure is None else pressure)
    return pa.table(columns)


def with_files(record: DetectorRecord, files: dict[str, str]) -> DetectorRecord:
    return replace(record, files=files)
