"""Figures of an MLflow run, on one page that needs no network."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from vae_anomaly.detector.record import DetectorRecord
from vae_anomaly.operations.report_plotly import escape
from vae_anomaly.operations.run_content import list_curve_steps

if TYPE_CHECKING:
    import plotly.graph_objects as go

MAX_ASSETS = 60
"""Assets with a bar of their own; those with the highest rates come first."""

BLUE, ORANGE, GREEN, RED = "#3366cc", "#e07b00", "#2e8b57", "#c0392b"
HEIGHT = 380

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<script>{script}</script>
<style>body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem }}</style>
</head><body><h1>{title}</h1>
{body}
</body></html>
"""


def make_run_figures(record: DetectorRecord) -> dict[str, go.Figure]:
    """Draw what a detector says of itself.

    Args:
        record: The detector's record.

    Returns:
        Figures by name: training curves, held-out fit beside PCA, expected alarm rates.
    """
    return {
        "Training": draw_training(record),
        "Held-out fit": draw_baseline(record),
        "Calibration": draw_calibration(record),
    }


def draw_training(record: DetectorRecord) -> go.Figure:
    """Draw the training curves over optimiser steps, and the latent units in use below."""
    from plotly.subplots import make_subplots

    curves, steps = record.curves, list_curve_steps(record)
    negative_elbo = np.add(curves.nll, curves.kl)
    figure = make_subplots(
        rows=2, cols=1, shared_xaxes=True, row_heights=[0.7, 0.3], vertical_spacing=0.08
    )
    figure.add_scatter(
        x=steps, y=negative_elbo, name="training: NLL + KL", line_color=BLUE, row=1, col=1
    )
    if curves.held_out_nll:
        figure.add_scatter(
            x=steps, y=curves.held_out_nll, name="held out", line_color=ORANGE, row=1, col=1
        )
    figure.add_scatter(x=steps, y=curves.kl, name="training: KL", line_color=GREEN, row=1, col=1)
    figure.add_scatter(
        x=steps, y=curves.active_units, name="active units", line_color=RED, row=2, col=1
    )
    figure.update_yaxes(title="nats per row", row=1)
    figure.update_yaxes(title="units", rangemode="tozero", row=2)
    figure.update_xaxes(title="optimiser steps", row=2)
    return _finish(figure)


def draw_baseline(record: DetectorRecord) -> go.Figure:
    """Draw the held-out NLL of the VAE beside that of PCA; lower is better."""
    import plotly.graph_objects as go

    names = {"VAE": "vae_nll_nats", "PCA": "pca_nll_nats"}
    nats = [record.baseline[key] for key in names.values()]
    figure = go.Figure(
        go.Bar(x=nats, y=list(names), orientation="h", marker_color=[BLUE, ORANGE], text=nats)
    )
    figure.update_traces(texttemplate="%{text:.4g}")
    figure.update_xaxes(title="held-out NLL in nats per row; lower is better")
    return _finish(figure, height=240)


def draw_calibration(record: DetectorRecord) -> go.Figure:
    """Draw the alarm rate to expect per asset, with its 90 % interval."""
    import plotly.graph_objects as go

    rated = sorted(record.calibrations.items(), key=lambda item: -item[1].expected_rate)
    rated = rated[:MAX_ASSETS]
    rates = np.array([one.expected_rate for _, one in rated])
    low = np.array([one.rate_low for _, one in rated])
    high = np.array([one.rate_high for _, one in rated])
    asks_for_steps = rated[0][1].budget_per_week is None
    figure = go.Figure(
        go.Scatter(
            x=rates,
            y=[escape(asset) for asset, _ in rated],
            mode="markers",
            marker={"color": BLUE, "size": 9},
            error_x={"array": high - rates, "arrayminus": rates - low, "color": BLUE},
            customdata=[one.threshold for _, one in rated],
            hovertemplate="%{y}: %{x:.4g}, threshold %{customdata:.4g}<extra></extra>",
        )
    )
    unit = "share of normal steps" if asks_for_steps else "alert events a week"
    figure.update_xaxes(title=f"expected on normal readings, 90 % interval: {unit}")
    figure.update_yaxes(type="category", autorange="reversed")
    return _finish(figure, height=160 + 22 * len(rated))


def make_figure_page(figures: Mapping[str, Any], *, title: str) -> str:
    """Put figures on one HTML page that holds all it needs (about 5 MB, nearly all Plotly).

    Args:
        figures: Plotly figures, or their dicts, by heading.
        title: Heading of the page.

    Returns:
        The page.
    """
    from plotly.io import to_html
    from plotly.offline import get_plotlyjs

    parts = []
    for index, (heading, figure) in enumerate(figures.items()):
        chart = to_html(figure, include_plotlyjs=False, full_html=False, div_id=f"figure-{index}")
        parts.append(f"<h2>{html.escape(heading)}</h2>\n{chart}")
    return PAGE.format(
        title=html.escape(title), script=get_plotlyjs().strip(), body="\n".join(parts)
    )


def _finish(figure: go.Figure, *, height: int = HEIGHT) -> go.Figure:
    figure.update_layout(
        height=height,
        margin={"l": 60, "r": 20, "t": 20, "b": 50},
        legend={"orientation": "h", "y": 1.12},
        template="plotly_white",
    )
    return figure
