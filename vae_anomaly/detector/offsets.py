"""Offsets of the assets of a fleet: one network for all, though each has a middle of its own.

Two pumps of one kind run at 3.2 and at 5.1 bar. To a network that sees both as they are, the way
from one to the other is the largest direction of normal variation, along which no fault is
strange. So the middle of each asset is moved to that of the fleet before the network, and what is
expected is moved back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from vae_anomaly.domain import FloatArray, IntArray, SensorKind, SensorProfile
from vae_anomaly.model.likelihoods import GAUSSIAN, find_likelihood

MIN_VALUES = 100
"""Fewest training values from which the middle of an asset is taken; as many as a network needs
to be fitted at all."""

LEVELLED_KINDS = (SensorKind.CONTINUOUS, SensorKind.QUANTISED)
"""Kinds that have a middle: a switch has states."""


def find_offsets(
    values: FloatArray,
    asset_codes: IntArray,
    asset_names: Sequence[str],
    profiles: Sequence[SensorProfile],
    *,
    likelihoods: Mapping[str, str],
) -> dict[str, tuple[float, ...]]:
    """Find how far the middle of each asset lies from that of the fleet.

    Args:
        values: Raw training values, NaN where missing. Shape `(steps, sensors)`.
        asset_codes: Asset of each step. Shape `(steps,)`.
        asset_names: Names by code.
        profiles: What the values look like, one per sensor.
        likelihoods: Likelihood by name of sensor, where it was chosen.

    Returns:
        Offset of each sensor, raw units, by asset: its median less the median of all assets'
        medians; 0 for sensors that have no middle, or too few values. Empty where there is one
        asset alone.
    """
    present = np.unique(asset_codes)
    if len(present) < 2:
        return {}
    medians = np.full((len(present), values.shape[1]), np.nan)
    moves = np.zeros(values.shape[1], dtype=bool)
    starts = np.searchsorted(asset_codes, present)
    for row, mine in enumerate(np.split(values, starts[1:])):
        low, high = np.fmin.reduce(mine, axis=0), np.fmax.reduce(mine, axis=0)
        moves |= high > low
        enough = np.count_nonzero(~np.isnan(mine), axis=0) >= MIN_VALUES
        medians[row, enough] = np.nanmedian(mine[:, enough], axis=0)
    offsets = np.zeros_like(medians)
    for sensor, profile in enumerate(profiles):
        known = ~np.isnan(medians[:, sensor])
        chosen = find_likelihood(likelihoods.get(profile.name, GAUSSIAN.name))
        if profile.kind not in LEVELLED_KINDS or not chosen.is_on_raw or not known.any():
            continue
        if not moves[sensor]:
            continue  # a set-point per asset: without its offsets nothing moves
        found = medians[known, sensor]
        offsets[known, sensor] = found - np.median(found)
    return {
        asset_names[code]: tuple(row.tolist()) for code, row in zip(present, offsets, strict=True)
    }


def remove_offsets(
    values: FloatArray,
    asset_codes: IntArray,
    asset_names: Sequence[str],
    offsets: Mapping[str, Sequence[float]],
) -> FloatArray:
    """Move every asset to the middle of the fleet; an unknown one is taken to be there.

    Args:
        values: Raw values. Shape `(steps, sensors)`.
        asset_codes: Asset of each step. Shape `(steps,)`.
        asset_names: Names by code.
        offsets: As `find_offsets` returned them.

    Returns:
        Values without their offsets; those given, not a copy, where there are none.
    """
    if not offsets:
        return values
    none = (0.0,) * values.shape[1]
    of_codes = np.array([offsets.get(name, none) for name in asset_names])
    levelled: FloatArray = values - of_codes[asset_codes]
    return levelled
