"""Parts that the report's charts are put together from: lines, bands, strips, axes.

A figure is a plain dict of Plotly's `data` and `layout`. Colours are names such as `@accent`;
the page's script replaces them by its style sheet's colours, so that one figure serves the
light and the dark page. Numbers travel as base64.
"""

from __future__ import annotations

import base64
import html
from dataclasses import dataclass
from typing import Any

import numpy as np

from vae_anomaly.domain import FloatArray, IntArray
from vae_anomaly.operations.report_data import Line

Figure = dict[str, Any]

_US_PER_MS = 1000.0
_HOVER_TIME = "%Y-%m-%d %H:%M:%S UTC"
_FLOAT32_DIGITS = 1e-7
_FLOAT32_RANGE = (1e-30, 1e30)
_DOT_SIZE = 4.0
_PAD = 0.06
_LONGEST_LABEL = 28


@dataclass(frozen=True)
class Chart:
    """A chart with the words beside it.

    Attributes:
        key: Name of it, the same for the same input.
        label: What it shows, for people who cannot see it.
        figure: The Plotly figure, None where there is nothing to draw.
        height: In pixels.
        caption: Shown above, may be empty.
        legend: Name and look (classes of the style sheet) of what is drawn.
    """

    key: str
    label: str
    figure: Figure | None
    height: int
    caption: str = ""
    legend: tuple[tuple[str, str], ...] = ()


def escape(name: str) -> str:
    """Make a name harmless in Plotly, which reads a little HTML in every text.

    Example:
        >>> escape("<b>flow</b>")
        '&lt;b&gt;flow&lt;/b&gt;'
    """
    return html.escape(name, quote=False).replace("$", "&#36;")  # else taken for TeX


def shorten(name: str) -> str:
    """Cut a name that is too long beside a chart."""
    return name if len(name) <= _LONGEST_LABEL else name[: _LONGEST_LABEL - 1] + "…"


def encode(values: FloatArray) -> Figure:
    """Pack numbers as Plotly's typed array, in 32 bits where nobody can see the difference.

    Args:
        values: Numbers; NaN is a gap. Shape `(points,)`.

    Returns:
        The array specification that plotly.js unpacks.
    """
    finite = values[np.isfinite(values)]
    span = float(np.ptp(finite)) if finite.shape[0] else 0.0
    largest = float(np.abs(finite).max()) if finite.shape[0] else 0.0
    fits = span > _FLOAT32_RANGE[0] and largest < _FLOAT32_RANGE[1]
    kind = "f4" if fits and _FLOAT32_DIGITS * largest <= 1e-4 * span else "f8"
    packed = np.ascontiguousarray(values, dtype=f"<{kind}").tobytes()
    return {"dtype": kind, "bdata": base64.b64encode(packed).decode("ascii")}


def make_trace(places: FloatArray, values: FloatArray, name: str, color: str) -> Figure:
    """Draw one line; `places` are milliseconds since 1970 where the axis is one of time.

    A point between two gaps would not show in a line, so it gets a dot.
    """
    known = np.concatenate([[False], np.isfinite(values), [False]])
    alone = known[1:-1] & ~known[:-2] & ~known[2:]
    dots = {
        "mode": "lines+markers",
        "marker": {"size": encode(_DOT_SIZE * alone), "color": color, "line": {"width": 0}},
    }
    trace = {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": encode(places),
        "y": encode(values),
        "line": {"color": color, "width": 1.4},
        "hovertemplate": f"{name} %{{y:.5g}}<extra></extra>",
    }
    return trace | dots if alone.any() else trace


