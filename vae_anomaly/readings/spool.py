"""Rows that wait on disk for their commit, so that memory does not grow with them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import IO

import pyarrow as pa
import pyarrow.ipc

SPOOL_ROWS = 65_536
"""Rows of a batch that is given back."""


class Spool:
    """Tables of one schema, appended to a temporary file and read back in order.

    The file is made with the first rows, in the system's folder for such files, and is gone when
    the spool is closed or the process ends.
    """

    def __init__(self) -> None:
        self.num_rows = 0
        self._file: IO[bytes] | None = None
        self._writer: pa.ipc.RecordBatchStreamWriter | None = None
        self._schema: pa.Schema | None = None

    def add(self, table: pa.Table) -> None:
        """Append rows.

        Raises:
            OSError: There is no room for them.
        """
        if self._writer is None:
            self._file = tempfile.TemporaryFile(prefix="vae-anomaly-")  # noqa: SIM115 (kept open)
            self._schema = table.schema
            self._writer = pa.ipc.new_stream(
                self._file, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")
            )
        self._writer.write_table(table.unify_dictionaries(), max_chunksize=SPOOL_ROWS)
        self.num_rows += table.num_rows

    def read(self) -> Iterator[pa.RecordBatch]:
        """Return what was appended, batch by batch; nothing can be appended afterwards."""
        if self._file is None or self._writer is None:
            return
        self._writer.close()
        self._file.seek(0)
        with pa.ipc.open_stream(self._file) as reader:
            yield from reader

    def close(self) -> None:
        """Give the file up."""
        if self._file is not None:
            self._file.close()
