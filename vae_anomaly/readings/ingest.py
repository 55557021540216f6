"""Raw Parquet into the lake: each file once, each row kept, quarantined or a duplicate."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

import numpy as np

from vae_anomaly.config import ReadingsConfig
from vae_anomaly.domain import Contract, Problem
from vae_anomaly.errors import ContractError, ReadingsError
from vae_anomaly.readings.check import require_one_asset
from vae_anomaly.readings.chunks import MIN_CHUNK_ROWS, read_chunks
from vae_anomaly.readings.clock_steps import ClockSteps, find_clock_steps
from vae_anomaly.readings.contract import (
    list_names,
)
from vae_anomaly.readings.data_files import (
    FileChange,
    commit_files,
    list_data_files,
)
from vae_anomaly.readings.deliveries import STATUS_DONE, STATUS_FAILED, DeliveryBook
from vae_anomaly.readings.delta import find_last_note, keep_few_files
from vae_anomaly.readings.files import (
    VALUE_ERRORS,
    Location,
    RawFile,
    explain_file_errors,
    explain_value_error,
    list_files,
)
from vae_anomaly.readings.hive import describe_folders
from vae_anomaly.readings.intake import Delivery, Outcome, Staging
from vae_anomaly.readings.lake_contract import LakeContract
from vae_anomaly.readings.layout import readings_schema
from vae_anomaly.readings.lock import hold_lock
from vae_anomaly.readings.notes import note_period
from vae_anomaly.readings.parts import RawPart, write_notes
from vae_anomaly.readings.quarantine import (
    BROKEN_CONTRACT,
    UNREADABLE_FILE,
    WHOLE_FILE,
    quarantine_rows,
    quarantine_values,
)
from vae_anomaly.readings.rows import find_steps
from vae_anomaly.readings.series_quality import Ranges
from vae_anomaly.readings.source import open_file
from vae_anomaly.readings.tables import Lake

logger = logging.getLogger(__name__)

CHUNK_BYTES = 1 << 20


MAX_ASSET_BYTES = 240
"""Longest asset name as it stands in a folder's name; filesystems allow 255 with the rest."""


BESIDE = ("quality", "quarantine", "superseded")
"""Tables that are written before the commit on `readings`, in this order."""

READ_WHOLE = ("ledger", "quality")
"""Tables that grow by a small file with each delivery, and are read as a whole."""

MAX_FILES = 200
"""Files of such a table from which on they are put together: each takes 2 ms to open."""


@dataclass(frozen=True)
class FailedFile:
    """A file that could not be taken in, with the reason."""

    name: str
    reason: str


@dataclass(frozen=True)
class IngestResult:
    """What one ingest did; counts are of the new files only.

    `num_rows = num_kept + num_quarantined + num_duplicates`, always.

    Attributes:
        num_files: Files found.
        num_new_files: Files taken in now; the others were known or failed.
        num_rows: Rows in the new files.
        num_kept: Rows added to `readings`.
        num_quarantined: Rows added to `quarantine`.
        num_duplicates: Rows that another row of the same asset and time stands for.
        num_withdrawn: Rows of earlier deliveries that corrections removed.
        readings_version: Version of `readings` afterwards, None without the table.
        notes: What a person should know.
        failed: Files that could not be taken in.
    """

    num_files: int
    num_new_files: int
    num_rows: int
    num_kept: int
    num_quarantined: int
    num_duplicates: int
    readings_version: int | None
    notes: tuple[str, ...] = ()
    failed: tuple[FailedFile, ...] = ()
    num_withdrawn: int = 0


@dataclass(frozen=True)
class _FileResult:
    is_new: bool = False
    num_rows: int = 0
    num_kept: int = 0
    num_quarantined: int = 0
    num_duplicates: int = 0
    num_entries: int = 0
    num_withdrawn: int = 0
    num_restored: int = 0
    notes: tuple[str, ...] = ()
    failure: str = ""


