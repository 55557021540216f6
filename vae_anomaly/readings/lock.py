"""One run of a kind at a time on one lake: a file lock where the lake is a folder."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from vae_anomaly.errors import TableError

logger = logging.getLogger(__name__)

LOCK_FOLDER = ".locks"
"""Folder under the root of the lake; its name keeps it from being taken for a table."""

WAIT_S = 60.0
"""Seconds a run waits for another of its kind before it stops with a message."""


@contextmanager
def hold_lock(root: str, kind: str, *, wait_s: float = WAIT_S) -> Iterator[None]:
    """Hold the right to do one kind of work on a lake; the operating system frees it at a kill.

    In an object store nothing is locked: of two ingests that write at once one commits, and the
    other stops with a message (`commit_files`).

    Args:
        root: Root of the lake, as `Lake.root` has it.
        kind: What is done, such as "ingest".
        wait_s: Seconds to wait for another run.

    Raises:
        TableError: Another run still holds it, or the lock cannot be made.
    """
    folder = root.removeprefix("file://")
    if "://" in folder:
        yield
        return
    file = Path(folder) / LOCK_FOLDER / f"{kind}.lock"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(file)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            logger.warning("another %s on '%s' is running; waiting for it", kind, root)
            lock.acquire(timeout=wait_s)
    except Timeout:
        raise TableError(
            f"Cannot {kind}: expected no other {kind} on the lake '{root}', got one that is "
            f"still running after {wait_s:g} s. Wait until it ends, or stop it, and try again."
        ) from None
    except OSError as error:
        raise TableError(
            f"Cannot {kind}: the lock '{file}' cannot be made: {error.strerror or error}. Check "
            "that the lake can be written, and try again."
        ) from error
    try:
        yield
    finally:
        lock.release()
