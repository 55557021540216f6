"""How often the faulty sensor is blamed first, and among the first three, by size of the fault.

Faults of one sensor are injected into normal readings, as each fit does with its held-out ones.
Run with `python -m tests.benchmarks.sensors_to_blame FOLDER [--seeds N]`, FOLDER being the one of
the labelled suites; one line per set of readings.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from unittest import mock

import numpy as np

from vae_anomaly import Detector, DetectorConfig
from vae_anomaly.config import ReadingsConfig, ThresholdConfig
from vae_anomaly.detector import attribution
from vae_anomaly.detector.attribution import HitRates, measure_attribution
from vae_anomaly.detector.fitting import make_part
from vae_anomaly.readings.check import check_readings
from vae_anomaly.readings.simulator import SENTINEL

SAMPLE = "data/sample/station_2026-01-*.parquet"
SIZES = (3.0, 5.0, 10.0)
"""Training spreads."""


def find_rates(
    training: str, faulty: str, *, sentinels: tuple[float, ...], seed: int
) -> list[HitRates]:
    """Fit a detector and return its hit rates on other normal readings, one per size."""
    config = DetectorConfig(
        readings=ReadingsConfig(sentinels=sentinels), threshold=ThresholdConfig(provisional=True)
    )
    detector = Detector.fit(training, config=config, seed=seed)
    checked = check_readings(
        faulty, config=config.readings, contract=detector.contract, purpose="score"
    )
    part, density = make_part(checked, checked.usable, config), detector._density
    normal = density.score(part.values, part.steps.segment_start).contribution.mean(axis=0)
    found = []
    for size in SIZES:
        with mock.patch.object(attribution, "FAULT_SPREADS", size):
            found.append(
                measure_attribution(
                    density, part.values, part.steps.segment_start, normal_contribution=normal
                )
            )
    return found


def main() -> None:
    """Print the rates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder with the suites tep and skab")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    tep, skab = options.folder / "tep", options.folder / "skab" / "anomaly-free.parquet"
    for name, training, faulty, sentinels in (
        ("TEP", tep / "d00_train.parquet", tep / "d00_test.parquet", ()),
        ("SKAB, anomaly-free", skab, skab, ()),
        ("sample data", SAMPLE, SAMPLE, (SENTINEL,)),
    ):
        rates = np.mean(
            [
                [(one.top_1, one.top_3) for one in found]
                for found in (
                    find_rates(str(training), str(faulty), sentinels=sentinels, seed=seed)
                    for seed in range(options.seeds)
                )
            ],
            axis=0,
        )
        cells = (
            f"{size:g} spreads {top_1:.3f}, {top_3:.3f}"
            for size, (top_1, top_3) in zip(SIZES, rates, strict=True)
        )
        print(f"{name}: {'; '.join(cells)}")


if __name__ == "__main__":
    main()
