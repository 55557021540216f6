"""The network of the question under its own loss and under a likelihood, on raw readings.

Run with `python -m tests.benchmarks.unrestricted_input FILE [seeds]`; the tables of
docs/science/unrestricted-input.md are its output.
"""

from __future__ import annotations

import sys

import numpy as np
import pyarrow.parquet as pq

from vae_anomaly import Detector, DetectorConfig
from vae_anomaly.config import ThresholdConfig

PRESETS = ("question-squared-error", "question", "default")
FIGURES = (
    "active_units",
    "median_r_squared",
    "two_sigma_coverage",
    "sigma_at_floor_share",
    "gain_over_pca_nats",
    "attribution_top_1",
)
UNIT_FACTOR = 1e5
"""As from bar to pascal: the numbers of one sensor times this, and nothing may change."""


def main() -> None:
    """Fit every preset with every seed and print what became of it."""
    table = pq.read_table(sys.argv[1])
    sensors = [name for name in table.column_names if name.startswith(("Pressure", "P-"))]
    seeds = range(int(sys.argv[2]) if len(sys.argv) > 2 else 3)
    print("| preset | " + " | ".join(FIGURES) + " | last KL, nats | states changed by a unit |")
    print("|---" * (len(FIGURES) + 3) + "|")
    for preset in PRESETS:
        config = DetectorConfig(preset=preset, threshold=ThresholdConfig(adaptation_steps=0))
        rows = []
        for seed in seeds:
            detector = Detector.fit(table, config=config, seed=seed)
            health = {one.name: one.value for one in detector.record.health}
            scaled = table
            for name in sensors:
                at = scaled.column_names.index(name)
                scaled = scaled.set_column(at, name, [UNIT_FACTOR * scaled[name].to_numpy()])
            other = Detector.fit(scaled, config=config, seed=seed)
            states = detector.score(table)["state"].to_pylist()
            changed = np.mean(np.array(states) != other.score(scaled)["state"].to_pylist())
            rows.append(
                [*(health[name] for name in FIGURES), detector.record.curves.kl[-1], changed]
            )
        cells = " | ".join(f"{value:.3g}" for value in np.mean(rows, axis=0))
        print(f"| {preset} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
