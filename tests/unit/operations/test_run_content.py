"""What a run says of a detector."""

import json
import math
from dataclasses import replace

import pytest

from vae_anomaly.domain import Calibration
from vae_anomaly.operations.run_content import (
    list_curve_steps,
    make_curve_points,
    make_metrics,
    make_parameters,
    make_tables,
)


@pytest.fixture(scope="module")
def record(detector):
    return detector.record


def make_calibration(threshold, *, provisional=False):
    return Calibration(
        "quantile", threshold, None, 0.01, 0.01, 0.001, 0.02, 100, 50.0, 6e3, provisional
    )


def test_settings_and_facts_are_flat_parameters(record):
    parameters = make_parameters(record)
    assert parameters["model.window"] == str(record.config.model.window)
    assert parameters["preset"] == "default"
    assert parameters["readings.units"] == "{}"
    assert parameters["training.seed"] == "0"
    assert parameters["version.keras"] == record.facts.versions["keras"]
    assert json.loads(parameters["contract.sensors"]) == list(record.contract.sensor_names)
    assert all(isinstance(value, str) for value in parameters.values())


def test_health_baseline_and_calibration_are_metrics(record):
    metrics = make_metrics(record)
    for check in record.health:
        assert metrics[f"health.{check.name}"] == check.value
    assert metrics["baseline.pca_nll_nats"] == record.baseline["pca_nll_nats"]
    assert metrics["calibration.num_assets"] == 1.0


def test_a_fleet_is_summed_up(record):
    calibrations = {
        "a": make_calibration(1.0),
        "b": make_calibration(5.0, provisional=True),
        "c": make_calibration(2.0),
    }
    metrics = make_metrics(replace(record, calibrations=calibrations))
    assert metrics["calibration.num_provisional"] == 1.0
    assert metrics["calibration.threshold_median"] == 2.0
    assert metrics["calibration.threshold_max"] == 5.0


def test_curves_end_at_the_last_optimiser_step(record):
    steps = list_curve_steps(record)
    assert steps[-1] == record.facts.num_steps
    assert list(steps) == sorted(set(steps))
    points = make_curve_points(record)
    assert {point.name for point in points} == {
        "training.nll",
        "training.kl",
        "training.held_out_nll",
        "training.active_units",
    }
    assert len(points) == 4 * len(steps)


def test_a_curve_that_was_not_recorded_is_left_out(record):
    curves = replace(record.curves, held_out_nll=())
    points = make_curve_points(replace(record, curves=curves))
    assert "training.held_out_nll" not in {point.name for point in points}


def test_tables_are_strict_json(record):
    first, *others = record.profiles
    odd = replace(first, minimum=math.nan, suggested_sentinels=(-999.0, 1e6))
    tables = make_tables(replace(record, profiles=(odd, *others)))
    for table in tables.values():
        json.dumps(table.rows, allow_nan=False)
        assert all(len(row) == len(table.columns) for row in table.rows)
    profile = dict(
        zip(tables["data_profile"].columns, tables["data_profile"].rows[0], strict=True)
    )
    assert profile["minimum"] is None
    assert profile["suggested_sentinels"] == "-999.0, 1000000.0"
    assert tables["calibration"].columns[:3] == ("asset", "method", "threshold")
