"""Serving the flows on their schedules, on one machine, until told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from flows.environment import prepare_prefect
from flows.local_server import LocalServer, ServerError
from flows.schedules import Served, list_served, make_schedule
from flows.stopping import StopSignals, keep_interrupts_from_children
from vae_anomaly.config import read_pipeline_config
from vae_anomaly.errors import ConfigError
from vae_anomaly.operations.monitoring.logs import choose_format, make_formatter

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.runner import Runner

__all__ = ["prepare_prefect", "serve"]

logger = logging.getLogger(__name__)

POLL_S = 2.0
"""How often to look for flow runs that are due."""

MAX_READ = 200
"""Most flow runs that Prefect's API returns at once."""


def serve(config_path: str | Path = "pipeline.toml") -> None:
    """Run ingest, train, score and monitor on their schedules, until SIGINT or SIGTERM.

    At the start each scheduled flow runs once, in this order, training only where there is no
    champion; so the pipeline is up to date before the first interval has passed. A flow run that
    is due while the one before it still runs is left out.

    Without `PREFECT_API_URL`, a Prefect server of our own runs for as long as this does.

    Args:
        config_path: Settings of the pipeline.

    Raises:
        ConfigError: The settings cannot be read, or schedule nothing.
        ServerError: Prefect's server does not start, or is gone.
    """
    file = Path(config_path).resolve()
    config = read_pipeline_config(file)
    choose_format(config.logs.format)
    flows = list_served(config)
    if not flows:
        raise ConfigError(
            f"Cannot serve '{file}': expected at least one interval above 0 in [schedule], got "
            "none. Set ingest_every_s, train_every_s, score_every_s or monitor_every_s, or a cron "
            "expression."
        )
    prepare_prefect(file)
    _show_own_lines()
    with keep_interrupts_from_children(), contextlib.suppress(asyncio.CancelledError):
        asyncio.run(_serve(file, flows))
    logger.info("Stopped")


async def _serve(file: Path, flows: Collection[Served]) -> None:
    with StopSignals() as signals:
        async with _reach_server() as is_own:
            from prefect.client.orchestration import get_client
            from prefect.runner import Runner

            from flows.deployments import close_dead_runs

            runner = Runner(name="vae-anomaly", query_seconds=POLL_S, prefetch_seconds=0)
            ids = {flow: await _deploy(runner, flow, file) for flow in flows}
            async with get_client() as client:
                if is_own:
                    await _clear_remains(client, ids.values())
                else:
                    await close_dead_runs(client)
            async with _run(runner, signals) as polling, get_client() as client:
                await _bring_up_to_date(ids)
                for flow, deployment_id in ids.items():
                    await client.resume_deployment(deployment_id)
                    logger.info("'%s' is due %s", flow.name, flow.describe())
                await asyncio.wait({polling})
            raise ServerError(
                "Cannot go on serving: Prefect's server cannot be reached. Start again."
            ) from polling.exception()


@contextlib.asynccontextmanager
async def _reach_server() -> AsyncIterator[bool]:
    """Use the server of `PREFECT_API_URL`, else one of our own; tell whether it is our own."""
    if os.environ.get("PREFECT_API_URL"):
        yield False
        return
    server = LocalServer(os.environ["PREFECT_HOME"])
    os.environ["PREFECT_API_URL"] = server.api_url  # Prefect reads it when it is imported
    try:
        logger.info("Starting Prefect's server, which takes some seconds")
        await server.start()
        logger.info("Flow runs are shown at %s", server.url)
        yield True
    finally:
        server.stop()
        del os.environ["PREFECT_API_URL"]


async def _deploy(runner: Runner, served: Served, file: Path) -> UUID:
    """Deploy a flow with its schedule, which waits until it is resumed."""
    from flows.deployments import LIMIT, load_flow, make_triggers

    return await runner.aadd_flow(
        load_flow(served),
        name=served.name,
        schedule=make_schedule(served),
        parameters={"config_path": str(file)},
        concurrency_limit=LIMIT,
        triggers=make_triggers(served, read_pipeline_config(file)),
        paused=True,
    )


async def _clear_remains(client: PrefectClient, deployment_ids: Collection[UUID]) -> None:
    """End what an earlier service left behind, if it was killed: it would block what is due."""
    from prefect.client.schemas.filters import (
        DeploymentFilter,
        DeploymentFilterId,
        FlowRunFilter,
        FlowRunFilterState,
        FlowRunFilterStateType,
    )
    from prefect.client.schemas.objects import State, StateType
    from prefect.client.schemas.sorting import FlowRunSort
    from prefect.states import Crashed

    unfinished = [StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
    while runs := await client.read_flow_runs(
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=list(deployment_ids))),
        flow_run_filter=FlowRunFilter(
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=unfinished))
        ),
        sort=FlowRunSort.ID_DESC,
        limit=MAX_READ,
    ):
        for run in runs:
            if run.state_type is StateType.SCHEDULED:
                await client.delete_flow_run(run.id)
            else:
                state: State[None] = Crashed(message="The service ended before the flow run did.")
                await client.set_flow_run_state(run.id, state, force=True)


async def _bring_up_to_date(ids: Mapping[Served, UUID]) -> None:
    """Run each flow once; one that fails ends the round, the schedules go on all the same."""
    from prefect.deployments import arun_deployment

    for served, deployment_id in ids.items():
        run = await arun_deployment(
            deployment_id,
            parameters=dict(served.first_parameters),
            poll_interval=POLL_S / 2,
            as_subflow=False,
        )
        if run.state is None or not run.state.is_completed():
            logger.warning("'%s' failed; it is tried again when it is due", served.name)
            return


@contextlib.asynccontextmanager
async def _run(runner: Runner, signals: StopSignals) -> AsyncIterator[asyncio.Task[None]]:
    """Let the runner look for what is due; at the end it stops the flow runs that still run."""
    polling = asyncio.create_task(runner.start())
    await asyncio.sleep(0)
    signals.handle_sigterm()  # the runner has just set a handler that ends in a traceback
    try:
        await _wait_until_started(runner, polling)
        yield polling
    finally:
        await _wait_until_started(runner, polling)  # only then can it be stopped
        if not polling.done():
            await runner.astop()
        await asyncio.wait({polling})


async def _wait_until_started(runner: Runner, polling: asyncio.Task[None]) -> None:
    while not runner.started and not polling.done():
        await asyncio.sleep(POLL_S / 20)


def _show_own_lines() -> None:
    """Write what we do to standard error, once: Prefect would write it again."""
    lines = logging.getLogger("flows")
    lines.propagate = False
    if not lines.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(make_formatter("%(asctime)s | %(message)s", "%H:%M:%S"))
        lines.addHandler(handler)
