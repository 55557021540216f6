"""Raw Parquet into the lake: each file once, each row kept, quarantined or a duplicate."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import quote

import numpy as np
import pyarrow.compute as pc

from vae_anomaly.config import ReadingsConfig
from vae_anomaly.domain import (
    CheckedReadings,
    Contract,
    Problem,
)
from vae_anomaly.errors import ContractError, ReadingsError
from vae_anomaly.readings.check import check_readings
from vae_anomaly.readings.contract import (
    USUAL_ASSET,
    list_names,
    note_unknown_names,
    require_asset,
)
from vae_anomaly.readings.files import Location, RawFile, explain_file_errors, list_files
from vae_anomaly.readings.known import mark_known_rows
from vae_anomaly.readings.quarantine import (
    BROKEN_CONTRACT,
    UNREADABLE_FILE,
    WHOLE_FILE,
    quarantine_rows,
)
from vae_anomaly.readings.source import open_file
from vae_anomaly.readings.tables import Lake

logger = logging.getLogger(__name__)

CHUNK_BYTES = 1 << 20
BATCH_LETTERS = 16
"""Letters of the content hash that name a delivery: 64 bits."""

MAX_ASSET_BYTES = 240
"""Longest asset name as it stands in a folder's name; filesystems allow 255 with the rest."""

STATUS_DONE = "done"
STATUS_FAILED = "failed"
"""Tried again at each ingest, since settings or contract may have been mended."""


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
        num_duplicates: Rows equal to one that is kept.
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


@dataclass(frozen=True)
class _FileResult:
    is_new: bool = False
    num_rows: int = 0
    num_kept: int = 0
    num_quarantined: int = 0
    num_duplicates: int = 0
    notes: tuple[str, ...] = ()
    failure: str = ""


def ingest(
    source: Location | Sequence[Location],
    lake: Lake,
    *,
    config: ReadingsConfig,
    on_file: Callable[[str, int, int], None] | None = None,
) -> IngestResult:
    """Take raw Parquet files into the lake, one after the other, sorted by name.

    A file whose content the ledger knows is left out, whatever its name. The first file that can
    be read writes down the contract; the others must keep it. A row of which asset and time are
    already in `readings` is a duplicate where the values are equal, and quarantined where they
    are not: across files the row that came first stays. A file that cannot be read, or breaks
    the contract, goes to quarantine as a whole and is tried again at the next ingest.

    Each file is written in the order readings, quarantine, ledger. An ingest that was broken off
    is completed by the next one: commits that were made are not made again.

    Args:
        source: Parquet file, folder, glob or URI, or a list of those; never changed.
        lake: Where the tables lie.
        config: How to understand the files.
        on_file: Told after each file: its name, how many are done, how many there are.

    Returns:
        What was done.

    Raises:
        ReadingsError: There are no files.
        ContractError: The settings ask for other sensors than the contract of the lake.
        TableError: The lake cannot be read or written.
    """
    files = sorted(list_files(source), key=lambda file: (file.name, file.path))
    intake = _Intake(lake, config)
    intake.find_contract(files)
    results = []
    for number, file in enumerate(files, start=1):
        results.append(intake.take_in(file))
        if on_file is not None:
            on_file(file.name, number, len(files))
    new = [result for result in results if result.is_new]
    return IngestResult(
        num_files=len(files),
        num_new_files=len(new),
        num_rows=sum(result.num_rows for result in new),
        num_kept=sum(result.num_kept for result in new),
        num_quarantined=sum(result.num_quarantined for result in new),
        num_duplicates=sum(result.num_duplicates for result in new),
        readings_version=lake.readings_version(),
        notes=_join_notes(files, results),
        failed=tuple(
            FailedFile(file.name, result.failure)
            for file, result in zip(files, results, strict=True)
            if result.failure
        ),
    )


