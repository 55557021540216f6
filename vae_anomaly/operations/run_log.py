"""Writing a detector into the active MLflow run."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from vae_anomaly.detector.record import DetectorRecord
from vae_anomaly.operations.run_content import (
    Table,
    make_curve_points,
    make_metrics,
    make_parameters,
    make_tables,
)
from vae_anomaly.operations.run_figures import make_figure_page, make_run_figures

if TYPE_CHECKING:
    from mlflow import MlflowClient

FIGURE_FILE = "figures.html"
ATTACHMENT_FOLDER = "attachments"

MAX_PARAMETERS = 100
MAX_METRICS = 1000
"""Most that MLflow takes at once."""

ItemT = TypeVar("ItemT")


def log_record(client: MlflowClient, run_id: str, record: DetectorRecord) -> None:
    """Log parameters, metrics, training curves and tables.

    Args:
        client: The store.
        run_id: The run.
        record: The detector's record.
    """
    from mlflow.entities import Metric, Param

    parameters = [Param(name, value) for name, value in make_parameters(record).items()]
    for batch in _cut(parameters, MAX_PARAMETERS):
        client.log_batch(run_id, params=batch)
    now_ms = time.time_ns() // 1_000_000
    final_step = record.facts.num_steps
    metrics = [
        Metric(name, value, now_ms, final_step) for name, value in make_metrics(record).items()
    ]
    metrics += [
        Metric(point.name, point.value, now_ms, point.step) for point in make_curve_points(record)
    ]
    for points in _cut(metrics, MAX_METRICS):
        client.log_batch(run_id, metrics=points)
    _log_tables(client, run_id, make_tables(record))


def log_figures(
    client: MlflowClient, run_id: str, record: DetectorRecord, more: Mapping[str, Any]
) -> None:
    """Log one page of figures, and attach files.

    Args:
        client: The store.
        run_id: The run.
        record: The detector's record, whose own figures come first.
        more: Plotly figures or their dicts by heading; a `Path` is attached as it is.
    """
    drawn: dict[str, Any] = dict(make_run_figures(record))
    drawn |= {name: figure for name, figure in more.items() if not isinstance(figure, Path)}
    client.log_text(run_id, make_figure_page(drawn, title="Detector"), FIGURE_FILE)
    for file in more.values():
        if isinstance(file, Path):
            client.log_artifact(run_id, str(file), ATTACHMENT_FOLDER)


def _log_tables(client: MlflowClient, run_id: str, tables: Mapping[str, Table]) -> None:
    """Log tables in MLflow's own form, which its page shows as tables.

    `MlflowClient.log_table` does the same, but warns of its own use of pandas.
    """
    from mlflow.utils.mlflow_tags import MLFLOW_LOGGED_ARTIFACTS

    files = {f"{name}.json": table for name, table in tables.items()}
    for file, table in files.items():
        client.log_dict(run_id, {"columns": table.columns, "data": table.rows}, file)
    entries = [{"path": file, "type": "table"} for file in files]
    client.set_tag(run_id, MLFLOW_LOGGED_ARTIFACTS, json.dumps(entries))


def _cut(items: Sequence[ItemT], size: int) -> Iterator[Sequence[ItemT]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
