"""The chart of the score against its threshold over time, with alert events and labels."""

from __future__ import annotations

import math

import numpy as np

from vae_anomaly.domain import AlertEvent, BoolArray, FloatArray, IntArray
from vae_anomaly.operations import report_plotly as plot
from vae_anomaly.operations.report_data import (
    MAX_POINTS,
    AssetRows,
    Line,
    decimate,
    find_runs,
    make_line,
    merge_intervals,
)
from vae_anomaly.operations.report_plotly import Figure
from vae_anomaly.operations.report_text import format_number

_MAX_INTERVALS = 1000
_STRETCH_FROM = 20.0
_STRIP_HEIGHT = 0.07
_NO_SPREAD = (0.0, 0.0)
_NUM_TICKS = 6
_WRITTEN_OUT = 1e5
_ROUNDING = 1e-9
_MINUS = "\N{MINUS SIGN}"  # as on plotly.js's own axes


def make_score_figure(
    asset: AssetRows, events: tuple[AlertEvent, ...], *, period_s: float
) -> Figure:
    """Draw the score against the threshold over time, with alert events and labels.

    Args:
        asset: The scored rows of one asset.
        events: Its alert events.
        period_s: Seconds between ticks.

    Returns:
        The figure; the score axis is stretched where peaks would flatten everything else.
    """
    score = make_line(
        asset.timestamps, asset.score[:, None], max_points=MAX_POINTS, period_s=period_s
    )
    limit = _find_changes(asset.timestamps, asset.threshold)
    centre, spread = choose_stretch(asset.score, asset.threshold)
    intervals = np.array([(e.start_us, e.end_us) for e in events], np.int64).reshape(-1, 2)
    data = [plot.make_blocks(_drawable(asset, intervals), "alert event", "@alert")]
    for line, name, color in ((score, "score", "@accent"), (limit, "threshold", "@bad")):
        values = line.columns[:, 0]
        trace = plot.make_trace(line.times_ms, stretch(values, centre, spread), name, color)
        trace["customdata"] = plot.encode(values)
        trace["hovertemplate"] = f"{name} %{{customdata:.4g}}<extra></extra>"
        data.append(trace)
    data[0]["yaxis"] = "y2"
    data[2]["line"] |= {"dash": "dash", "shape": "hv"}
    strips = _make_strips(asset, period_s=period_s)
    drawn = np.concatenate([score.columns[:, 0], limit.columns[:, 0]])
    axis = plot.make_time_axis(asset.timestamps)
    layout = plot.make_layout(margin_left=64) | {
        "margin": {"l": 64, "r": 14, "t": 10, "b": 6},
        "xaxis": axis | {"rangeslider": _slider(axis), "anchor": "y3" if strips else "y"},
        "yaxis": _score_axis(stretch(drawn, centre, spread), centre, spread)
        | {"domain": [(_STRIP_HEIGHT + 0.02) * len(strips), 1]},
        "yaxis2": plot.make_overlay_axis(),
        "yaxis3": _strip_axis(len(strips)),
        "hovermode": "x unified",
    }
    return {"data": data + strips, "layout": layout}


def choose_stretch(score: FloatArray, threshold: FloatArray) -> tuple[float, float]:
    """Decide whether the score axis must be stretched, and round which value.

    Args:
        score: Scores, NaN where there is none. Shape `(steps,)`.
        threshold: Thresholds, NaN where there is none. Shape `(steps,)`.

    Returns:
        Centre and spread for `stretch`: the usual score and its distance from the threshold.
        The spread is 0 where a plain axis shows everything.
    """
    values = score[np.isfinite(score)]
    if values.shape[0] == 0:
        return _NO_SPREAD
    low, centre, high = np.quantile(values, (0.05, 0.5, 0.95))
    limits = threshold[np.isfinite(threshold)]
    limit = float(np.median(limits)) if limits.shape[0] else float(centre)
    spread = max(limit - centre, float(high - low) / 4)
    if spread <= 0 or float(np.ptp(values)) < _STRETCH_FROM * spread:
        return _NO_SPREAD
    return float(centre), float(spread)


