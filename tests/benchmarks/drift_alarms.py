"""False alarms and power of the drift tests, on stationary and on shifted autocorrelated series.

Run with `python -m tests.benchmarks.drift_alarms [fleets]`; it prints the tables of
docs/science/drift.md.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import signal

from vae_anomaly.detector.drift import (
    BlockSums,
    SeriesReference,
    compare,
    count_base,
    find_decorrelation,
    share_alarms,
    sum_blocks,
    summarise,
)
from vae_anomaly.domain import FloatArray

PERIOD_S, DAY_S = 600, 86_400
STEPS_PER_DAY = DAY_S // PERIOD_S
NUM_SENSORS = 8
LIVE_DAYS = 365
AFTER_DAYS = 28
FALSE_ALARMS_PER_YEAR = 1.0
MIN_SHIFT = 0.5
DAY_US = DAY_S * 1_000_000


@dataclass(frozen=True)
class Setting:
    """One kind of series.

    Attributes:
        phi: Correlation of neighbouring steps, 10 minutes apart.
        season: Amplitude of a daily season, in standard deviations of the rest.
        days: Days of reference.
        shape: `gaussian`, or `skewed`: its exponential.
    """

    phi: float
    season: float
    days: int
    shape: str = "gaussian"


SETTINGS = (
    Setting(0.0, 0.0, 14),
    Setting(0.9, 0.0, 14),
    Setting(0.9, 2.0, 14),
    Setting(0.99, 0.0, 14),
    Setting(0.0, 0.0, 60),
    Setting(0.9, 2.0, 60),
    Setting(0.9, 2.0, 60, "skewed"),
    Setting(0.97, 0.0, 60),
    Setting(0.99, 0.0, 60),
    Setting(0.99, 2.0, 60),
    Setting(0.999, 0.0, 60),
)


def simulate(setting: Setting, rng: np.random.Generator, *, days: int) -> FloatArray:
    """Make a stationary AR(1) with a season, of unit variance without it, per sensor."""
    num = days * STEPS_PER_DAY
    noise = rng.normal(size=(num, NUM_SENSORS)) * np.sqrt(1 - setting.phi**2)
    noise[0] /= np.sqrt(1 - setting.phi**2)
    values = signal.lfilter([1.0], [1.0, -setting.phi], noise, axis=0)
    if setting.shape == "skewed":
        values = (np.exp(0.7 * values) - np.exp(0.245)) / 0.98
    angle = 2 * np.pi * np.arange(num) / STEPS_PER_DAY
    return values + setting.season * np.sin(angle)[:, None]


def refer(values: FloatArray, sums: BlockSums) -> list[SeriesReference]:
    """Sum up the reference of each sensor as the pipeline does."""
    found = []
    for sensor in range(NUM_SENSORS):
        steps = find_decorrelation(values[:, sensor])
        num = count_base(steps, period_us=PERIOD_S * 1_000_000, base_us=DAY_US)
        found.append(summarise(sums, sensor, decorrelation_steps=steps, num_base=num))
    return found


def sum_days(values: FloatArray) -> BlockSums:
    """Sum up values per day."""
    times = np.arange(len(values)) * PERIOD_S * 1_000_000
    return sum_blocks(times, values, block_us=DAY_US)


def check_days(
    references: list[SeriesReference], sums: BlockSums, *, first: int
) -> Iterator[tuple[int, int, bool, bool]]:
    """Yield day, sensor, whether a test alone alarms, and whether the whole rule does."""
    level = share_alarms(FALSE_ALARMS_PER_YEAR, num_series=2 * NUM_SENSORS, shortest_block_s=DAY_S)
    for day in range(first, len(sums.block)):
        for sensor, reference in enumerate(references):
            start = max(day - 8 * reference.num_base, first)
            part = BlockSums(
                *(getattr(sums, name)[start:day] for name in ("block", "count", "mean", "squares"))
            )
            for found in compare(
                reference, part, sensor, until_block=day, min_shift=MIN_SHIFT
            ).values():
                yield (
                    day - first,
                    sensor,
                    found.p_value < level,
                    (found.lasts and found.p_value < level),
                )


def measure_false(setting: Setting, fleets: int) -> tuple[float, float, float, float]:
    """Return days per block, share of sensors that can be judged, alarms a year by test and rule.

    An alarm is counted where a sensor begins to alarm.
    """
    alone = rule = 0
    blocks, judged = [], 0
    for seed in range(fleets):
        values = simulate(setting, np.random.default_rng(seed), days=setting.days + LIVE_DAYS)
        sums = sum_days(values)
        past = slice(0, setting.days)
        first = BlockSums(sums.block[past], sums.count[past], sums.mean[past], sums.squares[past])
        references = refer(values[: setting.days * STEPS_PER_DAY], first)
        blocks += [one.num_base for one in references]
        judged += sum(one.is_enough for one in references)
        seen = np.zeros((2, LIVE_DAYS + 2, NUM_SENSORS), dtype=bool)
        for day, sensor, by_test, by_rule in check_days(references, sums, first=setting.days):
            seen[0, day + 1, sensor] |= by_test
            seen[1, day + 1, sensor] |= by_rule
        begins = seen[:, 1:] & ~seen[:, :-1]
        alone, rule = alone + begins[0].sum(), rule + begins[1].sum()
    return (
        float(np.median(blocks)),
        judged / (fleets * NUM_SENSORS),
        alone / fleets,
        rule / fleets,
    )


def measure_power(setting: Setting, shift: float, fleets: int) -> tuple[float, float]:
    """Return the share of shifts of one sensor found within four weeks, and the median delay."""
    delays = []
    for seed in range(fleets):
        rng = np.random.default_rng(10_000 + seed)
        values = simulate(setting, rng, days=setting.days + AFTER_DAYS)
        values[setting.days * STEPS_PER_DAY :, 0] += shift
        sums = sum_days(values)
        past = slice(0, setting.days)
        first = BlockSums(sums.block[past], sums.count[past], sums.mean[past], sums.squares[past])
        references = refer(values[: setting.days * STEPS_PER_DAY], first)
        found = [
            day
            for day, sensor, _, by_rule in check_days(references, sums, first=setting.days)
            if by_rule and sensor == 0
        ]
        delays.append(found[0] if found else np.inf)
    share = float(np.mean(np.isfinite(delays)))
    return share, float(np.median(delays))


def name(setting: Setting) -> str:
    """Write a setting as cells of a table."""
    return f"| {setting.phi:g} | {setting.season:g} | {setting.shape} | {setting.days} |"


def main() -> None:
    """Print both tables."""
    fleets = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    print(
        f"Asked: {FALSE_ALARMS_PER_YEAR:g} false alarm a year and fleet of {NUM_SENSORS} sensors; "
        f"{fleets} fleets, {LIVE_DAYS} days each, checked every day"
    )
    print("| phi | season | shape | days of reference | days a block | judged | t alone | rule |")
    print("|---|---|---|---|---|---|---|---|")
    for setting in SETTINGS:
        block, judged, alone, rule = measure_false(setting, fleets)
        print(f"{name(setting)} {block:g} | {judged:.0%} | {alone:.2f} | {rule:.2f} |", flush=True)
    print("| phi | season | shape | days of reference | shift | found | median days |")
    print("|---|---|---|---|---|---|---|")
    for setting in (SETTINGS[2], SETTINGS[5], SETTINGS[7], SETTINGS[8]):
        for shift in (0.5, 1.0, 2.0, 4.0):
            share, delay = measure_power(setting, shift, fleets)
            print(f"{name(setting)} {shift:g} | {share:.0%} | {delay:g} |", flush=True)


if __name__ == "__main__":
    main()
