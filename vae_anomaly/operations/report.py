"""The report: one self-contained HTML page that asks nothing of the network."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import logging
import math
import os
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from vae_anomaly.errors import ReportError
from vae_anomaly.operations import report_events, report_page
from vae_anomaly.operations import report_text as text
from vae_anomaly.operations.report_data import split_assets
from vae_anomaly.operations.report_input import ReportInput
from vae_anomaly.operations.report_summary import (
    count_faults,
    count_reasons,
    describe_rate,
    describe_request,
    make_headline,
)
from vae_anomaly.wording import format_plural, name_figure

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["ReportInput", "make_report", "write_report"]

logger = logging.getLogger(__name__)

_TEMPLATE = "report.html.j2"
_MAX_CALIBRATIONS = 200

MODELS = {"vae_nll_nats": "VAE", "pca_nll_nats": "PCA"}
"""What is compared, by its key in the record."""


def make_report(report: ReportInput) -> str:
    """Make the report page.

    The page holds everything it needs, plotly.js included (about 5 MB), and forbids itself the
    network. Its size is bounded whatever the number of rows. The same input gives the same page.

    Args:
        report: What to show.

    Returns:
        The HTML.

    Raises:
        ReportError: Readings, scores, mean and sigma do not have the same rows.
    """
    from plotly.offline import get_plotlyjs  # a second of imports

    _check(report)
    scripts = (str(get_plotlyjs()).strip(), _read_part("report.js"))
    assets = split_assets(report.readings, report.scores)
    shown = report_page.choose_assets(assets, report.events)
    template = _make_environment().get_template(_TEMPLATE)
    return template.render(
        report=report,
        headline=make_headline(report, assets),
        num_assets=len(assets),
        names_assets=len({*report.readings.asset_names, *(e.asset for e in report.events)}) > 1,
        assets=report_page.make_asset_blocks(report, shown),
        events=report_events.make_event_blocks(report, assets),
        names_reasons=any(event.reasons for event in report.events),
        max_detailed=report_events.MAX_DETAILED_EVENTS,
        curves=report_page.make_curve_charts(report.curves),
        faults=count_faults(report.quality),
        reasons=count_reasons(report.scores),
        calibrations=sorted(report.calibrations.items())[:_MAX_CALIBRATIONS],
        is_provisional=any(item.provisional for item in report.calibrations.values()),
        baseline=sorted(
            (
                (name, report.baseline[key])
                for key, name in MODELS.items()
                if key in report.baseline
            ),
            key=lambda item: (math.isnan(item[1]), item[1]),
        ),
        style=_read_part("report.css"),
        scripts=scripts,
        policy=_make_policy(scripts),
    )


def write_report(report: ReportInput, path: str | Path) -> Path:
    """Write the report page; whoever reads the file sees the old page or the new one, whole.

    Args:
        report: What to show.
        path: The HTML file; its folder is made.

    Returns:
        The file.

    Raises:
        ReportError: The input does not fit together, or the file cannot be written.
    """
    file = Path(path)
    content = make_report(report).encode("utf-8")
    draft = file.with_name(f".{file.name}.{uuid4().hex}.tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(content)
        os.replace(draft, file)  # noqa: PTH105  # the atomic one
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise ReportError(
            f"Cannot write the report to '{file}': {error.strerror or error}. "
            "Choose a file in a folder that can be written."
        ) from error
    logger.info("Wrote the report to %s (%.1f MB)", file, len(content) / 1e6)
    return file


def _check(report: ReportInput) -> None:
    num_rows, num_sensors = report.readings.values.shape
    if report.scores.num_rows != num_rows:
        raise ReportError(
            f"Cannot make the report: expected as many scores as readings, got "
            f"{format_plural(report.scores.num_rows, 'score')} of "
            f"{format_plural(num_rows, 'row')}. Score the same readings."
        )
    for name, values in (("mean", report.mean), ("sigma", report.sigma)):
        if values.shape != (num_rows, num_sensors):
            raise ReportError(
                f"Cannot make the report: expected {name} of shape {(num_rows, num_sensors)}, "
                f"got {values.shape}. Reconstruct the same readings."
            )


def _make_environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("vae_anomaly.operations"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": True, "allow_nan": False}
    environment.filters |= {
        "number": text.format_number,
        "count": text.format_count,
        "share": text.format_share,
        "multiple": text.format_multiple,
        "time": text.format_time,
        "duration": text.format_duration,
        "plural": format_plural,
        "figure": name_figure,
        "rate": describe_rate,
        "request": describe_request,
    }
    return environment


def _read_part(name: str) -> str:
    part = resources.files("vae_anomaly.operations") / "templates" / name
    return part.read_text(encoding="utf-8").strip()


def _make_policy(scripts: tuple[str, ...]) -> str:
    """Allow exactly our own scripts, and no network: names in the data can do nothing."""
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in scripts
    )
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