def ingest(
    source: Location | Sequence[Location],
    lake: Lake,
    *,
    config: ReadingsConfig,
    ranges: Ranges | None = None,
    on_file: Callable[[str, int, int], None] | None = None,
) -> IngestResult:
    """Take raw Parquet files into the lake, one after the other, sorted by name.

    A file whose content is in the lake already is left out, whatever its name. A file of a known
    name with other content is a correction: it supersedes what the file gave before, in the span
    of time that it covers. The first file that can be read writes down the contract; the others
    must keep it. Rows of one asset and time become one, cell by cell, with the same end in any
    order of arrival: see `merge_rows`. A file that cannot be read, or breaks the contract, goes
    to quarantine as a whole and is tried again at the next ingest.

    Each file is one commit on `readings`, made after those on quality, quarantine and superseded
    and before that on the ledger. An ingest that was broken off is completed by the next one.

    Args:
        source: Parquet file, folder, glob or URI, or a list of those; never changed.
        lake: Where the tables lie.
        config: How to understand the files.
        ranges: Values that are allowed, by name of sensor; others are kept, and counted.
        on_file: Told after each file: its name, how many are done, how many there are.

    Returns:
        What was done.

    Raises:
        ReadingsError: There are no files.
        ContractError: The settings ask for other sensors than the contract of the lake.
        TableError: The lake cannot be read or written, or another ingest does not end.
    """
    files = sorted(list_files(source), key=lambda file: (file.name, file.path))
    with hold_lock(lake.root, "ingest"):
        return _ingest(files, _Intake(lake, config, ranges), lake, on_file=on_file)


def _ingest(
    files: Sequence[RawFile],
    intake: _Intake,
    lake: Lake,
    *,
    on_file: Callable[[str, int, int], None] | None,
) -> IngestResult:
    intake.contract.find_in(files)
    ordered = sorted(files, key=lambda file: not intake.ledger.is_known_source(file))
    results = []
    for number, file in enumerate(ordered, start=1):
        results.append(intake.take_in(file))
        if on_file is not None:
            on_file(file.name, number, len(files))
    intake.abandon()
    new = [result for result in results if result.is_new]
    for table in READ_WHOLE if new else ():
        keep_few_files(lake.uri(table), max_files=MAX_FILES)
    return IngestResult(
        num_files=len(files),
        num_new_files=len(new),
        num_rows=sum(result.num_rows for result in new),
        num_kept=sum(result.num_kept for result in new),
        num_quarantined=sum(result.num_quarantined for result in new),
        num_duplicates=sum(result.num_duplicates for result in new),
        num_withdrawn=sum(result.num_withdrawn for result in new),
        readings_version=lake.readings_version(),
        notes=_join_notes(ordered, results),
        failed=tuple(
            FailedFile(file.name, result.failure)
            for file, result in sorted(
                zip(ordered, results, strict=True), key=lambda pair: pair[0].name
            )
            if result.failure
        ),
    )


