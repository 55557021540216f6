"""What offsets of a fleet are worth: ROC-AUC of small faults, the further apart the assets lie.

Run with `python -m tests.benchmarks.fleet_offsets`; one line per distance between the assets.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from tests.conftest import make_plant
from vae_anomaly import Detector, DetectorConfig
from vae_anomaly.config import ModelConfig, ThresholdConfig
from vae_anomaly.domain import FloatArray
from vae_anomaly.evaluation.metrics import roc_auc

NUM_ASSETS, NUM_SENSORS = 6, 8
TRAINING_STEPS, TEST_STEPS = 2_000, 2_400
FAULT_SPREADS, FAULT_STEPS, FAULT_EVERY = 1.5, 40, 120
DISTANCES = (0.0, 1.0, 3.0, 10.0)
"""Standard deviations of the offsets between assets, in spreads of each sensor."""

SEEDS = (0, 1)


def make_fleet(
    num_steps: int, offsets: FloatArray, spread: FloatArray, *, seed: int, faulty: bool = False
) -> tuple[pa.Table, FloatArray]:
    """Simulate assets at given levels; in the second half one sensor after the other is off.

    Returns:
        The readings, and 1 where they are faulty.
    """
    tables, labels = [], []
    for asset in range(NUM_ASSETS):
        plant = make_plant(num_steps, num_sensors=NUM_SENSORS, seed=seed + asset)
        names = [name for name in plant.column_names if name != "timestamp"]
        values = np.column_stack([plant[name].to_numpy() for name in names])
        values += offsets[asset] * spread
        label = np.zeros(num_steps)
        if faulty:
            for first in range(num_steps // 2, num_steps - FAULT_STEPS, FAULT_EVERY):
                sensor = (first // FAULT_EVERY + asset) % NUM_SENSORS
                rows = slice(first, first + FAULT_STEPS)
                values[rows, sensor] += FAULT_SPREADS * spread[sensor]
                label[rows] = 1.0
        columns = {"timestamp": plant["timestamp"], "asset": pa.array([f"{asset}"] * num_steps)}
        tables.append(pa.table({**columns, **dict(zip(names, values.T, strict=True))}))
        labels.append(label)
    return pa.concat_tables(tables), np.concatenate(labels)


def main() -> None:
    """Print the areas with and without offsets."""
    plant = make_plant(5_000, num_sensors=NUM_SENSORS, seed=99)
    spread = np.array([plant[name].to_numpy().std() for name in plant.column_names[1:]])
    rng = np.random.default_rng(0)
    for distance in DISTANCES:
        offsets = distance * rng.normal(size=(NUM_ASSETS, NUM_SENSORS))
        training, _ = make_fleet(TRAINING_STEPS, offsets, spread, seed=0)
        test, labels = make_fleet(TEST_STEPS, offsets, spread, seed=50, faulty=True)
        areas = []
        for asset_offsets in (True, False):
            config = DetectorConfig(
                model=ModelConfig(asset_offsets=asset_offsets),
                threshold=ThresholdConfig(provisional=True),
            )
            scores = (
                Detector.fit(training, config=config, seed=seed).score(test)["score"].to_numpy()
                for seed in SEEDS
            )
            areas.append(np.mean([roc_auc(score, labels == 1) for score in scores]))
        print(f"{distance:g} spreads apart: {areas[0]:.3f} with offsets, {areas[1]:.3f} without")


if __name__ == "__main__":
    main()
