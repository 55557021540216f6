"""The command on the tables of the lake: what lies there, whether it adds up, housekeeping."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from vae_anomaly.cli.files import DEFAULT_CONFIG, Json
from vae_anomaly.cli.output import (
    add_row,
    make_table,
    print_json,
    print_lines,
    print_table,
    show_progress,
)
from vae_anomaly.errors import TableError

if TYPE_CHECKING:
    from vae_anomaly.readings.housekeeping import Balance, TableState

KEEP_DAYS = 30.0
MEBIBYTE = 1 << 20


def lake(
    *,
    compact: bool = False,
    vacuum: bool = False,
    keep_days: Annotated[float, Parameter(name="--keep-days")] = KEEP_DAYS,
    config: Path = DEFAULT_CONFIG,
    json: Json = False,
) -> None:
    """Show the tables of the lake, and check the sums of the ledger against them.

    Args:
        compact: First put small files together.
        vacuum: First delete files that no version of the last days needs.
        keep_days: Days of versions that a vacuum keeps readable.
        config: The settings of the pipeline.
        json: Print the result for machines.
    """
    from vae_anomaly.config import read_pipeline_config
    from vae_anomaly.readings import housekeeping
    from vae_anomaly.readings.tables import Lake

    found = Lake(read_pipeline_config(config).lake.root)
    if keep_days < 0:
        raise TableError(
            f"Cannot vacuum: expected 0 days or more to keep, got {keep_days:g}. "
            "Give another --keep-days."
        )
    with show_progress("Looking at the lake"):
        done: tuple[str, ...] = ()
        if compact:
            done += housekeeping.compact(found)
        if vacuum:
            done += housekeeping.vacuum(found, keep_days=keep_days)
        states = housekeeping.describe_tables(found)
        balances = housekeeping.verify_ledger(found) if states else ()
    if json:
        sums = [asdict(balance) | {"holds": balance.holds} for balance in balances]
        print_json({"done": done, "tables": states, "ledger": sums})
    else:
        _print(states, balances, done)
    wrong = [balance for balance in balances if not balance.holds]
    if wrong:
        raise TableError(
            f"Cannot vouch for the lake '{found.root}': expected {wrong[0].what}, got "
            f"{wrong[0].by_ledger:,} and {wrong[0].found:,}. Was a table changed by other "
            "programs? Restore it, or ingest into a new root."
        )


def _print(
    states: tuple[TableState, ...], balances: tuple[Balance, ...], done: tuple[str, ...]
) -> None:
    if not states:
        print_lines("The lake is empty. Run 'vae-anomaly run ingest'.")
        return
    print_lines(*done)
    numbers = ("rows", "files", "MiB", "version")
    table = make_table("Tables", ("table", *numbers), right=numbers)
    for state in states:
        size = f"{state.num_bytes / MEBIBYTE:.1f}"
        counts = (f"{state.num_rows:,}", f"{state.num_files:,}", size, f"{state.version}")
        add_row(table, state.name, *counts)
    print_table(table)
    sums = make_table("Ledger", ("sum", "left", "right", "holds"), right=("left", "right"))
    for balance in balances:
        holds = "yes" if balance.holds else "NO"
        add_row(sums, balance.what, f"{balance.by_ledger:,}", f"{balance.found:,}", holds)
    print_table(sums)
