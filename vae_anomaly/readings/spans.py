"""Spans of time of an asset, and how the rows of a table within them are replaced at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

from vae_anomaly.domain import BoolArray
from vae_anomaly.readings import delta
from vae_anomaly.readings.data_files import list_data_files
from vae_anomaly.readings.layout import PARTITIONS
from vae_anomaly.readings.pinned import group_by_asset
from vae_anomaly.readings.rows import EARLIEST_US, LATEST_US

MAX_SPANS = 200
"""Spans that one commit replaces; the condition of a commit grows with them."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Span:
    """A span of time of one asset.

    Attributes:
        asset: Name of the asset.
        start_us: First time, microseconds since 1970.
        end_us: Time after the last.
    """

    asset: str
    start_us: int
    end_us: int

    def condition(self) -> str:
        """Return the SQL condition of the rows in it.

        Example:
            >>> Span("it's", 320_000_000_000_000, 320_000_000_000_001).condition()[:45]
            "(asset = 'it''s' AND date >= '1980-02-21' AND"
        """
        start, last = _time(self.start_us), _time(self.end_us - 1)
        return (
            f"(asset = {_quote(self.asset)} AND date >= '{start:%Y-%m-%d}' "
            f"AND date <= '{last:%Y-%m-%d}' AND timestamp >= '{_write(start)}' "
            f"AND timestamp <= '{_write(last)}')"
        )


def list_spans(table: pa.Table) -> list[Span]:
    """Return for each asset the span from its first to its last row.

    Args:
        table: Has asset and timestamp.
    """
    times = pa.table({"asset": table["asset"], "time": table["timestamp"].cast(pa.int64())})
    found = times.group_by("asset").aggregate([("time", "min"), ("time", "max")]).to_pylist()
    return [Span(row["asset"], row["time_min"], row["time_max"] + 1) for row in found]


def replace_rows(
    uri: str, table: pa.Table, spans: Sequence[Span], *, where: Mapping[str, str]
) -> int:
    """Replace the rows in some spans, in one commit; where there are none, append only.

    More than `MAX_SPANS` spans take several commits.

    Args:
        uri: The table, partitioned by asset and date; it is made where it is missing.
        table: The rows that are to be in the spans; none outside.
        spans: What is replaced.
        where: Columns and values of the rows that are replaced.

    Returns:
        How many commits were made.

    Raises:
        TableError: The table cannot be read or written.
    """
    num_commits = 0
    for first in range(0, len(spans), MAX_SPANS):
        part = spans[first : first + MAX_SPANS]
        rows = table if len(part) == len(spans) else table.filter(pa.array(_within(table, part)))
        num_commits += _replace(uri, rows, part, where)
    return num_commits


def _replace(uri: str, rows: pa.Table, spans: Sequence[Span], where: Mapping[str, str]) -> int:
    if not _find_touched(uri, spans):
        return int(delta.append_once(uri, rows, partition_by=PARTITIONS))
    equal = [f"{name} = {_quote(value)}" for name, value in where.items()]
    inside = " OR ".join(span.condition() for span in spans)
    condition = " AND ".join([*equal, f"({inside})"])
    with delta.explain_table_errors("write", uri):
        if not rows.num_rows:
            DeltaTable(uri).delete(condition)
        else:
            write_deltalake(
                uri,
                rows,
                mode="overwrite",
                predicate=condition,
                schema_mode="merge",
                writer_properties=delta.writer_properties(),
            )
    return 1


def _find_touched(uri: str, spans: Sequence[Span]) -> bool:
    """Whether a file of the table may hold a row of the spans."""
    hull: dict[str, tuple[int, int]] = {}
    for span in spans:
        first, last = hull.get(span.asset, (span.start_us, span.end_us - 1))
        hull[span.asset] = (min(first, span.start_us), max(last, span.end_us - 1))
    files = group_by_asset(list_data_files(uri, spans=hull))
    return any(
        file.touches(span.start_us, span.end_us - 1)
        for span in spans
        for file in files.get(span.asset, ())
    )


def _within(table: pa.Table, spans: Sequence[Span]) -> BoolArray:
    times = table["timestamp"].cast(pa.int64()).to_numpy()
    encoded = table["asset"].combine_chunks().dictionary_encode()
    names, codes = encoded.dictionary.to_pylist(), encoded.indices.to_numpy()
    inside = np.zeros(times.size, dtype=bool)
    for span in spans:
        if span.asset in names:
            mine = codes == names.index(span.asset)
            inside |= mine & (times >= span.start_us) & (times < span.end_us)
    return inside


def _time(microseconds: int) -> datetime:
    return EPOCH + timedelta(microseconds=min(max(microseconds, EARLIEST_US), LATEST_US))


def _write(time: datetime) -> str:
    return time.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _quote(text: str) -> str:
    escaped = text.replace("'", "''")
    return f"'{escaped}'"
