"""What an MLflow run says of a detector: parameters, metrics, curves and tables."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from vae_anomaly.detector.record import DetectorRecord


@dataclass(frozen=True)
class CurvePoint:
    """One point of a training curve.

    Attributes:
        name: The curve.
        value: Its value.
        step: Optimiser steps done by then.
    """

    name: str
    value: float
    step: int


@dataclass(frozen=True)
class Table:
    """A small table of plain values; None where a number is not finite."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


def make_parameters(record: DetectorRecord) -> dict[str, str]:
    """Return settings and facts under dotted names, such as `model.window`, as text or JSON."""
    parameters: dict[str, str] = {}
    for name, value in record.config.model_dump(mode="json").items():
        settings = value if isinstance(value, dict) else {"": value}
        for key, setting in settings.items():
            parameters[f"{name}.{key}".rstrip(".")] = _write(setting)
    facts = asdict(record.facts)
    versions = facts.pop("versions")
    parameters |= {f"training.{name}": _write(value) for name, value in facts.items()}
    parameters |= {f"version.{name}": value for name, value in versions.items()}
    parameters["contract.sensors"] = _write(record.contract.sensor_names)
    parameters["contract.period_s"] = _write(record.contract.period_s)
    return parameters


def make_metrics(record: DetectorRecord) -> dict[str, float]:
    """Return health, baseline and calibration as figures to compare runs by.

    Calibration is summed up over the assets; the table of calibrations has each of them.
    """
    metrics = {f"health.{check.name}": float(check.value) for check in record.health}
    metrics["health.num_failed"] = float(sum(not check.passed for check in record.health))
    metrics |= {f"baseline.{name}": value for name, value in record.baseline.items()}
    calibrations = list(record.calibrations.values())
    metrics |= {
        "calibration.num_assets": float(len(calibrations)),
        "calibration.num_provisional": float(sum(one.provisional for one in calibrations)),
        "calibration.threshold_median": float(np.median([one.threshold for one in calibrations])),
        "calibration.threshold_max": max(one.threshold for one in calibrations),
        "calibration.expected_rate_max": max(one.expected_rate for one in calibrations),
        "calibration.rate_high_max": max(one.rate_high for one in calibrations),
        "calibration.effective_steps_min": min(one.effective_steps for one in calibrations),
    }
    return metrics


def make_curve_points(record: DetectorRecord) -> tuple[CurvePoint, ...]:
    """Return the training curves, point by point."""
    curves = record.curves
    steps = list_curve_steps(record)
    columns = {
        "nll": curves.nll,
        "kl": curves.kl,
        "held_out_nll": curves.held_out_nll,
        "active_units": curves.active_units,
    }
    return tuple(
        CurvePoint(f"training.{name}", float(value), step)
        for name, values in columns.items()
        for step, value in zip(steps, values, strict=False)  # held-out may be empty
    )


def list_curve_steps(record: DetectorRecord) -> tuple[int, ...]:
    """Return the optimiser steps done at each point of the curves, which are evenly spread."""
    num_points = len(record.curves.nll)
    return tuple(record.facts.num_steps * i // num_points for i in range(1, num_points + 1))


def make_tables(record: DetectorRecord) -> dict[str, Table]:
    """Return the tables of a run by name: data profile, health, calibration per asset."""
    return {
        "data_profile": _make_table(
            [
                asdict(profile) | {"likelihood": record.likelihoods.get(profile.name, "")}
                for profile in record.profiles
            ]
        ),
        "health": _make_table([asdict(check) for check in record.health]),
        "calibration": _make_table(
            [{"asset": asset} | asdict(one) for asset, one in record.calibrations.items()]
        ),
    }


def _make_table(rows: list[dict[str, Any]]) -> Table:
    return Table(
        tuple(rows[0]), tuple(tuple(_show(cell) for cell in row.values()) for row in rows)
    )


def _show(value: Any) -> Any:
    if isinstance(value, tuple):
        return ", ".join(str(item) for item in value)
    is_number = isinstance(value, float)
    return None if is_number and not math.isfinite(value) else value


def _write(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
