"""What was found in raw readings, as tables for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from vae_anomaly.cli.output import add_row, make_table, print_notes, print_table
from vae_anomaly.domain import (
    MICROSECONDS_PER_S,
    Problem,
    Quality,
    SensorKind,
    SensorProfile,
    SensorQuality,
)
from vae_anomaly.operations.report_text import (
    format_count,
    format_duration,
    format_number,
    format_share,
    format_time,
)
from vae_anomaly.wording import format_plural

USUAL_LIKELIHOOD = "gaussian"
"""Of most sensors; those that have it are counted, not named."""

MAX_NAMED = 5
"""Most sensors that are named rather than counted."""

MAX_ASSETS = 30
"""Most assets that are shown; the others are in what `--json` prints."""

SLOW_PERIODS = 1.5
"""A sensor whose values are this many periods apart reports at a period of its own."""

MIN_FLAT_STEPS = 20
FLAT_SHARE = 0.05
"""A sensor that ends with so many steps of one value, a share of its rows, may be dead."""

MAX_WHOLE_NAME = 24
"""Longest name that is not broken in a table of several columns."""

REASONS: dict[str, str] = {
    Problem.NO_TIMESTAMP: "no time",
    Problem.IMPLAUSIBLE_TIME: "a time before 1980-01-06 or after 2099, or one that a local clock "
    "skipped",
    Problem.NO_ASSET: "no asset, though there is an asset column",
    Problem.NO_SENSOR: "a value of long input that names no sensor",
    Problem.DUPLICATE: "same asset and time as a row that is kept, nothing that contradicts it",
    Problem.CONFLICTING_DUPLICATE: "same asset and time as a row that is kept, other values",
    "too_few_sensors": "too few of its sensors have a value",
    "not_finite": "its numbers are beyond what the model can compute",
}
"""Why a row cannot be used or scored, in words."""


def print_quality(quality: Quality) -> None:
    """Print what was found in raw readings."""
    span_s = (quality.last_us - quality.first_us) / MICROSECONDS_PER_S
    table = make_table("Readings", ("what", "found"))
    for what, found in (
        ("rows", f"{format_count(quality.num_rows)}, {_count_rows(quality)}"),
        ("time", f"{format_time(quality.first_us)} to {format_time(quality.last_us)} UTC"),
        ("length", format_duration(span_s)),
        ("period", f"{format_number(quality.period_s)} s, {_describe_steps(quality)}"),
        ("gaps", _describe_gaps(quality)),
        ("out of order", format_plural(quality.num_out_of_order, "row")),
        ("assets", format_count(quality.num_assets)),
    ):
        add_row(table, what, found)
    print_table(table)
    if quality.problems:
        table = make_table("Problems", ("problem", "rows", "meaning"), right=("rows",))
        for name, count in sorted(quality.problems.items(), key=lambda item: -item[1]):
            add_row(table, name, format_count(count), REASONS.get(name, ""))
        print_table(table)
    _print_sensors(quality)
    print_notes((*quality.notes, *note_sentinels(quality.sensors)))


def print_assets(quality: Quality) -> None:
    """Print a line per asset, where there are several: those with the most remarks first."""
    assets: dict[str, list[SensorQuality]] = {}
    for item in quality.by_asset:
        assets.setdefault(item.asset, []).append(item)
    if len(assets) < 2:
        return
    remarks = {
        name: [
            f"{item.sensor}: {', '.join(found)}" for item in mine if (found := _find_faults(item))
        ]
        for name, mine in assets.items()
    }
    shown = sorted(assets, key=lambda name: (-len(remarks[name]), name))[:MAX_ASSETS]
    title = "Assets" if len(assets) <= MAX_ASSETS else f"Assets, {MAX_ASSETS} of {len(assets)}"
    table = make_table(title, ("asset", "rows", "missing", "remarks"), right=("rows", "missing"))
    for name in shown:
        mine = assets[name]
        num_rows = mine[0].num_rows
        missing = sum(item.num_missing for item in mine) / (num_rows * len(mine))
        found = remarks[name]
        more = [f"and {len(found) - MAX_NAMED} more"] if len(found) > MAX_NAMED else []
        text = "; ".join([*found[:MAX_NAMED], *more])
        add_row(table, name, format_count(num_rows), format_share(missing), text)
    print_table(table)


def print_ignored(ignored: Mapping[str, str]) -> None:
    """Print the columns that are no sensors, with the reason for each."""
    if ignored:
        table = make_table("Columns left out", ("column", "why"))
        for name, reason in ignored.items():
            add_row(table, name, reason)
        print_table(table)


def describe_kinds(profiles: Sequence[SensorProfile]) -> str:
    """Say how many sensors there are of each kind; name those that never move.

    Returns:
        Text such as `10 continuous, 1 binary, 1 constant (spare_input)`.
    """
    names: dict[SensorKind, list[str]] = {kind: [] for kind in SensorKind}
    for profile in profiles:
        names[profile.kind].append(profile.name)
    named = (SensorKind.CONSTANT, SensorKind.EMPTY)
    return ", ".join(
        f"{len(found)} {kind.value}" + (f" ({', '.join(found)})" if kind in named else "")
        for kind, found in names.items()
        if found
    )


def describe_likelihoods(likelihoods: Mapping[str, str]) -> str:
    """Say how many sensors have each likelihood; name those that are not Gaussian.

    Returns:
        Text such as `10 gaussian, 2 bernoulli (pump_on, valve_open)`.
    """
    names: dict[str, list[str]] = {}
    for sensor, likelihood in likelihoods.items():
        names.setdefault(likelihood, []).append(sensor)
    return ", ".join(
        f"{len(found)} {likelihood}"
        + (f" ({', '.join(found)})" if likelihood != USUAL_LIKELIHOOD else "")
        for likelihood, found in names.items()
    )


def describe_flat_lines(flat_steps: Mapping[str, int]) -> str:
    """Say in how many sensors flat lines are looked for; name the others where they are few.

    Args:
        flat_steps: Steps a sensor may keep one value for, by name, 0 for any number.

    Returns:
        Text such as `looked for in 5 of 8 sensors (not in pump_on, valve, spare_input)`.
    """
    without = [name for name, steps in flat_steps.items() if not steps]
    if len(without) == len(flat_steps):
        return "looked for in no sensor"
    sensors = format_plural(len(flat_steps), "sensor")
    named = f" (not in {', '.join(without)})" if 0 < len(without) <= MAX_NAMED else ""
    return f"looked for in {len(flat_steps) - len(without)} of {sensors}{named}"


def note_sentinels(profiles: Sequence[SensorProfile]) -> tuple[str, ...]:
    """Note values that look like they mean "missing" but were taken as readings."""
    return tuple(
        f"{value} looks like a sentinel, in {', '.join(found)}. If it means missing, give "
        f"--sentinel {value} or set sentinels in the settings."
        for value, found in find_sentinels(profiles)
    )


def find_sentinels(profiles: Sequence[SensorProfile]) -> tuple[tuple[str, list[str]], ...]:
    """Find the values that look like sentinels, each with the sensors that have it.

    Args:
        profiles: Profiles of sensors; a sensor with two of them is named once.

    Returns:
        Pairs of a value, as it can be given to `--sentinel`, and names of sensors, the smallest
        value first.
    """
    names: dict[float, dict[str, None]] = {}
    for profile in profiles:
        for value in profile.suggested_sentinels:
            names.setdefault(value, {})[profile.name] = None
    return tuple(
        (repr(value).removesuffix(".0"), list(found)) for value, found in sorted(names.items())
    )


def count_kinds(profiles: Sequence[SensorProfile]) -> dict[str, int]:
    """Count sensors by kind."""
    return dict(Counter(profile.kind.value for profile in profiles))


def _count_rows(quality: Quality) -> str:
    return (
        f"of them {format_count(quality.num_usable)} usable, "
        f"{format_plural(quality.num_duplicates, 'duplicate')}, "
        f"{format_count(quality.num_quarantined)} to quarantine"
    )


def _describe_steps(quality: Quality) -> str:
    if not quality.irregular_share > 0:
        return "every step regular"
    return f"{format_share(quality.irregular_share)} of steps irregular"


def _describe_gaps(quality: Quality) -> str:
    if not quality.num_gaps:
        return "none"
    return (
        f"{format_count(quality.num_gaps)}, the longest {format_duration(quality.longest_gap_s)}"
    )


def _print_sensors(quality: Quality) -> None:
    profiles = quality.sensors
    by_sensor: dict[str, list[SensorQuality]] = {item.name: [] for item in profiles}
    for found in quality.by_asset:
        by_sensor[found.sensor].append(found)
    columns = ("sensor", "kind", "missing", "minimum", "median", "maximum", "remarks")
    right = ("missing", "minimum", "median", "maximum")
    whole = _whole("sensor", (item.name for item in profiles))
    table = make_table("Sensors, in raw units", columns, right=right, whole=(*whole, "kind"))
    for item in profiles:
        values = (format_number(x, 5) for x in (item.minimum, item.median, item.maximum))
        missing = format_share(item.missing_share)
        remarks = _remark(item, by_sensor[item.name])
        if item.period_s >= SLOW_PERIODS * quality.period_s:
            remarks.append(f"a value every {format_number(item.period_s)} s")
        add_row(table, item.name, item.kind.value, missing, *values, "; ".join(remarks))
    print_table(table)


def _whole(column: str, names: Iterable[str]) -> tuple[str, ...]:
    """Keep a column of names unbroken, unless a name is so long that nothing else would fit."""
    return (column,) if max(map(len, names), default=0) <= MAX_WHOLE_NAME else ()


def _remark(item: SensorProfile, by_asset: Sequence[SensorQuality]) -> list[str]:
    remarks = [f"in {item.unit}"] if item.unit else []
    if item.num_infinite:
        remarks.append(f"{format_count(item.num_infinite)} infinite")
    if item.num_sentinel:
        remarks.append(format_plural(item.num_sentinel, "sentinel"))
    if item.suggested_sentinels:
        values = ", ".join(format_number(value, 7) for value in item.suggested_sentinels)
        remarks.append(f"sentinel? {values}")
    if item.kind is SensorKind.QUANTISED:
        remarks.append(f"steps of {format_number(item.step)}")
    if len(by_asset) > 1 or item.kind is SensorKind.EMPTY:
        return remarks + _count_faults(by_asset)
    return remarks + [fault for found in by_asset for fault in _find_faults(found)]


def _find_faults(item: SensorQuality) -> list[str]:
    """Say what looks wrong with the values of one sensor of one asset."""
    num_present = item.num_rows - item.num_missing
    if not num_present:
        return ["no value"]
    found = _count_faults([item])
    if item.copy_of:
        found.append(f"same values as {item.copy_of}")
    is_last = item.last_flat_steps == item.longest_flat_steps < num_present
    if is_last and item.last_flat_steps >= max(MIN_FLAT_STEPS, FLAT_SHARE * num_present):
        found.append(
            f"one value for the last {format_plural(item.last_flat_steps, 'step')}: dead?"
        )
    return found


def _count_faults(items: Sequence[SensorQuality]) -> list[str]:
    num_outside = sum(item.num_out_of_range for item in items)
    num_spikes = sum(item.num_spikes for item in items)
    return [
        *([f"{format_count(num_outside)} out of range"] if num_outside else []),
        *([format_plural(num_spikes, "spike")] if num_spikes else []),
    ]
