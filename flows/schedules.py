"""Which flows are served, and when they are due."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from vae_anomaly.config import ScheduleConfig

ANCHOR = datetime(2024, 1, 1, tzinfo=UTC)
"""A Monday. Flows are due whole intervals after it, however often the service is started."""


@dataclass(frozen=True)
class Served:
    """A flow with its schedule.

    Attributes:
        name: Name of the flow and of its deployment.
        every_s: Seconds between flow runs.
        anchor: A time at which it was due.
        first_parameters: Further parameters of the flow run at the start of the service.
    """

    name: str
    every_s: float
    anchor: datetime = ANCHOR
    first_parameters: Mapping[str, bool] = field(default_factory=dict, hash=False)


def list_served(schedule: ScheduleConfig) -> tuple[Served, ...]:
    """List the flows that have a schedule, in the order in which they run at the start.

    Scores are due half an interval after the ingest, so that they find its readings. The monitor
    comes last at the start, and is due a quarter of an interval after a full one.

    Args:
        schedule: Seconds between flow runs; 0 leaves a flow out.

    Example:
        >>> [flow.name for flow in list_served(ScheduleConfig(train_every_s=0))]
        ['ingest', 'score', 'monitor']
    """
    flows = (
        Served("ingest", schedule.ingest_every_s),
        Served("train", schedule.train_every_s, first_parameters={"only_without_champion": True}),
        Served(
            "score",
            schedule.score_every_s,
            anchor=ANCHOR + timedelta(seconds=schedule.score_every_s / 2),
        ),
        Served(
            "monitor",
            schedule.monitor_every_s,
            anchor=ANCHOR + timedelta(seconds=schedule.monitor_every_s / 4),
        ),
    )
    return tuple(flow for flow in flows if flow.every_s > 0)
