"""Stopping a service on SIGTERM or Ctrl-C: once, in order, without disturbing its children."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import TracebackType
from typing import Self


@contextmanager
def keep_interrupts_from_children() -> Iterator[None]:
    """Block SIGINT: Ctrl-C goes to every process of a terminal, children inherit the block.

    So a flow run that still runs is stopped by the service, and not by a traceback of its own.
    """
    resource_tracker.ensure_running()  # multiprocessing starts it unblocked, and unblocks us
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class StopSignals:
    """Cancels the running task at the first SIGTERM or SIGINT; later ones change nothing.

    SIGINT must be blocked, as by `keep_interrupts_from_children`.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._is_over = False
        self._waiter = threading.Thread(target=self._wait_for_interrupt, daemon=True)

    def __enter__(self) -> Self:
        self.handle_sigterm()
        self._waiter.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_over = True
        signal.pthread_kill(self._waiter.ident or 0, signal.SIGINT)
        self._waiter.join()
        self._loop.remove_signal_handler(signal.SIGTERM)

    def handle_sigterm(self) -> None:
        """Handle SIGTERM; again, where somebody else has put a handler in place."""
        self._loop.add_signal_handler(signal.SIGTERM, self._stop)

    def _wait_for_interrupt(self) -> None:
        signal.sigwait({signal.SIGINT})
        if not self._is_over:
            self._loop.call_soon_threadsafe(self._stop)

    def _stop(self) -> None:
        if not self._is_over and self._task is not None:
            self._is_over = True
            self._task.cancel()
