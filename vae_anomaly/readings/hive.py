"""Folders whose names say what the files below them share, as in `asset=pump-1/`."""

from __future__ import annotations

from urllib.parse import unquote

import numpy as np
import pyarrow as pa

from vae_anomaly.config import ReadingsConfig
from vae_anomaly.domain import Contract
from vae_anomaly.readings.parts import MadeColumn, RawPart, keep_column, make_columns

DATE_KEYS = frozenset({"date", "year", "month", "day", "hour"})
"""Keys that only repeat what the times say; they are left out unless a setting names them."""

NULL_FOLDER = "__HIVE_DEFAULT_PARTITION__"
"""Value that stands for a missing one. Source: Apache Hive's default partition name."""


def add_folder_columns(
    part: RawPart, path: str, *, config: ReadingsConfig, contract: Contract | None
) -> RawPart:
    """Add what the names of the folders say as columns of text.

    A column of the file counts more than a folder of the same name. Sensors that are folders
    become numbers where they are numbers.

    Args:
        part: The file.
        path: Where it lies.
        config: Names of the time, the asset, the sensors.
        contract: The same, where it is known.

    Returns:
        The part with a column more per folder that is written `name=value`.
    """
    sensors = {*config.sensors, *(contract.sensor_names if contract is not None else ())}
    named = {config.timestamp, config.asset, *sensors, *config.aliases}
    if contract is not None:
        named |= {contract.timestamp, contract.asset or config.asset}
    there = frozenset(part.schema.names)
    found = {
        name: value
        for name, value in read_folders(path).items()
        if name not in there and (name in named or name.lower() not in DATE_KEYS)
    }
    if not found:
        return part
    columns = [keep_column(field) for field in part.schema]
    for name, value in found.items():
        number = _as_number(value) if config.aliases.get(name, name) in sensors else None
        columns.append(_constant(name, value if number is None else number))
    return make_columns(part, columns)


def read_folders(path: str) -> dict[str, str | None]:
    """Read the folders of a path that are written `name=value`; inner ones count more.

    Example:
        >>> read_folders("raw/asset=pump%2F1/date=2024-05-01/x.parquet")
        {'asset': 'pump/1', 'date': '2024-05-01'}
    """
    found = {}
    for folder in path.split("/")[:-1]:
        name, separator, value = folder.partition("=")
        if separator and name:
            text = unquote(value)
            found[unquote(name)] = None if text == NULL_FOLDER or not text else text
    return found


def _constant(name: str, value: str | float | None) -> MadeColumn:
    values = pa.array([value], pa.float64() if isinstance(value, float) else pa.string())
    field = pa.field(name, pa.dictionary(pa.int32(), values.type))

    def make(batch: pa.RecordBatch) -> pa.Array:
        codes = np.zeros(batch.num_rows, dtype=np.int32)
        return pa.DictionaryArray.from_arrays(codes, values)

    return MadeColumn(field, (), make)


def _as_number(value: str | None) -> float | None:
    try:
        return None if value is None else float(value)
    except ValueError:
        return None
