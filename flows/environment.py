"""Settings of Prefect that a pipeline on one machine needs; set before Prefect is imported."""

from __future__ import annotations

import os
from pathlib import Path

from vae_anomaly.operations.monitoring.logs import JSON, find_format

LOGGING_FILE = Path(__file__).with_name("logging.yml")
"""Prefect's logging where log lines are JSON."""

HOME = "data/prefect"
"""Where Prefect keeps its database, beside `pipeline.toml`."""

FLOWS = ("ingest", "train", "promote", "score", "notify", "monitor")
"""Flows there are, by module, in the order in which they run at the start."""

LEASE_STORAGE = "prefect.server.concurrency.lease_storage.filesystem"
"""Module of Prefect that keeps leases in its home instead of its memory."""

SETTINGS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # a cold start on a small machine takes longer than the 20 s that Prefect allows
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_SERVER_DATABASE_TIMEOUT": "60",
    # who holds the place of a deployment is known again after the server was killed
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": LEASE_STORAGE,
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    # one line per flow run, and what goes wrong, once: a flow repeats what its task says
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
    "PREFECT_LOGGING_LOGGERS_PREFECT_FLOW_RUNS_LEVEL": "WARNING",
    "PREFECT_LOGGING_LOGGERS_PREFECT_TASK_RUNS_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_EXTRA_LOGGERS": ",".join(f"flows.{name}" for name in FLOWS),
    "PREFECT_LOGGING_FORMATTERS_STANDARD_FORMAT": "%(asctime)s | %(message)s",
}


def prepare_prefect(config_path: str | Path) -> None:
    """Set the environment of Prefect: no account, no telemetry, its files beside the pipeline.

    What is set already stays, so that another server or home can be chosen.

    Args:
        config_path: Settings of the pipeline.
    """
    if "PREFECT_API_URL" not in os.environ:
        home = Path(config_path).resolve().parent / HOME
        os.environ.setdefault("PREFECT_HOME", str(home))
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    if find_format() == JSON:
        os.environ.setdefault("PREFECT_LOGGING_SETTINGS_PATH", str(LOGGING_FILE))
