"""One run of a kind at a time on one lake, on whatever machines it runs."""

from __future__ import annotations

import getpass
import hashlib
import logging
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from vae_anomaly.errors import TableError
from vae_anomaly.readings.lease import hold_lease

logger = logging.getLogger(__name__)

LOCK_FOLDER = ".locks"
"""Folder under the root of the lake; its name keeps it from being taken for a table."""

MACHINE_FILE = "machine"
"""What tells the processes that share a folder of locks from all others."""

WAIT_S = 60.0
"""Seconds a run waits for another of its kind before it stops with a message."""


@contextmanager
def hold_lock(root: str, kind: str, *, wait_s: float = WAIT_S) -> Iterator[None]:
    """Hold the right to do one kind of work on a lake; a kill frees it.

    Of a lake in a folder it is a file lock there, which the operating system frees. Of one in an
    object store it is a file lock of this machine and, under that, a lease in the store.

    Args:
        root: Root of the lake, as `Lake.root` has it.
        kind: What is done, such as "ingest".
        wait_s: Seconds to wait for another run.

    Raises:
        TableError: Another run still holds it, or the lock cannot be made.
    """
    folder = root.removeprefix("file://")
    if "://" not in folder:
        with _hold_file(Path(folder) / LOCK_FOLDER / f"{kind}.lock", root, kind, wait_s=wait_s):
            yield
        return
    mine = machine_folder()
    name = f"{hashlib.sha256(root.encode()).hexdigest()[:16]}-{kind}.lock"
    with _hold_file(mine / name, root, kind, wait_s=wait_s):
        machine = _name_machine(mine, root, kind)
        uri = f"{root}/{LOCK_FOLDER}/{kind}"
        with hold_lease(uri, kind, machine=machine, wait_s=wait_s):
            yield


def machine_folder() -> Path:
    """Return the folder of the locks that the processes of this user and machine share."""
    return Path(tempfile.gettempdir()) / f"vae-anomaly-{getpass.getuser()}"


@contextmanager
def _hold_file(file: Path, root: str, kind: str, *, wait_s: float) -> Iterator[None]:
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
            "that it can be written, and try again."
        ) from error
    try:
        yield
    finally:
        lock.release()


def _name_machine(folder: Path, root: str, kind: str) -> str:
    """Return what the processes that share a folder of locks are called, the same every time."""
    file = folder / MACHINE_FILE
    with _hold_file(file.with_suffix(".lock"), root, kind, wait_s=WAIT_S):
        if not file.exists():
            file.write_text(uuid.uuid4().hex, encoding="ascii")
        return file.read_text(encoding="ascii")
