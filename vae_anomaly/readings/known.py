"""Rows of new files that the lake holds already."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vae_anomaly.domain import IntArray, Problem, Readings, TextArray
from vae_anomaly.readings.rows import equal_rows
from vae_anomaly.readings.tables import Lake


def mark_known_rows(
    lake: Lake, readings: Readings, problems: TextArray, *, batch: str
) -> TextArray:
    """Mark usable rows of which asset and time are in the lake already.

    Args:
        lake: The lake.
        readings: Rows of one file.
        problems: A `Problem` value per row. Shape `(rows,)`.
        batch: This delivery; rows of it that an earlier attempt wrote do not count as known.

    Returns:
        The problems, with `duplicate` or `conflicting_duplicate` added. Shape `(rows,)`.
    """
    rows = np.flatnonzero(problems == Problem.NONE.value)
    if rows.size == 0 or not lake.has_readings():
        return problems
    if not np.any(_find_rows(readings, rows, _read_known(lake, readings, rows, batch)) >= 0):
        return problems  # the common case, for which no sensor was read
    known = _read_known(lake, readings, rows, batch, sensors=readings.sensors)
    found = _find_rows(readings, rows, known)
    rows, found = rows[found >= 0], found[found >= 0]
    values = np.column_stack([known[name].to_numpy()[found] for name in readings.sensors])
    is_equal = equal_rows(readings.values[rows], values)
    marked = problems.copy()
    marked[rows[is_equal]] = Problem.DUPLICATE.value
    marked[rows[~is_equal]] = Problem.CONFLICTING_DUPLICATE.value
    return marked


def _read_known(
    lake: Lake, readings: Readings, rows: IntArray, batch: str, sensors: Sequence[str] = ()
) -> pa.Table:
    """Read what the lake holds for the assets and the time span of the rows."""
    codes, times = np.unique(readings.asset_codes[rows]), readings.timestamps[rows]
    table = lake.read_readings(
        assets=[readings.asset_names[code] for code in codes],
        start_us=int(times.min()),
        end_us=int(times.max()) + 1,
        columns=("_batch", *sensors),
    )
    return table.filter(pc.not_equal(table["_batch"], batch))


def _find_rows(readings: Readings, rows: IntArray, known: pa.Table) -> IntArray:
    """Return the row of the table with the same asset and time, -1 without. Shape `(rows,)`."""
    found = np.full(rows.size, -1, dtype=np.int64)
    if known.num_rows == 0:
        return found
    names = pa.array(readings.asset_names, pa.string())
    codes = pc.index_in(known["asset"], names).to_numpy()
    times = known["timestamp"].cast(pa.int64()).to_numpy()
    ticks, ranks = np.unique(times, return_inverse=True)
    keys = ranks * len(names) + codes
    order = np.argsort(keys, kind="stable")
    rank = np.minimum(np.searchsorted(ticks, readings.timestamps[rows]), ticks.size - 1)
    wanted = rank * len(names) + readings.asset_codes[rows]
    position = np.minimum(np.searchsorted(keys[order], wanted), keys.size - 1)
    is_found = (keys[order][position] == wanted) & (ticks[rank] == readings.timestamps[rows])
    found[is_found] = order[position[is_found]]
    return found
