"""Flow runs whose process was killed: found by the lock it held, and closed on the next start."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

from filelock import FileLock, Timeout
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run
from prefect.settings import get_current_settings
from prefect.states import Crashed

logger = logging.getLogger(__name__)

FOLDER = "alive"
"""Folder in Prefect's home with one lock per flow run of this machine."""


@contextmanager
def mark_alive() -> Iterator[None]:
    """Hold a lock for as long as this flow run lives; the operating system frees it at a kill.

    Before that, the flow runs whose lock nobody holds any more are closed as crashed.
    """
    if flow_run.id is None:  # not run by Prefect
        yield
        return
    folder = get_current_settings().home / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    close_remains(folder)
    file = folder / f"{flow_run.id}.lock"
    lock = FileLock(file)
    with lock:
        try:
            yield
        finally:
            file.unlink(missing_ok=True)


def close_remains(folder: Path) -> None:
    """Close the flow runs that left a lock behind.

    Args:
        folder: Where the locks are.
    """
    for file in sorted(folder.glob("*.lock")):
        lock = FileLock(file)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue  # it lives
        try:
            _close(UUID(file.stem))
            file.unlink(missing_ok=True)
        finally:
            lock.release()


def _close(run_id: UUID) -> None:
    with get_client(sync_client=True) as client:
        try:
            run = client.read_flow_run(run_id)
        except ObjectNotFound:
            return
        if run.state is not None and run.state.is_final():
            return
        state: State[None] = Crashed(message="Its process ended before the flow run did.")
        client.set_flow_run_state(run_id, state, force=True)
    logger.warning("closed '%s', which was left behind by a killed process", run.name)
