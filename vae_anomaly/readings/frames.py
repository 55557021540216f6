"""pandas frames as Arrow tables, without pandas' guesses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from vae_anomaly.errors import ReadingsError

if TYPE_CHECKING:
    import pandas as pd


def make_table(frame: pd.DataFrame, *, timestamp: str) -> pa.Table:
    """Turn a pandas frame into an Arrow table.

    An index level named `timestamp`, or a `DatetimeIndex` of any name where the frame has no
    such column, becomes the time column; other named levels become columns as well.

    Args:
        frame: The frame; it is not changed.
        timestamp: Name of the time column.

    Returns:
        One Arrow column per column; a column of mixed objects becomes text.

    Raises:
        ReadingsError: A column mixes times with and without a zone.
    """
    flat = _with_index(frame, timestamp)
    names = [str(name) for name in flat.columns]
    arrays = [_make_array(flat.iloc[:, i], name) for i, name in enumerate(names)]
    return pa.Table.from_arrays(arrays, names=names)


def _with_index(frame: pd.DataFrame, timestamp: str) -> pd.DataFrame:
    levels = [name for name in frame.index.names if name is not None]
    wanted = [name for name in levels if name not in frame.columns]
    if timestamp in frame.columns or timestamp in levels:
        return frame.reset_index(level=wanted) if wanted else frame
    if frame.index.nlevels == 1 and frame.index.dtype.kind == "M":
        return frame.rename_axis(index=timestamp).reset_index()
    return frame


def _make_array(column: pd.Series[Any], name: str) -> pa.Array:
    if column.dtype == object:
        _check_zones(column, name)
    zone = getattr(column.dtype, "tz", None)
    if zone is not None:
        utc = pa.array(column.dt.tz_convert(None).to_numpy(), from_pandas=True)
        return utc.cast(pa.timestamp(utc.type.unit, "UTC"))
    try:
        array = pa.array(column, from_pandas=True)
    except (pa.ArrowException, TypeError, OverflowError):
        text = column.map(str, na_action="ignore")
        array = pa.array(text, type=pa.string(), from_pandas=True)
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _check_zones(column: pd.Series[Any], name: str) -> None:
    """Refuse objects of which some know their zone and some do not; Arrow would drop the zone."""
    zoned = {value.tzinfo is not None for value in column.dropna() if hasattr(value, "tzinfo")}
    if len(zoned) > 1:
        raise ReadingsError(
            f"Cannot read column '{name}' of the data frame: expected times that all have a zone "
            "or all have none, got mixed time zones. Convert them with "
            "pandas.to_datetime(..., utc=True) after giving the others their zone."
        )
