"""Text that holds numbers, as numbers; only where the settings ask for it."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from vae_anomaly.config import ReadingsConfig
from vae_anomaly.domain import LABEL_PREFIX, Contract
from vae_anomaly.readings.columns import ColumnKind, column_kind
from vae_anomaly.readings.contract import OWN_PREFIX
from vae_anomaly.readings.parts import MadeColumn, RawPart, Tally, keep_column, make_columns

NUMBER_PATTERN = (
    r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$|^[+-]?(?i:nan|inf|infinity)$"
)
"""What is a number in text; a decimal comma is none."""

MOST = 0.5
"""A column of text is a sensor that nobody asked for where more than this share is numbers."""


def read_text_as_numbers(
    part: RawPart, config: ReadingsConfig, contract: Contract | None = None
) -> RawPart:
    """Turn sensors that are text into numbers; what is no number is missing and counted.

    Sensors are those of the contract or the settings. Where neither names any, they are the
    columns of text of which most of the first rows are numbers.

    Args:
        part: A part with text.
        config: Settings with `numeric_text`.
        contract: The sensors, where they are known.
    """
    if not config.numeric_text:
        return part
    expected = contract.sensor_names if contract is not None else config.sensors
    texts = [
        field.name
        for field in part.schema
        if column_kind(field.type) is ColumnKind.TEXT
        and field.name not in (config.timestamp, config.asset, *config.ignore)
        and not field.name.startswith((LABEL_PREFIX, OWN_PREFIX))
        and (not expected or field.name in expected)
    ]
    chosen = frozenset(texts if expected else _find_numeric(part, texts))
    if not chosen:
        return part
    tally = Tally()
    columns = [
        _as_numbers(field.name, tally) if field.name in chosen else keep_column(field)
        for field in part.schema
    ]
    return make_columns(part, columns, tally=tally)


def parse_numbers(column: pa.Array) -> tuple[pa.Array, int]:
    """Read text as numbers.

    Args:
        column: Text, dictionaries included; blanks are missing.

    Returns:
        Numbers, null where there are none, and how many texts are no numbers.

    Example:
        >>> numbers, num_bad = parse_numbers(pa.array(["1.5", " +2e1 ", "", "off"]))
        >>> numbers.to_pylist(), num_bad
        ([1.5, 20.0, None, None], 1)
    """
    if pa.types.is_dictionary(column.type):
        numbers, num_bad = parse_numbers(column.dictionary)
        found = numbers.take(column.indices)
        if num_bad:
            texts = _trim(column.dictionary).take(column.indices)
            num_bad = found.null_count - texts.null_count
        return found, num_bad
    text = _trim(column)
    try:
        return pc.cast(text, pa.float64()), 0
    except pa.ArrowInvalid:
        is_number = pc.match_substring_regex(text, NUMBER_PATTERN)
        numbers = pc.cast(pc.if_else(is_number, text, None), pa.float64())
        return numbers, numbers.null_count - text.null_count


def _trim(column: pa.Array) -> pa.Array:
    text = pc.utf8_trim_whitespace(pc.cast(column, pa.string()))
    return pc.if_else(pc.equal(text, ""), None, text)


def _find_numeric(part: RawPart, names: list[str]) -> list[str]:
    batches = part.batches(names) if names else iter(())
    head = next((batch for batch in batches if batch.num_rows), None)
    if head is None:
        return []
    return [name for name in names if _is_numeric(head.column(name))]


def _is_numeric(column: pa.Array) -> bool:
    numbers, num_bad = parse_numbers(column)
    num_good = len(numbers) - numbers.null_count
    return bool(num_good > MOST * (num_good + num_bad))


def _as_numbers(name: str, tally: Tally) -> MadeColumn:
    note = f"{{value}} of '{name}', taken as missing: text that is no number"

    def make(batch: pa.RecordBatch) -> pa.Array:
        numbers, num_bad = parse_numbers(batch.column(name))
        tally.count(note, num_bad)
        return numbers

    return MadeColumn(pa.field(name, pa.float64()), (name,), make)
