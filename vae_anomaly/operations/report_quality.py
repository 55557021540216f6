"""The chart of data quality: when which sensor gives nothing, or one value for long."""

from __future__ import annotations

import numpy as np

from vae_anomaly.domain import MICROSECONDS_PER_S, BoolArray, FloatArray, IntArray, SensorKind
from vae_anomaly.operations import report_plotly as plot
from vae_anomaly.operations.report_data import (
    GAP_STEPS,
    AssetRows,
    find_runs,
    merge_intervals,
)
from vae_anomaly.operations.report_input import ReportInput
from vae_anomaly.operations.report_plotly import Chart, Figure

MAX_LANES = 40
"""Sensors that are drawn; those with most to show come first."""

MAX_INTERVALS = 300
"""Most intervals that are drawn of one sensor."""

MIN_FLAT_STEPS = 20
FLAT_SHARE = 0.01
"""A flat line is drawn from so many steps on, and such a share of the rows."""

MOVING = (SensorKind.CONTINUOUS, SensorKind.QUANTISED)
"""Kinds of sensors that are not flat by nature."""

LEGEND = (
    ("no value", "block alert"),
    ("one value for long", "block label"),
    ("no row", "block"),
)

_LANE_HEIGHT = 22
_FRAME_HEIGHT = 70
_LANE_ROOM = 0.12


def make_quality_chart(report: ReportInput, asset: AssetRows, *, key: str) -> Chart:
    """Draw a lane per sensor that is missing or flat at some time.

    Args:
        report: What to show.
        asset: Whose readings.
        key: Name of the chart.

    Returns:
        The chart; without a figure where no sensor is missing or flat.
    """
    kinds = {profile.name: profile.kind for profile in report.quality.sensors}
    lanes = []
    for k, name in enumerate(report.readings.sensors):
        values = report.readings.values[asset.rows, k]
        missing = np.isnan(values)
        flat = find_flat(values) if kinds.get(name) in MOVING else np.zeros_like(missing)
        amount = int(np.count_nonzero(missing)) + int(np.count_nonzero(flat))
        if amount:
            lanes.append((amount, k, name, missing, flat))
    shown = sorted(sorted(lanes, key=lambda lane: (-lane[0], lane[1]))[:MAX_LANES], key=_place)
    return Chart(
        key=key,
        label=f"When the sensors of {asset.name} give no value, or one for long, in UTC",
        figure=_draw(asset, shown, report.contract.period_s) if shown else None,
        height=_FRAME_HEIGHT + _LANE_HEIGHT * max(len(shown), 2),
        caption=_write_caption(len(shown), len(lanes)),
        legend=LEGEND,
    )


def find_flat(values: FloatArray) -> BoolArray:
    """Find the steps of flat lines that are long enough to be drawn.

    Args:
        values: Values of one sensor in order of time, NaN where missing; a missing value ends no
            flat line, and is none itself. Shape `(steps,)`.

    Returns:
        Whether a step is one of them. Shape `(steps,)`.

    Example:
        >>> find_flat(np.array([1.0] + [2.0] * 20 + [3.0, 4.0])).nonzero()[0][[0, -1]].tolist()
        [1, 20]
    """
    seen = np.flatnonzero(~np.isnan(values))
    flat = np.zeros(values.size, dtype=np.bool_)
    if not seen.size:
        return flat
    present = values[seen]
    starts = np.concatenate([[0], np.flatnonzero(present[1:] != present[:-1]) + 1])
    lengths = np.diff(starts, append=seen.size)
    is_long = lengths >= max(MIN_FLAT_STEPS, FLAT_SHARE * values.size)
    flat[seen] = np.repeat(is_long, lengths)
    return flat


def _place(lane: tuple[int, int, str, BoolArray, BoolArray]) -> int:
    return lane[1]


def _draw(
    asset: AssetRows, lanes: list[tuple[int, int, str, BoolArray, BoolArray]], period_s: float
) -> Figure:
    times = asset.timestamps
    gaps = _find_gaps(times, period_s)
    data = [plot.make_blocks(gaps, "no row", "@band", top=float(len(lanes)))] if len(gaps) else []
    for number, (_, _, _, missing, flat) in enumerate(lanes):
        bottom = len(lanes) - 1.0 - number
        for mask, name, color in (
            (missing, "no value", "@alert"),
            (flat, "one value for long", "@label"),
        ):
            found = merge_intervals(
                find_runs(mask, times, period_s=period_s),
                span_us=int(times[-1] - times[0]),
                max_intervals=MAX_INTERVALS,
            )
            if len(found):
                edges = {"bottom": bottom + _LANE_ROOM, "top": bottom + 1.0 - _LANE_ROOM}
                data.append(plot.make_blocks(found, name, color, **edges))
    layout = plot.make_layout(margin_left=8) | {
        "xaxis": plot.make_time_axis(times),
        "yaxis": {
            "tickvals": [len(lanes) - number - 0.5 for number in range(len(lanes))],
            "ticktext": [plot.escape(plot.shorten(lane[2])) for lane in lanes],
            "range": [0, len(lanes)],
            "automargin": True,
            "fixedrange": True,
            "showgrid": False,
            "zeroline": False,
            "tickfont": {"color": "@ink"},
        },
    }
    return {"data": data, "layout": layout}


def _find_gaps(times: IntArray, period_s: float) -> IntArray:
    """Find where no row is for more than a few periods: `[start, end)` in microseconds."""
    wide = np.flatnonzero(np.diff(times) > GAP_STEPS * period_s * MICROSECONDS_PER_S)
    gaps = np.stack([times[wide], times[wide + 1]], axis=1)
    return merge_intervals(gaps, span_us=int(times[-1] - times[0]), max_intervals=MAX_INTERVALS)


def _write_caption(num_shown: int, num_found: int) -> str:
    return "" if num_shown == num_found else f"Drawn: {num_shown} of {num_found} sensors."
