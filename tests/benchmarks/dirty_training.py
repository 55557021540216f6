"""What faults among the training rows cost: event recall and false alert events (G13).

Hours of planted faults of another run of the plant replace training rows, spread over the whole
normal period; so the very kinds of fault that are to be found later have been learnt as normal.
Run with `python -m tests.benchmarks.dirty_training [seed ...]`; one line per share and threshold.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vae_anomaly import Detector, DetectorConfig
from vae_anomaly.config import ReadingsConfig, ThresholdConfig
from vae_anomaly.domain import FloatArray
from vae_anomaly.evaluation.planted import planted_kinds_found
from vae_anomaly.readings.simulator import SENTINEL, simulate_pumping_station

SHARES = (0.0, 0.01, 0.02, 0.05)
NORMAL_DAYS = 28.0
DAYS = 58.0
START = datetime(2026, 1, 5, tzinfo=UTC)
SPLIT = pa.scalar(START + timedelta(days=NORMAL_DAYS), pa.timestamp("us", "UTC"))
FAULT_STEPS = 30
"""Rows of one injected fault: an hour."""
DONOR_SEED = 1_000
TAIL_S = 3600.0
"""Events that begin this soon after a fault are its tail, not false alarms."""
THRESHOLDS = {
    "1 % of steps": ThresholdConfig(),
    "2 a week": ThresholdConfig(alert_budget_per_week=2.0),
}


@dataclass(frozen=True)
class Outcome:
    """What one detector found in the later period.

    Attributes:
        num_faults: Planted faults.
        num_found: Faults met by an alert event.
        num_false: Alert events that met no fault.
    """

    num_faults: int
    num_found: int
    num_false: int


def spoil(normal: pa.Table, *, share: float, seed: int) -> pa.Table:
    """Replace a share of the rows by hours of faults of another run of the plant.

    Args:
        normal: Normal readings of the simulated station.
        share: Share of the rows to replace.
        seed: Seed of what is replaced by what.

    Returns:
        The readings, with the times they had.
    """
    rng = np.random.default_rng(seed)
    donor = simulate_pumping_station(
        seed=DONOR_SEED + seed, days=20.0, normal_days=0.0, dirt=False
    ).table
    names = [name for name in donor.column_names if not name.startswith(("timestamp", "label_"))]
    values, faults = _stack(normal, names), _stack(donor, names)
    kinds = donor["label_kind"].to_numpy(zero_copy_only=False)
    starts = np.flatnonzero((kinds != "") & (kinds == np.roll(kinds, -FAULT_STEPS)))
    slots = rng.permutation(len(values) // FAULT_STEPS)
    for slot in slots[: round(share * len(values) / FAULT_STEPS)]:
        start = int(rng.choice(starts))
        first = slot * FAULT_STEPS
        values[first : first + FAULT_STEPS] = faults[start : start + FAULT_STEPS]
    for column, name in enumerate(names):
        at = normal.column_names.index(name)
        normal = normal.set_column(at, name, pa.array(values[:, column]))
    return normal


def measure(table: pa.Table, *, share: float, seed: int, threshold: ThresholdConfig) -> Outcome:
    """Fit on spoilt normal days, score the days after them, and count."""
    later = table.filter(pc.greater_equal(table["timestamp"], SPLIT))
    normal = table.filter(pc.less(table["timestamp"], SPLIT))
    config = DetectorConfig(readings=ReadingsConfig(sentinels=(SENTINEL,)), threshold=threshold)
    detector = Detector.fit(spoil(normal, share=share, seed=seed), config=config)
    found = detector.examine(later)
    scores = found.scores.append_column("label_kind", later["label_kind"])
    planted = planted_kinds_found(scores, found.events, tolerance_s=TAIL_S)
    return Outcome(
        sum(kind.num_anomalies for kind in planted.kinds),
        sum(kind.num_found for kind in planted.kinds),
        len(planted.false_events),
    )


def main() -> None:
    """Print one line per share of faults and way to set the threshold."""
    seeds = [int(text) for text in sys.argv[1:]] or [0]
    tables = {
        seed: simulate_pumping_station(seed=seed, days=DAYS, normal_days=NORMAL_DAYS).table
        for seed in seeds
    }
    weeks = len(seeds) * (DAYS - NORMAL_DAYS) / 7.0
    for name, threshold in THRESHOLDS.items():
        for share in SHARES:
            outcomes = [
                measure(table, share=share, seed=seed, threshold=threshold)
                for seed, table in tables.items()
            ]
            num_faults = sum(one.num_faults for one in outcomes)
            num_found = sum(one.num_found for one in outcomes)
            num_false = sum(one.num_false for one in outcomes)
            print(
                f"threshold {name}, {share:.0%} faults in training: {num_found} of {num_faults} "
                f"found ({num_found / num_faults:.2f}), {num_false} false alert events "
                f"({num_false / weeks:.1f} a week)",
                flush=True,
            )


def _stack(table: pa.Table, names: list[str]) -> FloatArray:
    return np.stack([table[name].to_numpy() for name in names], axis=1)


if __name__ == "__main__":
    main()
