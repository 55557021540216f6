from datetime import UTC, datetime

import pytest

from tests.alerting import START_US, at
from vae_anomaly.config import AlertingConfig, make_config
from vae_anomaly.errors import AlertingError, ConfigError
from vae_anomaly.operations.alerting import calendars
from vae_anomaly.operations.alerting.calendars import (
    find_windows,
    read_calendar,
    sync_calendars,
)
from vae_anomaly.operations.alerting.entries import Entry
from vae_anomaly.operations.alerting.exclusions import find_excluded
from vae_anomaly.operations.alerting.maintenance import add_window, list_windows, remove_window
from vae_anomaly.operations.alerting.settle import settle_alerts
from vae_anomaly.operations.alerting.times import to_us

MARCH, APRIL = (to_us(datetime(2026, month, 1, tzinfo=UTC)) for month in (3, 4))


def write_calendar(path, *entries: str):
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//plant//EN"]
    for number, entry in enumerate(entries):
        lines += ["BEGIN:VEVENT", f"UID:{number}", *entry.split("\n"), "END:VEVENT"]
    path.write_text("\r\n".join([*lines, "END:VCALENDAR", ""]), encoding="utf-8")
    return str(path)


def windows_of(path: str, *, timezone: str = "UTC", start_us=MARCH, end_us=APRIL):
    return find_windows(
        read_calendar(path), path=path, start_us=start_us, end_us=end_us, timezone=timezone
    )


def hours(windows) -> list[tuple[str, str]]:
    return [
        tuple(f"{datetime.fromtimestamp(us / 1e6, UTC):%m-%d %H:%M}" for us in span)
        for span in ((one.start_us, one.end_us) for one in windows)
    ]


@pytest.mark.parametrize("zone", [";TZID=Europe/Berlin", ""])
def test_recurring_windows_keep_their_local_time_when_clocks_change(tmp_path, zone):
    """On 2026-03-29 Berlin goes from +01:00 to +02:00."""
    path = write_calendar(
        tmp_path / "plant.ics",
        f"SUMMARY:greasing\nDTSTART{zone}:20260315T060000\nDTEND{zone}:20260315T080000\n"
        "RRULE:FREQ=WEEKLY;COUNT=4",
    )
    windows = windows_of(path, timezone="Europe/Berlin")
    assert hours(windows) == [
        ("03-15 05:00", "03-15 07:00"),
        ("03-22 05:00", "03-22 07:00"),
        ("03-29 04:00", "03-29 06:00"),
    ]
    assert {(one.asset, one.reason, one.variant) for one in windows} == {
        ("*", "greasing", "calendar:plant.ics")
    }


def test_a_window_over_the_change_of_clocks_is_an_hour_shorter(tmp_path):
    path = write_calendar(
        tmp_path / "a.ics",
        "DTSTART;TZID=Europe/Berlin:20260329T010000\nDTEND;TZID=Europe/Berlin:20260329T040000",
    )
    assert hours(windows_of(path)) == [("03-29 00:00", "03-29 02:00")]


