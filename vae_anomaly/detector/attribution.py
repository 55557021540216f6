"""Does the sensor to blame get the blame? Faults of one sensor, injected into normal readings."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vae_anomaly.domain import FloatArray, IntArray
from vae_anomaly.model.channels import make_fault
from vae_anomaly.model.density import Density

FAULT_STEPS = 20
FAULTS_PER_SENSOR = 20
FAULT_SPREADS = 5.0
"""An offset of five training spreads, either way, over twenty steps: plain to see on the one
sensor, and within the span of the score."""


@dataclass(frozen=True)
class HitRates:
    """How often the faulty sensor is among those with most of the blame.

    Attributes:
        top_1: Share of faults that blame the faulty sensor first; NaN without a fault.
        top_3: Share of faults with the faulty sensor among the first three.
        num_faults: Faults injected.
    """

    top_1: float
    top_3: float
    num_faults: int


def measure_attribution(
    density: Density,
    values: FloatArray,
    segment_start: IntArray,
    *,
    normal_contribution: FloatArray,
) -> HitRates:
    """Inject faults into one sensor at a time and rank the sensors as alert events do.

    Args:
        density: The fitted density.
        values: Normal raw values in step order. Shape `(steps, sensors)`.
        segment_start: As in `Steps`. Shape `(steps,)`.
        normal_contribution: Mean contribution of each sensor to normal steps.

    Returns:
        The hit rates over all sensors in the network. Every fault is as large as the others in
        spreads of its own sensor, or another state; where two sensors say the same, either may
        be blamed.
    """
    before = density.window - 1
    chosen = density.roles.channels.sensors
    starts = _choose_starts(segment_start, before)
    ranks = []
    for position, sensor in enumerate(density.roles.modelled):
        if sensor in density.roles.context:
            continue
        usable = starts[np.isfinite(values[starts, sensor])]
        if not len(usable):
            continue
        size = FAULT_SPREADS * math.exp(density.roles.log_scale[position])
        rows = usable[:, None] + np.arange(-before, FAULT_STEPS)
        faulty = values[rows]
        sign = np.where(np.arange(len(usable)) % 2, -1.0, 1.0)
        faulty[:, before:, sensor] = make_fault(
            chosen[position], faulty[:, before:, sensor], size * sign[:, None]
        )
        own_start = np.repeat(np.arange(len(usable)) * rows.shape[1], rows.shape[1])
        scores = density.score(faulty.reshape(-1, values.shape[1]), own_start)
        contribution = scores.contribution.reshape(faulty.shape)[:, before:].mean(axis=1)
        excess = contribution - np.nan_to_num(normal_contribution)
        ranks.append((excess > excess[:, [sensor]]).sum(axis=1))
    if not ranks:
        return HitRates(math.nan, math.nan, 0)
    rank = np.concatenate(ranks)
    return HitRates(float(np.mean(rank < 1)), float(np.mean(rank < 3)), len(rank))


def _choose_starts(segment_start: IntArray, before: int) -> IntArray:
    """Choose steps, evenly spread, around which a fault fits into one segment."""
    num_steps = len(segment_start)
    first = np.arange(before, num_steps - FAULT_STEPS + 1)
    fits = first[segment_start[first - before] == segment_start[first + FAULT_STEPS - 1]]
    chosen = np.linspace(0, len(fits) - 1, min(FAULTS_PER_SENSOR, len(fits)))
    starts: IntArray = fits[chosen.astype(np.int64)]
    return starts