class _Intake:
    """One ingest: the contract, the ledger, and the way of one file."""

    def __init__(self, lake: Lake, config: ReadingsConfig, ranges: Ranges | None) -> None:
        self._lake = lake
        self._config = config
        self._ranges = ranges
        lake.require_layout()
        self.contract = LakeContract(lake, config)
        self.ledger = DeliveryBook(lake.read_ledger())
        self._complete_last()
        last = {find_last_note(lake.uri(name), kind=name) for name in BESIDE}
        self._pending = {batch for batch in last if batch and not self.ledger.has_batch(batch)}

    def _complete_last(self) -> None:
        """Write the row of the ledger of a delivery that was broken off after its commit."""
        note = find_last_note(self._lake.uri("readings"), kind="readings")
        row = json.loads(note) if note else None
        if row is not None and not self.ledger.has_batch(row["batch"]):
            self._lake.append_ledger([row], commit_id=f"ledger:{row['batch']}")
            self.ledger.add(row)
            logger.info("completed %s, which was broken off", row["source"])

    def abandon(self) -> None:
        """Take back what was written beside `readings` for a delivery that was broken off.

        It is one that this ingest did not complete: its file is no more, or has other content.
        """
        for batch in self._pending:
            if not self.ledger.has_batch(batch):
                row = self.ledger.make_abandoned_row(batch) | _count(_FileResult())
                self._lake.delete_beside(batch)
                self._lake.append_ledger([row], commit_id=f"ledger:{batch}")
                self.ledger.add_abandoned(row)
                logger.info("took back delivery %s, which was broken off", batch)

    def take_in(self, file: RawFile) -> _FileResult:
        if self.ledger.is_unchanged(file):
            return _FileResult()
        try:
            content_hash = hash_file(file, folders=self._describe_folders(file))
        except ReadingsError as error:
            return _FileResult(failure=str(error))
        if self.ledger.holds(file, content_hash):
            return _FileResult()
        try:
            return self._take_in_rows(file, content_hash)
        except MemoryError:
            reason: ReadingsError | ContractError = _explain_size(file)
        except (ReadingsError, ContractError) as error:
            reason = error
        except VALUE_ERRORS as error:
            reason = explain_value_error(file.path, error)
        self._record_failure(file, content_hash, reason)
        return _FileResult(failure=str(reason))

    def _describe_folders(self, file: RawFile) -> str:
        return describe_folders(file.key, config=self._config, contract=self.contract.found)

    def _take_in_rows(self, file: RawFile, content_hash: str) -> _FileResult:
        part = open_file(file, config=self._config, contract=self.contract.found)
        if part.num_rows == 0:
            result = _FileResult(is_new=True, notes=("no rows",))
            self._record(file, content_hash, result)
            return result
        delivery = Delivery(
            source=file.name,
            batch=self.ledger.name_batch(content_hash),
            is_correction=self.ledger.is_known_source(file),
        )
        result, row = self._stage(file, content_hash, part, delivery)
        self._write_ledger(row)
        return result

    def _stage(
        self, file: RawFile, content_hash: str, part: RawPart, delivery: Delivery
    ) -> tuple[_FileResult, dict[str, Any]]:
        contract, notes = self.contract.match(part)
        folder, columns = self._lake.readings_folder(), self._lake.reading_columns()
        with Staging(folder, delivery, columns=columns, ranges=self._ranges) as staging:
            notes += self._stage_rows(file, part, contract, staging)
            version = self._lake.readings_version()
            staging.settle(
                list_data_files(folder.uri, spans=staging.find_spans(), version=version)
            )
            self._lake.append_quality(
                staging.list_quality(),
                source=delivery.source,
                batch=delivery.batch,
                commit_id=f"quality:{delivery.batch}",
            )
            result = self._write_beside(file, part, delivery, staging.outcome)
        result = replace(result, notes=tuple(dict.fromkeys(notes)))
        row = self.ledger.make_row(file, content_hash, status=STATUS_DONE) | _count(result)
        if staging.added or staging.removed:
            commit_files(
                folder.uri,
                FileChange(staging.added, staging.removed, since=version),
                schema=readings_schema(columns),
                commit_id=f"readings:{delivery.batch}",
                note=json.dumps(row),
            )
        return result, row

    def _stage_rows(
        self, file: RawFile, part: RawPart, contract: Contract, staging: Staging
    ) -> tuple[str, ...]:
        """Stage the rows of a file, chunk by chunk; return what a person should know of them."""
        notes: tuple[str, ...] = ()
        empty = np.ones(len(contract.sensors), dtype=np.bool_)
        clock = ClockSteps()
        for chunk in read_chunks(part, contract, sentinels=self._config.sentinels):
            readings = chunk.loaded.readings
            _check_asset_names(readings.asset_names, file)
            kept = staging.add(readings, start=chunk.start)
            staging.count_cleaned(chunk.loaded)
            clock = clock.join(find_clock_steps(readings, staging.usable, contract.period_s))
            for k in np.flatnonzero(empty):
                empty[k] = np.isnan(readings.values[:, k]).all()
            notes += chunk.loaded.notes
            if chunk.start == 0:
                conflicts = staging.outcome.quarantined.get(Problem.CONFLICTING_DUPLICATE, [])
                share = sum(rows.size for rows in conflicts) / readings.num_rows
                require_one_asset(share, contract)
                notes += note_period(find_steps(readings, kept), contract.period_s)
        if empty.any():
            names = np.array(contract.sensor_names, dtype=object)[empty].tolist()
            notes += (f"sensors without any value: {list_names(names)}",)
        return (*write_notes([part]), *notes, *clock.write_notes())

    def _write_beside(
        self, file: RawFile, part: RawPart, delivery: Delivery, outcome: Outcome
    ) -> _FileResult:
        """Write what goes to other tables than `readings`; return the counts."""
        lake, batch = self._lake, delivery.batch
        num_entries = lake.append_quarantine(
            (
                row | {"batch": batch}
                for row in _describe_quarantined(
                    file, part, outcome, columns=lake.reading_columns()
                )
            ),
            commit_id=f"quarantine:{batch}",
        )
        if outcome.withdrawn.num_rows:
            lake.append_superseded(
                outcome.withdrawn.read(), batch=batch, commit_id=f"superseded:{batch}"
            )
        return _FileResult(
            is_new=True,
            num_rows=outcome.num_rows,
            num_kept=outcome.num_kept,
            num_quarantined=outcome.num_quarantined,
            num_duplicates=outcome.num_rows - outcome.num_kept - outcome.num_quarantined,
            num_entries=num_entries,
            num_withdrawn=outcome.withdrawn.num_rows,
            num_restored=outcome.num_restored,
        )

    def _record(self, file: RawFile, content_hash: str, result: _FileResult) -> None:
        row = self.ledger.make_row(file, content_hash, status=STATUS_DONE) | _count(result)
        self._write_ledger(row)

    def _write_ledger(self, row: dict[str, Any]) -> None:
        self._lake.append_ledger([row], commit_id=f"ledger:{row['batch']}")
        self.ledger.add(row)
        logger.info("took in %s: %d of %d rows", row["source"], row["num_kept"], row["num_rows"])

    def _record_failure(self, file: RawFile, content_hash: str, error: Exception) -> None:
        is_broken = isinstance(error, ContractError)
        entry = {
            "source": file.name,
            "row": WHOLE_FILE,
            "reason": BROKEN_CONTRACT if is_broken else UNREADABLE_FILE,
            "rule": str(error),
            "first_seen": file.modified_us,
            "content": "",
        }
        row = self.ledger.make_row(file, content_hash, status=STATUS_FAILED)
        row |= _count(_FileResult(failure=str(error), num_entries=1))
        commit = f"failed:{content_hash}:{hashlib.sha256(str(error).encode()).hexdigest()}"
        self._lake.append_quarantine([entry], commit_id=commit)
        self._lake.append_ledger([row], commit_id=commit)
        logger.warning("left out %s: %s", file.name, error)


