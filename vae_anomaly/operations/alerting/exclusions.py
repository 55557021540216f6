"""Spans that are not normal, for training and calibration, and spans of which the truth is known.

An alert is taken for an anomaly until somebody dismisses it: dismissed ones are normal readings,
stay in, and the next threshold learns from them.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vae_anomaly.domain import BoolArray, IntArray
from vae_anomaly.operations.alerting.entries import Entry, read_entries
from vae_anomaly.operations.alerting.overlaps import Overlaps
from vae_anomaly.operations.alerting.silence import ANOMALY, MUTE_SOURCE, NORMAL
from vae_anomaly.operations.alerting.states import DISMISSED, SUPERSEDED
from vae_anomaly.operations.alerting.times import to_us
from vae_anomaly.readings.alerting_layout import EVERY_ASSET
from vae_anomaly.readings.tables import Lake


class Exclusion(NamedTuple):
    """A span `[start_us, end_us)` of an asset, or of all (`*`), that is not normal, and why."""

    asset: str
    start_us: int
    end_us: int
    why: str


def find_excluded(lake: Lake, *, assets: Collection[str] | None = None) -> list[Exclusion]:
    """Find the spans that training and calibration leave out.

    They are maintenance windows (not silence alone), spans labelled as anomalies, and alerts that
    are neither dismissed nor superseded nor labelled as normal.

    Args:
        lake: The lake.
        assets: Assets wanted, None for all.

    Returns:
        The spans in order of asset and time; they may overlap.

    Raises:
        TableError: The lake cannot be read.
    """
    labels = tuple(read_entries(lake, "labels").values())
    windows = read_entries(lake, "maintenance").values()
    found = [_exclude(one, "maintenance") for one in windows if one.variant != MUTE_SOURCE]
    found += [_exclude(one, "labelled anomaly") for one in labels if one.variant == ANOMALY]
    normal = Overlaps(one for one in labels if one.variant == NORMAL)
    alerts = lake.read_alerts()
    gone = pc.is_in(alerts["status"], pa.array([DISMISSED, SUPERSEDED]))
    columns = ["alert_id", "asset", "start", "end"]
    for row in alerts.filter(pc.invert(gone)).select(columns).to_pylist():
        start_us, end_us = to_us(row["start"]), to_us(row["end"])
        if not normal.find(row["asset"], start_us, end_us):
            why = f"alert {row['alert_id']}"
            found.append(Exclusion(row["asset"], start_us, end_us, why))
    wanted = None if assets is None else {EVERY_ASSET, *assets}
    return sorted(one for one in found if wanted is None or one.asset in wanted)


def find_labels(lake: Lake) -> tuple[Entry, ...]:
    """Return the spans of which the truth is known, in order of time; `variant` is the kind.

    Raises:
        TableError: The table cannot be read.
    """
    return tuple(read_entries(lake, "labels").values())


def find_normal_steps(times: IntArray, excluded: Collection[Exclusion], asset: str) -> BoolArray:
    """Tell which steps of an asset are in none of the spans.

    Args:
        times: Microseconds since 1970. Shape `(steps,)`.
        excluded: The spans, of any assets.
        asset: The asset.

    Returns:
        Shape `(steps,)`.

    Example:
        >>> spans = [Exclusion("*", 10, 20, ""), Exclusion("pump", 15, 30, "")]
        >>> find_normal_steps(np.array([9, 10, 29, 30]), spans, "pump").tolist()
        [True, False, False, True]
    """
    mine = [(one.start_us, one.end_us) for one in excluded if one.asset in {EVERY_ASSET, asset}]
    if not mine:
        return np.ones(len(times), dtype=bool)
    starts, ends = np.array(sorted(mine)).T
    place = np.searchsorted(starts, times, side="right") - 1
    outside: BoolArray = (place < 0) | (times >= np.maximum.accumulate(ends)[place])
    return outside


def _exclude(entry: Entry, kind: str) -> Exclusion:
    why = f"{kind}: {entry.reason}" if entry.reason else kind
    return Exclusion(entry.asset, entry.start_us, entry.end_us, why)
