"""Running the Prefect flows from the command line.

The flows stand above this package and import from it, so nothing here may import them when it
is itself imported: they are looked up by name when a command needs them. It also keeps Prefect,
which takes seconds to import, out of every other command.
"""

from __future__ import annotations

import logging
import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vae_anomaly.cli.output import Progress
from vae_anomaly.operations.monitoring.logs import JSON, choose_format, find_format, make_formatter

if TYPE_CHECKING:
    from vae_anomaly.cli.steps import StepResult

CONSOLE_LEVEL = "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"
"""Prefect's level of what is shown on the terminal; its pages have everything."""


def run_flow(step: str, config: Path, *, progress: Progress) -> StepResult:
    """Run a flow in this process, recorded by Prefect.

    Without `PREFECT_API_URL` the first flow starts a Prefect server that ends with this process.

    Args:
        step: `ingest`, `train`, `promote`, `score`, `notify` or `monitor`.
        config: A `pipeline.toml`.
        progress: Told what is done and what there is in all.

    Returns:
        What the step did.

    Raises:
        VaeAnomalyError: As the step raises it.
    """
    from vae_anomaly.config import read_pipeline_config

    settings = read_pipeline_config(config)  # what is wrong is said before Prefect takes its time
    choose_format(settings.logs.format)
    _load("environment").prepare_prefect(config)
    if "PREFECT_HOME" in os.environ:  # Prefect makes this folder, but none above it
        Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)
    if find_format() != JSON:  # a person reads the result, a program the lines
        os.environ.setdefault(CONSOLE_LEVEL, "CRITICAL")
    with _load("artifacts").listen(progress):
        result: StepResult = getattr(_load(step), step)(str(config.resolve()))
    return result


def serve_flows(config: Path) -> None:
    """Run the flows on their schedules until told to stop.

    Args:
        config: A `pipeline.toml`.

    Raises:
        ConfigError: The settings cannot be read, or schedule nothing.
    """
    from vae_anomaly.config import read_pipeline_config

    choose_format(read_pipeline_config(config).logs.format)
    handler = logging.StreamHandler()
    handler.setFormatter(make_formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    own = logging.getLogger("flows")
    own.addHandler(handler)
    own.setLevel(logging.INFO)
    _load("serve").serve(config)


def deploy_flows(config: Path, *, pool: str) -> list[dict[str, str]]:
    """Write a deployment of each flow to a Prefect server, for workers.

    Args:
        config: A `pipeline.toml`.
        pool: Work pool.

    Returns:
        Name and times of each deployment.

    Raises:
        VaeAnomalyError: The settings cannot be read, or the server cannot be reached.
    """
    return [vars(item) for item in _load("deploy").deploy(config, pool=pool)]


def _load(name: str) -> Any:
    return import_module(f"flows.{name}")
