"""Which rows of a table to read: some assets, a span of time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from vae_anomaly.readings.layout import TIME
from vae_anomaly.readings.rows import EARLIEST_US, LATEST_US

FilePredicate = list[tuple[str, str, Any]]


@dataclass(frozen=True)
class Selection:
    """Rows of some assets in `[start_us, end_us)`.

    Attributes:
        assets: Assets wanted, None for all.
        start_us: First time, microseconds since 1970, None from the beginning.
        end_us: Time after the last, None to the end.
        model_name: Registered model wanted, None for all.
        model_version: Its version wanted, None for all.
        time: Column of the times.
        partitioned: Whether the table is partitioned by asset and date.
    """

    assets: Sequence[str] | None = None
    start_us: int | None = None
    end_us: int | None = None
    model_name: str | None = None
    model_version: str | None = None
    time: str = "timestamp"
    partitioned: bool = True

    def rows(self) -> Any:
        """Return the pyarrow expression that is true for the rows."""
        where = ds.scalar(value=True)
        if self.assets is not None:
            where = where & ds.field("asset").isin(pa.array(self.assets, pa.string()))
        if self.start_us is not None:
            where = where & (ds.field(self.time) >= pa.scalar(self.start_us, TIME))
        if self.end_us is not None:
            where = where & (ds.field(self.time) < pa.scalar(self.end_us, TIME))
        for name in ("model_name", "model_version"):
            value = getattr(self, name)
            if value is not None:
                where = where & (ds.field(name) == value)
        return where

    def files(self) -> FilePredicate:
        """Return the filters on partitions that leave out files without such rows."""
        filters: FilePredicate = []
        if not self.partitioned:
            return filters
        if self.assets:
            filters.append(("asset", "in", list(self.assets)))
        if self.start_us is not None:
            filters.append(("date", ">=", _date(self.start_us)))
        if self.end_us is not None:
            filters.append(("date", "<=", _date(self.end_us)))
        return filters


def _date(microseconds: int) -> date:
    """Return the day of a time, kept within the days that a table can hold."""
    bounded = min(max(microseconds, EARLIEST_US), LATEST_US)
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=bounded)).date()
