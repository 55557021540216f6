"""The few things we do with Delta tables: append once, upsert, read a part, count."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import TableNotFoundError

from vae_anomaly.errors import TableError
from vae_anomaly.readings.selection import Selection

FILE_BYTES = 16 << 20
"""Size of the files that an append makes: the writer holds each in memory until it is done."""

logger = logging.getLogger(__name__)

FEW_COMMITS, MAX_COMMITS_SINCE = 10, 1_000
"""Commits of other programs, as compaction, that may have come after our last one."""

TRANSACTION_VERSION = 1
"""Every commit has its own transaction name, so that its version says only: done."""

BACKTRACE = re.compile(r" (stack backtrace:|0: <).*")
"""What delta-rs adds to a message where RUST_BACKTRACE is set."""


@contextmanager
def explain_table_errors(verb: str, uri: str) -> Iterator[None]:
    """Turn whatever a Delta table raises into a `TableError` that names it."""
    try:
        yield
    except TableNotFoundError:
        raise TableError(
            f"Cannot {verb} table '{uri}': expected a table, got none. Ingest readings first, "
            "or check the root of the lake in the settings."
        ) from None
    except Exception as error:  # delta-rs raises bare `Exception` for some of its failures
        message = BACKTRACE.sub("", " ".join(str(error).split())).rstrip(".")
        raise TableError(
            f"Cannot {verb} table '{uri}': {message}. Check that the lake can be reached and "
            "written, and try again."
        ) from error


def has_table(uri: str) -> bool:
    """Whether there is a table."""
    with explain_table_errors("look for", uri):
        return bool(DeltaTable.is_deltatable(uri))


def table_version(uri: str) -> int | None:
    """Return the newest version of a table, None where there is no table."""
    if not has_table(uri):
        return None
    with explain_table_errors("read", uri):
        return int(DeltaTable(uri).version())


def column_names(uri: str) -> tuple[str, ...]:
    """Return the columns of a table."""
    with explain_table_errors("read", uri):
        return tuple(_schema(DeltaTable(uri)).names)


def table_id(uri: str) -> str:
    """Return what tells a table from another that lies there later."""
    with explain_table_errors("read", uri):
        return str(DeltaTable(uri).metadata().id)


def keep_few_files(uri: str, *, max_files: int) -> bool:
    """Put the data files of a table together where there are too many; return whether it was done.

    Rows and older versions stay as they are.

    Args:
        uri: The table; without it nothing is done.
        max_files: Files that are allowed.

    Raises:
        TableError: The table cannot be read or written.
    """
    if not has_table(uri):
        return False
    with explain_table_errors("compact", uri):
        table = DeltaTable(uri)
        if len(table.file_uris()) <= max_files:
            return False
        table.optimize.compact(writer_properties=writer_properties())
        table.create_checkpoint()
        return True


def count_rows(uri: str) -> int:
    """Return the rows of a table, 0 where there is no table."""
    if not has_table(uri):
        return 0
    with explain_table_errors("count", uri):
        return int(DeltaTable(uri).count())


def append_once(
    uri: str,
    table: pa.Table | pa.RecordBatchReader,
    *,
    commit_id: str = "",
    partition_by: Sequence[str] = (),
) -> bool:
    """Append rows in one atomic commit, unless a commit of this name was made before.

    Args:
        uri: Where the table lies; it is made where it is missing.
        table: The rows, or a reader of some. Fields that the table does not have yet are added
            to it.
        commit_id: Name of the commit; empty appends in any case.
        partition_by: Partition columns of a new table.

    Returns:
        Whether anything was written.

    Raises:
        TableError: The table cannot be written, or another writer made the same commit.
    """
    if isinstance(table, pa.Table) and table.num_rows == 0:
        return False
    with explain_table_errors("write", uri):
        target = DeltaTable(uri) if DeltaTable.is_deltatable(uri) else None
        if target is not None and commit_id and target.transaction_version(commit_id) is not None:
            logger.info("commit %s was made before, nothing written to %s", commit_id, uri)
            return False
        write_deltalake(
            target or uri,
            table,
            mode="append",
            partition_by=list(partition_by) or None,
            schema_mode="merge",
            target_file_size=FILE_BYTES,
            writer_properties=writer_properties(),
            commit_properties=_commit_properties(commit_id),
        )
    return True


def upsert(uri: str, table: pa.Table, *, keys: Sequence[str], keep: Sequence[str] = ()) -> None:
    """Replace the rows of the same keys and add the others, in one atomic commit.

    Columns, and fields of a struct column, that the table does not have yet are added to it in
    a commit before.

    Args:
        uri: An existing table.
        table: The rows, each key once.
        keys: Columns that make a row what it is.
        keep: Columns of which a replaced row keeps its old value.

    Raises:
        TableError: The table cannot be written.
    """
    predicate = " AND ".join(f'old."{key}" = new."{key}"' for key in keys)
    with explain_table_errors("write", uri):
        if _lacks_fields(DeltaTable(uri), table):
            write_deltalake(uri, table.slice(0, 0), mode="append", schema_mode="merge")
        target = DeltaTable(uri)
        merger = target.merge(
            _align_structs(table, _schema(target)),
            predicate=predicate,
            source_alias="new",
            target_alias="old",
            writer_properties=writer_properties(),
        )
        merger = merger.when_matched_update_all(except_cols=list(keep) or None)
        merger.when_not_matched_insert_all().execute()


def mark(uri: str, marks: Mapping[str, int]) -> None:
    """Make a commit that adds nothing but marks: names with a version.

    Args:
        uri: An existing table; without it nothing is done.
        marks: Version of each mark, which replaces that of before.
    """
    if not has_table(uri):
        return
    with explain_table_errors("write", uri):
        table = DeltaTable(uri)
        transactions = [Transaction(name, version) for name, version in marks.items()]
        table.create_write_transaction(
            [],
            mode="append",
            schema=table.schema(),
            partition_by=table.metadata().partition_columns,
            commit_properties=CommitProperties(app_transactions=transactions),
        )


def find_mark(uri: str, name: str) -> int | None:
    """Return the version of a mark, None where there is none."""
    if not has_table(uri):
        return None
    with explain_table_errors("read", uri):
        return DeltaTable(uri).transaction_version(name)


def find_last_note(uri: str, *, kind: str) -> str | None:
    """Return the note of the newest commit of a kind that has one, None where there is none.

    Args:
        uri: The table.
        kind: What the names of such commits begin with, up to the colon.

    Raises:
        TableError: The table cannot be read.
    """
    with explain_table_errors("read", uri):
        if not DeltaTable.is_deltatable(uri):
            return None
        table = DeltaTable(uri)
        for limit in (FEW_COMMITS, MAX_COMMITS_SINCE):
            for entry in table.history(limit=limit):
                for name, note in entry.items():
                    if name.startswith(f"{kind}:"):
                        return str(note)
    return None


def delete_rows(uri: str, **equal: str) -> None:
    """Delete the rows in which columns have these texts; nothing is done without a table.

    Raises:
        TableError: The table cannot be read or written.
    """
    if not has_table(uri):
        return
    quoted = {name: text.replace("'", "''") for name, text in equal.items()}
    with explain_table_errors("write", uri):
        DeltaTable(uri).delete(" AND ".join(f"{name} = '{text}'" for name, text in quoted.items()))


def read_table(
    uri: str,
    *,
    columns: Sequence[str] | None = None,
    selection: Selection | None = None,
    version: int | None = None,
    table: DeltaTable | None = None,
) -> pa.Table:
    """Read part of a table.

    Args:
        uri: An existing table.
        columns: Columns wanted, None for all.
        selection: Rows wanted, None for all.
        version: Version of the table, None for the newest.
        table: The table where it was opened before, at whatever version.

    Returns:
        The rows in no particular order.

    Raises:
        TableError: There is no such table or version, or it cannot be read.
    """
    wanted = selection or Selection()
    with explain_table_errors("read", uri):
        opened = table or DeltaTable(uri, version=version)
        dataset = opened.to_pyarrow_dataset(file_pruning_predicate=wanted.files() or None)
        return dataset.to_table(
            columns=None if columns is None else list(columns), filter=wanted.rows()
        )


def _schema(table: DeltaTable) -> pa.Schema:
    return pa.schema(table.schema().to_arrow())


def _lacks_fields(target: DeltaTable, table: pa.Table) -> bool:
    schema = _schema(target)
    return any(
        item.name not in schema.names
        or (
            pa.types.is_struct(item.type)
            and {part.name for part in item.type}
            - {part.name for part in schema.field(item.name).type}
        )
        for item in table.schema
    )


def _align_structs(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Give struct columns the fields of the table, null where the rows do not have them."""
    for i, item in enumerate(table.schema):
        if pa.types.is_struct(item.type):
            column = _align_struct(table.column(i).combine_chunks(), schema.field(item.name).type)
            table = table.set_column(i, item.name, column)
    return table


def _align_struct(array: pa.StructArray, type_: pa.StructType) -> pa.StructArray:
    names = {part.name for part in array.type}
    parts = [
        array.field(part.name) if part.name in names else pa.nulls(len(array), part.type)
        for part in type_
    ]
    return pa.StructArray.from_arrays(parts, fields=list(type_), mask=array.is_null())


def _commit_properties(commit_id: str) -> CommitProperties | None:
    if not commit_id:
        return None
    return CommitProperties(
        app_transactions=[Transaction(commit_id, TRANSACTION_VERSION)],
        custom_metadata={commit_id: commit_id.partition(":")[2]},  # for `find_last_note`
    )


def writer_properties() -> WriterProperties:
    """Return how our files are compressed."""
    return WriterProperties(compression="ZSTD")
