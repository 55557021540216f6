"""Rows that several deliveries gave values to: what each gave, and the row without one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vae_anomaly.domain import BoolArray, FloatArray, IntArray
from vae_anomaly.readings.rows import equal_rows

DELIVERIES = "_deliveries"
"""Column of `readings` that lists what each delivery gave; null where one gave all of the row."""

SHARE = pa.struct(
    [
        ("source", pa.string()),
        ("batch", pa.string()),
        ("row", pa.int64()),
        ("values", pa.list_(pa.field("element", pa.float64()))),
    ]
)
"""What one delivery gave: `values` in the order of the contract, null where they are the row's."""

DELIVERIES_TYPE = pa.list_(pa.field("element", SHARE))


@dataclass(frozen=True)
class Shares:
    """What deliveries gave to rows; several of one row follow one another.

    Attributes:
        rows: Row of the table that each belongs to. Shape `(shares,)`.
        sources: File it came from.
        batches: Delivery.
        file_rows: Row of the file.
        values: What it gave, NaN where missing. Shape `(shares, sensors)`.
    """

    rows: IntArray
    sources: pa.StringArray
    batches: pa.StringArray
    file_rows: IntArray
    values: FloatArray

    def take(self, places: IntArray, rows: IntArray | None = None) -> Shares:
        """Return some of them, as shares of other rows where these are given."""
        return Shares(
            rows=self.rows[places] if rows is None else rows,
            sources=self.sources.take(pa.array(places)),
            batches=self.batches.take(pa.array(places)),
            file_rows=self.file_rows[places],
            values=self.values[places],
        )


def read_shares(table: pa.Table, columns: Sequence[str]) -> Shares:
    """Read what each delivery gave to the rows of a table.

    Args:
        table: Rows of `readings`.
        columns: Columns of the sensors, in the order of the contract.

    Returns:
        The shares, in the order of the rows; one that a row has alone is the row itself.
    """
    deliveries = table[DELIVERIES].combine_chunks()
    values = read_values(table, columns)
    is_shared = deliveries.is_valid().to_numpy(zero_copy_only=False)
    alone, shared = np.flatnonzero(~is_shared), np.flatnonzero(is_shared)
    listed = deliveries.filter(pa.array(is_shared))
    parents = shared[pc.list_parent_indices(listed).to_numpy()]
    flat = pc.list_flatten(listed)
    given = pc.struct_field(flat, "values")
    given_values = values[parents]
    own = np.flatnonzero(given.is_valid().to_numpy(zero_copy_only=False))
    if own.size:
        given_values[own] = pc.list_flatten(given).to_numpy().reshape(own.size, len(columns))

    def join(name: str, field: str) -> pa.StringArray:
        mine = table[name].cast(pa.string()).combine_chunks().take(pa.array(alone))
        return pa.concat_arrays([mine, pc.struct_field(flat, field)])

    rows = np.concatenate([alone, parents])
    file_rows = np.concatenate(
        [table["_row"].to_numpy()[alone], pc.struct_field(flat, "row").to_numpy()]
    )
    shares = Shares(
        rows=rows,
        sources=join("_source", "source"),
        batches=join("_batch", "batch"),
        file_rows=file_rows,
        values=np.concatenate([values[alone], given_values]),
    )
    return shares.take(np.argsort(rows, kind="stable"))


