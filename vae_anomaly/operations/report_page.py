"""The blocks of the report page, in the order they are shown; the page has a bounded size."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from vae_anomaly.domain import AlertEvent, SensorKind, TrainingCurves
from vae_anomaly.operations import report_figures as figures
from vae_anomaly.operations.report_data import AssetRows
from vae_anomaly.operations.report_input import ReportInput, find_unit
from vae_anomaly.operations.report_plotly import Chart
from vae_anomaly.operations.report_quality import make_quality_chart
from vae_anomaly.operations.report_score_figure import make_score_figure
from vae_anomaly.operations.report_summary import find_share_outside

MAX_ASSETS = 12
"""Assets with charts of their own; those with most alert events come first."""

MAX_SENSORS = 100
"""Sensors of one asset with a chart."""

_SCORE_LEGEND = (
    ("score", "accent"),
    ("threshold", "bad dashed"),
    ("alert event", "block alert"),
    ("labelled anomaly", "block label"),
    ("not scored", "block muted"),
)
_CURVE_LEGEND = (("training", "accent"), ("held out", "bad"))
_ALL_SENSOR_POINTS = 60_000
_SENSOR_POINTS = (150, 1000)


@dataclass(frozen=True)
class SensorBlock:
    """A sensor's chart and what is said of it."""

    name: str
    unit: str
    kind: str
    share_outside: float
    chart: Chart


@dataclass(frozen=True)
class AssetBlock:
    """An asset's charts."""

    name: str
    score: Chart
    quality: Chart
    sensors: tuple[SensorBlock, ...]


def choose_assets(
    assets: tuple[AssetRows, ...], events: tuple[AlertEvent, ...]
) -> tuple[AssetRows, ...]:
    """Choose the assets to draw: those with most alert events, in their own order."""
    counts = Counter(event.asset for event in events)
    order = sorted(range(len(assets)), key=lambda place: (-counts[assets[place].name], place))
    return tuple(assets[place] for place in sorted(order[:MAX_ASSETS]))


def make_asset_blocks(
    report: ReportInput, assets: tuple[AssetRows, ...]
) -> tuple[AssetBlock, ...]:
    """Draw the score and every sensor of some assets."""
    num_charts = max(1, len(assets) * min(MAX_SENSORS, len(report.readings.sensors)))
    fewest, most = _SENSOR_POINTS
    points = min(most, max(fewest, _ALL_SENSOR_POINTS // num_charts))
    blocks = []
    for number, asset in enumerate(assets, start=1):
        events = tuple(event for event in report.events if event.asset == asset.name)
        score = Chart(
            key=f"score-{number}",
            label=f"Score of {asset.name} against its threshold over time, in UTC",
            figure=make_score_figure(asset, events, period_s=report.contract.period_s)
            if asset.num_scored
            else None,
            height=380,
            legend=_make_score_legend(asset, events),
        )
        sensors = tuple(
            _draw_sensor(report, asset, place, key=f"sensor-{number}-{place + 1}", points=points)
            for place in range(min(MAX_SENSORS, len(report.readings.sensors)))
        )
        quality = make_quality_chart(report, asset, key=f"quality-{number}")
        blocks.append(AssetBlock(asset.name, score, quality, sensors))
    return tuple(blocks)


def make_curve_charts(curves: TrainingCurves) -> tuple[Chart, ...]:
    """Draw how training went: NLL, KL, held-out rows, active units; empty without a record."""
    if not curves.epochs:
        return ()
    whole = tuple(nll + kl for nll, kl in zip(curves.nll, curves.kl, strict=False))
    active = tuple(float(units) for units in curves.active_units)
    shown = (
        ("NLL + KL, nats per row", {"training": whole, "held out": curves.held_out_nll}, False),
        ("NLL, nats per row", {"training": curves.nll}, False),
        ("KL, nats per row", {"training": curves.kl}, False),
        ("Active latent units", {"active units": active}, True),
    )
    return tuple(
        Chart(
            key=f"curve-{number}",
            label=f"{caption}, over the passes of training",
            figure=figures.make_curve_figure(curves.epochs, lines, steps=steps),
            height=230,
            caption=caption,
            legend=_CURVE_LEGEND if sum(map(bool, lines.values())) > 1 else (),
        )
        for number, (caption, lines, steps) in enumerate(shown, start=1)
        if any(lines.values())
    )


def _make_score_legend(
    asset: AssetRows, events: tuple[AlertEvent, ...]
) -> tuple[tuple[str, str], ...]:
    shown = {
        "alert event": bool(events),
        "labelled anomaly": asset.labelled is not None and bool(asset.labelled.any()),
        "not scored": bool(asset.unscorable.any()),
    }
    return tuple(entry for entry in _SCORE_LEGEND if shown.get(entry[0], True))


def _draw_sensor(
    report: ReportInput, asset: AssetRows, place: int, *, key: str, points: int
) -> SensorBlock:
    name = report.readings.sensors[place]
    readings, mean, sigma = (
        values[asset.rows, place] for values in (report.readings.values, report.mean, report.sigma)
    )
    empty = not (np.isfinite(readings).any() or np.isfinite(mean).any())
    figure = (
        None
        if empty
        else figures.make_sensor_figure(
            (name,),
            asset.timestamps,
            (readings[:, None], mean[:, None], sigma[:, None]),
            period_s=report.contract.period_s,
            max_points=points,
        )
    )
    kinds = {profile.name: profile.kind for profile in report.quality.sensors}
    return SensorBlock(
        name=name,
        unit=find_unit(report, name),
        kind=str(kinds.get(name, SensorKind.CONTINUOUS)),
        share_outside=find_share_outside(readings, mean, sigma),
        chart=Chart(key, f"Readings of {name} and what the model expects", figure, height=210),
    )
