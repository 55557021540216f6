"""The event that says a champion has drifted, and the trigger that trains on it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from uuid import UUID

from prefect.events import DeploymentEventTrigger, emit_event
from prefect.events.worker import EventsWorker

from flows.schedules import DRIFT_EVENT

if TYPE_CHECKING:
    from vae_anomaly.operations.monitoring.monitor import MonitorResult

logger = logging.getLogger(__name__)

MODEL_VERSION = "vae-anomaly.model-version"
LAKE = "vae-anomaly.lake"
"""Labels of the event's resource: the champion, and the lake, as several pipelines may have models
of one name."""

MAX_REASONS = 20


def name_resource(model_name: str) -> str:
    """Name the resource of a registered model."""
    return f"vae-anomaly.model.{model_name}"


def announce_drift(result: MonitorResult) -> None:
    """Send the event, and wait until it is sent.

    The id of the event follows from the champion: where a run is killed before it has noted that
    it was sent, it is sent again under the same id.

    Args:
        result: What the check found.
    """
    emit_event(
        DRIFT_EVENT,
        resource={
            "prefect.resource.id": name_resource(result.model_name),
            "prefect.resource.name": result.model_name,
            MODEL_VERSION: result.model_version,
            LAKE: result.lake,
        },
        payload={
            "model_version": result.model_version,
            "num_drifts": len(result.drifts),
            "reasons": [f"{one.asset}: {one.reason}" for one in result.drifts[:MAX_REASONS]],
        },
        id=UUID(result.event_id),
    )
    EventsWorker.instance().wait_until_empty()
    logger.warning(
        "Version %s of %s has drifted: %s",
        result.model_version,
        result.model_name,
        result.drifts[0].reason,
    )


def make_drift_trigger(model_name: str, lake: str) -> DeploymentEventTrigger:
    """Make the trigger that starts a deployment, such as `train`, when a champion has drifted.

    Args:
        model_name: Registered model.
        lake: Root of the lake.
    """
    return DeploymentEventTrigger(
        name=f"drift of {model_name}",
        expect={DRIFT_EVENT},
        match={"prefect.resource.id": name_resource(model_name), LAKE: lake},
    )
