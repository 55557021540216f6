"""What the report page is made from."""

from __future__ import annotations

from dataclasses import dataclass, field

import pyarrow as pa

from vae_anomaly.domain import (
    AlertEvent,
    Calibration,
    Contract,
    FloatArray,
    HealthCheck,
    Quality,
    Readings,
    TrainingCurves,
)
from vae_anomaly.operations.report_promotions import PromotionLine


@dataclass(frozen=True)
class ReportInput:
    """Everything the report page shows, as plain values.

    Attributes:
        title: Heading of the page.
        model_name: Registered name of the detector.
        model_version: Its version.
        contract: What the readings look like.
        readings: The scored rows, by asset and time, row-aligned with `scores`.
        scores: The scores table, with `label_anomaly` where there is truth.
        mean: What the decoder expects, raw units, NaN where nothing. Shape `(rows, sensors)`.
        sigma: Standard deviation of that, raw units. Shape `(rows, sensors)`.
        events: Alert events of all assets.
        calibrations: Calibration of each asset.
        curves: How training went.
        health: Figures of the detector's health.
        quality: What was found in the raw readings.
        baseline: Held-out NLL by name of the model, nats per row; lower is better.
        likelihoods: Likelihood by name of sensor, of those in the network.
        promotions: Latest decisions about the champion, the newest first.
    """

    title: str
    model_name: str
    model_version: str
    contract: Contract
    readings: Readings
    scores: pa.Table
    mean: FloatArray
    sigma: FloatArray
    events: tuple[AlertEvent, ...]
    calibrations: dict[str, Calibration]
    curves: TrainingCurves
    health: tuple[HealthCheck, ...]
    quality: Quality
    baseline: dict[str, float]
    likelihoods: dict[str, str] = field(default_factory=dict)
    promotions: tuple[PromotionLine, ...] = ()


def find_unit(report: ReportInput, name: str) -> str:
    """Find the unit of a sensor, empty where the contract gives none."""
    units = {sensor.name: sensor.unit for sensor in report.contract.sensors}
    return units.get(name) or ""