def test_whole_days_assets_exceptions_and_cancelled_entries(tmp_path):
    path = write_calendar(
        tmp_path / "a.ics",
        "DTSTART;VALUE=DATE:20260310\nDTEND;VALUE=DATE:20260311\nLOCATION:pump-1\\, pump-2",
        "DTSTART:20260312T000000Z\nDURATION:PT1H\nSTATUS:CANCELLED",
        "DTSTART:20260320T000000Z\nDURATION:PT1H\nRRULE:FREQ=DAILY;COUNT=3\n"
        "EXDATE:20260321T000000Z",
        "DTSTART:20260325T000000Z",
        "DTSTART:20270325T000000Z\nDURATION:PT1H",
    )
    windows = windows_of(path, timezone="Europe/Berlin")
    assert [one.asset for one in windows] == ["pump-1", "pump-2", "*", "*"]
    assert hours(windows)[1:] == [
        ("03-09 23:00", "03-10 23:00"),
        ("03-20 00:00", "03-20 01:00"),
        ("03-22 00:00", "03-22 01:00"),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "Found no components"),
        ("hello", "could not be parsed"),
        ("DTSTART:garbage", "DTSTART of the entry 'x': Expected time"),
        ("DTSTART:20260101T000000Z\nRRULE:FREQ=NONSENSE", "RRULE of the entry 'x'"),
        ("DTSTART;TZID=Nowhere/Land:20260101T000000", "in the unknown time zone 'Nowhere/Land'"),
        ("DTEND:20260101T000000Z", "the entry 'x' has no DTSTART"),
    ],
)
def test_a_file_that_cannot_be_understood_is_an_error_that_names_it(tmp_path, content, message):
    path = tmp_path / "broken.ics"
    if content.startswith("DT"):
        write_calendar(path, f"SUMMARY:x\n{content}")
    else:
        path.write_text(content)
    with pytest.raises(AlertingError, match=f"the calendar '.*broken.ics'.*{message}"):
        read_calendar(str(path))


def test_a_file_that_is_not_there_is_an_error_that_names_it(alert_lake, tmp_path):
    settings = AlertingConfig(calendars=(str(tmp_path / "none.ics"),))
    with pytest.raises(AlertingError, match=r"the calendar '.*none\.ics'"):
        sync_calendars(alert_lake.lake, settings)


def test_a_rule_without_measure_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(calendars, "MAX_WINDOWS", 10)
    entry = "DTSTART:20260302T000000Z\nDURATION:PT1M\nRRULE:FREQ=HOURLY;COUNT=11"
    path = write_calendar(tmp_path / "a.ics", entry)
    with pytest.raises(AlertingError, match="it has 11 windows, more than 10"):
        windows_of(path)


def test_two_calendars_of_one_name_are_refused(alert_lake):
    settings = AlertingConfig(calendars=("a/x.ics", "b/x.ics"))
    with pytest.raises(AlertingError, match=r"'a/x\.ics': expected files with names of their own"):
        sync_calendars(alert_lake.lake, settings)


def test_an_unknown_time_zone_is_refused():
    with pytest.raises(ConfigError, match="expected the name of a time zone, got 'Mars'"):
        make_config(AlertingConfig, {"timezone": "Mars"}, origin="test")


def test_calendars_mute_exclude_and_are_followed_when_they_change(make_lake, tmp_path):
    start = f"{datetime.fromtimestamp(START_US / 1e6, UTC):%Y%m%dT%H%M%SZ}"
    path = write_calendar(tmp_path / "a.ics", f"SUMMARY:oil\nDTSTART:{start}\nDURATION:PT30M")
    lake = make_lake(calendars=(path,))
    lake.ingest()
    lake.score([20, 60])
    assert [event.mute for event in lake.live()] == ["maintenance: oil", ""]
    assert ("*", at(0), at(30), "maintenance: oil") in find_excluded(lake.lake)
    (window,) = list_windows(lake.config)
    with pytest.raises(AlertingError, match=r"got one of the calendar:a\.ics"):
        remove_window(lake.config, window.window_id, by="ann")
    write_calendar(tmp_path / "a.ics", f"SUMMARY:oil\nDTSTART:{start}\nDURATION:PT2H")
    assert settle_alerts(lake.config) == 1
    assert [event.mute for event in lake.live()] == ["maintenance: oil"] * 2
    write_calendar(tmp_path / "a.ics", f"SUMMARY:oil\nDTSTART:{start}\nDURATION:PT30M")
    assert settle_alerts(lake.config) == 1
    assert list_windows(lake.config) == (window,)
    add_window(lake.config, Entry("a", at(60), at(70), "ann", "", "mute"))
    assert [event.mute for event in lake.live()] == ["maintenance: oil", "muted"]
