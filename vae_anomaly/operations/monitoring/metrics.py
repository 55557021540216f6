"""Figures of a pipeline for Prometheus, from logs of tables and small files; no scan of rows."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from threading import Event
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.registry import Collector

from vae_anomaly.config import PipelineConfig
from vae_anomaly.errors import TableError, VaeAnomalyError
from vae_anomaly.operations.monitoring.drift_rows import ALERT_RATE, DRIFTED
from vae_anomaly.operations.pipeline_alerts import read_live_alerts
from vae_anomaly.operations.registry import CHAMPION, Registry, open_registry
from vae_anomaly.readings import delta
from vae_anomaly.readings.data_files import find_newest
from vae_anomaly.readings.drift_tables import read_drift
from vae_anomaly.readings.flow_marks import FlowMark, read_flow_marks
from vae_anomaly.readings.housekeeping import describe_tables
from vae_anomaly.readings.tables import Lake

logger = logging.getLogger(__name__)

PREFIX = "vae_anomaly_"
US_PER_S = 1e6
OUTBOX = "outbox"
STATES = {"num_ok": "ok", "num_anomalous": "anomalous", "num_unscorable": "unscorable"}

Gauges = Iterator[GaugeMetricFamily]


class PipelineCollector(Collector):
    """Collects the figures anew whenever it is asked.

    What cannot be reached is said by `vae_anomaly_up`, and the other figures are given all the
    same.

    Args:
        config: The pipeline.
    """

    def __init__(self, config: PipelineConfig) -> None:
        self._config = config
        self._lake = Lake(config.lake.root)
        self._registry: Registry | None = None

    def collect(self) -> Gauges:
        """Yield the figures."""
        up = _gauge("up", "1 where the part can be reached", "part")
        for part, find in (("lake", self._find_in_lake), ("registry", self._find_in_registry)):
            try:
                yield from list(find())
                up.add_metric([part], 1.0)
            except VaeAnomalyError as error:
                logger.warning("%s", error)
                up.add_metric([part], 0.0)
        yield up

    def _find_in_lake(self) -> Gauges:
        marks = read_flow_marks(self._lake)
        yield from _describe_size(self._lake)
        yield from _describe_flows(marks)
        yield from _describe_lag(self._lake, marks)
        yield from _describe_alerts(self._lake, self._config)
        yield from _describe_drift(self._lake, self._config, marks.get("monitor"))
        yield from _describe_outbox(self._lake)

    def _find_in_registry(self) -> Gauges:
        if self._registry is None:
            self._registry = open_registry(self._config.registry)
        champion = self._registry.find(CHAMPION)
        version = _gauge("champion_info", "The champion, always 1", "model_name", "model_version")
        version.add_metric([champion.model_name, champion.version], 1.0)
        yield version
        created_s = champion.created_us / US_PER_S
        yield _one("champion_created_timestamp_seconds", "When it was registered", created_s)
        yield _one("champion_age_seconds", "Seconds since then", time.time() - created_s)


def write_metrics(config: PipelineConfig) -> str:
    """Return the figures of a pipeline as OpenMetrics text.

    Args:
        config: The pipeline.
    """
    text: bytes = generate_latest(_make_registry(config))  # type: ignore[no-untyped-call]
    return text.decode()


def list_samples(config: PipelineConfig) -> list[dict[str, Any]]:
    """Return the figures of a pipeline as a list: name, labels and value."""
    return [
        {"name": sample.name, "labels": sample.labels, "value": sample.value}
        for family in _make_registry(config).collect()
        for sample in family.samples
    ]


def write_metrics_file(config: PipelineConfig, path: Path) -> None:
    """Write the figures to a file in one step, as the textfile collector of a node wants it.

    Args:
        config: The pipeline.
        path: The file, such as `vae-anomaly.prom`.

    Raises:
        TableError: It cannot be written.
    """
    draft = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(write_metrics(config), encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        raise TableError(
            f"Cannot write metrics to '{path}': {error.strerror or error}. "
            "Choose a folder that can be written."
        ) from error


def serve_metrics(
    config: PipelineConfig,
    *,
    host: str,
    port: int,
    on_start: Callable[[int], None],
    stop: Event | None = None,
) -> None:
    """Serve the figures over HTTP until stopped; each request collects them anew.

    Args:
        config: The pipeline.
        host: Address to listen at.
        port: Port to listen at; 0 takes a free one.
        on_start: Told the port.
        stop: Set to stop.

    Raises:
        TableError: The port is taken, or the address is not of this machine.
    """
    try:
        server, thread = start_http_server(port, addr=host, registry=_make_registry(config))
    except OSError as error:
        raise TableError(
            f"Cannot serve metrics at {host}:{port}: {error.strerror or error}. "
            "Give another --serve."
        ) from error
    try:
        on_start(int(server.server_port))
        (stop or Event()).wait()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _make_registry(config: PipelineConfig) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(PipelineCollector(config))
    return registry


def _gauge(name: str, about: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(PREFIX + name, about, labels=labels)


def _one(name: str, about: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(PREFIX + name, about, value=value)


def _describe_size(lake: Lake) -> Gauges:
    rows, size, files = (
        _gauge("table_rows", "Rows of a table; of scores, rows scored", "table"),
        _gauge("table_bytes", "Size of the newest version of a table", "table"),
        _gauge("table_files", "Data files of the newest version of a table", "table"),
    )
    for state in describe_tables(lake):
        rows.add_metric([state.name], state.num_rows)
        size.add_metric([state.name], state.num_bytes)
        files.add_metric([state.name], state.num_files)
    yield from (rows, size, files)


def _describe_flows(marks: Mapping[str, FlowMark]) -> Gauges:
    last = _gauge("flow_last_success_timestamp_seconds", "When a flow succeeded last", "flow")
    took = _gauge("flow_duration_seconds", "How long that took", "flow")
    for mark in marks.values():
        last.add_metric([mark.flow], mark.ended_us / US_PER_S)
        took.add_metric([mark.flow], mark.duration_s)
    yield from (last, took)
    if "score" in marks:
        states = _gauge("scored_rows", "Rows scored by the version of the last scoring", "state")
        for name, state in STATES.items():
            states.add_metric([state], marks["score"].figures.get(name, 0.0))
        yield states


def _describe_lag(lake: Lake, marks: Mapping[str, FlowMark]) -> Gauges:
    newest, scored = (find_newest(lake.uri(table)) for table in ("readings", "scores"))
    for name, time_us in (("reading", newest), ("score", scored)):
        if time_us is not None:
            about = f"Time of the newest {name}"
            yield _one(f"newest_{name}_timestamp_seconds", about, time_us / US_PER_S)
    if newest is not None and scored is not None:
        lag = max(newest - scored, 0) / US_PER_S
        yield _one("scoring_lag_seconds", "How far scores are behind the readings", lag)
    version = lake.readings_version()
    if version is not None and "score" in marks:
        behind = version - marks["score"].figures.get("readings_version", -1.0)
        yield _one(
            "readings_versions_unscored", "Versions of readings since the last scoring", behind
        )


def _describe_alerts(lake: Lake, config: PipelineConfig) -> Gauges:
    events = _gauge("alert_events", "Alert events that stand", "status", "severity")
    alerts = read_live_alerts(lake, model_name=config.registry.model_name)
    pairs = zip(alerts["status"].to_pylist(), alerts["severity"].to_pylist(), strict=True)
    for (status, severity), count in sorted(Counter(pairs).items()):
        events.add_metric([status, severity], count)
    yield events
    budget = config.detector.threshold.alert_budget_per_week
    if budget is not None:
        yield _one("alert_budget_per_week", "Alert events per asset and week to allow", budget)


def _describe_drift(lake: Lake, config: PipelineConfig, mark: FlowMark | None) -> Gauges:
    if mark is None or "until_us" not in mark.figures:
        return
    rows = read_drift(
        lake, model_name=config.registry.model_name, time_us=int(mark.figures["until_us"])
    )
    rate = _gauge("alert_events_per_week", "Alert events a week, at the last check", "asset")
    for row in rows.filter(pc.equal(rows["statistic"], ALERT_RATE)).to_pylist():
        rate.add_metric([row["asset"]], row["value"])
    yield rate
    verdicts = _gauge("drift_series", "Series by verdict of the last check", "verdict")
    for verdict, count in sorted(Counter({DRIFTED: 0} | _count(rows["verdict"])).items()):
        verdicts.add_metric([verdict], count)
    yield verdicts


def _describe_outbox(lake: Lake) -> Gauges:
    uri = lake.uri(OUTBOX)
    if delta.has_table(uri) and "status" in delta.column_names(uri):
        messages = _gauge("outbox_messages", "Messages to people", "status")
        for status, count in _count(delta.read_table(uri, columns=["status"])["status"]).items():
            messages.add_metric([status], count)
        yield messages


def _count(column: pa.ChunkedArray) -> dict[str, int]:
    return {row["values"]: row["counts"] for row in pc.value_counts(column).to_pylist()}
