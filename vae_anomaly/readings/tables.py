"""The lake: readings, quarantine, ledger, scores and alerts as Delta tables under one root."""

from __future__ import annotations

import collections
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import chain, islice
from pathlib import Path
from typing import Any, final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pa_fs

from vae_anomaly.domain import AlertEvent, Contract, SensorQuality
from vae_anomaly.errors import TableError
from vae_anomaly.readings import delta
from vae_anomaly.readings.contract import contract_from_dict, contract_to_dict
from vae_anomaly.readings.data_files import DataFolder
from vae_anomaly.readings.files import open_filesystem
from vae_anomaly.readings.layout import (
    ALERTS,
    LEDGER,
    QUALITY,
    QUARANTINE,
    SCORES,
    SETTLED,
    alerts_to_table,
    name_columns,
    quality_to_table,
    rename_fields,
    scores_to_table,
)
from vae_anomaly.readings.selection import Selection
from vae_anomaly.readings.shared_rows import DELIVERIES
from vae_anomaly.readings.spans import Span, list_spans, replace_rows

CONTRACT_FILE = "contract.json"

ENTRIES_AT_ONCE = 10_000
"""Rows of `quarantine` that are held in memory at once."""

UNUSABLE_CHARACTERS = frozenset("%[]\\^|")
"""delta-rs cannot open local paths with these in them."""


@dataclass(frozen=True)
class TableCounts:
    """Rows in each table of the lake."""

    readings: int
    quarantine: int
    ledger: int
    scores: int
    alerts: int


