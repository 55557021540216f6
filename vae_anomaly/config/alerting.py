"""Settings of alerting: who is called how often, and when nobody is."""

from __future__ import annotations

from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator

from vae_anomaly.config.base import Settings


class AlertingConfig(Settings):
    """What becomes of alert events after they were found.

    Attributes:
        cooldown_s: An event that starts within so many seconds after the end of the event before,
            of the same asset, is a follow-up of it and notifies nobody. 0 makes none.
        group_s: Events, of all assets, that start within so many seconds after the first of them
            are one group. 0 groups only those that start at the same time.
        calendars: iCalendar files of maintenance windows, recurring ones too. LOCATION names the
            asset, or several with commas between; an entry without one holds for all assets.
        timezone: Zone of the times and whole days in them that have none, such as Europe/Berlin.
        calendar_days_ahead: Days after the last reading up to which calendars are read.
    """

    cooldown_s: Annotated[float, Field(ge=0, le=366 * 86_400)] = 3_600
    group_s: Annotated[float, Field(ge=0, le=366 * 86_400)] = 300
    calendars: tuple[str, ...] = ()
    timezone: str = "UTC"
    calendar_days_ahead: Annotated[int, Field(ge=1, le=3_660)] = 366

    @field_validator("timezone")
    @classmethod
    def _zone_exists(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(
                f"expected the name of a time zone, got '{name}'; write it like 'Europe/Berlin'"
            ) from None
        return name
