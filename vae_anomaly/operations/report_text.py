"""Numbers, times and durations as a person reads them, on the page and on the terminal."""

from __future__ import annotations

import math

import numpy as np

from vae_anomaly.domain import MICROSECONDS_PER_S, NO_TIME, SECONDS_PER_DAY

NOTHING = "\N{EN DASH}"
"""Shown where there is no value."""

_UNITS_S = (("d", SECONDS_PER_DAY), ("h", 3600.0), ("min", 60.0), ("s", 1.0))


def format_number(value: float, digits: int = 4) -> str:
    """Write a number with a few significant digits.

    Args:
        value: The number; NaN is shown as a dash.
        digits: Significant digits.

    Returns:
        Text without trailing zeros.

    Example:
        >>> format_number(101325.2), format_number(0.25), format_number(2.5e9)
        ('101,325', '0.25', '2.5e9')
    """
    if math.isnan(value):
        return NOTHING
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(value)))
    if not -4 <= exponent < 7:
        mantissa, power = f"{value:.{digits - 1}e}".split("e")
        return f"{_strip_zeros(mantissa)}e{int(power)}"
    return _strip_zeros(f"{value:,.{max(0, digits - 1 - exponent)}f}")


def format_count(value: int) -> str:
    """Write a whole number with thousands separators.

    Example:
        >>> format_count(1234567)
        '1,234,567'
    """
    return f"{value:,d}"


def format_share(value: float) -> str:
    """Write a share as per cent.

    Args:
        value: A share, where 1 is everything; NaN is shown as a dash.

    Returns:
        Text in per cent; a small share is never rounded to nothing.

    Example:
        >>> format_share(0.123), format_share(0.00001), format_share(0.0)
        ('12.3 %', '<0.1 %', '0 %')
    """
    if math.isnan(value):
        return NOTHING
    if 0 < value < 0.001:
        return "<0.1 %"
    if 0.999 < value < 1:
        return ">99.9 %"
    return _strip_zeros(f"{100 * value:.1f}") + " %"


def format_multiple(value: float) -> str:
    """Write how many times a limit something is.

    Example:
        >>> format_multiple(2.04)
        '2.0 x'
    """
    return f"{value:,.1f} x"


def format_time(time_us: int) -> str:
    """Write a time in UTC, without the zone's name.

    Args:
        time_us: Microseconds since 1970 in UTC; `NO_TIME` is shown as a dash.

    Returns:
        ISO date and time, with milliseconds only where there are any.

    Example:
        >>> format_time(0), format_time(1_500_000)
        ('1970-01-01 00:00:00', '1970-01-01 00:00:01.500')
    """
    if time_us == NO_TIME:
        return NOTHING
    unit = "ms" if time_us % MICROSECONDS_PER_S else "s"
    moment = np.datetime64(time_us, "us").astype(f"datetime64[{unit}]")
    return str(moment).replace("T", " ")


def format_duration(duration_s: float) -> str:
    """Write a duration in its two largest units.

    Args:
        duration_s: Seconds; NaN is shown as a dash.

    Returns:
        Text such as `3 d 4 h`.

    Example:
        >>> format_duration(273_600.0), format_duration(90.0), format_duration(0.25)
        ('3 d 4 h', '1 min 30 s', '0.25 s')
    """
    if not math.isfinite(duration_s):
        return NOTHING
    if duration_s < 1:
        return f"{format_number(duration_s, 3)} s"
    for place, (unit, length_s) in enumerate(_UNITS_S[:-1]):
        if duration_s >= length_s:
            next_unit, next_length_s = _UNITS_S[place + 1]
            whole = int(duration_s // length_s)
            rest = int((duration_s - whole * length_s) // next_length_s)
            return f"{whole} {unit} {rest} {next_unit}" if rest else f"{whole} {unit}"
    return f"{format_number(duration_s, 3)} s"


def _strip_zeros(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text
