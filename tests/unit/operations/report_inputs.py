"""Made-up inputs for the report page: a pumping station with two faults, and variations of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa

from vae_anomaly.domain import (
    AlertEvent,
    Calibration,
    Contract,
    FloatArray,
    HealthCheck,
    Quality,
    Readings,
    Sensor,
    SensorKind,
    SensorProfile,
    SensorQuality,
    TrainingCurves,
)
from vae_anomaly.operations.report import ReportInput
from vae_anomaly.readings.series_quality import measure_series

PERIOD_S = 60.0
START_US = 1_709_251_200_000_000  # 2024-03-01 00:00 UTC
STEP_US = 60_000_000
SENSORS = (
    Sensor("suction_pressure", "Pa"),
    Sensor("discharge_pressure", "Pa"),
    Sensor("flow", "m³/h"),
    Sensor("motor_current", "A"),
    Sensor("bearing_temperature", "°C"),
    Sensor("vibration", "mm/s"),
    Sensor("valve_open"),
    Sensor("dead_sensor", "V"),
)
LEVELS = np.array([101_325.0, 512_000.0, 84.0, 17.5, 58.0, 1.9, 1.0, 0.0])
SPREADS = np.array([900.0, 14_000.0, 4.0, 0.9, 2.5, 0.18, 0.0, 0.0])
KINDS = (SensorKind.CONTINUOUS,) * 6 + (SensorKind.BINARY, SensorKind.EMPTY)
FAULTS = ((0.42, 0.012, (2, 1), 9.0), (0.78, 0.03, (4, 5), 6.0))
"""Place and length as shares of the rows, sensors hit, height in sigmas."""


EVIL = (
    "<script>alert(1)</script>",
    "a\"b'c",
    "</script><img src=x onerror=alert(2)>",
    "%{x}$x^2$",
    "<b>bold</b>&amp;",
    "{{ 7 * 7 }}",
    "valve " * 30,
    "@accent",
)
"""Names by somebody who means harm, one for each sensor."""


def make_report_input(
    *, num_rows: int = 4000, assets: tuple[str, ...] = ("pump-07",), seed: int = 0
) -> ReportInput:
    """Make a report of so many rows for each asset; the same seed gives the same report."""
    rng = np.random.default_rng(seed)
    parts = [_make_asset(rng, num_rows) for _ in assets]
    values, mean, sigma = (np.concatenate([part[place] for part in parts]) for place in range(3))
    contribution = 0.5 * ((values - mean) / sigma) ** 2 + np.log(sigma)
    contribution = np.nan_to_num(contribution)
    timestamps = np.tile(START_US + STEP_US * np.arange(num_rows, dtype=np.int64), len(assets))
    timestamps += np.tile((np.arange(num_rows) > 0.6 * num_rows) * 240 * STEP_US, len(assets))
    readings = Readings(
        timestamps=timestamps,
        asset_codes=np.repeat(np.arange(len(assets), dtype=np.int64), num_rows),
        asset_names=assets,
        values=values,
        sensors=tuple(sensor.name for sensor in SENSORS),
    )
    scores = make_scores(readings, contribution, kl=rng.gamma(2.0, 0.4, size=values.shape[0]))
    return ReportInput(
        title="Pumping station north, March 2024",
        model_name="pumping-station",
        model_version="3",
        contract=Contract(SENSORS, PERIOD_S, asset="asset", ignored={"operator": "text"}),
        readings=readings,
        scores=scores,
        mean=mean,
        sigma=sigma,
        events=tuple(e for name in assets for e in _make_events(name, readings, scores)),
        calibrations=dict.fromkeys(assets, make_calibration()),
        curves=make_curves(),
        health=make_health(),
        quality=make_quality(readings),
        baseline={"vae_nll_nats": 31.4, "pca_nll_nats": 33.9, "num_rows": 500.0},
    )


def make_scores(readings: Readings, contribution: FloatArray, *, kl: FloatArray) -> pa.Table:
    """Make a scores table with one unscorable stretch and labels."""
    num_rows = readings.num_rows
    nll = contribution.sum(axis=1) + kl
    usual = np.convolve(nll, np.ones(5) / 5, mode="same")
    threshold = float(np.quantile(usual, 0.9)) + 6.0
    place = np.arange(num_rows) % max(1, num_rows // len(readings.asset_names))
    share = place / max(1, place.max())
    unscorable = (share > 0.2) & (share < 0.21)
    state = np.where(unscorable, "unscorable", np.where(usual > threshold, "anomalous", "ok"))
    labelled = np.zeros(num_rows, dtype=bool)
    for start, length, _, _ in FAULTS:
        labelled |= (share >= start) & (share < start + length)
    structs = pa.StructArray.from_arrays(
        [pa.array(column) for column in contribution.T], names=list(readings.sensors)
    )
    return pa.table(
        {
            "timestamp": pa.array(readings.timestamps, pa.timestamp("us", "UTC")),
            "asset": pa.array(np.array(readings.asset_names)[readings.asset_codes]),
            "nll": pa.array(nll, mask=unscorable),
            "score": pa.array(usual, mask=unscorable),
            "threshold": pa.array(np.full(num_rows, threshold)),
            "state": pa.array(state),
            "reason": pa.array(np.where(unscorable, "too few sensors present", "")),
            "kl": pa.array(kl),
            "contribution": structs,
            "label_anomaly": pa.array(labelled),
        }
    )


def make_calibration(**changes: object) -> Calibration:
    """Make a calibration with a budget that the data carries."""
    usual = Calibration(
        method="block maxima",
        threshold=112.0,
        budget_per_week=1.0,
        false_alarm_rate=None,
        expected_rate=0.8,
        rate_low=0.1,
        rate_high=2.3,
        num_steps=12_400,
        effective_steps=830.0,
        duration_s=744_000.0,
        provisional=False,
    )
    return replace(usual, **changes)  # type: ignore[arg-type]


def make_curves(num_epochs: int = 50) -> TrainingCurves:
    """Make curves that fall and level off."""
    epochs = np.arange(1, num_epochs + 1)
    fall = np.exp(-epochs / 8)
    return TrainingCurves(
        epochs=tuple(epochs.tolist()),
        nll=tuple((2.0 + 9 * fall).tolist()),
        kl=tuple((3.1 * (1 - fall)).tolist()),
        held_out_nll=tuple((5.4 + 7 * fall).tolist()),
        active_units=tuple(np.minimum(3, epochs // 4).tolist()),
    )


def make_health() -> tuple[HealthCheck, ...]:
    """Make one passed check, one failed one and one without a limit."""
    return (
        HealthCheck("active_units", 3, "at least 1", True, "Latent units that carry something."),
        HealthCheck(
            "floor_share",
            0.41,
            "at most 0.3",
            False,
            "Share of sigmas at their floor; many mean a model surer than its sensors allow.",
        ),
        HealthCheck("pit_error", 0.03, "", True, "How far the sigmas are from the real spread."),
    )


def make_quality(readings: Readings) -> Quality:
    """Make the counts of some dirt."""
    profiles = []
    for place, sensor in enumerate(SENSORS[: len(readings.sensors)]):
        column = readings.values[:, place]
        known = column[np.isfinite(column)]
        figures = (known.min(), np.median(known), known.max()) if known.size else (np.nan,) * 3
        profiles.append(
            SensorProfile(
                name=readings.sensors[place],
                kind=KINDS[place],
                unit=sensor.unit,
                missing_share=1 - known.size / max(1, column.size),
                num_infinite=2 if place == 3 else 0,
                num_sentinel=17 if place == 1 else 0,
                minimum=float(figures[0]),
                median=float(figures[1]),
                maximum=float(figures[2]),
                step=0.1 if place == 4 else 0.0,
                longest_flat_steps=12,
                suggested_sentinels=(-999.0,) if place == 0 else (),
            )
        )
    return Quality(
        num_rows=readings.num_rows + 31,
        num_usable=readings.num_rows,
        num_duplicates=24,
        num_quarantined=7,
        problems={"no_timestamp": 4, "conflicting_duplicate": 3, "no_asset": 0},
        num_out_of_order=5,
        num_gaps=1,
        longest_gap_s=14_400.0,
        period_s=PERIOD_S,
        irregular_share=0.0004,
        first_us=int(readings.timestamps.min()) if readings.num_rows else 0,
        last_us=int(readings.timestamps.max()) if readings.num_rows else 0,
        num_assets=len(readings.asset_names),
        sensors=tuple(profiles),
        by_asset=measure_assets(readings),
        notes=("Times without a zone were taken as UTC.",),
    )


def measure_assets(readings: Readings) -> tuple[SensorQuality, ...]:
    """Measure the values of each asset."""
    found: list[SensorQuality] = []
    for code, asset in enumerate(readings.asset_names):
        rows = np.flatnonzero(readings.asset_codes == code)
        if rows.size:
            times, values = readings.timestamps[rows], readings.values[rows]
            measured = measure_series(times, values, readings.sensors)
            found += measured.list_sensors(asset, readings.sensors)
    return tuple(found)


def rename_sensors(report: ReportInput, names: tuple[str, ...]) -> ReportInput:
    """Give the sensors other names, everywhere; some of them become other texts too."""
    old = report.readings.sensors
    contribution = report.scores["contribution"].combine_chunks()
    place = report.scores.column_names.index("contribution")
    structs = pa.StructArray.from_arrays(contribution.flatten(), names=list(names))
    sensors = tuple(
        replace(sensor, name=name)
        for sensor, name in zip(report.contract.sensors, names, strict=True)
    )
    profiles = tuple(
        replace(profile, name=name, unit="<i>°C")
        for profile, name in zip(report.quality.sensors, names, strict=True)
    )
    return replace(
        report,
        title=names[0],
        model_name=names[2],
        contract=replace(report.contract, sensors=sensors, ignored={names[1]: names[2]}),
        readings=replace(report.readings, sensors=names),
        scores=report.scores.set_column(place, "contribution", structs),
        quality=replace(
            report.quality,
            sensors=profiles,
            by_asset=tuple(
                replace(item, sensor=names[old.index(item.sensor)], copy_of=names[0])
                for item in report.quality.by_asset
            ),
            notes=(names[0],),
        ),
        events=tuple(
            replace(event, top_sensors=tuple(names[old.index(name)] for name in event.top_sensors))
            for event in report.events
        ),
    )


def _make_asset(
    rng: np.random.Generator, num_rows: int
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Make readings, mean and sigma: a daily load, noise that grows with it, two faults."""
    load = np.sin(2 * np.pi * np.arange(num_rows) / 1440)[:, None]
    weight = np.array([-0.6, 1.0, 1.2, 1.1, 0.8, 0.5, 0.0, 0.0])
    mean = LEVELS + SPREADS * weight * load
    sigma = np.maximum(SPREADS, 0.05) * 0.3 * (1.4 + 0.7 * load)
    values = mean + sigma * rng.normal(size=mean.shape)
    values[:, 6] = 1.0
    for start, length, hit, height in FAULTS:
        rows = slice(int(start * num_rows), int((start + length) * num_rows))
        for sensor in hit:
            values[rows, sensor] += height * sigma[rows, sensor]
    values[:, 7] = np.nan
    mean[:, 7] = np.nan
    sigma[:, 7] = np.nan
    values[rng.random(num_rows) < 0.02, 3] = np.nan
    return values, mean, sigma


def _make_events(asset: str, readings: Readings, scores: pa.Table) -> list[AlertEvent]:
    rows = np.flatnonzero(readings.asset_codes == readings.asset_names.index(asset))
    score = np.nan_to_num(scores["score"].to_numpy()[rows], nan=-1e300)
    threshold = float(scores["threshold"][0].as_py())
    times = readings.timestamps[rows]
    events = []
    for number, (start, length, hit, _) in enumerate(FAULTS):
        first = int(start * rows.size)
        last = max(first + 1, int((start + length) * rows.size))
        peak = first + int(np.argmax(score[first:last]))
        events.append(
            AlertEvent(
                alert_id=f"{number:02d}a7f3c91e{len(asset):02d}",
                asset=asset,
                start_us=int(times[first]),
                end_us=int(times[last]),
                peak_us=int(times[peak]),
                peak_score=float(score[peak]),
                threshold=threshold,
                num_steps=last - first,
                top_sensors=tuple(readings.sensors[place] for place in hit),
                top_shares=(0.51, 0.48),
                severity=("high", "medium")[number],
            )
        )
    return events