def stretch(values: FloatArray, centre: float, spread: float) -> FloatArray:
    """Squeeze far values: linear within `spread` of `centre`, logarithmic beyond.

    Args:
        values: Any numbers. Any shape.
        centre: Drawn at 0.
        spread: Where linear turns into logarithmic; 0 leaves the values alone.

    Returns:
        Where they are drawn, in the same order.
    """
    if spread <= 0:
        return values
    drawn: FloatArray = np.arcsinh((values - centre) / spread)
    return drawn


def make_stretched_ticks(limits: tuple[float, float], centre: float, spread: float) -> Figure:
    """Choose round values to write beside a stretched axis.

    Args:
        limits: The drawn range, after `stretch`.
        centre: As in `stretch`.
        spread: As in `stretch`.

    Returns:
        Tick positions and their texts.
    """
    places = np.linspace(*limits, num=_NUM_TICKS + 2)[1:-1]
    ticks = {}
    for place in places:
        offset = float(np.sinh(place) * spread)
        unit = 10.0 ** np.floor(np.log10(max(abs(offset), spread)))
        value = round((centre + offset) / unit) * unit
        digits = 1 + math.floor(np.log10(max(abs(value), unit) / unit) + _ROUNDING)
        short = digits == 1 and abs(value) >= _WRITTEN_OUT
        text = f"{value:.0e}" if short else format_number(value, digits)
        text = text.replace("-", _MINUS).replace("e+0", "e").replace("e+", "e")
        ticks[text] = float(stretch(np.array(value), centre, spread))
    return {"tickvals": list(ticks.values()), "ticktext": list(ticks)}


def _find_changes(timestamps: IntArray, values: FloatArray) -> Line:
    """Keep only the steps where a value that is mostly constant changes; no value is no change."""
    known = ~np.isnan(values)
    if known.any():
        timestamps, values = timestamps[known], values[known]
    changes = np.flatnonzero(values[:-1] != values[1:]) + 1
    kept = np.unique(np.concatenate([[0], changes, [values.shape[0] - 1]]))
    kept = kept[decimate(values[kept], max_points=MAX_POINTS)]
    return Line(timestamps[kept] / 1000, values[kept, None])


def _drawable(asset: AssetRows, intervals: IntArray) -> IntArray:
    span_us = int(asset.timestamps[-1] - asset.timestamps[0])
    ordered = intervals[np.argsort(intervals[:, 0], kind="stable")]
    return merge_intervals(ordered, span_us=span_us, max_intervals=_MAX_INTERVALS)


def _make_strips(asset: AssetRows, *, period_s: float) -> list[Figure]:
    """Draw thin strips below the score: steps without a score, labelled anomalies."""
    masks: tuple[tuple[str, str, BoolArray | None], ...] = (
        ("not scored", "@muted", asset.unscorable),
        ("labelled anomaly", "@label", asset.labelled),
    )
    strips: list[Figure] = []
    for name, color, mask in masks:
        if mask is None or not mask.any():
            continue
        runs = _drawable(asset, find_runs(mask, asset.timestamps, period_s=period_s))
        bottom = float(len(strips))
        strip = plot.make_blocks(runs, name, color, bottom=bottom + 0.15, top=bottom + 0.85)
        strips.append(strip | {"yaxis": "y3"})
    return strips


def _strip_axis(num_strips: int) -> Figure:
    return {
        "domain": [0, max(_STRIP_HEIGHT * num_strips, 0.001)],
        "range": [0, max(num_strips, 1)],
        "fixedrange": True,
        "visible": False,
    }


def _score_axis(drawn: FloatArray, centre: float, spread: float) -> Figure:
    limits = plot.find_limits(drawn)
    axis = plot.make_value_axis(limits) | {"title": {"text": "score"}}
    if spread > 0 and limits is not None:
        axis["title"] = {"text": "score, stretched"}
        axis |= make_stretched_ticks(limits, centre, spread)
    return axis


def _slider(axis: Figure) -> Figure:
    return {
        "range": axis["range"],
        "thickness": 0.09,
        "bgcolor": "@ground",
        "bordercolor": "@line",
        "borderwidth": 1,
        "yaxis3": {"rangemode": "fixed", "range": [-2, -1]},  # leaves the strips out
    }
