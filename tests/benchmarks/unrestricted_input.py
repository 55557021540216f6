"""The network of the question under its own loss and under a likelihood, on raw readings.

Run with `python -m tests.benchmarks.unrestricted_input FILE [seeds] [PICTURE]`; the table and the
picture of docs/science/unrestricted-input.md are its output.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
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
SHOWN_STEPS = 180
"""Steps of one sensor in the picture."""

UNIT_FACTOR = 1e5
"""As from bar to pascal: the numbers of one sensor times this, and nothing may change."""


def main() -> None:
    """Fit every preset with every seed and print what became of it."""
    table = pq.read_table(sys.argv[1])
    sensors = [name for name in table.column_names if name.startswith(("Pressure", "P-"))]
    seeds = range(int(sys.argv[2]) if len(sys.argv) > 2 else 3)
    first: dict[str, Detector] = {}
    print("| preset | " + " | ".join(FIGURES) + " | last KL, nats | states changed by a unit |")
    print("|---" * (len(FIGURES) + 3) + "|")
    for preset in PRESETS:
        config = DetectorConfig(preset=preset, threshold=ThresholdConfig(adaptation_steps=0))
        rows = []
        for seed in seeds:
            detector = Detector.fit(table, config=config, seed=seed)
            first.setdefault(preset, detector)
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
    if len(sys.argv) > 3:
        draw(first, table, Path(sys.argv[3]))


def draw(detectors: dict[str, Detector], table: pa.Table, file: Path) -> None:
    """Draw how training went, and one sensor inside what each preset expects of it.

    Args:
        detectors: One detector per preset.
        table: The readings that they were fitted to.
        file: Where the picture is written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6.5), layout="constrained")
    top, bottom = figure.subfigures(2, 1)
    kl, held_out = top.subplots(1, 2)
    for preset, detector in detectors.items():
        curves = detector.record.curves
        kl.plot(curves.epochs, curves.kl, label=preset)
        held_out.plot(
            curves.epochs,
            np.sign(curves.held_out_nll) * np.log10(1 + np.abs(curves.held_out_nll)),
            label=preset,
        )
    kl.set(title="KL: what the code costs", xlabel="epochs", ylabel="nats a row", yscale="log")
    held_out.set(
        title="NLL + KL of held-out rows", xlabel="epochs", ylabel="nats a row, as log10(1 + x)"
    )
    kl.legend()
    shown = table.slice(table.num_rows // 2, SHOWN_STEPS)
    sensor = next(iter(detectors.values())).contract.sensor_names[0]
    for axes, (preset, detector) in zip(
        bottom.subplots(1, len(detectors), sharey=True), detectors.items(), strict=True
    ):
        found = detector.examine(shown)
        steps, mean, sigma = np.arange(SHOWN_STEPS), found.mean[:, 0], found.sigma[:, 0]
        axes.fill_between(steps, mean - 2 * sigma, mean + 2 * sigma, alpha=0.3, label="±2 sigma")
        axes.plot(steps, shown[sensor].to_numpy(), ".", markersize=3, label="reading")
        axes.set(title=preset, xlabel="steps")
    bottom.axes[0].set_ylabel(sensor)
    bottom.axes[0].legend(loc="upper right")
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    main()
