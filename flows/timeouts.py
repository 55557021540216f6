"""Ending flow runs that are stuck."""

from __future__ import annotations

import faulthandler
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.runtime import deployment
from prefect.utilities.timeout import timeout

GRACE_S = 60.0
"""Seconds that a flow run has to end by itself, once it was told to."""


class StuckError(TimeoutError):
    """A flow run has taken longer than it may."""


@contextmanager
def limit_time(seconds: float) -> Iterator[None]:
    """Raise where the body takes longer.

    Code of a library that never comes back to Python cannot be told. So the process of a
    deployment, which does nothing else, ends after some time more: its worker sees it, and what
    was broken off is completed by the next flow run.

    Args:
        seconds: How long it may take.

    Raises:
        StuckError: It took longer.
    """
    ends_process = deployment.id is not None
    if ends_process:
        faulthandler.dump_traceback_later(seconds + GRACE_S, exit=True)
    try:
        with timeout(seconds=seconds, timeout_exc_type=StuckError):
            yield
    finally:
        if ends_process:
            faulthandler.cancel_dump_traceback_later()
