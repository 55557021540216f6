"""What the doctor looks at in the lake: can it be read and written, do its books balance."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pyarrow.fs as pa_fs

from vae_anomaly.config import PipelineConfig
from vae_anomaly.domain import MICROSECONDS_PER_S
from vae_anomaly.operations.monitoring.finding import FAILED, OK, WARNING, Finding
from vae_anomaly.readings import delta
from vae_anomaly.readings.data_files import find_newest
from vae_anomaly.readings.files import open_filesystem
from vae_anomaly.readings.housekeeping import describe_tables, verify_ledger
from vae_anomaly.readings.tables import Lake
from vae_anomaly.wording import format_plural

AHEAD_S = 60.0
"""Seconds that the clock of a sensor may be ahead of ours."""

PROBE, DRAFT = "_doctor", ".tmp"


def check_lake(config: PipelineConfig) -> Iterator[Finding]:
    """Look whether the tables can be read, and the lake be written."""
    lake = Lake(config.lake.root)
    contract, states = lake.read_contract(), describe_tables(lake)
    if contract is None or not states:
        message = f"The lake '{lake.root}' has no readings."
        yield Finding("lake", WARNING, message, "Run 'vae-anomaly run ingest'.")
    else:
        rows = next((state.num_rows for state in states if state.name == "readings"), 0)
        yield Finding(
            "lake",
            OK,
            f"{format_plural(len(states), 'table')} can be read, "
            f"{format_plural(rows, 'reading')} of {len(contract.sensors)} sensors.",
        )
    yield from _check_writing(lake)


def _check_writing(lake: Lake) -> Iterator[Finding]:
    """Write a file and delete it; where the lake is not made yet, nothing is made."""
    with delta.explain_table_errors("write to", lake.root):
        filesystem, path = open_filesystem(lake.uri(f"{PROBE}-{uuid.uuid4().hex}"))
        is_local = isinstance(filesystem, pa_fs.LocalFileSystem)
        root = filesystem.get_file_info(path.rpartition("/")[0])
        if is_local and root.type == pa_fs.FileType.NotFound:
            return
        with filesystem.open_output_stream(path) as stream:
            stream.write(b"doctor")
        filesystem.delete_file(path)
    yield Finding("lake", OK, f"'{lake.root}' can be written.")


def check_ledger(config: PipelineConfig) -> Iterator[Finding]:
    """Compare the sums of the ledger with the tables, as far as their logs tell."""
    balances = verify_ledger(Lake(config.lake.root), with_keys=False)
    wrong = [balance for balance in balances if not balance.holds]
    for balance in wrong:
        yield Finding(
            "ledger",
            FAILED,
            f"{balance.what}: expected the same, got {balance.by_ledger:,} and {balance.found:,}.",
            "Was a table changed by other programs? Restore it, or ingest into a new root.",
        )
    if not wrong:
        yield Finding("ledger", OK, f"All {len(balances)} sums hold.")


def check_leftovers(config: PipelineConfig) -> Iterator[Finding]:
    """Look for what a run that was killed left behind."""
    lake = Lake(config.lake.root)
    with delta.explain_table_errors("list", lake.root):
        filesystem, folder = open_filesystem(lake.root)
        found = filesystem.get_file_info(pa_fs.FileSelector(folder, allow_not_found=True))
    names = [info.base_name for info in found]
    left = [name for name in names if name.endswith(DRAFT) or name.startswith(PROBE)]
    if left:
        yield Finding(
            "leftovers",
            WARNING,
            f"A run was killed while it wrote {', '.join(sorted(left))}.",
            "Delete them while nothing runs.",
        )
    else:
        yield Finding("leftovers", OK, "No run left a draft behind.")


def check_clock(config: PipelineConfig, *, now_us: int) -> Iterator[Finding]:
    """Look for readings from the future."""
    newest_us = find_newest(Lake(config.lake.root).uri("readings"))
    if newest_us is None:
        yield Finding("clock", WARNING, "There are no readings to compare the clock with.")
        return
    ahead_s = (newest_us - now_us) / MICROSECONDS_PER_S
    if ahead_s > AHEAD_S:
        yield Finding(
            "clock",
            FAILED,
            f"The newest reading is {ahead_s:,.0f} s ahead of this machine's clock.",
            "Set the clock (UTC), or the zone of the times in detector.readings.timezone.",
        )
    else:
        yield Finding("clock", OK, f"The newest reading is {-ahead_s:,.0f} s old.")
