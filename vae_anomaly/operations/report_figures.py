"""The charts of the report: contributions, sensors in their band, training curves."""

from __future__ import annotations

import numpy as np

from vae_anomaly.domain import AlertEvent, FloatArray, IntArray
from vae_anomaly.operations import report_plotly as plot
from vae_anomaly.operations.report_data import (
    MAX_POINTS,
    Line,
    decimate,
    make_line,
)
from vae_anomaly.operations.report_plotly import Figure

BAND_SIGMAS = 2.0
"""Half-width of the band; about 95 % of a Gaussian lies within two sigmas."""

_MAX_BARS = 12


def make_contribution_figure(
    names: tuple[str, ...], excess: FloatArray, usual: FloatArray
) -> Figure:
    """Draw how many nats each sensor added during an event, above what it usually adds.

    Args:
        names: The sensors.
        excess: Mean contribution during the event less the usual one, nats. Shape `(sensors,)`.
        usual: The usual contribution, nats. Shape `(sensors,)`.

    Returns:
        A bar chart of the sensors that added most, the most to blame on top.
    """
    known = np.nan_to_num(excess, nan=0.0, posinf=0.0, neginf=0.0)
    order = np.argsort(-known, kind="stable")[:_MAX_BARS][::-1]
    bars = {
        "type": "bar",
        "orientation": "h",
        "x": plot.encode(known[order]),
        "y": list(range(order.shape[0])),
        "customdata": plot.encode(usual[order]),
        "hovertemplate": "%{x:.4g} nats above the usual %{customdata:.4g}<extra></extra>",
        "marker": {"color": ["@bad" if known[place] > 0 else "@muted" for place in order]},
    }
    layout = plot.make_layout(margin_left=8) | {
        "xaxis": plot.make_value_axis(),
        "yaxis": {
            "tickvals": list(range(order.shape[0])),
            "ticktext": [plot.escape(plot.shorten(names[place])) for place in order],
            "automargin": True,
            "fixedrange": True,
            "tickfont": {"color": "@ink"},
        },
        "bargap": 0.35,
    }
    return {"data": [bars], "layout": layout}


def make_sensor_figure(
    names: tuple[str, ...],
    timestamps: IntArray,
    columns: tuple[FloatArray, FloatArray, FloatArray],
    *,
    period_s: float,
    max_points: int = MAX_POINTS,
    event: AlertEvent | None = None,
) -> Figure:
    """Draw sensors against what the model expects: mean and two sigmas to either side.

    Args:
        names: Names with units, one panel each, from the top.
        timestamps: Microseconds since 1970 in UTC, ascending. Shape `(rows,)`.
        columns: Readings, mean and sigma in raw units. Each of shape `(rows, sensors)`.
        period_s: Seconds between ticks.
        max_points: Most points per line.
        event: An alert event to shade.

    Returns:
        The figure, panels over one time axis.
    """
    height = 1 / len(names)
    data: list[Figure] = []
    layout = plot.make_layout(margin_left=58) | {
        "xaxis": plot.make_time_axis(timestamps)
        | {"anchor": "y" if len(names) == 1 else f"y{len(names)}"},
        "hovermode": "x unified",
        "shapes": [] if event is None else _shade(event, len(names)),
        "annotations": _panel_titles(names) if len(names) > 1 else [],
    }
    for panel in range(len(names)):
        axis = "" if panel == 0 else str(panel + 1)
        reading, mean, sigma = (column[:, panel] for column in columns)
        band = np.stack([mean - BAND_SIGMAS * sigma, mean + BAND_SIGMAS * sigma], axis=1)
        lines = (
            make_line(timestamps, band, max_points=max_points, period_s=period_s),
            make_line(timestamps, reading[:, None], max_points=max_points, period_s=period_s),
        )
        data.extend(trace | {"yaxis": f"y{axis}"} for trace in _sensor_traces(*lines))
        bottom = 1 - (panel + 1) * height
        room = 0.0 if len(names) == 1 else 0.22 * height
        layout[f"yaxis{axis}"] = plot.make_value_axis(_sensor_limits(*lines)) | {
            "domain": [max(0.0, bottom), bottom + height - room],
            "nticks": 5,
        }
    return {"data": data, "layout": layout}


def make_curve_figure(
    epochs: tuple[float, ...], curves: dict[str, tuple[float, ...]], *, steps: bool = False
) -> Figure:
    """Draw what was recorded during training, pass by pass.

    Args:
        epochs: Passes over the training rows. Shape `(passes,)`.
        curves: Name and values of each curve; those without values are left out.
        steps: Whether to draw stairs, for counts.

    Returns:
        The figure.
    """
    data = []
    for color, (name, recorded) in zip(("@accent", "@bad"), curves.items(), strict=False):
        length = min(len(epochs), len(recorded))
        if length == 0:
            continue
        values = np.asarray(recorded[:length], np.float64)
        kept = decimate(values, max_points=MAX_POINTS)
        places = np.asarray(epochs[:length], np.float64)
        trace = plot.make_trace(places[kept], values[kept], name, color)
        trace["line"] |= {"width": 2, "shape": "hv" if steps else "linear"}
        data.append(trace)
    layout = plot.make_layout(margin_left=52) | {
        "xaxis": plot.make_value_axis() | {"title": {"text": "passes over the training rows"}},
        "yaxis": plot.make_value_axis() | ({"rangemode": "tozero"} if steps else {}),
        "hovermode": "x unified",
    }
    return {"data": data, "layout": layout}


def _sensor_traces(band: Line, reading: Line) -> list[Figure]:
    lower, upper = band.columns.T
    mean = plot.make_trace(band.times_ms, (lower + upper) / 2, "expected", "@accent")
    mean["customdata"] = plot.encode((upper - lower) / 2)
    mean["hovertemplate"] = "expected %{y:.5g} ± %{customdata:.3g}<extra></extra>"
    readings = plot.make_trace(reading.times_ms, reading.columns[:, 0], "reading", "@reading")
    readings["line"]["width"] = 1
    # the band goes on top of the readings, which would otherwise hide it
    return [readings, plot.make_band(band, "expected ± 2 sigma", "@band"), mean]


def _sensor_limits(band: Line, reading: Line) -> tuple[float, float] | None:
    """Show every reading; a band that is very wide for a moment must not flatten them."""
    edges = band.columns[np.isfinite(band.columns).all(axis=1)]
    if edges.shape[0]:
        edges = np.quantile(edges, (0.02, 0.98), axis=0)
    return plot.find_limits(np.concatenate([reading.columns.ravel(), edges.ravel()]))


def _shade(event: AlertEvent, num_panels: int) -> list[Figure]:
    """Shade the time of an alert event in every panel."""
    return [
        {
            "type": "rect",
            "x0": event.start_us / 1000,
            "x1": event.end_us / 1000,
            "y0": 0,
            "y1": 1,
            "yref": "y domain" if panel == 0 else f"y{panel + 1} domain",
            "line": {"width": 0},
            "fillcolor": "@alert",
            "layer": "below",
        }
        for panel in range(num_panels)
    ]


def _panel_titles(names: tuple[str, ...]) -> list[Figure]:
    return [
        {
            "text": plot.escape(name),
            "x": 0,
            "xref": "paper",
            "xanchor": "left",
            "y": 1 - panel / len(names),
            "yref": "paper",
            "yanchor": "top",
            "showarrow": False,
            "font": {"color": "@ink"},
        }
        for panel, name in enumerate(names)
    ]
