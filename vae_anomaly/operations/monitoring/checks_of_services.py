"""What the doctor looks at beside the lake: registry, Prefect server, flows that succeed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from vae_anomaly.config import PipelineConfig
from vae_anomaly.domain import MICROSECONDS_PER_S
from vae_anomaly.operations.monitoring.finding import FAILED, OK, WARNING, Finding
from vae_anomaly.operations.registry import CHAMPION, open_registry
from vae_anomaly.operations.tracking import DATABASE_FILE
from vae_anomaly.readings.flow_marks import read_flow_marks
from vae_anomaly.readings.tables import Lake

SERVER_VARIABLE = "PREFECT_API_URL"
SERVER_TIMEOUT_S = 10.0
MAX_INTERVALS = 3.0
"""Intervals after which a flow should have succeeded again."""

INTERVAL_SUFFIX = "_every_s"


def check_registry(config: PipelineConfig) -> Iterator[Finding]:
    """Look whether the champion is there, loads, and scores its golden rows as it did."""
    settings = config.registry
    is_local = not settings.tracking_uri and "://" not in settings.folder
    if is_local and not (Path(settings.folder) / DATABASE_FILE).exists():
        message = f"There is no registry in '{settings.folder}' yet."
        yield Finding("registry", WARNING, message, "Run 'vae-anomaly run train'.")
        return
    registry = open_registry(settings)
    versions = registry.list_versions()
    if not any(CHAMPION in version.aliases for version in versions):
        yield Finding(
            "registry",
            FAILED if versions else WARNING,
            f"None of {len(versions)} versions of '{settings.model_name}' is champion.",
            "Run 'vae-anomaly models' to see why, and 'vae-anomaly promote'."
            if versions
            else "Run 'vae-anomaly run train'.",
        )
        return
    _, champion = registry.load(CHAMPION)
    yield Finding(
        "registry",
        OK,
        f"Version {champion.version} of '{champion.model_name}' is champion, loads, and scores "
        "its golden rows as it did.",
    )


def check_server(config: PipelineConfig) -> Iterator[Finding]:  # noqa: ARG001
    """Ask the Prefect server, where the environment names one."""
    import httpx

    url = os.environ.get(SERVER_VARIABLE, "")
    if not url:
        yield Finding("server", OK, f"{SERVER_VARIABLE} is not set: flows start their own server.")
        return
    address = f"{url.rstrip('/')}/health"
    try:
        httpx.get(address, timeout=SERVER_TIMEOUT_S).raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        yield Finding(
            "server",
            FAILED,
            f"The Prefect server of {SERVER_VARIABLE} does not answer: {error}.",
            "Start it, or correct the address.",
        )
        return
    yield Finding("server", OK, "The Prefect server answers.")


def check_flows(config: PipelineConfig, *, now_us: int) -> Iterator[Finding]:
    """Look whether each flow with a schedule has succeeded of late."""
    marks = read_flow_marks(Lake(config.lake.root))
    for name, every_s in config.schedule.model_dump().items():
        if not name.endswith(INTERVAL_SUFFIX) or not every_s:
            continue
        flow = name.removesuffix(INTERVAL_SUFFIX)
        if flow == "notify" and not config.notify.channels:  # it is not scheduled then
            continue
        if flow not in marks:
            message = f"'{flow}' has not succeeded yet."
            yield Finding("flows", WARNING, message, "Run 'vae-anomaly serve'.")
            continue
        age_s = (now_us - marks[flow].ended_us) / MICROSECONDS_PER_S
        message = f"'{flow}' succeeded {age_s:,.0f} s ago, is due every {every_s:,.0f} s"
        if age_s > MAX_INTERVALS * every_s:
            advice = "Is 'vae-anomaly serve' running? Its lines say what fails."
            yield Finding("flows", FAILED, f"{message}.", advice)
        else:
            yield Finding("flows", OK, f"{message}.")
