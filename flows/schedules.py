"""Which flows there are, and when they are due."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from vae_anomaly.config import PipelineConfig, ScheduleConfig
from vae_anomaly.errors import ConfigError

if TYPE_CHECKING:
    from prefect.schedules import Schedule

ANCHOR = datetime(2024, 1, 1, tzinfo=UTC)
"""A Monday. Flows are due whole intervals after it, however often the service is started."""

DRIFT_EVENT = "vae-anomaly.drift"
"""Name of the event on which a detector is trained, whatever its schedule says."""


@dataclass(frozen=True)
class Served:
    """A flow with its schedule.

    Attributes:
        name: Name of the flow and of its deployment.
        every_s: Seconds between flow runs, 0 for none.
        anchor: A time at which it was due.
        cron: Cron expression that stands in for `every_s`; empty for none.
        timezone: Zone that `cron` is meant in.
        first_parameters: Further parameters of the flow run at the start of the service.
        events: Names of events on which it runs too.
    """

    name: str
    every_s: float
    anchor: datetime = ANCHOR
    cron: str = ""
    timezone: str = "UTC"
    first_parameters: Mapping[str, bool] = field(default_factory=dict, hash=False)
    events: tuple[str, ...] = ()

    @property
    def is_scheduled(self) -> bool:
        """Whether it is due by itself."""
        return bool(self.cron) or self.every_s > 0

    def describe(self) -> str:
        """Say when it is due, for people."""
        if self.cron:
            return f"at '{self.cron}' ({self.timezone})"
        return f"every {self.every_s:g} s" if self.every_s else "never"


def list_flows(config: PipelineConfig) -> tuple[Served, ...]:
    """List all flows that may be due, in the order in which they run at the start.

    Scores are due half an interval after the ingest, so that they find its readings. The monitor
    is due a quarter of an interval after a full one; notifications, where there are channels.

    Args:
        config: The pipeline.
    """
    schedule = config.schedule
    half = timedelta(seconds=schedule.score_every_s / 2)
    quarter = timedelta(seconds=schedule.monitor_every_s / 4)
    flows = (
        _make("ingest", schedule),
        _make(
            "train",
            schedule,
            first_parameters={"only_without_champion": True},
            events=(DRIFT_EVENT,),
        ),
        _make("score", schedule, anchor=ANCHOR + half),
        _make("notify", schedule),
        _make("monitor", schedule, anchor=ANCHOR + quarter),
    )
    return tuple(flow for flow in flows if flow.name != "notify" or config.notify.channels)


def list_served(config: PipelineConfig) -> tuple[Served, ...]:
    """List the flows that have a schedule, in the order in which they run at the start.

    Args:
        config: The pipeline.

    Example:
        >>> [flow.name for flow in list_served(PipelineConfig())]
        ['ingest', 'train', 'score', 'monitor']
    """
    return tuple(flow for flow in list_flows(config) if flow.is_scheduled)


def _make(
    name: str,
    schedule: ScheduleConfig,
    *,
    anchor: datetime = ANCHOR,
    first_parameters: Mapping[str, bool] | None = None,
    events: tuple[str, ...] = (),
) -> Served:
    return Served(
        name,
        every_s=getattr(schedule, f"{name}_every_s"),
        anchor=anchor,
        cron=getattr(schedule, f"{name}_cron"),
        timezone=schedule.timezone,
        first_parameters=first_parameters or {},
        events=events,
    )


def make_schedule(served: Served) -> Schedule:
    """Make the schedule as Prefect has it.

    Args:
        served: A flow that is scheduled.

    Raises:
        ConfigError: Its cron expression is none.
    """
    from prefect.schedules import Cron, Interval

    if not served.cron:
        return Interval(timedelta(seconds=served.every_s), anchor_date=served.anchor)
    try:
        return Cron(served.cron, timezone=served.timezone)
    except ValueError as error:
        raise ConfigError(
            f"Cannot schedule '{served.name}': expected a cron expression in [schedule], such as "
            f"'0 3 * * SUN', got '{served.cron}'. Correct {served.name}_cron."
        ) from error
