"""Asked against realised alert budget, and kinds of fault found, over simulated plants.

Run with `python -m tests.benchmarks.alert_budget [seed ...]`; one line per seed, then the mean.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from vae_anomaly import Detector, DetectorConfig
from vae_anomaly.config import ReadingsConfig, ThresholdConfig
from vae_anomaly.domain import SECONDS_PER_WEEK
from vae_anomaly.evaluation.planted import planted_kinds_found
from vae_anomaly.readings.simulator import SENTINEL, simulate_pumping_station

BUDGET_PER_WEEK = 2.0
NORMAL_DAYS = 35.0
DAYS = 45.0
START = datetime(2026, 1, 5, tzinfo=UTC)
TAIL_S = 3600.0
"""Events that begin this soon after a fault are its tail, not false alarms."""


@dataclass(frozen=True)
class Outcome:
    """What one simulated plant gave.

    Attributes:
        num_kinds: Kinds of fault planted.
        num_kinds_found: Kinds met by an alert event.
        num_false: Alert events that met no fault.
        false_per_week: The same, per week of the scored period.
    """

    num_kinds: int
    num_kinds_found: int
    num_false: int
    false_per_week: float


def measure(seed: int) -> Outcome:
    """Fit on the normal days of one plant, score the rest and count."""
    table = simulate_pumping_station(seed=seed, days=DAYS, normal_days=NORMAL_DAYS).table
    split = pa.scalar(START + timedelta(days=NORMAL_DAYS), pa.timestamp("us", "UTC"))
    later = table.filter(pc.greater_equal(table["timestamp"], split))
    config = DetectorConfig(
        readings=ReadingsConfig(sentinels=(SENTINEL,)),
        threshold=ThresholdConfig(alert_budget_per_week=BUDGET_PER_WEEK),
    )
    normal = table.filter(pc.less(table["timestamp"], split))
    found = Detector.fit(normal, config=config).examine(later)
    scores = found.scores.append_column("label_kind", later["label_kind"])
    planted = planted_kinds_found(scores, found.events, tolerance_s=TAIL_S)
    weeks = (DAYS - NORMAL_DAYS) * 86_400 / SECONDS_PER_WEEK
    num_false = len(planted.false_events)
    return Outcome(len(planted.kinds), planted.num_kinds_found, num_false, num_false / weeks)


def main() -> None:
    """Print one line per seed and the mean."""
    seeds = [int(text) for text in sys.argv[1:]] or list(range(5))
    rates = []
    print(f"asked: at most {BUDGET_PER_WEEK:g} alert events a week on normal readings")
    for seed in seeds:
        outcome = measure(seed)
        rates.append(outcome.false_per_week)
        print(
            f"seed {seed}: {outcome.num_kinds_found} of {outcome.num_kinds} kinds found, "
            f"{outcome.num_false} false alert events, {outcome.false_per_week:.2f} a week",
            flush=True,
        )
    mean = sum(rates) / len(rates)
    print(f"mean {mean:.2f} a week, {mean / BUDGET_PER_WEEK:.2f} times what was asked")


if __name__ == "__main__":
    main()
