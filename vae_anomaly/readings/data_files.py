"""Parquet files of a Delta table that we write ourselves, and the one commit that adds them.

Written so, rows stream into the table as they are read, a whole delivery appears at once or not
at all, and rows that change are replaced in the same commit.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.fs as pa_fs
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.schema import Schema
from deltalake.transaction import AddAction, RemoveAction

from vae_anomaly.domain import MICROSECONDS_PER_DAY
from vae_anomaly.errors import TableError
from vae_anomaly.readings.delta import TRANSACTION_VERSION, explain_table_errors
from vae_anomaly.readings.layout import PARTITIONS, TIME
from vae_anomaly.readings.shared_rows import DELIVERIES, DELIVERIES_TYPE

ROW_GROUP_ROWS = 131_072
"""Rows per row group: small enough that a reader of a few minutes leaves the others out."""

COMPRESSION = "zstd"
PLAIN_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""Asset names that folders are named after as they are; the log knows the true ones."""

ASCENDING = ("timestamp", "_row")
"""Columns of which the differences take less room than the values."""

SAMPLE_VALUES = 4_096
MAX_DISTINCT_SHARE = 0.75
"""A column with a smaller share of distinct values in the sample is written with a dictionary.

Of 86,400 rows this is about 10,000 distinct values: with fewer, a dictionary took .5 to .8 of the
time and .6 to .9 of the room; with values that never repeat, 2 times the time.
"""