def _explain_size(file: RawFile) -> ReadingsError:
    return ReadingsError(
        f"Cannot read '{file.path}': expected rows that fit into memory "
        f"{MIN_CHUNK_ROWS:,} at a time, got larger ones. Are there texts of megabytes in "
        "it? Leave that column out at the source."
    )


def hash_file(file: RawFile, *, folders: str = "") -> str:
    """Return the SHA-256 of a file's bytes, and of what its folders say.

    Args:
        file: The file.
        folders: Columns that are folders, as `describe_folders` writes them.

    Raises:
        ReadingsError: The file cannot be read.
    """
    digest = hashlib.sha256(folders.encode())
    with explain_file_errors(file.path), file.filesystem.open_input_stream(file.key) as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _check_asset_names(names: Sequence[str], file: RawFile) -> None:
    for name in names:
        if len(quote(name, safe="")) > MAX_ASSET_BYTES:
            raise ReadingsError(
                f"Cannot ingest '{file.path}': expected asset names of at most "
                f"{MAX_ASSET_BYTES} bytes, since they name folders, got {name[:40]!r} and so on. "
                "Use shorter names at the source."
            )


def _describe_quarantined(
    file: RawFile, part: RawPart, outcome: Outcome, *, columns: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    """Describe what goes to quarantine: rows as they came, then values that gave way."""
    rows = {problem: np.concatenate(found) for problem, found in outcome.quarantined.items()}
    if outcome.kept_losers:
        conflicts = [*outcome.kept_losers]
        if Problem.CONFLICTING_DUPLICATE in rows:
            conflicts.append(rows[Problem.CONFLICTING_DUPLICATE])
        rows[Problem.CONFLICTING_DUPLICATE] = np.concatenate(conflicts)
    yield from quarantine_rows(part, rows, source=file.name, first_seen_us=file.modified_us)
    for lost in outcome.lost.read():
        yield from quarantine_values(lost, columns=columns, first_seen_us=file.modified_us)


def _count(result: _FileResult) -> dict[str, Any]:
    """Return what the ledger says of a result."""
    names = ("num_rows", "num_kept", "num_quarantined", "num_duplicates", "num_entries")
    more = ("num_withdrawn", "num_restored")
    counts = {name: getattr(result, name) for name in (*names, *more)}
    return {**counts, "reason": result.failure}


def _join_notes(files: Sequence[RawFile], results: Sequence[_FileResult]) -> tuple[str, ...]:
    """Give each note once, with the files it is about."""
    names: dict[str, list[str]] = {}
    for file, result in zip(files, results, strict=True):
        for note in result.notes:
            names.setdefault(note, []).append(file.name)
    return tuple(
        f"{note} ({where[0]}{f' and {len(where) - 1} more' if len(where) > 1 else ''})"
        for note, where in names.items()
    )
