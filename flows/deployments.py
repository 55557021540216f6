"""Deployments of the flows: what Prefect has to know to run them on their own."""

from __future__ import annotations

from datetime import timedelta
from importlib import import_module
from typing import Any

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import (
    ConcurrencyLimitConfig,
    ConcurrencyLimitStrategy,
    StateType,
)
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture, TriggerTypes
from prefect.events.schemas.deployment_triggers import DeploymentTriggerTypes
from prefect.flows import Flow

from flows.drift_event import make_drift_trigger
from flows.environment import SETTINGS
from flows.schedules import DRIFT_EVENT, Served
from vae_anomaly.config import PipelineConfig

DEAD_AFTER_S = 120
"""Seconds without a sign of life after which a flow run is taken for dead."""

LIMIT = ConcurrencyLimitConfig(
    limit=1,
    collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW,
    grace_period_seconds=DEAD_AFTER_S,  # for one that was handed to a worker and never began
)
"""A flow run that is due while another one of its deployment runs is left out."""

CLOSER = "vae-anomaly: close flow runs without a sign of life"
"""Name of the automation that does it."""

FLOW_RUN_SETTINGS = ("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", "PREFECT_LOGGING_EXTRA_LOGGERS")
"""Settings of Prefect that flow runs of a worker are given."""

BEGUN = ("Pending", "Submitting", "InfrastructurePending")
ALIVE = ("Running", "heartbeat")
ENDED = ("Completed", "Failed", "TimedOut", "Cancelling", "Cancelled", "Crashed", "AwaitingRetry")
"""Events of a flow run: after those of the first two kinds one of the last two has to come."""


def load_flow(served: Served) -> Flow[Any, Any]:
    """Import a flow."""
    flow: Flow[Any, Any] = getattr(import_module(f"flows.{served.name}"), served.name)
    return flow


def make_triggers(
    served: Served, config: PipelineConfig
) -> list[DeploymentTriggerTypes | TriggerTypes]:
    """Make the triggers that run a flow on the events of its pipeline."""
    if DRIFT_EVENT not in served.events:
        return []
    return [make_drift_trigger(config.registry.model_name, config.lake.root)]


def list_environment() -> dict[str, str]:
    """List the variables that flow runs of a worker need: theirs are those of the worker."""
    return {name: SETTINGS[name] for name in FLOW_RUN_SETTINGS}


async def close_dead_runs(client: PrefectClient) -> None:
    """Let the server close flow runs whose process and worker were killed: nobody else does.

    Such a run would stay as it is, and hold the place of every later one.

    Args:
        client: A client of the server.
    """
    automation = AutomationCore(
        name=CLOSER,
        trigger=EventTrigger(
            after={f"prefect.flow-run.{name}" for name in (*BEGUN, *ALIVE)},
            expect={f"prefect.flow-run.{name}" for name in (*ALIVE, *ENDED)},
            match={"prefect.resource.id": ["prefect.flow-run.*"]},
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=DEAD_AFTER_S),
        ),
        actions=[
            ChangeFlowRunState(
                name=None,
                state=StateType.CRASHED,
                message="Its process ended before the flow run did.",
                force=False,
            )
        ],
    )
    for known in await client.read_automations_by_name(CLOSER):
        await client.delete_automation(known.id)
    await client.create_automation(automation)
