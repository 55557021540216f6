"""Printing: results on stdout, progress on stderr, names from the data made harmless."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

Progress = Callable[[int, int], None]
"""Called with what is done and what there is in all."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def print_json(value: Any) -> None:
    """Print a result for machines: the only thing on stdout.

    Args:
        value: Plain values and dataclasses; numbers that are not finite become null.
    """
    text = json.dumps(_make_plain(value), indent=2, ensure_ascii=False, allow_nan=False)
    sys.stdout.write(text + "\n")


def print_lines(*lines: str, style: str = "") -> None:
    """Print lines for people, wrapped to the width of the terminal, markup not interpreted."""
    from rich.console import Console
    from rich.text import Text

    console = Console()
    for line in lines:
        console.print(Text(clean_text(line), style=style), highlight=False)


def print_notes(notes: Sequence[str]) -> None:
    """Print notes, one line each, after an empty line."""
    if notes:
        print_lines("", *(f"note: {note}" for note in notes))


def print_table(table: Table) -> None:
    """Print a table with an empty line before it."""
    from rich.console import Console

    console = Console()
    console.print()
    console.print(table)


def make_table(
    title: str,
    columns: Sequence[str],
    *,
    right: Sequence[str] = (),
    whole: Sequence[str] = (),
) -> Table:
    """Make an empty table that stays readable at 80 columns.

    Args:
        title: What it shows.
        columns: Headers.
        right: Those of them whose cells are aligned right.
        whole: Those of them whose cells are not broken while others can be.

    Returns:
        The table; fill it with `add_row`.
    """
    from rich import box
    from rich.table import Table

    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for name in columns:
        table.add_column(
            name,
            justify="right" if name in right else "left",
            overflow="fold",
            no_wrap=name in whole or name in right,
        )
    return table


def add_row(table: Table, *cells: str, style: str = "") -> None:
    """Add a row; cells are text, never markup, and may have several lines."""
    from rich.text import Text

    table.add_row(*(Text(clean_text(cell, keep_lines=True), style=style) for cell in cells))


def clean_text(text: str, *, keep_lines: bool = False) -> str:
    r"""Make text from the data harmless to a terminal: control characters become visible.

    Args:
        text: Text that may hold names of sensors and assets.
        keep_lines: Leave line breaks as they are.

    Returns:
        Text of printable characters.

    Example:
        >>> clean_text("flow\x1b[2J")
        'flow\\x1b[2J'
    """
    return "".join(
        char if char.isprintable() or (keep_lines and char == "\n") else ascii(char)[1:-1]
        for char in text
    )


def format_iso_time(time_us: int) -> str:
    """Write microseconds since 1970 as ISO 8601 in UTC.

    Example:
        >>> format_iso_time(1_500_000)
        '1970-01-01T00:00:01.500000Z'
    """
    moment = _EPOCH + timedelta(microseconds=time_us)
    return moment.isoformat().replace("+00:00", "Z")


@contextmanager
def show_progress(description: str, *, waiting: str = "") -> Iterator[Progress]:
    """Show a progress bar on stderr while something runs; nothing where it is no terminal.

    Args:
        description: What is being done, or counted.
        waiting: What is shown until the first step is reported.

    Yields:
        A function that moves the bar.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[count]}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(waiting or description, total=None, count="")

        def update(done: int, total: int) -> None:
            count = f"{done:,}/{total:,}"
            bar.update(task, description=description, completed=done, total=total, count=count)

        yield update
        bar.update(task, description=description, completed=1, total=1)


def _make_plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {field.name: _make_plain(getattr(value, field.name)) for field in fields}
    if isinstance(value, dict):
        return {str(key): _make_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_make_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