def fold_shares(table: pa.Table, shares: Shares, columns: Sequence[str]) -> pa.Table:
    """Make rows of what deliveries gave to them.

    Each cell is the smallest value that was given, and a row has the name of the first of its
    sources: neither depends on the order in which they came.

    Args:
        table: A row for each place that shares belong to; all but asset and time are replaced.
        shares: Sorted by row; each row has one at least. Of several of one source, the values
            become one, and the first gives the name.
        columns: Columns of the sensors, in the order of the contract.
    """
    names = shares.sources.dictionary_encode()
    ranks = np.argsort(np.argsort(names.dictionary.to_numpy(zero_copy_only=False)))
    order = np.lexsort((ranks[names.indices.to_numpy()], shares.rows))
    rank = ranks[names.indices.to_numpy()][order]
    is_first = (np.diff(shares.rows[order], prepend=-1) != 0) | (np.diff(rank, prepend=-1) != 0)
    firsts = np.flatnonzero(is_first)
    values = np.fmin.reduceat(shares.values[order], firsts, axis=0)
    shares = shares.take(order[firsts])
    starts = np.flatnonzero(np.diff(shares.rows, prepend=-1))
    counts = np.diff(starts, append=shares.rows.size)
    merged = np.fmin.reduceat(values, starts, axis=0)
    for k, column in enumerate(columns):
        table = _replace(table, column, pa.array(merged[:, k], from_pandas=True))
    first = shares.take(starts)
    table = _replace(table, "_source", first.sources)
    table = _replace(table, "_batch", first.batches)
    table = _replace(table, "_row", pa.array(first.file_rows))
    is_own = ~equal_rows(values, np.repeat(merged, counts, axis=0))
    is_listed = np.repeat(counts > 1, counts)
    deliveries = _list_deliveries(
        shares.take(np.flatnonzero(is_listed)),
        values[is_listed],
        is_own[is_listed],
        np.where(counts > 1, counts, 0),
    )
    return _replace(table, DELIVERIES, deliveries)


def as_rows(table: pa.Table, shares: Shares, columns: Sequence[str]) -> pa.Table:
    """Return shares as rows of `readings` of their own, without what others gave.

    Args:
        table: The rows they belong to.
        shares: The shares.
        columns: Columns of the sensors, in the order of the contract.
    """
    rows = table.take(pa.array(shares.rows)).drop_columns([DELIVERIES])
    for k, column in enumerate(columns):
        rows = _replace(rows, column, pa.array(shares.values[:, k], from_pandas=True))
    rows = _replace(rows, "_source", shares.sources)
    rows = _replace(rows, "_batch", shares.batches)
    return _replace(rows, "_row", pa.array(shares.file_rows))


def equal_tables(left: pa.Table, right: pa.Table, columns: Sequence[str]) -> BoolArray:
    """Whether rows have the same values and the same deliveries. Shape `(rows,)`."""
    same: BoolArray = equal_rows(read_values(left, columns), read_values(right, columns))
    same &= _count_deliveries(left) == _count_deliveries(right)
    return same


def _count_deliveries(table: pa.Table) -> IntArray:
    counts: IntArray = pc.list_value_length(table[DELIVERIES]).fill_null(1).to_numpy()
    return counts


def read_values(table: pa.Table, columns: Sequence[str]) -> FloatArray:
    """Return the values of the sensors, NaN where missing. Shape `(rows, sensors)`."""
    values = np.empty((table.num_rows, len(columns)))
    for k, column in enumerate(columns):
        values[:, k] = table[column].to_numpy()
    return values


def _list_deliveries(
    shares: Shares, values: FloatArray, is_own: BoolArray, counts: IntArray
) -> pa.ListArray:
    """List shares by row; `is_own` says of which the values are not those of their row."""
    num_sensors = values.shape[1]
    ends = np.concatenate([[0], np.cumsum(np.where(is_own, num_sensors, 0))])
    own = pa.ListArray.from_arrays(
        pa.array(ends.astype(np.int32)),
        pa.array(values[is_own].ravel()),
        type=SHARE.field("values").type,
        mask=pa.array(~is_own),
    )
    given = pa.StructArray.from_arrays(
        [shares.sources, shares.batches, pa.array(shares.file_rows), own], fields=list(SHARE)
    )
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return pa.ListArray.from_arrays(
        pa.array(offsets), given, type=DELIVERIES_TYPE, mask=pa.array(counts == 0)
    )


def _replace(table: pa.Table, column: str, values: pa.Array) -> pa.Table:
    return table.set_column(table.column_names.index(column), column, values)
