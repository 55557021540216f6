"""The ledger as a book: which content of which source is in the lake."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from vae_anomaly.readings.files import RawFile

BATCH_LETTERS = 16
"""Letters of the content hash that name a delivery: 64 bits."""

STATUS_DONE = "done"
STATUS_ABANDONED = "abandoned"
"""Broken off, and its file is no more or has other content: nothing of it is left."""

STATUS_FAILED = "failed"
"""Tried again at each ingest, since settings or contract may have been mended."""


SETTLED_US = 2_000_000
"""A file can change again without another time of change within this time: stores and old
filesystems keep whole seconds, or every other one."""


class DeliveryBook:
    """The deliveries of a lake, in order.

    Args:
        ledger: The table.
    """

    def __init__(self, ledger: pa.Table) -> None:
        self._last: dict[str, dict[str, Any]] = {}
        self._active: Counter[str] = Counter()
        self._times_seen: Counter[str] = Counter()
        self._batches: set[str] = set()
        self._num_deliveries = 0
        for row in ledger.filter(pc.equal(ledger["status"], STATUS_ABANDONED)).to_pylist():
            self.add_abandoned(row)
        done = ledger.filter(pc.equal(ledger["status"], STATUS_DONE))
        for row in done.sort_by([("delivery", "ascending"), ("source", "ascending")]).to_pylist():
            self.add(row)

    def add(self, row: dict[str, Any]) -> None:
        """Note one more row of the ledger, of a delivery that is done."""
        before = self._last.get(row["source"])
        if before is not None:
            self._active[before["content_hash"]] -= 1
        self._last[row["source"]] = row
        self._batches.add(row["batch"])
        self._active[row["content_hash"]] += 1
        self._times_seen[row["content_hash"]] += 1
        self._num_deliveries = max(self._num_deliveries, row["delivery"] or 0)

    def add_abandoned(self, row: dict[str, Any]) -> None:
        """Note one more row of the ledger, of a delivery that never came to be."""
        self._batches.add(row["batch"])

    def has_batch(self, batch: str) -> bool:
        """Whether a delivery is in the ledger."""
        return batch in self._batches

    def is_known_source(self, file: RawFile) -> bool:
        """Whether a file of this name was taken in before."""
        return file.name in self._last

    def is_unchanged(self, file: RawFile) -> bool:
        """Whether a file has the name, size and time of change of what was taken in last.

        A file that was taken in right after it had changed is not known by its time.
        """
        last = self._last.get(file.name)
        if last is None or file.modified_us is None or last["modified"] is None:
            return False
        changed_us = last["modified"]
        if not isinstance(changed_us, int):
            changed_us = pa.scalar(changed_us, pa.timestamp("us", "UTC")).value
        return bool(last["size"] == file.size and changed_us == file.modified_us)

    def holds(self, file: RawFile, content_hash: str) -> bool:
        """Whether a file's content is what its source, or else another one, gave last."""
        last = self._last.get(file.name)
        if last is not None:
            return bool(last["content_hash"] == content_hash)
        return self._active[content_hash] > 0

    def name_batch(self, content_hash: str) -> str:
        """Name the next delivery of a content; the same content may come again after others."""
        times = self._times_seen[content_hash]
        while True:
            batch = content_hash[:BATCH_LETTERS] + (f"-{times + 1}" if times else "")
            if batch not in self._batches:
                return batch
            times += 1  # a delivery of this content was abandoned

    def make_abandoned_row(self, batch: str) -> dict[str, Any]:
        """Make a row of the ledger for a delivery that never came to be."""
        return {"source": "", "content_hash": "", "batch": batch, "status": STATUS_ABANDONED}

    def make_row(self, file: RawFile, content_hash: str, *, status: str) -> dict[str, Any]:
        """Make a row of the ledger, without its counts."""
        return {
            "source": file.name,
            "content_hash": content_hash,
            "batch": self.name_batch(content_hash),
            "status": status,
            "size": file.size,
            "modified": _settled(file),
            "delivery": self._num_deliveries + 1,
        }


def _settled(file: RawFile) -> int | None:
    """Return a file's time of change, None where it is too recent to know the file by."""
    if file.modified_us is None or time.time() * 1e6 - file.modified_us < SETTLED_US:
        return None
    return file.modified_us
