"""Settings and records from plain values, with one readable error for all that is wrong."""

from __future__ import annotations

import json
import re
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from vae_anomaly.config.detector import RANGE
from vae_anomaly.errors import ConfigError
from vae_anomaly.wording import ask_nearest, find_nearest

SettingsT = TypeVar("SettingsT", bound=BaseModel)
RecordT = TypeVar("RecordT")

UNKNOWN = "extra_forbidden"
"""pydantic's type of the error that a setting is not known."""

NO_LIST = "tuple_type"
"""Its type of the error that a value is no list."""

MISCHOSEN = "literal_error"
"""Its type of the error that a value is none of those to choose from."""


def make_config(kind: type[SettingsT], content: dict[str, Any], *, origin: str) -> SettingsT:
    """Validate settings, turning pydantic's report into one readable error.

    Args:
        kind: The settings class.
        content: Nested settings.
        origin: Where they came from, for the message.

    Returns:
        The frozen settings.

    Raises:
        ConfigError: A setting is unknown or wrong.
    """
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        lines = "; ".join(
            f"'{'.'.join(str(part) for part in item['loc']) or 'settings'}': "
            + _describe_problem(dict(item), kind)
            for item in error.errors()
        ).replace("?;", "?")
        end = "" if lines.endswith("?") else "."
        raise ConfigError(f"Cannot use the settings of '{origin}': {lines}{end}") from error


def _describe_problem(item: dict[str, Any], kind: type[BaseModel]) -> str:
    """Say of one setting what is expected and what there is, with the nearest that would do."""
    if item["type"] == UNKNOWN:
        places = _name_settings(kind)
        near = find_nearest(str(item["loc"][-1]), places)
        return "no such setting" + (f"; did you mean '{places[near]}'?" if near else "")
    wanted, given = item["msg"].removeprefix("Value error, "), item["input"]
    wanted = re.sub("^Input should be (?=greater|less)", "expected a number ", wanted)
    wanted = wanted.replace("Input should be", "expected")
    if item["type"] == NO_LIST:
        wanted = f"expected a list{_show_list(item)}"
    if not _is_single(given):
        return wanted  # what is a table says more in its own settings
    text = f"{wanted}, got {given!r}"
    if item["type"] != MISCHOSEN:
        return text
    return text + ask_nearest(str(given), re.findall("'([^']*)'", item["ctx"]["expected"]))


def _show_list(item: dict[str, Any]) -> str:
    """Show the list that was meant, where a single value was given or limits are due."""
    if "ranges" in item["loc"]:
        return f" of two limits, as in {RANGE}"
    given = item["input"]
    return f", as in [{json.dumps(given, ensure_ascii=False)}]" if _is_single(given) else ""


def _is_single(given: Any) -> bool:
    return isinstance(given, str | int | float)


def _name_settings(kind: type[BaseModel], prefix: str = "") -> dict[str, str]:
    """Return where each setting stands, by its own name."""
    places: dict[str, str] = {}
    for name, field in kind.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            places |= _name_settings(inner, f"{prefix}{name}.")
        else:
            places[name] = prefix + name
    return places


def parse_record(kind: type[RecordT], content: Any) -> RecordT:
    """Build a frozen dataclass, nested ones included, from plain values.

    Args:
        kind: The dataclass.
        content: Nested plain values, as read from JSON; "nan" and "inf" stand for themselves.

    Returns:
        The record.

    Raises:
        ValueError: A field is missing or wrong.
    """
    return TypeAdapter(kind).validate_python(content)
