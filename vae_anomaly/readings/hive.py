"""Folders whose names say what the files below them share, as in `asset=pump-1/`."""

from __future__ import annotations

import json
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
    sensors, named = _find_named(config, contract)
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


def describe_folders(path: str, *, config: ReadingsConfig, contract: Contract | None) -> str:
    """Write down what the folders say that is the time, the asset or a sensor; "" where nothing.

    Files of equal bytes in folders of different assets are different readings: what tells
    contents apart has to know this.

    Args:
        path: Where the file lies.
        config: Names of the time, the asset, the sensors.
        contract: The same, where it is known.

    Example:
        >>> describe_folders("asset=p/site=x/f.parquet", config=ReadingsConfig(), contract=None)
        '{"asset": "p"}'
    """
    _, named = _find_named(config, contract)
    found = {name: value for name, value in read_folders(path).items() if name in named}
    return json.dumps(found, sort_keys=True) if found else ""


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


def _find_named(
    config: ReadingsConfig, contract: Contract | None
) -> tuple[frozenset[str], frozenset[str]]:
    """Return the sensors, and all names that settings or contract give to columns."""
    sensors = frozenset(config.sensors)
    named = frozenset((config.timestamp, config.asset, *config.aliases))
    if contract is not None:
        sensors |= frozenset(contract.sensor_names)
        named |= {contract.timestamp, contract.asset or config.asset}
    return sensors, named | sensors


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
