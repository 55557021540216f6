"""A lock that machines share: a lease, kept as the newest commit of a small Delta table.

A commit is a conditional put, on every store that can hold a lake: of two that take the lease at
once one wins. So there is no other service that both have to reach.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Schema, Transaction
from deltalake.exceptions import CommitFailedError

from vae_anomaly.errors import TableError
from vae_anomaly.readings.delta import explain_table_errors

logger = logging.getLogger(__name__)

LEASE_S = 300.0
"""Seconds that a lease lasts where nobody renews it: the clocks of machines differ by far less."""

RENEW_S = 60.0
"""Seconds between renewals."""

POLL_S = 1.0
"""Seconds between looks at a lease that another one holds."""

OWNER, MACHINE, UNTIL, HOST = "lease.owner", "lease.machine", "lease.until", "lease.host"
"""What a commit says of the lease."""

COUNTER = "lease"
"""Application transaction of every commit: delta-rs refuses one of two that write it at once."""

SCHEMA = pa.schema([("unused", pa.string())])

CONFIGURATION = {"delta.logRetentionDuration": "interval 1 days"}
"""Commits are many and small, and only the newest one counts."""


@dataclass(frozen=True)
class _Holder:
    """Who holds a lease, as the newest commit says."""

    owner: str = ""
    machine: str = ""
    host: str = ""
    until: float = 0.0


@dataclass
class Lease:
    """The right to do one kind of work, for as long as it is renewed.

    Attributes:
        uri: The table.
        machine: What tells this machine from others. A lease of this machine is taken over at
            once: who takes it holds a lock of the machine, so its holder was killed.
        owner: What tells this holder from others.
        is_lost: Whether another one holds it now.
    """

    uri: str
    machine: str
    owner: str = field(default_factory=lambda: uuid.uuid4().hex)
    is_lost: bool = False

    def acquire(self) -> str:
        """Take the lease if it is free; return the host that holds it otherwise.

        Raises:
            TableError: The store cannot be reached or written.
        """
        with explain_table_errors("lock", self.uri):
            table = self._open()
            holder = _read_holder(table)
            is_held = bool(holder.owner) and time.time() < holder.until
            if is_held and holder.machine != self.machine:
                return holder.host
            return "" if self._commit(table, time.time() + LEASE_S) else "another machine"

    def renew(self) -> None:
        """Hold the lease for longer; it may turn out to be lost.

        Raises:
            TableError: The store cannot be reached or written.
        """
        self._write_own(time.time() + LEASE_S)

    def release(self) -> None:
        """Let the next one have it.

        Raises:
            TableError: The store cannot be reached or written.
        """
        self._write_own(0.0)

    def _write_own(self, until: float) -> None:
        with explain_table_errors("lock", self.uri):
            table = DeltaTable(self.uri)
            if _read_holder(table).owner != self.owner or not self._commit(table, until):
                self.is_lost = True

    def _open(self) -> DeltaTable:
        if not DeltaTable.is_deltatable(self.uri):
            DeltaTable.create(
                self.uri, Schema.from_arrow(SCHEMA), mode="ignore", configuration=CONFIGURATION
            )
        return DeltaTable(self.uri)

    def _commit(self, table: DeltaTable, until: float) -> bool:
        """Write who holds the lease; return whether nobody else has written meanwhile."""
        mine = _Holder(self.owner, self.machine, socket.gethostname(), until)
        properties = CommitProperties(
            custom_metadata={
                OWNER: mine.owner,
                MACHINE: mine.machine,
                HOST: mine.host,
                UNTIL: repr(mine.until),
            },
            app_transactions=[Transaction(COUNTER, table.version() + 1)],
        )
        try:
            table.create_write_transaction(
                [],
                mode="append",
                schema=table.schema(),
                partition_by=[],
                commit_properties=properties,
            )
        except CommitFailedError:
            # ours may be the one that is there: the store had it, and its answer was lost
            return _read_holder(DeltaTable(self.uri)) == mine
        return True


def _read_holder(table: DeltaTable) -> _Holder:
    newest = next(iter(table.history(limit=1)), {})
    if UNTIL not in newest:
        return _Holder()
    return _Holder(newest[OWNER], newest[MACHINE], newest[HOST], float(newest[UNTIL]))


@contextmanager
def hold_lease(uri: str, kind: str, *, machine: str, wait_s: float) -> Iterator[Lease]:
    """Hold a lease, renewed by a thread of its own; a killed holder's ends by itself.

    Args:
        uri: The table of the lease; it is made where it is missing.
        kind: What is done, such as "ingest".
        machine: What tells this machine from others; a lease of it is taken over.
        wait_s: Seconds to wait for another holder.

    Raises:
        TableError: Another one still holds it, or took it over, or the store cannot be written.
    """
    lease = Lease(uri, machine)
    _wait_for(lease, kind, wait_s=wait_s)
    is_over = threading.Event()
    keeper = threading.Thread(target=_keep, args=(lease, is_over), daemon=True)
    keeper.start()
    try:
        yield lease
    finally:
        is_over.set()
        keeper.join()
        _release(lease)
    if lease.is_lost:
        raise TableError(
            f"Cannot {kind}: expected to hold the lock '{uri}' to the end, got another {kind} "
            f"that took it after {LEASE_S:g} s without a renewal. Run it again."
        )


def _wait_for(lease: Lease, kind: str, *, wait_s: float) -> None:
    end = time.monotonic() + wait_s
    host = lease.acquire()
    if host:
        logger.warning("another %s runs on %s; waiting for it", kind, host)
    while host:
        if time.monotonic() > end:
            raise TableError(
                f"Cannot {kind}: expected no other {kind} under the lock '{lease.uri}', got one "
                f"on {host} after {wait_s:g} s. Wait until it ends: one that was killed is "
                f"passed over {LEASE_S:g} s after its last sign of life."
            )
        time.sleep(POLL_S)
        host = lease.acquire()


def _release(lease: Lease) -> None:
    """Let the next one have the lease, which ends by itself where that fails."""
    try:
        lease.release()
    except TableError as error:
        logger.warning("%s", error)


def _keep(lease: Lease, is_over: threading.Event) -> None:
    while not is_over.wait(RENEW_S) and not lease.is_lost:
        try:
            lease.renew()
        except TableError as error:
            logger.warning("%s", error)  # it lasts for some renewals more
    if lease.is_lost:
        logger.error("another machine has taken over the lock '%s'", lease.uri)
