"""Maintenance windows from iCalendar files: recurring ones, in the time zone of the plant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta
from pathlib import PurePath
from zoneinfo import ZoneInfo

import pyarrow as pa
from icalendar import Calendar, Component, Event

from vae_anomaly.config import AlertingConfig
from vae_anomaly.domain import MICROSECONDS_PER_DAY
from vae_anomaly.errors import AlertingError
from vae_anomaly.operations.alerting.entries import (
    Entry,
    add_entries,
    read_entries,
    withdraw_entries,
)
from vae_anomaly.operations.alerting.times import now_us, to_time, to_us
from vae_anomaly.readings.alerting_layout import EVERY_ASSET
from vae_anomaly.readings.data_files import list_data_files
from vae_anomaly.readings.files import open_filesystem
from vae_anomaly.readings.tables import Lake

SOURCE_PREFIX = "calendar:"
BY_CALENDAR = "calendar"

MAX_WINDOWS = 100_000
"""Windows of one calendar; more come from a rule that nobody meant, such as every minute."""


def sync_calendars(lake: Lake, settings: AlertingConfig) -> None:
    """Bring the table of maintenance windows in line with the calendars.

    Windows are taken from the first reading to `calendar_days_ahead` after the last. Those that
    are no longer in a calendar, or of a calendar that is no longer in the settings, are
    withdrawn: what they muted is no longer muted.

    Args:
        lake: The lake.
        settings: Which calendars, and what their times mean.

    Raises:
        AlertingError: A file cannot be read or is no calendar, or two have the same name.
        TableError: The table cannot be read or written.
    """
    _require_names(settings.calendars)
    calendars = {path: read_calendar(path) for path in settings.calendars}
    files = list_data_files(lake.uri("readings"))
    expected: dict[str, Entry] = {}
    if files:
        start_us = min(file.first_us for file in files)
        last_us = max(file.last_us for file in files)
        end_us = last_us + settings.calendar_days_ahead * MICROSECONDS_PER_DAY
        for path, calendar in calendars.items():
            found = find_windows(
                calendar, path=path, start_us=start_us, end_us=end_us, timezone=settings.timezone
            )
            expected |= {window.id_in("maintenance"): window for window in found}
    known = {
        entry_id
        for entry_id, entry in read_entries(lake, "maintenance").items()
        if entry.variant.startswith(SOURCE_PREFIX)
    }
    at_us = now_us()
    add_entries(lake, "maintenance", expected.values(), at_us=at_us)
    withdraw_entries(
        lake,
        "maintenance",
        known - expected.keys(),
        by=BY_CALENDAR,
        reason="no longer in the calendar",
        at_us=at_us,
    )


def read_calendar(path: str) -> Calendar:
    """Read an iCalendar file.

    Args:
        path: The file, or its address.

    Returns:
        The calendar; every entry of it can be understood.

    Raises:
        AlertingError: It cannot be read, or is not a calendar; the message names it.
    """
    try:
        filesystem, name = open_filesystem(path)
        with filesystem.open_input_stream(name) as stream:
            calendar = Calendar.from_ical(stream.read())
        for event in calendar.walk("VEVENT"):
            _require_sound(event)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _refuse(path, str(error)) from error
    return calendar


def find_windows(
    calendar: Calendar, *, path: str, start_us: int, end_us: int, timezone: str
) -> tuple[Entry, ...]:
    """Find the windows of a calendar that overlap `[start_us, end_us)`, recurring ones unrolled.

    Args:
        calendar: The calendar.
        path: Its file.
        start_us: Microseconds since 1970.
        end_us: Microseconds since 1970, exclusive.
        timezone: Zone of times and days that have none.

    Returns:
        The windows in order of time; cancelled entries and empty spans are left out.

    Raises:
        AlertingError: A rule cannot be understood, or there are too many windows.
    """
    import recurring_ical_events

    zone, found = ZoneInfo(timezone), []
    try:
        query = recurring_ical_events.of(calendar)
        # a day more at both ends: times without a zone are compared without one
        events = query.between(
            to_time(start_us) - timedelta(days=1), to_time(end_us) + timedelta(days=1)
        )
    except ValueError as error:
        raise _refuse(path, str(error)) from error
    if len(events) > MAX_WINDOWS:
        raise _refuse(path, f"it has {len(events)} windows, more than {MAX_WINDOWS}")
    for event in events:
        if str(event.get("STATUS", "")).upper() != "CANCELLED":
            found += list(_make_windows(event, path=path, zone=zone))
    return tuple(
        sorted(
            (one for one in found if one.start_us < end_us and start_us < one.end_us),
            key=lambda one: (one.start_us, one.end_us, one.asset, one.reason),
        )
    )


def _make_windows(event: Event, *, path: str, zone: ZoneInfo) -> Iterator[Entry]:
    start_us, end_us = (to_us(_localise(moment, zone)) for moment in (event.start, event.end))
    if start_us >= end_us:
        return
    named = (name.strip() for name in str(event.get("LOCATION", "")).split(","))
    for asset in [name for name in named if name] or [EVERY_ASSET]:
        yield Entry(
            asset=asset,
            start_us=start_us,
            end_us=end_us,
            by=BY_CALENDAR,
            reason=str(event.get("SUMMARY", "")),
            variant=_name_source(path),
        )


def _localise(moment: date, zone: ZoneInfo) -> datetime:
    """Give a whole day its midnight, and a time without a zone the one of the settings."""
    if not isinstance(moment, datetime):
        moment = datetime.combine(moment, time())
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)


def _require_sound(event: Component) -> None:
    """Refuse an entry that the library reads over: it would mute something else, or nothing."""
    name = str(event.get("SUMMARY", "")) or str(event.get("UID", ""))
    if event.errors:
        field, error = event.errors[0]
        raise ValueError(f"{field} of the entry '{name}': {error}")
    if "DTSTART" not in event:
        raise ValueError(f"the entry '{name}' has no DTSTART")
    for field in ("DTSTART", "DTEND"):
        given = event.get(field)
        zone = given.params.get("TZID") if given is not None else None
        if zone and isinstance(given.dt, datetime) and given.dt.tzinfo is None:
            raise ValueError(f"{field} of the entry '{name}' is in the unknown time zone '{zone}'")


def _require_names(paths: Sequence[str]) -> None:
    names = [_name_source(path) for path in paths]
    for path in paths:
        if names.count(_name_source(path)) > 1:
            raise AlertingError(
                f"Cannot use the calendar '{path}': expected files with names of their own, got "
                "two of this name. Rename one."
            )


def _name_source(path: str) -> str:
    return SOURCE_PREFIX + PurePath(path).name


def _refuse(path: str, got: str) -> AlertingError:
    return AlertingError(
        f"Cannot use the calendar '{path}': expected an iCalendar file, got: {got.rstrip('.')}. "
        "Correct the file, or take it out of [alerting] calendars."
    )
