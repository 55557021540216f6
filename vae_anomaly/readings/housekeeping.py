"""Keeping a lake in order: what lies in it, whether the books balance, compaction, vacuum."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from vae_anomaly.readings import delta
from vae_anomaly.readings.data_files import DataFile, list_data_files
from vae_anomaly.readings.deliveries import STATUS_DONE
from vae_anomaly.readings.lock import hold_lock
from vae_anomaly.readings.tables import Lake
from vae_anomaly.wording import format_plural

TABLES = (
    "readings",
    "quarantine",
    "superseded",
    "quality",
    "ledger",
    "scores",
    "alerts",
    "outbox",
)

HOURS_PER_DAY = 24
MIN_KEEP_DAYS = 7
"""Delta's own lower limit: a reader or writer that began before is not disturbed."""


@dataclass(frozen=True)
class TableState:
    """One table as it lies there.

    Attributes:
        name: The table.
        num_rows: Its rows.
        num_files: Data files of its newest version.
        num_bytes: Their size.
        version: Its newest version.
    """

    name: str
    num_rows: int
    num_files: int
    num_bytes: int
    version: int


@dataclass(frozen=True)
class Balance:
    """One sum of the ledger against the table that it speaks of.

    Attributes:
        what: What is compared, in words.
        by_ledger: What the ledger says.
        found: What the table holds.
    """

    what: str
    by_ledger: int
    found: int

    @property
    def holds(self) -> bool:
        """Whether both say the same."""
        return self.by_ledger == self.found


def describe_tables(lake: Lake) -> tuple[TableState, ...]:
    """Say what lies in a lake; tables that have not come into being are left out.

    Raises:
        TableError: A table cannot be read.
    """
    states = []
    for name in TABLES:
        uri = lake.uri(name)
        if not delta.has_table(uri):
            continue
        with delta.explain_table_errors("read", uri):
            table = DeltaTable(uri)
            actions = pa.table(table.get_add_actions(flatten=True))
        states.append(
            TableState(
                name=name,
                num_rows=pc.sum(actions["num_records"]).as_py() or 0,
                num_files=actions.num_rows,
                num_bytes=pc.sum(actions["size_bytes"]).as_py() or 0,
                version=table.version(),
            )
        )
    return tuple(states)


def verify_ledger(lake: Lake, *, with_keys: bool = True) -> tuple[Balance, ...]:
    """Compare the sums of the ledger with the tables.

    Args:
        lake: The lake.
        with_keys: Also look that each asset and time is there once, which reads all times; the
            other sums come from the logs of the tables.

    Raises:
        TableError: A table cannot be read.
    """
    ledger, counts = lake.read_ledger(), lake.counts()
    done = ledger.filter(pc.equal(ledger["status"], STATUS_DONE))

    def total(table: pa.Table, column: str) -> int:
        return int(pc.sum(table[column]).as_py() or 0)

    parts = ("num_kept", "num_quarantined", "num_duplicates")
    sums = (
        Balance(
            "rows of the files = kept + quarantined + duplicates",
            by_ledger=total(done, "num_rows"),
            found=sum(total(done, part) for part in parts),
        ),
        Balance(
            "kept - withdrawn + restored = rows of readings",
            by_ledger=total(done, "num_kept")
            - total(done, "num_withdrawn")
            + total(done, "num_restored"),
            found=counts.readings,
        ),
        Balance(
            "entries = rows of quarantine",
            by_ledger=total(ledger, "num_entries"),
            found=counts.quarantine,
        ),
        Balance(
            "withdrawn = rows of superseded",
            by_ledger=total(done, "num_withdrawn"),
            found=delta.count_rows(lake.uri("superseded")),
        ),
    )
    if not with_keys:
        return sums
    once = "each asset and time once in readings"
    return (*sums, Balance(once, by_ledger=counts.readings, found=_count_keys(lake)))


def compact(lake: Lake) -> tuple[str, ...]:
    """Put small data files together; rows and versions that were stay readable.

    Returns:
        What was done, a line per table.

    Raises:
        TableError: A table cannot be written, or another run does not end.
    """
    done = []
    with _hold_all(lake):
        for state in describe_tables(lake):
            uri = lake.uri(state.name)
            with delta.explain_table_errors("compact", uri):
                table = DeltaTable(uri)
                figures = table.optimize.compact()
                table.create_checkpoint()
            removed, added = figures["numFilesRemoved"], figures["numFilesAdded"]
            if removed:
                done.append(f"{state.name}: {format_plural(removed, 'file')} became {added}")
    return tuple(done)


def vacuum(lake: Lake, *, keep_days: float) -> tuple[str, ...]:
    """Delete data files that no version of the last days needs, those broken off included.

    Args:
        lake: The lake.
        keep_days: Days of which every version stays readable.

    Returns:
        What was done, a line per table.

    Raises:
        TableError: A table cannot be written, or another run does not end.
    """
    done = []
    with _hold_all(lake):
        for state in describe_tables(lake):
            uri = lake.uri(state.name)
            with delta.explain_table_errors("vacuum", uri):
                deleted = DeltaTable(uri).vacuum(
                    retention_hours=round(keep_days * HOURS_PER_DAY),
                    dry_run=False,
                    enforce_retention_duration=keep_days >= MIN_KEEP_DAYS,
                    full=True,
                )
            if deleted:
                done.append(f"{state.name}: {format_plural(len(deleted), 'file')} deleted")
    return tuple(done)


@contextmanager
def _hold_all(lake: Lake) -> Iterator[None]:
    with ExitStack() as stack:
        for kind in ("ingest", "score"):
            stack.enter_context(hold_lock(lake.root, kind))
        yield


def _count_keys(lake: Lake) -> int:
    """Count the different assets and times, asset and day by asset and day."""
    folder = lake.readings_folder()
    groups: dict[tuple[str, str], list[DataFile]] = {}
    for file in list_data_files(folder.uri):
        groups.setdefault((file.asset, file.date), []).append(file)
    return sum(len(pc.unique(folder.read_times(files))) for files in groups.values())