def make_band(line: Line, name: str, color: str) -> Figure:
    """Fill the space between two lines, gap by gap.

    Args:
        line: Lower and upper line, in this order.
        name: What the legend calls it.
        color: Colour name of the filling.

    Returns:
        One closed outline per piece without a gap.
    """
    holes = np.flatnonzero(np.isnan(line.columns[:, 0]))
    starts, ends = np.append(0, holes + 1), np.append(holes, line.times_ms.shape[0])
    times: list[FloatArray] = []
    edges: list[FloatArray] = []
    for start, end in zip(starts, ends, strict=True):
        piece = slice(start, end)
        here, (lower, upper) = line.times_ms[piece], line.columns[piece].T
        times += [here, here[::-1], here[:1]]
        edges += [lower, upper[::-1], np.full(here[:1].shape, np.nan)]
    trace = make_trace(np.concatenate(times), np.concatenate(edges), name, color)
    return _fill(trace, color)


def make_blocks(
    intervals: IntArray, name: str, color: str, *, bottom: float = 0.0, top: float = 1.0
) -> Figure:
    """Fill a rectangle for each interval.

    Args:
        intervals: `[start, end)` in microseconds. Shape `(intervals, 2)`.
        name: What the legend calls them.
        color: Colour name of the filling.
        bottom: Lower edge on the axis they are drawn on.
        top: Upper edge.

    Returns:
        The trace; where it goes on the page is for the caller to add.
    """
    start, end = intervals.T / _US_PER_MS
    times = np.stack([start, start, end, end, end], axis=1).ravel()
    edges = np.tile([bottom, top, top, bottom, np.nan], intervals.shape[0])
    return _fill(make_trace(times, edges, name, color), color)


def make_layout(*, margin_left: int) -> Figure:
    """Lay out a chart: no background of its own, small margins; the page writes its legend."""
    return {
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 12, "color": "@muted"},
        "margin": {"l": margin_left, "r": 14, "t": 10, "b": 44},
        "showlegend": False,
        "hoverlabel": {
            "bgcolor": "@card",
            "bordercolor": "@line",
            "font": {"color": "@ink"},
        },
        "modebar": {
            "bgcolor": "rgba(0,0,0,0)",
            "color": "@muted",
            "activecolor": "@accent",
        },
        "dragmode": "zoom",
    }


def make_value_axis(limits: tuple[float, float] | None = None) -> Figure:
    """Lay out an axis of values; its range stays put when the time axis is zoomed."""
    axis: Figure = {
        "fixedrange": True,
        "gridcolor": "@line",
        "zerolinecolor": "@line",
        "linecolor": "@line",
        "exponentformat": "SI",
        "nticks": 6,
    }
    return axis if limits is None else axis | {"range": list(limits)}


def make_time_axis(timestamps: IntArray) -> Figure:
    """Lay out a time axis from the first to the last time given."""
    first, last = int(timestamps[0]), int(timestamps[-1])
    if first == last:
        first, last = first - 500_000, last + 500_000
    return {
        "type": "date",
        "range": [first / _US_PER_MS, last / _US_PER_MS],
        "hoverformat": _HOVER_TIME,
        "gridcolor": "@line",
        "linecolor": "@line",
        "showgrid": False,
        "ticks": "outside",
        "ticklen": 4,
        "tickcolor": "@line",
        "nticks": 8,
    }


def make_overlay_axis() -> Figure:
    """Lay out an unseen axis from 0 to 1 over the whole height of the first one."""
    return {"overlaying": "y", "range": [0, 1], "fixedrange": True, "visible": False}


def find_limits(values: FloatArray) -> tuple[float, float] | None:
    """Find the range that shows all values, with a little room; None without any value."""
    finite = values[np.isfinite(values)]
    if finite.shape[0] == 0:
        return None
    low, high = float(finite.min()), float(finite.max())
    room = _PAD * (high - low) or max(abs(high), 1.0) * _PAD
    return low - room, high + room


def _fill(trace: Figure, color: str) -> Figure:
    return trace | {
        "fill": "toself",
        "fillcolor": color,
        "line": {"width": 0, "color": color},
        "hoverinfo": "skip",
        "hovertemplate": None,
    }
