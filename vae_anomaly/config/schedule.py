"""Settings of the schedule: when each flow is due, and how long it may take."""

from __future__ import annotations

from typing import Annotated
from zoneinfo import available_timezones

from pydantic import Field, field_validator

from vae_anomaly.config.base import Settings

HOUR_S = 3_600

Interval = Annotated[float, Field(ge=0)]
Timeout = Annotated[float, Field(gt=0)]


class ScheduleConfig(Settings):
    """When each flow is due: every so many seconds, or at the times of a cron expression.

    Attributes:
        ingest_every_s: Seconds between two ingests; 0 leaves the flow unscheduled. So do all
            settings of this kind.
        train_every_s: Seconds between two trainings.
        score_every_s: Seconds between two scorings, which are due half of it after an ingest.
        notify_every_s: Seconds between two looks for notifications to send or to try again; they
            are sent where there are channels in [notify].
        monitor_every_s: Seconds between two checks for drift.
        ingest_cron: Times of an ingest instead, such as "*/10 * * * *".
        train_cron: Times of a training instead, such as "0 3 * * SUN".
        score_cron: Times of a scoring instead.
        notify_cron: Times of notifications instead.
        monitor_cron: Times of a check for drift instead.
        timezone: Zone that cron expressions are meant in, such as "Europe/Berlin".
        ingest_timeout_s: Seconds after which an ingest is ended: it is stuck.
        train_timeout_s: Seconds after which a training is ended.
        score_timeout_s: Seconds after which a scoring is ended.
        promote_timeout_s: Seconds after which a comparison of detectors is ended.
        notify_timeout_s: Seconds after which the sending of notifications is ended.
        monitor_timeout_s: Seconds after which a check for drift is ended.
    """

    ingest_every_s: Interval = 300
    train_every_s: Interval = 7 * 86_400
    score_every_s: Interval = 300
    notify_every_s: Interval = 60
    monitor_every_s: Interval = 3_600
    ingest_cron: str = ""
    train_cron: str = ""
    score_cron: str = ""
    notify_cron: str = ""
    monitor_cron: str = ""
    timezone: str = "UTC"
    ingest_timeout_s: Timeout = 3 * HOUR_S
    train_timeout_s: Timeout = 13 * HOUR_S
    score_timeout_s: Timeout = 7 * HOUR_S
    promote_timeout_s: Timeout = 3 * HOUR_S
    notify_timeout_s: Timeout = HOUR_S
    monitor_timeout_s: Timeout = 3 * HOUR_S

    @field_validator("timezone")
    @classmethod
    def _zone_exists(cls, name: str) -> str:
        if name not in available_timezones():
            raise ValueError("expected the name of a zone, such as 'Europe/Berlin'")
        return name

    def find_timeout(self, flow: str) -> float:
        """Return the seconds that a flow of this name may take."""
        seconds: float = getattr(self, f"{flow}_timeout_s")
        return seconds
