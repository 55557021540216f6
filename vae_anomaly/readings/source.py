"""Raw readings as parts that give Arrow batches: Parquet files, Arrow tables, pandas frames."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias, Union

import pyarrow as pa
import pyarrow.parquet as pq

from vae_anomaly.config import ReadingsConfig
from vae_anomaly.domain import Contract
from vae_anomaly.errors import ContractError, ReadingsError
from vae_anomaly.readings.files import Location, RawFile, explain_file_errors, list_files
from vae_anomaly.readings.frames import make_table
from vae_anomaly.readings.hive import add_folder_columns
from vae_anomaly.readings.parts import RawPart, name_parts
from vae_anomaly.readings.shapes import adapt

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow.dataset as ds

__all__ = ["BATCH_ROWS", "RawPart", "RawSource", "name_parts", "open_file", "open_source"]

BATCH_ROWS = 131_072
"""Rows per Arrow batch: about 1 MB per sensor, large enough that the cost per batch vanishes."""

PARQUET_MAGIC = b"PAR1"
"""First and last four bytes of a Parquet file. Source: the Parquet format specification."""

ENCRYPTED_MAGIC = b"PARE"
"""The same of a file whose footer is encrypted. Source: Parquet modular encryption."""

RawSource: TypeAlias = Union[
    Location, Sequence[Location], "pa.Table", "pa.RecordBatch", "ds.Dataset", "pd.DataFrame"
]
"""Whatever raw readings can be read from; it is never changed."""


def open_source(
    source: RawSource,
    *,
    timestamp: str = "timestamp",
    config: ReadingsConfig | None = None,
    contract: Contract | None = None,
) -> tuple[RawPart, ...]:
    """Open raw readings without reading them.

    Args:
        source: Parquet file, folder, glob or URI, a list of those, or an Arrow table, dataset
            or pandas frame.
        timestamp: Name of the time column, where there are no settings; a pandas index of times
            becomes this column.
        config: Shapes of the input: aliases, long form, epoch numbers and so on; None leaves
            all columns as they came.
        contract: What the input must look like, where that is known.

    Returns:
        The parts in reading order: as listed, and sorted by path inside a folder or glob. With
            settings they are wide, whatever their shape was, and their times are times.

    Raises:
        ReadingsError: There is no such file, it is not Parquet, or nothing holds a row.
        ContractError: A part has two columns of one name, or not the shape that is asked for.
    """
    if isinstance(source, (str, os.PathLike, list, tuple)):
        parts = tuple(
            open_file(file, config=config, contract=contract) for file in list_files(source)
        )
    else:
        known = contract or config
        part = _open_memory(source, timestamp=known.timestamp if known else timestamp)
        _check_column_names(part)
        parts = (part if config is None else adapt(part, config=config, contract=contract),)
    if not any(part.num_rows for part in parts):
        raise ReadingsError(
            f"Cannot read {name_parts(parts)}: expected at least one row, got 0 rows. "
            "Check the export that wrote it."
        )
    return parts


def open_file(
    file: RawFile,
    *,
    config: ReadingsConfig | None = None,
    contract: Contract | None = None,
) -> RawPart:
    """Open one Parquet file, reading only its footer, and its sensor names where it is long.

    Args:
        file: A file of `list_files`.
        config: Shapes of the input; None leaves all columns as they came.
        contract: What the input must look like, where that is known.

    Returns:
        The file as a part, wide where there are settings; reading its batches opens the file anew.

    Raises:
        ReadingsError: The file is gone, empty, cut short or not Parquet.
        ContractError: It has two columns of one name, or not the shape that is asked for.
    """
    with _open_parquet(file) as parquet:
        schema, num_rows = parquet.schema_arrow, parquet.metadata.num_rows

    def batches(columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        with _open_parquet(file) as parquet:
            yield from parquet.iter_batches(batch_size=BATCH_ROWS, columns=list(columns))

    part = RawPart(name=f"'{file.path}'", schema=schema, num_rows=num_rows, batches=batches)
    _check_column_names(part)
    if config is None:
        return part
    part = add_folder_columns(part, file.key, config=config, contract=contract)
    return adapt(part, config=config, contract=contract)


@contextmanager
def _open_parquet(file: RawFile) -> Iterator[pq.ParquetFile]:
    with explain_file_errors(file.path), file.filesystem.open_input_file(file.key) as stream:
        _check_magic(file, stream)
        with pq.ParquetFile(stream, page_checksum_verification=True) as parquet:
            yield parquet


def _check_magic(file: RawFile, stream: pa.NativeFile) -> None:
    size, length = stream.size(), len(PARQUET_MAGIC)
    if size == 0:
        raise ReadingsError(
            f"Cannot read '{file.path}': expected a Parquet file, got an empty file (0 bytes). "
            "Write it again."
        )
    head = stream.read_at(length, 0)
    tail = stream.read_at(length, max(size - length, 0))
    if ENCRYPTED_MAGIC in (head, tail):
        raise ReadingsError(
            f"Cannot read '{file.path}': expected a Parquet file that is not encrypted, got an "
            "encrypted one. Decrypt it before."
        )
    if head != PARQUET_MAGIC:
        raise ReadingsError(
            f"Cannot read '{file.path}': expected a Parquet file, got one that starts with "
            f"{head!r}. Convert it to Parquet or leave it out."
        )
    if tail != PARQUET_MAGIC or size < 3 * length:
        raise ReadingsError(
            f"Cannot read '{file.path}': expected a complete Parquet file, got a truncated one "
            f"({size} bytes without a footer). Wait until it is written, or write it again."
        )


def _open_memory(source: Any, *, timestamp: str) -> RawPart:
    pandas, dataset = sys.modules.get("pandas"), sys.modules.get("pyarrow.dataset")
    if dataset is not None and isinstance(source, dataset.Dataset):
        return _open_dataset(source)
    if pandas is not None and isinstance(source, pandas.DataFrame):
        table, name = make_table(source, timestamp=timestamp), "the data frame"
    elif isinstance(source, pa.RecordBatch):
        table, name = pa.Table.from_batches([source]), "the record batch"
    elif isinstance(source, pa.Table):
        table, name = source, "the table"
    else:
        raise ReadingsError(
            "Cannot read readings: expected a path, folder, glob, URI, list of paths, pyarrow "
            f"Table or Dataset, or pandas DataFrame, got {type(source).__name__}."
        )

    def batches(columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        yield from table.select(list(columns)).to_batches(max_chunksize=BATCH_ROWS)

    return RawPart(name=name, schema=table.schema, num_rows=table.num_rows, batches=batches)


def _open_dataset(source: Any) -> RawPart:
    def batches(columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        with explain_file_errors("dataset"):
            yield from source.to_batches(columns=list(columns), batch_size=BATCH_ROWS)

    with explain_file_errors("dataset"):
        num_rows = source.count_rows()
    return RawPart(name="the dataset", schema=source.schema, num_rows=num_rows, batches=batches)


def _check_column_names(part: RawPart) -> None:
    repeated = [name for name, count in Counter(part.schema.names).items() if count > 1]
    if repeated:
        raise ContractError(
            f"Cannot read {part.name}: expected one column per name, got several named "
            f"{', '.join(repr(name) for name in repeated[:5])}. Rename them at the source."
        )