class _Intake:
    """One ingest: the contract, the known content, and the way of one file."""

    def __init__(self, lake: Lake, config: ReadingsConfig) -> None:
        self._lake = lake
        self._config = config
        self._contract = lake.read_contract()
        self._known = _known_hashes(lake)
        self._checked: dict[str, CheckedReadings] = {}
        if self._contract is not None:
            _check_settings(self._contract, config)

    def find_contract(self, files: Sequence[RawFile]) -> None:
        """Write down the contract of the first file that has one, where there is none yet."""
        for file in files if self._contract is None else ():
            try:
                checked = check_readings(file.path, config=self._config)
            except (ReadingsError, ContractError):
                continue  # its turn to fail with a reason comes in `take_in`
            self._contract = checked.contract
            self._checked[file.path] = checked
            self._lake.write_contract(checked.contract)
            return

    def take_in(self, file: RawFile) -> _FileResult:
        try:
            content_hash = hash_file(file)
        except ReadingsError as error:
            return _FileResult(failure=str(error))
        if content_hash in self._known:
            return _FileResult()
        try:
            result = self._take_in_rows(file, content_hash)
        except (ReadingsError, ContractError) as error:
            self._record_failure(file, content_hash, error)
            return _FileResult(failure=str(error))
        self._known.add(content_hash)
        return result

    def _take_in_rows(self, file: RawFile, content_hash: str) -> _FileResult:
        part = open_file(file)
        if part.num_rows == 0:
            result = _FileResult(is_new=True, notes=("no rows",))
            self._record(file, content_hash, result)
            return result
        names = part.schema.names
        if self._contract is not None and self._contract.asset is None:
            require_asset(names, self._config.asset, purpose="ingest")
        checked = self._checked.pop(file.path, None) or check_readings(
            file.path, config=self._config, contract=self._contract, purpose="ingest"
        )
        unknown = note_unknown_names(self._config, names, checked.contract)
        readings, batch = checked.readings, content_hash[:BATCH_LETTERS]
        _check_asset_names(readings.asset_names, file)
        problems = mark_known_rows(self._lake, readings, checked.problems, batch=batch)
        rows = quarantine_rows(part, problems, source=file.name, first_seen_us=file.modified_us)
        kept = np.flatnonzero(problems == Problem.NONE.value)
        self._lake.append_readings(
            readings.take(kept),
            source=file.name,
            batch=batch,
            commit_id=f"readings:{content_hash}",
        )
        self._lake.append_quarantine(rows, commit_id=f"quarantine:{content_hash}")
        result = _FileResult(
            is_new=True,
            num_rows=readings.num_rows,
            num_kept=kept.size,
            num_quarantined=len(rows),
            num_duplicates=readings.num_rows - kept.size - len(rows),
            notes=tuple(dict.fromkeys((*checked.quality.notes, *unknown))),
        )
        self._record(file, content_hash, result)
        return result

    def _record(self, file: RawFile, content_hash: str, result: _FileResult) -> None:
        row = _ledger_row(file, content_hash, status=STATUS_DONE, result=result)
        self._lake.append_ledger([row], commit_id=f"ledger:{content_hash}")
        logger.info("took in %s: %d of %d rows", file.name, result.num_kept, result.num_rows)

    def _record_failure(self, file: RawFile, content_hash: str, error: Exception) -> None:
        is_broken = isinstance(error, ContractError)
        row = {
            "source": file.name,
            "row": WHOLE_FILE,
            "reason": BROKEN_CONTRACT if is_broken else UNREADABLE_FILE,
            "rule": str(error),
            "first_seen": file.modified_us,
            "content": "",
        }
        result = _FileResult(failure=str(error))
        entry = _ledger_row(file, content_hash, status=STATUS_FAILED, result=result)
        commit = f"failed:{content_hash}:{hashlib.sha256(str(error).encode()).hexdigest()}"
        self._lake.append_quarantine([row], commit_id=commit)
        self._lake.append_ledger([entry], commit_id=commit)
        logger.warning("left out %s: %s", file.name, error)


def hash_file(file: RawFile) -> str:
    """Return the SHA-256 of a file's bytes.

    Raises:
        ReadingsError: The file cannot be read.
    """
    digest = hashlib.sha256()
    with explain_file_errors(file.path), file.filesystem.open_input_stream(file.key) as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _known_hashes(lake: Lake) -> set[str]:
    ledger = lake.read_ledger()
    done = ledger.filter(pc.equal(ledger["status"], STATUS_DONE))
    return set(done["content_hash"].to_pylist())


def _check_settings(contract: Contract, config: ReadingsConfig) -> None:
    """Refuse settings that no longer say what the contract of the lake says."""
    names, period_s = contract.sensor_names, config.period_s or contract.period_s
    kept = tuple(name for name in names if name not in config.ignore)
    asset = (contract.asset or USUAL_ASSET) if config.asset == USUAL_ASSET else config.asset
    for what, written, asked in (
        ("sensors", sorted(names), sorted(config.sensors or names)),
        ("sensors, without the ignored ones,", names, kept),
        ("time column", contract.timestamp, config.timestamp),
        ("asset column", contract.asset or asset, asset),
        ("period in seconds", contract.period_s, period_s),
    ):
        if written != asked:
            raise ContractError(
                f"Cannot ingest: expected the {what} of the contract of the lake, "
                f"{_write_value(written)}, got {_write_value(asked)} in the settings. "
                "Use another root for other readings, or ask for the same again."
            )


def _write_value(value: str | float | Sequence[str]) -> str:
    return repr(value) if isinstance(value, str | float) else list_names(value)


def _check_asset_names(names: Sequence[str], file: RawFile) -> None:
    for name in names:
        if len(quote(name, safe="")) > MAX_ASSET_BYTES:
            raise ReadingsError(
                f"Cannot ingest '{file.path}': expected asset names of at most "
                f"{MAX_ASSET_BYTES} bytes, since they name folders, got {name[:40]!r} and so on. "
                "Use shorter names at the source."
            )


def _ledger_row(
    file: RawFile, content_hash: str, *, status: str, result: _FileResult
) -> dict[str, str | int]:
    return {
        "source": file.name,
        "content_hash": content_hash,
        "batch": content_hash[:BATCH_LETTERS],
        "status": status,
        "reason": result.failure,
        "num_rows": result.num_rows,
        "num_kept": result.num_kept,
        "num_quarantined": result.num_quarantined,
        "num_duplicates": result.num_duplicates,
    }


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
