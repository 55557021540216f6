"""Rows that cannot be used, kept as they came, each with its reason."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vae_anomaly.domain import IntArray, Problem
from vae_anomaly.readings.parts import RawPart

WHOLE_FILE = -1
"""Row number that stands for a file as a whole."""

UNREADABLE_FILE = "unreadable_file"
BROKEN_CONTRACT = "broken_contract"

MAX_LETTERS = 10_000
"""Letters of a text, or bytes, that are kept of one value."""

RULES = {
    Problem.NO_TIMESTAMP: "a row needs a time",
    Problem.IMPLAUSIBLE_TIME: "a time lies in [1980-01-06, 2100-01-01) and exists",
    Problem.NO_ASSET: "a row needs an asset, where there is an asset column",
    Problem.NO_SENSOR: "a value of long input needs the name of its sensor",
    Problem.CONFLICTING_DUPLICATE: "of several values of a sensor at one time the smallest stays",
}
"""What a quarantined row breaks, in words."""


def quarantine_rows(
    part: RawPart,
    rows: Mapping[Problem, IntArray],
    *,
    source: str,
    first_seen_us: int | None,
) -> Iterator[dict[str, Any]]:
    """Describe the rows of a file that go to quarantine.

    Args:
        part: The file, which is read again, all columns of it, where there are such rows.
        rows: Rows of the file by their problem.
        source: Name of the file in the tables.
        first_seen_us: When the file appeared, microseconds since 1970.

    Yields:
        Rows of the schema `layout.QUARANTINE`, in the order of the file.
    """
    problems = tuple(rows)
    every = np.concatenate([np.zeros(0, dtype=np.int64), *rows.values()])
    order = np.argsort(every, kind="stable")
    counts = [found.size for found in rows.values()]
    codes = np.repeat(np.arange(len(problems), dtype=np.int8), counts)[order]
    every = every[order]
    for row, code, content in zip(every, codes, _read_rows(part, every), strict=True):
        problem = problems[code]
        yield {
            "source": source,
            "row": int(row),
            "reason": problem.value,
            "rule": RULES[problem],
            "first_seen": first_seen_us,
            "content": content,
        }


def quarantine_values(
    lost: pa.RecordBatch, *, columns: Mapping[str, str], first_seen_us: int | None
) -> Iterator[dict[str, Any]]:
    """Describe values of `readings` that gave way to those of a later file.

    Args:
        lost: Rows of `readings` with the lost values alone.
        columns: Column of each sensor.
        first_seen_us: When the later file appeared, microseconds since 1970.

    Yields:
        Rows of the schema `layout.QUARANTINE`.
    """
    for row in lost.to_pylist():
        values = {
            sensor: row[column] for sensor, column in columns.items() if row[column] is not None
        }
        key = {"asset": row["asset"], "timestamp": row["timestamp"].isoformat()}
        yield {
            "source": row["_source"],
            "row": row["_row"],
            "reason": Problem.CONFLICTING_DUPLICATE.value,
            "rule": RULES[Problem.CONFLICTING_DUPLICATE],
            "first_seen": first_seen_us,
            "content": write_row(key | values),
        }


def write_row(row: dict[str, Any]) -> str:
    """Write a row as JSON without losing a digit; what JSON cannot hold becomes text.

    Example:
        >>> write_row({"flow": 0.1, "level": float("inf"), "note": None})
        '{"flow": 0.1, "level": "inf", "note": null}'
    """
    return json.dumps(_plain(row), ensure_ascii=False)


def _read_rows(part: RawPart, rows: IntArray) -> Iterator[str]:
    start = 0
    for batch in part.batches(part.schema.names) if rows.size else ():
        end = start + batch.num_rows
        wanted = rows[np.searchsorted(rows, start) : np.searchsorted(rows, end)] - start
        if wanted.size:
            taken = pa.Table.from_batches([batch]).take(pa.array(wanted))
            for row in _shorten(_times_as_text(taken)).to_pylist():
                yield write_row(row)
        start = end


def _times_as_text(table: pa.Table) -> pa.Table:
    """Write times as Arrow does, which keeps nanoseconds and years beyond 9999."""
    for i, item in enumerate(table.schema):
        if pa.types.is_timestamp(item.type) or pa.types.is_date(item.type):
            table = table.set_column(i, item.name, pc.cast(table.column(i), pa.string()))
    return table


def _shorten(table: pa.Table) -> pa.Table:
    """Cut texts that would take more room than all else, before they are unpacked."""
    for i, item in enumerate(table.schema):
        column = table.column(i)
        if pa.types.is_dictionary(item.type):
            column = pa.chunked_array(
                [
                    pa.DictionaryArray.from_arrays(part.indices, _cut(part.dictionary))
                    for part in column.chunks
                ],
                type=None if column.chunks else item.type,
            )
        else:
            column = _cut(column)
        table = table.set_column(i, item.name, column)
    return table


def _cut(column: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return pc.utf8_slice_codeunits(column, 0, MAX_LETTERS)
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        return pc.binary_slice(column, 0, MAX_LETTERS)
    return column


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return value.hex()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    return str(value)
