"""Deployments for workers, as `pipeline.toml` schedules them, written to a Prefect server."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flows.environment import prepare_prefect
from flows.schedules import Served, list_flows, make_schedule
from vae_anomaly.config import read_pipeline_config
from vae_anomaly.errors import ConfigError, VaeAnomalyError

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient

POOL_TYPE = "process"
"""Kind of work pool: its workers run each flow run as a process of their machine."""


class DeployError(VaeAnomalyError):
    """Deployments cannot be written to Prefect's server."""


@dataclass(frozen=True)
class Deployed:
    """One deployment.

    Attributes:
        name: What Prefect calls it.
        due: When it is due, for people.
    """

    name: str
    due: str


def deploy(config_path: str | Path = "pipeline.toml", *, pool: str) -> tuple[Deployed, ...]:
    """Write a deployment of each flow to the server at `PREFECT_API_URL`.

    Deployments that are there already are replaced, so it is run again after the settings have
    changed. The work pool is made where it is missing. A flow without a schedule is deployed
    too: it runs on events, and when somebody asks for it.

    Args:
        config_path: Settings of the pipeline. Workers read them at the same place.
        pool: Work pool.

    Returns:
        What was deployed.

    Raises:
        ConfigError: The settings cannot be read, or no server is named.
        DeployError: The server refuses a deployment, or cannot be reached.
    """
    file = Path(config_path).resolve()
    flows = list_flows(read_pipeline_config(file))
    address = os.environ.get("PREFECT_API_URL")
    if not address:
        raise ConfigError(
            "Cannot deploy: expected the address of a Prefect server in PREFECT_API_URL, got "
            "none. Set it, such as to 'http://127.0.0.1:4200/api'. On one machine 'vae-anomaly "
            "serve' needs no deployment."
        )
    prepare_prefect(file)
    from httpx import HTTPError

    try:
        asyncio.run(_deploy_all(flows, file, pool))
    except HTTPError as error:
        raise DeployError(
            f"Cannot deploy to '{address}': {error or type(error).__name__}. Check that Prefect's "
            "server runs there."
        ) from error
    return tuple(Deployed(f"{flow.name}/{flow.name}", flow.describe()) for flow in flows)


async def _deploy_all(flows: Collection[Served], file: Path, pool: str) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectNotFound

    from flows.deployments import close_dead_runs

    async with get_client() as client:
        try:
            await client.read_work_pool(pool)
        except ObjectNotFound:
            await client.create_work_pool(WorkPoolCreate(name=pool, type=POOL_TYPE))
        for flow in flows:
            await _deploy(client, flow, file, pool)
        await close_dead_runs(client)


async def _deploy(client: PrefectClient, served: Served, file: Path, pool: str) -> None:
    """Write one deployment; it names the flow by its module, which workers have installed."""
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.objects import ConcurrencyOptions

    from flows.deployments import LIMIT, list_environment, load_flow, make_triggers

    flow = load_flow(served)
    schedules = [make_schedule(served)] if served.is_scheduled else []
    deployment_id = await client.create_deployment(  # or replaced whole, schedules and all
        flow_id=await client.create_flow(flow),
        name=served.name,
        description=flow.description,
        entrypoint=f"flows.{served.name}.{served.name}",
        parameters={"config_path": str(file)},
        parameter_openapi_schema=flow.parameters.model_dump(exclude_unset=True),
        enforce_parameter_schema=True,
        schedules=[DeploymentScheduleCreate.from_schedule(one) for one in schedules],
        concurrency_limit=LIMIT.limit,
        concurrency_options=ConcurrencyOptions(
            collision_strategy=LIMIT.collision_strategy,
            grace_period_seconds=LIMIT.grace_period_seconds,
        ),
        work_pool_name=pool,
        job_variables={"env": list_environment()},
        pull_steps=[],
        paused=False,
    )
    await client.delete_resource_owned_automations(f"prefect.deployment.{deployment_id}")
    for trigger in make_triggers(served, read_pipeline_config(file)):
        trigger.set_deployment_id(deployment_id)
        await client.create_automation(trigger.as_automation())
