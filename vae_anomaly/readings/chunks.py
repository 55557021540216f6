"""A part of the input in chunks of bounded size, each loaded as readings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import pyarrow as pa

from vae_anomaly.domain import Contract
from vae_anomaly.readings.load import LoadedReadings, load_readings
from vae_anomaly.readings.parts import PROBLEM_COLUMN, RawPart

CHUNK_CELLS = 8_000_000
"""Values per chunk, those of times, assets and orders included: 64 MB of them."""

CELLS_PER_ROW = 8
"""What a row takes beside its sensors, in values: time, asset, problem, places in orders."""

MIN_CHUNK_ROWS = 4_096

HEAD_ROWS = 131_072
"""Rows that tell the columns and the period; all of a chunk would cost as much again to read."""


@dataclass(frozen=True)
class Chunk:
    """Some neighbouring rows of a part.

    Attributes:
        start: Row of the part that is the first of the chunk.
        loaded: The rows, cleaned.
    """

    start: int
    loaded: LoadedReadings


def read_chunks(
    part: RawPart, contract: Contract, *, sentinels: Sequence[float] = ()
) -> Iterator[Chunk]:
    """Read a part chunk by chunk, so that memory does not grow with its rows.

    Args:
        part: The part.
        contract: Which columns to read.
        sentinels: Values that mean "missing".

    Raises:
        ReadingsError: As `load_readings` raises it.
    """
    names = (contract.timestamp, contract.asset, *contract.sensor_names, PROBLEM_COLUMN)
    there = frozenset(part.schema.names)
    columns = [name for name in names if name is not None and name in there]
    start = 0
    for batches in _read_ahead(_gather(part, columns, num_sensors=len(contract.sensors))):
        piece = _as_part(part, batches)
        yield Chunk(start, load_readings([piece], contract, sentinels=sentinels))
        start += piece.num_rows
    if part.is_exact and start != part.num_rows:
        # the loader of a whole part says what a part that breaks its word is like
        load_readings([replace(part, batches=lambda _: iter(()))], contract)


def read_head(part: RawPart, *, max_rows: int = HEAD_ROWS) -> RawPart:
    """Return the first rows of a part as a part: what a contract is inferred from.

    Columns are read where they are asked for.
    """
    num_rows = min(part.num_rows, _find_limit(len(part.schema.names)), max_rows)

    def read(columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        left = num_rows
        for batch in part.batches(columns):
            yield batch.slice(0, left)
            left -= batch.num_rows
            if left <= 0:
                return

    return replace(part, num_rows=num_rows, batches=read)


def _read_ahead(
    pieces: Iterator[list[pa.RecordBatch]],
) -> Iterator[list[pa.RecordBatch]]:
    """Read the next piece while the last one is worked on; Arrow holds no lock meanwhile."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        ahead = pool.submit(next, pieces, None)
        while (piece := ahead.result()) is not None:
            ahead = pool.submit(next, pieces, None)
            yield piece


def _gather(
    part: RawPart, columns: Sequence[str], *, num_sensors: int
) -> Iterator[list[pa.RecordBatch]]:
    limit = _find_limit(num_sensors)
    batches: list[pa.RecordBatch] = []
    for batch in part.batches(columns):
        batches.append(batch)
        if sum(item.num_rows for item in batches) >= limit:
            yield batches
            batches = []
    if batches:
        yield batches


def _find_limit(num_sensors: int) -> int:
    """Return how many rows of so many sensors make a chunk."""
    return max(CHUNK_CELLS // (num_sensors + CELLS_PER_ROW), MIN_CHUNK_ROWS)


def _as_part(part: RawPart, batches: Sequence[pa.RecordBatch]) -> RawPart:
    def read(columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield batch.select(list(columns))

    num_rows = sum(batch.num_rows for batch in batches)
    return replace(part, num_rows=num_rows, batches=read, is_exact=True, tell=dict)
