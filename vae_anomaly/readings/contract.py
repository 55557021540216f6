"""The contract: which columns are sensors; inferred or asked for once, checked ever after."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vae_anomaly.config import ReadingsConfig
from vae_anomaly.domain import LABEL_PREFIX, Contract, Sensor
from vae_anomaly.errors import ContractError
from vae_anomaly.readings.columns import ColumnKind, RawColumn
from vae_anomaly.readings.parts import GIVEN_COLUMN, PROBLEM_COLUMN
from vae_anomaly.wording import ask_nearest, find_nearest

OWN_PREFIX = "_"
"""Columns named so are bookkeeping of tables; they are never inputs."""

SENSOR_KINDS = (ColumnKind.NUMBER, ColumnKind.EMPTY)

TEXT = "text"
"""Reason to leave out a column of texts."""

INGEST = "ingest"
"""Purpose of a check whose settings can still be changed, as those of a detector cannot."""

USUAL_ASSET = ReadingsConfig().asset
"""Name of the asset column that is looked for without being asked for."""

MAX_NAMES = 12
"""Names listed in a message before "and N more"."""


def infer_contract(
    columns: Mapping[str, RawColumn],
    *,
    timestamp: str,
    asset: str,
    sensors: Sequence[str] = (),
    ignore: Sequence[str] = (),
    units: Mapping[str, str] | None = None,
) -> Contract:
    """Decide which columns are sensors, where no contract was written down yet.

    Args:
        columns: Columns of the input.
        timestamp: Name of the time column.
        asset: Name of the asset column; the input may lack it where it is the usual name.
        sensors: Columns asked for; empty takes every column of numbers but `label_*`.
        ignore: Columns to leave out.
        units: Unit of each sensor.

    Returns:
        The contract. Its `period_s` is NaN until the times have been read.

    Raises:
        ContractError: There is no time column, no sensor, or the asset column or a sensor
            asked for is missing, or a sensor is text or a label.
    """
    _check_timestamp(columns, timestamp)
    require_asset(columns, asset, purpose="read readings")
    roles = {timestamp: "the time column", asset: "the asset column"}
    is_asked = bool(sensors)
    if is_asked:
        _check_asked(columns, sensors, roles=roles, ignore=ignore)
    reasons = {
        name: _reason_to_ignore(column, ignore=ignore)
        for name, column in columns.items()
        if name not in roles and name not in (PROBLEM_COLUMN, GIVEN_COLUMN)
    }
    if not sensors:
        sensors = [name for name, reason in reasons.items() if not reason]
    if not sensors:
        raise ContractError(
            "Cannot read readings: expected at least one column of numbers beside the time "
            f"column, got columns {list_names(columns)}. Check the column types."
        )
    for name in sensors:
        _check_kinds(
            columns[name],
            purpose="read readings",
            way_out=", or leave it out of the sensors in the settings"
            if is_asked
            else ", or ignore it in the settings",
        )
    ignored = {
        name: reason or "not among the sensors asked for"
        for name, reason in reasons.items()
        if name not in sensors
    }
    units = units or {}
    return Contract(
        sensors=tuple(Sensor(name, units.get(name)) for name in sensors),
        period_s=math.nan,
        timestamp=timestamp,
        asset=asset if asset in columns else None,
        ignored=ignored,
    )


def require_asset(columns: Iterable[str], asset: str, *, purpose: str) -> None:
    """Refuse input without the asset column that was asked for.

    Args:
        columns: Names of the columns of the input.
        asset: Name asked for; the usual one was asked for by nobody.
        purpose: What cannot be done otherwise.

    Raises:
        ContractError: There is no such column.
    """
    if asset == USUAL_ASSET or asset in (names := tuple(columns)):
        return
    raise ContractError(
        f"Cannot {purpose}: expected the asset column '{asset}', got columns {list_names(names)}. "
        "Name the column with --asset, or asset in the settings of the readings; leave it out "
        "where all rows are of one asset" + (ask_nearest(asset, names) or ".")
    )


def check_contract(columns: Mapping[str, RawColumn], contract: Contract, *, purpose: str) -> None:
    """Check the columns of new input against a contract.

    Args:
        columns: Columns of the input.
        contract: What the input must look like.
        purpose: What cannot be done otherwise, such as "score with model version 12".

    Raises:
        ContractError: The time column, the asset column or a sensor is missing, or a sensor
            is not a column of numbers.
    """
    _check_timestamp(columns, contract.timestamp, purpose=purpose)
    if contract.asset is not None and contract.asset not in columns:
        raise ContractError(
            f"Cannot {purpose}: expected the asset column '{contract.asset}', got columns "
            f"{list_names(columns)}. Add it, so that each row says which asset it is from"
            + (ask_nearest(contract.asset, columns) or ".")
        )
    _check_present(
        columns,
        contract.sensor_names,
        purpose=purpose,
        advice="or rename the columns that are theirs"
        + (", or set missing_sensors = 'missing'" if purpose == INGEST else ""),
    )
    for name in contract.sensor_names:
        _check_kinds(columns[name], purpose=purpose, way_out="")


def check_settings(contract: Contract, config: ReadingsConfig) -> None:
    """Refuse settings that no longer say what the contract of the lake says.

    Args:
        contract: The contract.
        config: The settings of the readings.

    Raises:
        ContractError: They ask for something else.
    """
    names, period_s = contract.sensor_names, config.period_s or contract.period_s
    kept = tuple(name for name in names if name not in config.ignore)
    asset = (contract.asset or USUAL_ASSET) if config.asset == USUAL_ASSET else config.asset
    for what, written, asked in (
        ("sensors", sorted(names), sorted(config.sensors or names)),
        ("sensors, without the ignored ones,", names, kept),
        ("time column", contract.timestamp, config.timestamp),
        ("asset column", contract.asset or asset, asset),
        ("period in seconds", contract.period_s, period_s),
    ):
        if written != asked:
            raise ContractError(
                f"Cannot ingest: expected the {what} of the contract of the lake, "
                f"{_write_value(written)}, got {_write_value(asked)} in the settings. "
                "Use another root for other readings, or ask for the same again."
            )


def note_unknown_columns(columns: Mapping[str, RawColumn], contract: Contract) -> tuple[str, ...]:
    """Note the columns that a contract does not know and that are left out."""
    known = {contract.timestamp, contract.asset, *contract.sensor_names, *contract.ignored}
    extra = [
        name
        for name in columns
        if name not in known and not name.startswith((LABEL_PREFIX, OWN_PREFIX))
    ]
    if not extra:
        return ()
    return (f"columns the contract does not know are left out: {list_names(extra)}",)


def note_unknown_names(
    config: ReadingsConfig, columns: Iterable[str], contract: Contract
) -> tuple[str, ...]:
    """Note what the settings ignore or give a unit to and what is not there.

    Args:
        config: The settings of the readings.
        columns: Names of the columns of the input; none where the contract names them all.
        contract: The contract, which may know columns that this input lacks.
    """
    known = (*columns, contract.timestamp, *contract.sensor_names, *contract.ignored)
    return tuple(
        f"{setting} in the settings of the readings names '{name}', which is no column"
        + ask_nearest(name, known)
        for setting, names in (("units", config.units), ("ignore", config.ignore))
        for name in names
        if name not in {*known, contract.asset}
    )


def contract_to_dict(contract: Contract) -> dict[str, Any]:
    """Return the contract as plain values, ready for JSON."""
    return {
        "sensors": [{"name": sensor.name, "unit": sensor.unit} for sensor in contract.sensors],
        "period_s": contract.period_s,
        "timestamp": contract.timestamp,
        "asset": contract.asset,
        "ignored": dict(contract.ignored),
    }


def contract_from_dict(content: Mapping[str, Any]) -> Contract:
    """Return the contract that `contract_to_dict` wrote.

    Raises:
        ContractError: The content is not a contract.
    """
    try:
        return Contract(
            sensors=tuple(
                Sensor(str(item["name"]), None if item["unit"] is None else str(item["unit"]))
                for item in content["sensors"]
            ),
            period_s=float(content["period_s"]),
            timestamp=str(content["timestamp"]),
            asset=None if content["asset"] is None else str(content["asset"]),
            ignored={str(name): str(reason) for name, reason in content["ignored"].items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ContractError(
            "Cannot read the contract: expected sensors, period_s, timestamp, asset and ignored, "
            f"got something else ({error!r}). Restore the file or write it anew."
        ) from error


def list_names(names: Iterable[str]) -> str:
    """Write names as a tuple, the first dozen where there are more, and none as a word.

    Example:
        >>> list_names(["flow"]), list_names([])
        ("('flow',)", 'none')
    """
    every = tuple(names)
    if not every:
        return "none"
    if len(every) <= MAX_NAMES:
        return repr(every)
    shown = ", ".join(repr(name) for name in every[:MAX_NAMES])
    return f"({shown}, and {len(every) - MAX_NAMES} more)"


def _write_value(value: str | float | Sequence[str]) -> str:
    return repr(value) if isinstance(value, str | float) else list_names(value)


def _check_timestamp(
    columns: Mapping[str, RawColumn], timestamp: str, *, purpose: str = "read readings"
) -> None:
    if timestamp in columns:
        return
    times = [name for name, column in columns.items() if column.kind is ColumnKind.TIME]
    hint = f"'{times[0]}' holds times: set timestamp = '{times[0]}'" if times else "Name it"
    raise ContractError(
        f"Cannot {purpose}: expected a time column '{timestamp}', got columns "
        f"{list_names(columns)}. {hint} in the settings of the readings, or with --timestamp."
    )


def _check_asked(
    columns: Mapping[str, RawColumn],
    sensors: Sequence[str],
    *,
    roles: Mapping[str, str],
    ignore: Sequence[str],
) -> None:
    for name in sensors:
        role = roles.get(name) or (
            "a label" if name.startswith(LABEL_PREFIX) else "ignored" if name in ignore else ""
        )
        if role or sensors.count(name) > 1:
            raise ContractError(
                f"Cannot use column '{name}' as a sensor: expected sensors named once that are "
                f"nothing else, got one that is {role or 'named twice'}. Check the sensor list "
                "in pipeline.toml."
            )
    _check_present(columns, sensors, purpose="read readings", advice="or ask for other sensors")


def _check_present(
    columns: Mapping[str, RawColumn], sensors: Sequence[str], *, purpose: str, advice: str
) -> None:
    missing = [name for name in sensors if name not in columns]
    if missing:
        found = [name for name in sensors if name in columns]
        got = (
            f"{list_names(found)}; missing {list_names(missing)}"
            if found
            else f"none of them, but columns {list_names(columns)}"
        )
        raise ContractError(
            f"Cannot {purpose}: expected sensors {list_names(sensors)}, got {got}. Add them, null "
            f"where nothing was measured, {advice}"
            + (_ask_meant(missing, columns, sensors) or ".")
        )


def _ask_meant(
    missing: Sequence[str], columns: Mapping[str, RawColumn], sensors: Sequence[str]
) -> str:
    """Ask whether another column is the first missing sensor that one is near to."""
    others = [name for name in columns if name not in sensors]
    near = ((name, find_nearest(name, others)) for name in missing)
    pair = next((pair for pair in near if pair[1]), None)
    return f"; did you mean '{pair[1]}' by '{pair[0]}'?" if pair else ""


def _check_kinds(column: RawColumn, *, purpose: str, way_out: str) -> None:
    wrong = next(
        (c for c in (column, column.clash) if c is not None and c.kind not in SENSOR_KINDS), None
    )
    if wrong is None:
        return
    what = f"text ({wrong.type})" if wrong.kind is ColumnKind.TEXT else wrong.type
    other = column if wrong is not column else column.clash
    elsewhere = f" and {other.type} in {other.part}" if other is not None else ""
    raise ContractError(
        f"Cannot {purpose}: expected numbers in sensor column '{column.name}', got {what} "
        f"in {wrong.part}{elsewhere}. Convert it to numbers{way_out}."
    )


def _reason_to_ignore(column: RawColumn, *, ignore: Sequence[str]) -> str:
    """Return why a column is no sensor by itself, "" where it is one."""
    if column.name in ignore:
        return "ignored by the settings"
    if column.name.startswith(LABEL_PREFIX):
        return "label"
    if column.name.startswith(OWN_PREFIX):
        return "name starts with '_'"
    kinds = {column.kind, column.clash.kind if column.clash is not None else column.kind}
    if ColumnKind.NUMBER in kinds:
        return ""
    if column.kind is ColumnKind.EMPTY:
        return "no values and no type"
    return TEXT if column.kind is ColumnKind.TEXT else f"type {column.type}"
