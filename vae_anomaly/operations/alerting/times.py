"""Times of the tables of alerting, as microseconds since 1970 and back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from vae_anomaly.operations.pipeline_tables import EPOCH


def to_us(time: datetime) -> int:
    """Return a time with a zone as microseconds since 1970."""
    return (time - EPOCH) // timedelta(microseconds=1)


def to_time(time_us: int) -> datetime:
    """Return microseconds since 1970 as a time in UTC."""
    return EPOCH + timedelta(microseconds=time_us)


def now_us() -> int:
    """Return the time now, when a person does something."""
    return to_us(datetime.now(UTC))


def format_minute(time_us: int) -> str:
    """Write a time as people read it.

    Example:
        >>> format_minute(60_000_000)
        '1970-01-01 00:01 UTC'
    """
    return to_time(time_us).strftime("%Y-%m-%d %H:%M UTC")
