"""Rules beside the density, for what it cannot see: stuck sensors, declared ranges and steps.

A sensor that is stuck at its mean has the best likelihood there is. So a rule looks at the raw
values of one sensor at a time, and where it fires the step is anomalous whatever the density says.
Rules are for what is certain: each has a limit that normal operation does not come near.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vae_anomaly.config import RulesConfig
from vae_anomaly.domain import (
    MICROSECONDS_PER_S,
    BoolArray,
    Contract,
    FloatArray,
    IntArray,
    SensorKind,
    SensorProfile,
    SensorReason,
    Texts,
    name_sensor_reasons,
)
from vae_anomaly.errors import CalibrationError, ContractError
from vae_anomaly.readings.quality import count_flat_steps
from vae_anomaly.wording import ask_nearest

RULE_EXCESS = 1.25
"""Multiple of the threshold that a score has at least where a rule fires: clearly above it, and
below what counts as of medium severity."""

FLAT_FACTOR = 4
"""Multiple of the longest flat run in training that a sensor may keep one value for."""

MIN_FLAT_STEPS = 20
"""Fewest steps that any sensor may keep one value for: the default span of the score."""

MAX_FLAT_STEPS = 2_000
"""Most steps: what is read before a step to score it stays about what its level needs anyhow."""

TRAINING_PER_LIMIT = 50
"""Training values per step of the limit: a sensor that changes more seldom, or was seen for less,
has no rule. With 20 times as many 1,326 of the 179,109 normal rows of TSB-AD-M were flat
lines, all in one series that trains on 564 rows; with 50 times none are."""

MIN_PRESENT_SHARE = 0.5
"""Share of the steps of a flat line that have a value: silence is no flat line."""

RULED_KINDS = (SensorKind.CONTINUOUS, SensorKind.QUANTISED)
"""Kinds that have a flat-line rule: switches and constants are there to keep a value."""

NO_LIMIT = 0

MAX_RULED_SHARE = 0.05
"""Share of an asset's held-out normal steps on which declared rules may fire. Far more than any
threshold is asked for, so beyond it the declaration is wrong, or the readings are not normal."""


@dataclass(frozen=True)
class RuleLimits:
    """Where each rule fires, one entry per sensor of the contract.

    Attributes:
        flat_steps: Steps a sensor may keep one value for, 0 for any number.
        low: Smallest value allowed, raw units.
        high: Largest value allowed, raw units.
        change: Largest change from one tick to the next, raw units.
    """

    flat_steps: tuple[int, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    change: tuple[float, ...]

    @property
    def memory_steps(self) -> int:
        """Steps, the present one included, that the rules look at."""
        return max(rule.memory_steps(self) for rule in ALL_RULES)


@dataclass(frozen=True)
class RuleSteps:
    """Steps in order of asset and time, as rules see them.

    Attributes:
        values: Raw values, NaN where missing. Shape `(steps, sensors)`.
        segment_start: As in `Steps`. Shape `(steps,)`.
        timestamps: Microseconds. Shape `(steps,)`.
        period_s: Seconds between ticks.
    """

    values: FloatArray
    segment_start: IntArray
    timestamps: IntArray
    period_s: float


@dataclass(frozen=True)
class RuleDefinition:
    """One entry of `ALL_RULES`.

    Attributes:
        reason: What it says of a step.
        setting: Where in `[detector.rules]` it is set.
        find: Tells where it fires. Returns shape `(steps, sensors)`, or None without a limit.
        memory_steps: Steps, the present one included, that it looks at.
    """

    reason: SensorReason
    setting: str
    find: Callable[[RuleSteps, RuleLimits], BoolArray | None]
    memory_steps: Callable[[RuleLimits], int]


def set_rule_limits(
    values: FloatArray,
    segment_start: IntArray,
    profiles: Sequence[SensorProfile],
    *,
    settings: RulesConfig,
    context: Sequence[str] = (),
) -> RuleLimits:
    """Learn how long sensors may be flat, and take over what was declared.

    limit = max(`FLAT_FACTOR` times the longest flat run, `MIN_FLAT_STEPS`), for sensors with at
    least `TRAINING_PER_LIMIT` times as many training values.

    Args:
        values: Raw values of normal steps, NaN where missing. Shape `(steps, sensors)`.
        segment_start: As in `Steps`. Shape `(steps,)`.
        profiles: What these values look like, one per sensor.
        settings: Which rules to use, and declared limits.
        context: Sensors that are not scored: they may be flat, as a set-point is.

    Returns:
        The limits.

    Raises:
        ContractError: Limits were declared for a sensor that there is not.
    """
    declared = declare_limits([profile.name for profile in profiles], settings)
    flat_steps = [
        _limit_flat(values[:, i], segment_start)
        if settings.flat_lines and profile.kind in RULED_KINDS and profile.name not in context
        else NO_LIMIT
        for i, profile in enumerate(profiles)
    ]
    return replace(declared, flat_steps=tuple(flat_steps))


def declare_limits(sensors: Sequence[str], settings: RulesConfig) -> RuleLimits:
    """Take over what was declared, and no limit that has to be learnt.

    Args:
        sensors: Names of the sensors, in the order of the contract.
        settings: Declared limits.

    Returns:
        The limits.

    Raises:
        ContractError: Limits were declared for a sensor that there is not.
    """
    _require_known(sensors, (*settings.ranges, *settings.max_changes))
    ranges = [settings.ranges.get(name, (-math.inf, math.inf)) for name in sensors]
    return RuleLimits(
        flat_steps=(NO_LIMIT,) * len(sensors),
        low=tuple(low for low, _ in ranges),
        high=tuple(high for _, high in ranges),
        change=tuple(settings.max_changes.get(name, math.inf) for name in sensors),
    )


def require_quiet_rules(
    asset: str, steps: RuleSteps, limits: RuleLimits, *, sensors: Sequence[str]
) -> None:
    """Refuse declared rules that fire on more than `MAX_RULED_SHARE` of normal steps.

    An alert budget does not see them: rules that fire all the time are one endless event.

    Args:
        asset: Whose steps they are.
        steps: Its held-out normal steps.
        limits: What was declared, from `declare_limits`.
        sensors: Names of the sensors, in the order of the contract.

    Raises:
        CalibrationError: They fire on more; the message names the rule and the sensor most to
            blame.
    """
    found = [(rule, rule.find(steps, limits)) for rule in ALL_RULES]
    fires = [(rule, where) for rule, where in found if where is not None and len(where)]
    if not fires:
        return
    share = float(np.mean(np.any([where.any(axis=1) for _, where in fires], axis=0)))
    if share <= MAX_RULED_SHARE:
        return
    most, sensor, rule = max(
        (
            (float(where[:, k].mean()), name, rule)
            for rule, where in fires
            for k, name in enumerate(sensors)
        ),
        key=lambda item: item[0],
    )
    raise CalibrationError(
        f"Cannot set a threshold for asset '{asset}': expected declared rules to fire on at most "
        f"{_format_share(MAX_RULED_SHARE)} of its held-out normal rows, got "
        f"{_format_share(share)}; {rule.reason.value} of sensor '{sensor}' fires on "
        f"{_format_share(most)}. Correct {rule.setting} of that sensor in [detector.rules], or "
        "take other readings if these are not normal."
    )


def find_breaches(steps: RuleSteps, limits: RuleLimits, contract: Contract) -> Texts:
    """Find where rules fire.

    Args:
        steps: The steps.
        limits: Where each rule fires.
        contract: Names of the sensors.

    Returns:
        "" or the reason, of the first rule in `ALL_RULES` that fires and the first sensor it
        fires for. A step depends on the `memory_steps` up to it and no other. Shape `(steps,)`.
    """
    sensors, kinds = contract.sensor_names, tuple(SensorReason)
    codes = np.zeros(len(steps.values), dtype=np.int32)
    for rule in reversed(ALL_RULES):  # so that the first overwrites the others
        fires = rule.find(steps, limits)
        if fires is not None:
            rows = np.flatnonzero(fires.any(axis=1))
            codes[rows] = 1 + kinds.index(rule.reason) * len(sensors) + fires[rows].argmax(axis=1)
    return Texts(codes, ("", *name_sensor_reasons(sensors)))


def _format_share(share: float) -> str:
    return f"{100 * share:.3g} %"


def _limit_flat(values: FloatArray, segment_start: IntArray) -> int:
    longest = int(count_flat_steps(values, segment_start).max(initial=0))
    limit = max(FLAT_FACTOR * longest, MIN_FLAT_STEPS)
    num_present = int(np.count_nonzero(~np.isnan(values)))
    is_sure = limit <= MAX_FLAT_STEPS and TRAINING_PER_LIMIT * limit <= num_present
    return limit if is_sure else NO_LIMIT


def _require_known(names: Sequence[str], declared: Iterable[str]) -> None:
    for name in declared:
        if name not in names:
            raise ContractError(
                f"Cannot apply a rule to sensor '{name}': expected one of {tuple(names)}, got "
                f"'{name}'. Check [detector.rules] in pipeline.toml"
                + (ask_nearest(name, names) or ".")
            )


def _find_flat_lines(steps: RuleSteps, limits: RuleLimits) -> BoolArray | None:
    if not any(limits.flat_steps):
        return None
    fires = np.zeros(steps.values.shape, dtype=bool)
    for sensor, limit in enumerate(limits.flat_steps):
        if limit == NO_LIMIT:
            continue
        values = steps.values[:, sensor]
        if not (values[limit:] == values[:-limit]).any() and not np.isnan(values).any():
            continue  # the usual case, and by far the quickest to see
        long = np.flatnonzero(count_flat_steps(values, steps.segment_start) > limit)
        num_present = np.cumsum(np.insert(~np.isnan(values), 0, False))
        share = (num_present[long + 1] - num_present[long - limit]) / (limit + 1)
        fires[long[share >= MIN_PRESENT_SHARE], sensor] = True
    return fires


def _find_out_of_range(steps: RuleSteps, limits: RuleLimits) -> BoolArray | None:
    if np.isinf((limits.low, limits.high)).all():
        return None
    outside = (steps.values < np.array(limits.low)) | (steps.values > np.array(limits.high))
    return np.asarray(outside)


def _find_changes(steps: RuleSteps, limits: RuleLimits) -> BoolArray | None:
    """Compare neighbours of one segment; over a missed tick a sensor may change twice as much."""
    if np.isinf(limits.change).all():
        return None
    fires = np.zeros(steps.values.shape, dtype=bool)
    period_us = steps.period_s * MICROSECONDS_PER_S
    ticks = np.maximum(np.round(np.diff(steps.timestamps) / period_us), 1.0)
    change = np.abs(np.diff(steps.values, axis=0)) / ticks[:, None]
    same = np.diff(steps.segment_start) == 0
    fires[1:] = (change > np.array(limits.change)) & same[:, None]
    return fires


ALL_RULES = (
    RuleDefinition(SensorReason.OUT_OF_RANGE, "ranges", _find_out_of_range, lambda _: 1),
    RuleDefinition(
        SensorReason.CHANGE,
        "max_changes",
        _find_changes,
        lambda limits: 2 if min(limits.change, default=math.inf) < math.inf else 1,
    ),
    RuleDefinition(
        SensorReason.FLAT_LINE,
        "flat_lines",
        _find_flat_lines,
        lambda limits: max(limits.flat_steps, default=NO_LIMIT) + 1,
    ),
)
"""In the order in which they give their reason, where several fire."""
