"""Whatever shape the input has, as wide parts of numbers: one adaptor after the other."""

from __future__ import annotations

import pyarrow as pa

from vae_anomaly.config import ReadingsConfig
from vae_anomaly.domain import LABEL_PREFIX, Contract
from vae_anomaly.errors import ContractError
from vae_anomaly.readings.columns import ColumnKind, column_kind
from vae_anomaly.readings.contract import OWN_PREFIX, list_names
from vae_anomaly.readings.long_form import pivot_long
from vae_anomaly.readings.numeric_text import read_text_as_numbers
from vae_anomaly.readings.parts import (
    GIVEN_COLUMN,
    PROBLEM_COLUMN,
    MadeColumn,
    RawPart,
    Tally,
    keep_column,
    make_columns,
)
from vae_anomaly.readings.time_shapes import read_times_as_utc


def adapt(part: RawPart, *, config: ReadingsConfig, contract: Contract | None = None) -> RawPart:
    """Bring a part into the shape that everything after it reads.

    Args:
        part: A file or table as it came.
        config: What shapes there may be.
        contract: What the input must look like, where that is known.

    Returns:
        A wide part. Nothing of it is read before its batches are, but for what a long part
        needs to know its sensors.

    Raises:
        ContractError: The part has not the shape that the settings ask for.
        ReadingsError: It cannot be read.
    """
    part = _drop_own_columns(part)
    part = rename_columns(part, config)
    part = pivot_long(part, config, contract)
    part = read_text_as_numbers(part, config, contract)
    part = read_times_as_utc(part, config, contract)
    return match_sensors(part, config, contract) if contract is not None else part


def rename_columns(part: RawPart, config: ReadingsConfig) -> RawPart:
    """Read columns under the names that the settings give them.

    Args:
        part: The part.
        config: Settings with `aliases`; an alias that is ignored too does not count.

    Returns:
        The part with the new names, and a note for each.

    Raises:
        ContractError: Two columns would have one name. A column without a type, which never
            held a value, gives way to the other.
    """
    fields = {field.name: field for field in part.schema}
    aliases = {
        old: new
        for old, new in config.aliases.items()
        if old in fields and old != new and old not in config.ignore
    }
    if not aliases:
        return part
    sources: dict[str, str] = {}
    for old, field in fields.items():
        new = aliases.get(old, old)
        other = sources.get(new)
        if other is None or pa.types.is_null(fields[other].type):
            sources[new] = old
        elif not pa.types.is_null(field.type):
            raise ContractError(
                f"Cannot read {part.name}: expected one column to be read as '{new}', got "
                f"'{other}' and '{old}'. Ignore one of them in the settings of the readings."
            )
    columns = [keep_column(fields[old].with_name(new), name=old) for new, old in sources.items()]
    used = [(old, new) for new, old in sources.items() if new != old]
    notes = [f"column '{old}' is read as '{new}'" for old, new in used]
    return make_columns(part, columns, tally=Tally(notes))


def match_sensors(part: RawPart, config: ReadingsConfig, contract: Contract) -> RawPart:
    """Do with new and missing sensors what the settings say.

    Args:
        part: A wide part.
        config: Settings with `new_sensors` and `missing_sensors`.
        contract: Which sensors there are to be.

    Returns:
        The part; sensors that it lacks and may lack are columns without values.

    Raises:
        ContractError: It has a sensor that the contract does not know, and must not.
    """
    there = frozenset(part.schema.names)
    if config.new_sensors == "refuse":
        new = [field.name for field in part.schema if _is_new(field, contract, config)]
        if new:
            raise ContractError(
                f"Cannot read {part.name}: expected no sensors but those of the contract, got "
                f"{list_names(new)} too. Ignore them in the settings of the readings, set "
                "new_sensors = 'note' there, or use another lake or detector for them."
            )
    missing = [name for name in contract.sensor_names if name not in there]
    if config.missing_sensors == "refuse" or not missing:
        return part
    if len(missing) == len(contract.sensors):
        return part  # a file of something else altogether is refused by the contract
    columns = [keep_column(field) for field in part.schema]
    columns += [_nothing(name) for name in missing]
    note = f"sensors that a file lacks are missing there: {list_names(missing)}"
    return make_columns(part, columns, tally=Tally([note]))


def _is_new(field: pa.Field, contract: Contract, config: ReadingsConfig) -> bool:
    known = {contract.timestamp, contract.asset, config.asset, *contract.sensor_names}
    return (
        column_kind(field.type) is ColumnKind.NUMBER
        and field.name not in known
        and field.name not in contract.ignored
        and field.name not in config.ignore
        and not field.name.startswith((LABEL_PREFIX, OWN_PREFIX))
    )


def _drop_own_columns(part: RawPart) -> RawPart:
    """Leave out columns named like those that adaptors add."""
    own = (PROBLEM_COLUMN, GIVEN_COLUMN)
    if not any(name in own for name in part.schema.names):
        return part
    return make_columns(part, [keep_column(f) for f in part.schema if f.name not in own])


def _nothing(name: str) -> MadeColumn:
    return MadeColumn(pa.field(name, pa.null()), (), lambda batch: pa.nulls(batch.num_rows))
