"""Rows that cannot be used, kept as they came, each with its reason."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vae_anomaly.domain import IntArray, Problem, TextArray
from vae_anomaly.readings.source import RawPart

WHOLE_FILE = -1
"""Row number that stands for a file as a whole."""

UNREADABLE_FILE = "unreadable_file"
BROKEN_CONTRACT = "broken_contract"

RULES = {
    Problem.NO_TIMESTAMP: "a row needs a time",
    Problem.IMPLAUSIBLE_TIME: "a time lies in [1980-01-06, 2100-01-01)",
    Problem.NO_ASSET: "a row needs an asset, where there is an asset column",
    Problem.CONFLICTING_DUPLICATE: "another row of the same asset and time is kept",
}
"""What a quarantined row breaks, in words."""


def quarantine_rows(
    part: RawPart, problems: TextArray, *, source: str, first_seen_us: int | None
) -> list[dict[str, Any]]:
    """Describe the rows of a file that go to quarantine.

    Args:
        part: The file, which is read again, all columns of it.
        problems: A `Problem` value per row. Shape `(rows,)`.
        source: Name of the file in the tables.
        first_seen_us: When the file appeared, microseconds since 1970.

    Returns:
        Rows of the schema `layout.QUARANTINE`, in the order of the file.
    """
    rows = find_quarantined(problems)
    return [
        {
            "source": source,
            "row": int(row),
            "reason": str(problems[row]),
            "rule": RULES[Problem(problems[row])],
            "first_seen": first_seen_us,
            "content": content,
        }
        for row, content in zip(rows, _read_rows(part, rows), strict=True)
    ]


def find_quarantined(problems: TextArray) -> IntArray:
    """Return the rows that are neither usable nor duplicates."""
    is_bad = (problems != Problem.NONE.value) & (problems != Problem.DUPLICATE.value)
    return np.flatnonzero(is_bad).astype(np.int64)


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
            for row in _times_as_text(taken).to_pylist():
                yield write_row(row)
        start = end


def _times_as_text(table: pa.Table) -> pa.Table:
    """Write times as Arrow does, which keeps nanoseconds and years beyond 9999."""
    for i, item in enumerate(table.schema):
        if pa.types.is_timestamp(item.type) or pa.types.is_date(item.type):
            table = table.set_column(i, item.name, pc.cast(table.column(i), pa.string()))
    return table


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