@final
class Lake:
    """Tables under one root, on disk or in an object store; any engine reads them.

    Every write is one atomic commit. Writes that take a `commit_id` happen once: the same id
    again does nothing. Tables come into being with their first write; until then they are
    empty, but for `readings`, which cannot be read before its sensors are known.

    Attributes:
        root: Folder or object-store address, without a slash at its end.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = _check_root(root)

    def uri(self, table: str) -> str:
        """Return where a table lies."""
        return f"{self.root}/{table}"

    def read_contract(self) -> Contract | None:
        """Return the contract that the readings keep, None before the first ingest.

        Raises:
            TableError: It cannot be read.
            ContractError: The file does not hold a contract.
        """
        filesystem, path = self._contract_file()
        with delta.explain_table_errors("read", f"{self.root}/{CONTRACT_FILE}"):
            if filesystem.get_file_info(path).type == pa_fs.FileType.NotFound:
                return None
            with filesystem.open_input_stream(path) as stream:
                content = json.loads(stream.read())
        return contract_from_dict(content)

    def write_contract(self, contract: Contract) -> None:
        """Write down the contract, in one step.

        Raises:
            TableError: It cannot be written.
        """
        filesystem, path = self._contract_file()
        content = json.dumps(contract_to_dict(contract), ensure_ascii=False, indent=2) + "\n"
        with delta.explain_table_errors("write", f"{self.root}/{CONTRACT_FILE}"):
            if isinstance(filesystem, pa_fs.LocalFileSystem):
                filesystem.create_dir(path.rpartition("/")[0], recursive=True)
            with filesystem.open_output_stream(path + ".tmp") as stream:
                stream.write(content.encode())
            filesystem.move(path + ".tmp", path)

    def readings_folder(self) -> DataFolder:
        """Return the folder of the data files of `readings`."""
        uri = self.uri("readings")
        return DataFolder(uri, *_open(uri))

    def require_layout(self) -> None:
        """Refuse a lake of which the readings were written by an older version of this package.

        Raises:
            TableError: They were.
        """
        if self.has_readings() and DELIVERIES not in delta.column_names(self.uri("readings")):
            raise TableError(
                f"Cannot ingest into '{self.root}': expected readings that say what each delivery "
                "gave to them, got those of an older version. Ingest the raw files into another "
                "root."
            )

    def reading_columns(self) -> dict[str, str]:
        """Return the column of `readings` of each sensor."""
        return name_columns(self._require_contract("read").sensor_names)

    def append_superseded(
        self, rows: Iterator[pa.RecordBatch], *, batch: str, commit_id: str
    ) -> bool:
        """Keep rows of `readings`, one batch at least, that a correction is about to remove."""
        named = (
            part.append_column("_superseded_by", pa.repeat(batch, part.num_rows)) for part in rows
        )
        first = next(named)
        reader = pa.RecordBatchReader.from_batches(first.schema, chain([first], named))
        return delta.append_once(self.uri("superseded"), reader, commit_id=commit_id)

    def delete_beside(self, batch: str) -> None:
        """Delete what a delivery that never came to be has left in other tables."""
        delta.delete_rows(self.uri("quality"), batch=batch)
        delta.delete_rows(self.uri("quarantine"), batch=batch)
        delta.delete_rows(self.uri("superseded"), _superseded_by=batch)

    def append_quality(
        self, found: Sequence[SensorQuality], *, source: str, batch: str, commit_id: str
    ) -> bool:
        """Append what the values of a delivery are like; return whether anything was written."""
        table = quality_to_table(found, source=source, batch=batch)
        return bool(found) and delta.append_once(self.uri("quality"), table, commit_id=commit_id)

    def append_quarantine(self, rows: Iterable[Mapping[str, Any]], *, commit_id: str) -> int:
        """Append rows of the schema `layout.QUARANTINE`, in one commit, as they are given.

        Returns:
            How many rows were given.
        """
        count = _Counter()
        given = iter(rows)
        first = list(islice(given, ENTRIES_AT_ONCE))
        if not first:
            return 0
        batches = (
            pa.RecordBatch.from_pylist(part, schema=QUARANTINE)
            for part in count.of(chain([first], _in_pieces(given)))
        )
        reader = pa.RecordBatchReader.from_batches(QUARANTINE, batches)
        if not delta.append_once(self.uri("quarantine"), reader, commit_id=commit_id):
            collections.deque(batches, maxlen=0)
        return count.rows

    def append_ledger(self, rows: Sequence[Mapping[str, Any]], *, commit_id: str) -> bool:
        """Append rows of the schema `layout.LEDGER`; return whether anything was written."""
        table = pa.Table.from_pylist(list(rows), schema=LEDGER)
        return delta.append_once(self.uri("ledger"), table, commit_id=commit_id)

    def read_readings(
        self,
        *,
        assets: Sequence[str] | None = None,
        start_us: int | None = None,
        end_us: int | None = None,
        version: int | None = None,
        columns: Sequence[str] | None = None,
    ) -> pa.Table:
        """Read readings of `[start_us, end_us)`.

        Args:
            assets: Assets wanted, None for all.
            start_us: First time, microseconds since 1970, None from the beginning.
            end_us: Time after the last, None to the end.
            version: Version of the table, None for the newest.
            columns: What to read beside asset and timestamp, None for all sensors. `_source`
                and `_batch` say where a row came from.

        Returns:
            asset, timestamp and the columns, sorted by asset and timestamp.

        Raises:
            TableError: There is no such table or version.
        """
        names = name_columns(self._require_contract("read").sensor_names)
        wanted = tuple(names) if columns is None else tuple(columns)
        table = delta.read_table(
            self.uri("readings"),
            columns=["asset", "timestamp", *(names.get(name, name) for name in wanted)],
            selection=Selection(assets, start_us, end_us),
            version=version,
        )
        return _sorted(table.rename_columns(["asset", "timestamp", *wanted]))

    def has_readings(self) -> bool:
        """Whether there are readings yet."""
        return delta.has_table(self.uri("readings"))

    def readings_version(self) -> int | None:
        """Return the newest version of `readings`, None before the first."""
        return delta.table_version(self.uri("readings"))

    def read_quarantine(self) -> pa.Table:
        """Return the quarantined rows, sorted by source and row."""
        return self._read("quarantine", QUARANTINE, sort_by=("source", "row", "reason"))

    def read_quality(self) -> pa.Table:
        """Return what the values of each delivery are like, sorted by asset, sensor and time."""
        return self._read(
            "quality", QUALITY, sort_by=("asset", "sensor", "first", "source", "batch")
        )

    def read_ledger(self) -> pa.Table:
        """Return the ledger, sorted by source."""
        return self._read("ledger", LEDGER, sort_by=("source", "content_hash", "status"))

    def write_scores(
        self,
        scores: pa.Table,
        *,
        model_name: str,
        model_version: str,
        spans: Sequence[Span] | None = None,
    ) -> None:
        """Write scores in place of those that the model version had in some spans of time.

        Args:
            scores: What `Detector.score` returns; each asset and time once.
            model_name: Registered model.
            model_version: Its version.
            spans: What is replaced; None for each asset's from its first row to its last.

        Raises:
            TableError: The scores are not in order, or the table cannot be written.
        """
        table = scores_to_table(
            scores,
            columns=self.score_columns(),
            model_name=model_name,
            model_version=model_version,
        )
        replace_rows(
            self.uri("scores"),
            table,
            list_spans(table) if spans is None else spans,
            where={"model_name": model_name, "model_version": model_version},
        )

    def remove_scores(self, spans: Sequence[Span], *, model_name: str, model_version: str) -> None:
        """Remove the scores of a model version in some spans of time.

        Raises:
            TableError: The table cannot be written.
        """
        replace_rows(
            self.uri("scores"),
            SCORES.empty_table(),
            spans,
            where={"model_name": model_name, "model_version": model_version},
        )

    def read_scores(
        self,
        *,
        assets: Sequence[str] | None = None,
        start_us: int | None = None,
        end_us: int | None = None,
        model_version: str | None = None,
    ) -> pa.Table:
        """Read scores of `[start_us, end_us)`.

        Args:
            assets: Assets wanted, None for all.
            start_us: First time, microseconds since 1970, None from the beginning.
            end_us: Time after the last, None to the end.
            model_version: Model version wanted, None for all.

        Returns:
            The columns of `layout.SCORES` and `contribution`, sorted by asset, timestamp and
            model version. Without any scores yet, no rows and no `contribution`.
        """
        uri = self.uri("scores")
        if not delta.has_table(uri):
            return SCORES.empty_table()
        table = delta.read_table(
            uri,
            columns=[*SCORES.names, "contribution"],
            selection=Selection(assets, start_us, end_us, model_version=model_version),
        )
        sensors = {column: sensor for sensor, column in self.score_columns().items()}
        contribution = rename_fields(table["contribution"], sensors)
        table = table.set_column(len(SCORES), "contribution", contribution)
        return _sorted(table, "asset", "timestamp", "model_version")

    def write_alerts(
        self, events: Sequence[AlertEvent], *, model_name: str, model_version: str
    ) -> int:
        """Write alert events; one of the same id is replaced, but keeps what was settled.

        Args:
            events: Alert events, each id once.
            model_name: Registered model.
            model_version: Its version.

        Returns:
            How many were new or changed; nothing is written where none is.

        Raises:
            TableError: The table cannot be written.
        """
        table = alerts_to_table(events, model_name=model_name, model_version=model_version)
        uri = self.uri("alerts")
        if not delta.has_table(uri):
            delta.append_once(uri, table)
            return len(events)
        if not events:
            return 0
        first, last = (find(event.start_us for event in events) for find in (min, max))
        assets = {event.asset for event in events}
        there = self.read_alerts(assets=sorted(assets), start_us=first, end_us=last + 1)
        known = {row["alert_id"]: row for row in there.to_pylist()}
        changed = [
            row
            for row in table.to_pylist()
            if row != {**known.get(row["alert_id"], {}), **{name: row[name] for name in SETTLED}}
        ]
        if changed:
            rows = pa.Table.from_pylist(changed, schema=ALERTS)
            delta.upsert(uri, rows, keys=("alert_id",), keep=SETTLED)
        return len(changed)

    def read_alerts(
        self,
        *,
        assets: Sequence[str] | None = None,
        start_us: int | None = None,
        end_us: int | None = None,
    ) -> pa.Table:
        """Read the alert events that start in `[start_us, end_us)`, sorted by start.

        Args:
            assets: Assets wanted, None for all.
            start_us: First start, microseconds since 1970, None from the beginning.
            end_us: Time after the last start, None to the end.
        """
        selection = Selection(None, start_us, end_us, time="start", partitioned=False)
        table = self._read("alerts", ALERTS, sort_by=("start", "alert_id"), selection=selection)
        if assets is None:
            return table
        # not in the selection: of files that a merge wrote, pyarrow cannot compare text statistics
        return table.filter(pc.is_in(table["asset"], pa.array(assets, pa.string())))

    def counts(self) -> TableCounts:
        """Count the rows of each table."""
        return TableCounts(
            **{field.name: delta.count_rows(self.uri(field.name)) for field in fields(TableCounts)}
        )

    def _read(
        self,
        name: str,
        schema: pa.Schema,
        *,
        sort_by: Sequence[str],
        selection: Selection | None = None,
    ) -> pa.Table:
        uri = self.uri(name)
        if not delta.has_table(uri):
            return schema.empty_table()
        table = delta.read_table(uri, selection=selection)
        for item in schema:  # a table written by an older version may lack columns
            if item.name not in table.column_names:
                table = table.append_column(item, pa.nulls(table.num_rows, item.type))
        return _sorted(table.select(schema.names), *sort_by)

    def score_columns(self) -> dict[str, str]:
        """Return the field of `contribution` of each sensor of the contract; empty without one."""
        contract = self.read_contract()
        return name_columns(contract.sensor_names) if contract is not None else {}

    def _require_contract(self, verb: str) -> Contract:
        contract = self.read_contract()
        if contract is None:
            raise TableError(
                f"Cannot {verb} table '{self.uri('readings')}': expected a contract in "
                f"'{self.root}/{CONTRACT_FILE}', got none. Ingest readings first, or check the "
                "root of the lake in the settings."
            )
        return contract

    def _contract_file(self) -> tuple[pa_fs.FileSystem, str]:
        return _open(f"{self.root}/{CONTRACT_FILE}")


def _open(address: str) -> tuple[pa_fs.FileSystem, str]:
    """Return the filesystem of a place in the lake, and what it calls the place."""
    if "://" not in address:
        return pa_fs.LocalFileSystem(), address
    with delta.explain_table_errors("open", address):
        return open_filesystem(address)


class _Counter:
    """Counts rows that pass by."""

    rows = 0

    def of(self, parts: Iterable[list[Mapping[str, Any]]]) -> Iterator[list[Mapping[str, Any]]]:
        for part in parts:
            self.rows += len(part)
            yield part


def _in_pieces(rows: Iterator[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    while piece := list(islice(rows, ENTRIES_AT_ONCE)):
        yield piece


def _check_root(root: str | Path) -> str:
    text = str(root)
    if "://" in text:
        return text.rstrip("/")
    path = Path(text).expanduser().as_posix()
    unusable = sorted(UNUSABLE_CHARACTERS & set(path))
    if unusable or not path.isprintable():
        raise TableError(
            f"Cannot keep tables in {path!r}: expected a path without any of "
            f"{' '.join(sorted(UNUSABLE_CHARACTERS))} or control characters, got "
            f"{' '.join(unusable) or 'one'}. Choose another root of the lake in the settings."
        )
    return path


def _sorted(table: pa.Table, *keys: str) -> pa.Table:
    return table.sort_by([(key, "ascending") for key in keys or ("asset", "timestamp")])