WRITER = "readings"
"""Application transaction that every commit of ours bears, so that of two at once one fails."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

ACTION_COLUMNS = frozenset(
    {
        "path",
        "size_bytes",
        "num_records",
        "partition.asset",
        "partition.date",
        "min.timestamp",
        "max.timestamp",
    }
)
"""What is read of what the log says of a file."""


@dataclass(frozen=True)
class DataFile:
    """One Parquet file of `readings`, in the table or about to be.

    Attributes:
        path: Path below the table as the log has it, percent signs written `%25`.
        asset: Asset of its rows.
        date: Day of its rows, UTC.
        num_rows: Number of rows.
        first_us: Earliest time, microseconds since 1970.
        last_us: Latest time.
        size: Bytes.
    """

    path: str
    asset: str
    date: str
    num_rows: int
    first_us: int
    last_us: int
    size: int

    def touches(self, first_us: int, last_us: int) -> bool:
        """Whether its times and those of `[first_us, last_us]` overlap."""
        return self.first_us <= last_us and first_us <= self.last_us


class DataFolder:
    """The folder of a Delta table, for reading and writing its data files.

    Args:
        uri: Where the table lies.
        filesystem: Filesystem of it.
        root: What the filesystem calls it.
    """

    def __init__(self, uri: str, filesystem: pa_fs.FileSystem, root: str) -> None:
        self.uri = uri
        self._filesystem = filesystem
        self._root = root
        self._made: set[str] = set()

    def write(self, rows: pa.Table, *, name: str) -> DataFile:
        """Write rows of one asset and day, sorted by time, as a file that no table knows yet.

        The same name and rows give the same file: what was broken off is written over.

        Args:
            rows: All columns of `readings`.
            name: Name of the file, unique in the table.

        Returns:
            The file.
        """
        asset, day = rows["asset"][0].as_py(), rows["date"][0].as_py().isoformat()
        folder = f"asset={_name_folder(asset)}/date={day}"
        path = f"{folder}/{name}.parquet"
        columns = rows.drop_columns(list(PARTITIONS))
        if DELIVERIES in columns.column_names and _is_empty(columns[DELIVERIES]):
            columns = columns.drop_columns([DELIVERIES])  # no such column is as good, and faster
        with explain_table_errors("write", self.uri):
            if folder not in self._made and isinstance(self._filesystem, pa_fs.LocalFileSystem):
                self._filesystem.create_dir(f"{self._root}/{folder}", recursive=True)
                self._made.add(folder)
            with self._filesystem.open_output_stream(f"{self._root}/{path}") as stream:
                pq.write_table(
                    columns,
                    stream,
                    compression=COMPRESSION,
                    row_group_size=ROW_GROUP_ROWS,
                    use_dictionary=_find_repetitive(columns),
                    column_encoding=dict.fromkeys(ASCENDING, "DELTA_BINARY_PACKED"),
                    store_schema=False,
                )
                size = stream.tell()
        times = columns["timestamp"].cast(pa.int64())
        return DataFile(
            path=path,
            asset=asset,
            date=day,
            num_rows=rows.num_rows,
            first_us=times[0].as_py(),
            last_us=times[-1].as_py(),
            size=size,
        )

    def read(self, file: DataFile, *, first_us: int, last_us: int) -> pa.Table:
        """Read the rows of a file with times in `[first_us, last_us]`, all columns of it."""
        times = ds.field("timestamp")
        wanted = (times >= pa.scalar(first_us, TIME)) & (times <= pa.scalar(last_us, TIME))
        with explain_table_errors("read", self.uri):
            dataset = ds.dataset(
                f"{self._root}/{unquote(file.path)}", format="parquet", filesystem=self._filesystem
            )
            table = dataset.to_table(filter=wanted)
        day = pa.scalar(date.fromisoformat(file.date), pa.date32())
        table = table.add_column(0, "asset", pa.repeat(file.asset, table.num_rows))
        table = table.add_column(2, "date", pa.repeat(day, table.num_rows))
        if DELIVERIES not in table.column_names:
            return table.append_column(DELIVERIES, pa.nulls(table.num_rows, DELIVERIES_TYPE))
        place = table.column_names.index(DELIVERIES)
        return table.set_column(place, DELIVERIES, table[DELIVERIES].cast(DELIVERIES_TYPE))

    def read_times(self, files: Sequence[DataFile]) -> pa.ChunkedArray:
        """Read the times of the rows of files, and nothing else of them."""
        with explain_table_errors("read", self.uri):
            dataset = ds.dataset(
                [f"{self._root}/{unquote(file.path)}" for file in files],
                format="parquet",
                filesystem=self._filesystem,
            )
            return dataset.to_table(columns=["timestamp"])["timestamp"]

    def read_columns(
        self, files: Sequence[DataFile], columns: Sequence[str], *, start_us: int, end_us: int
    ) -> pa.Table:
        """Read times and columns of numbers of the rows with times in `[start_us, end_us)`.

        Args:
            files: Files of the table; those that hold no such times are not opened.
            columns: Columns of float64; one that a file does not have is null there.
            start_us: First time, microseconds since 1970.
            end_us: Time after the last.

        Returns:
            `timestamp` and the columns, in no particular order.

        Raises:
            TableError: A file is no more, or cannot be read.
        """
        schema = pa.schema([("timestamp", TIME), *((name, pa.float64()) for name in columns)])
        wanted = [file for file in files if file.touches(start_us, end_us - 1)]
        if not wanted:
            return schema.empty_table()
        times = ds.field("timestamp")
        inside = (times >= pa.scalar(start_us, TIME)) & (times < pa.scalar(end_us, TIME))
        with explain_table_errors("read", self.uri):
            dataset = ds.dataset(
                [f"{self._root}/{unquote(file.path)}" for file in wanted],
                schema=schema,
                format="parquet",
                filesystem=self._filesystem,
            )
            return dataset.to_table(filter=inside)

    def find_operation(self, version: int) -> str | None:
        """Return what the log says a commit did, None where it says nothing, or is no more.

        `DeltaTable.history` counts from the newest commit, also where an older version is opened.
        """
        path = f"{self._root}/_delta_log/{version:020d}.json"
        try:
            with self._filesystem.open_input_stream(path) as stream:
                lines = stream.read().splitlines()
        except OSError:
            return None
        entries = (json.loads(line) for line in lines if b"commitInfo" in line)
        found = (
            entry["commitInfo"].get("operation") for entry in entries if "commitInfo" in entry
        )
        return next(found, None)


def list_data_files(
    uri: str,
    *,
    spans: Mapping[str, tuple[int, int]] | None = None,
    version: int | None = None,
) -> list[DataFile]:
    """List the data files of `readings` with what their statistics say.

    Args:
        uri: The table; without it there are no files.
        spans: First and last time wanted per asset, microseconds since 1970; files of the days
            between them are listed. None for all assets and times.
        version: Version of the table, None for the newest.
    """
    with explain_table_errors("read", uri):
        if not DeltaTable.is_deltatable(uri):
            return []
        actions = pa.table(DeltaTable(uri, version=version).get_add_actions(flatten=True))
        actions = actions.select([name for name in actions.column_names if name in ACTION_COLUMNS])
    if spans is not None:
        actions = _select(actions, spans)
    return [_as_data_file(row) for row in actions.to_pylist()]


def find_newest(uri: str) -> int | None:
    """Find the newest time of a table by the statistics of its files; none of them is opened.

    Args:
        uri: The table.

    Returns:
        Microseconds since 1970; None without a table, rows or statistics.
    """
    with explain_table_errors("read", uri):
        if not DeltaTable.is_deltatable(uri):
            return None
        actions = pa.table(DeltaTable(uri).get_add_actions(flatten=True))
    if "max.timestamp" not in actions.column_names:
        return None
    newest = pc.max(actions["max.timestamp"].cast(TIME).cast(pa.int64())).as_py()
    return None if newest is None else int(newest)


def _select(actions: pa.Table, spans: Mapping[str, tuple[int, int]]) -> pa.Table:
    """Select the files of some assets and days, before a row of them becomes an object."""
    assets = pa.array(spans, pa.string())
    found = pc.index_in(actions["partition.asset"].cast(pa.string()), assets)
    actions = actions.filter(pc.is_valid(found))
    place = found.drop_null()
    ends = [
        pa.array([span[k] // MICROSECONDS_PER_DAY for span in spans.values()], pa.int32())
        for k in (0, 1)
    ]
    days = actions["partition.date"].cast(pa.date32()).cast(pa.int32())
    first, last = (end.cast(pa.int32()).take(place) for end in ends)
    return actions.filter(pc.and_(pc.greater_equal(days, first), pc.less_equal(days, last)))


@dataclass(frozen=True)
class FileChange:
    """Data files that come and go at once.

    Attributes:
        added: Files that were written.
        removed: Files of the table that are in it no longer.
        since: Version of the table that they were found in; None where there was no table.
    """

    added: Sequence[DataFile]
    removed: Sequence[DataFile]
    since: int | None


def commit_files(
    uri: str, change: FileChange, *, schema: pa.Schema, commit_id: str, note: str = ""
) -> None:
    """Add and remove data files in one atomic commit of this name.

    What is removed was found in one version of the table: where another program has written since
    then, nothing is committed. delta-rs does not look at that by itself, but refuses a commit
    where another one has written the same application transaction meanwhile.

    Args:
        uri: The table; it is made where it is missing.
        change: What comes and goes.
        schema: Schema of the table.
        commit_id: Name of the commit.
        note: What `find_last_note` shall find again.

    Raises:
        TableError: The table cannot be written, or another writer came first.
    """
    now = int(time.time() * 1000)
    actions: list[AddAction | RemoveAction] = [_make_add(file, now) for file in change.added]
    actions += [_make_remove(file, now) for file in change.removed]
    version = 0 if change.since is None else change.since
    properties = CommitProperties(
        app_transactions=[
            Transaction(commit_id, TRANSACTION_VERSION),
            Transaction(WRITER, version + 1),
        ],
        custom_metadata={commit_id: note} if note else None,
    )
    delta_schema = Schema.from_arrow(schema)
    with explain_table_errors("write", uri):
        if not DeltaTable.is_deltatable(uri):
            DeltaTable.create(uri, delta_schema, partition_by=list(PARTITIONS))
        table = DeltaTable(uri)
        if table.version() != version:
            raise TableError(
                f"Cannot write '{uri}': expected version {version}, got {table.version()}. "
                "Another program has written it meanwhile: run it again."
            )
        table.create_write_transaction(
            actions,
            mode="append",
            schema=delta_schema,
            partition_by=list(PARTITIONS),
            commit_properties=properties,
        )


def _find_repetitive(table: pa.Table) -> list[str]:
    """Find the columns of which values repeat so often that a dictionary of them is smaller."""
    stride = max(table.num_rows // SAMPLE_VALUES, 1)
    sample = table.take(np.arange(0, table.num_rows, stride)[:SAMPLE_VALUES])
    return [
        name
        for name in table.column_names
        if name not in ASCENDING
        and name != DELIVERIES
        and len(pc.unique(sample[name])) <= MAX_DISTINCT_SHARE * sample.num_rows + 1
    ]


def _is_empty(column: pa.ChunkedArray) -> bool:
    return bool(column.null_count == len(column))


def _name_folder(asset: str) -> str:
    if PLAIN_NAME.fullmatch(asset) and not asset.startswith("."):
        return asset
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", asset)[:32]
    return f"{plain}-{hashlib.sha256(asset.encode()).hexdigest()[:16]}"


def _make_add(file: DataFile, now_ms: int) -> AddAction:
    stats = {
        "numRecords": file.num_rows,
        "minValues": {"timestamp": _write_time(file.first_us)},
        "maxValues": {"timestamp": _write_time(file.last_us)},
        "nullCount": {"timestamp": 0},
    }
    return AddAction(
        path=file.path,
        size=file.size,
        partition_values={"asset": file.asset, "date": file.date},
        modification_time=now_ms,
        data_change=True,
        stats=json.dumps(stats, ensure_ascii=False),
    )


def _make_remove(file: DataFile, now_ms: int) -> RemoveAction:
    return RemoveAction(
        path=unquote(file.path),
        data_change=True,
        deletion_timestamp=now_ms,
        partition_values={"asset": file.asset, "date": file.date},
        size=file.size,
    )


def _write_time(microseconds: int) -> str:
    time = EPOCH + timedelta(microseconds=microseconds)
    return time.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _as_data_file(row: Mapping[str, Any]) -> DataFile:
    """Read an add action; statistics that are not there make the file touch everything.

    delta-rs cuts the times in the statistics that it writes itself, when it compacts, to
    milliseconds; so the latest time is taken for the end of its millisecond.
    """
    first, last = row.get("min.timestamp"), row.get("max.timestamp")
    day = row["partition.date"].isoformat()
    first_us = to_microseconds(first or datetime.fromisoformat(day).replace(tzinfo=UTC))
    day_end_us = first_us - first_us % MICROSECONDS_PER_DAY + MICROSECONDS_PER_DAY - 1
    last_us = to_microseconds(last) if last else day_end_us
    return DataFile(
        path=row["path"],
        asset=row["partition.asset"],
        date=day,
        num_rows=row["num_records"],
        first_us=first_us,
        last_us=last_us if last_us % 1000 else last_us + 999,
        size=row["size_bytes"],
    )


def to_microseconds(time: datetime) -> int:
    """Return a time as microseconds since 1970."""
    return (time - EPOCH) // timedelta(microseconds=1)
