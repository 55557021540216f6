"""Log lines as text for people or as one JSON object each, with what they are about."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

from vae_anomaly.errors import ConfigError

VARIABLE = "VAE_ANOMALY_LOGS"
TEXT, JSON = FORMATS = ("text", "json")

JSON_FIELDS = "%(levelname)s %(name)s %(message)s"
RENAMED = {"levelname": "level", "name": "logger"}

_context: ContextVar[Mapping[str, str]] = ContextVar(
    "vae_anomaly_logs", default=MappingProxyType({})
)


@contextmanager
def log_context(**about: str) -> Iterator[None]:
    """Let the log lines inside say what they are about, such as `model_version`.

    Args:
        about: Fields by name; they are added to those of contexts around this one.
    """
    token = _context.set({**_context.get(), **about})
    try:
        yield
    finally:
        _context.reset(token)


def find_format() -> str:
    """Return how log lines are written, as the environment says: `text` or `json`.

    Raises:
        ConfigError: It says something else.
    """
    found = os.environ.get(VARIABLE) or TEXT
    if found not in FORMATS:
        raise ConfigError(
            f"Cannot write log lines: expected {VARIABLE} to be one of {', '.join(FORMATS)}, got "
            f"'{found}'. Correct it in the environment."
        )
    return found


def choose_format(setting: str) -> None:
    """Let a setting choose the format, here and in processes that are started from here.

    What the environment says already stays.

    Args:
        setting: `text` or `json`.
    """
    if not os.environ.get(VARIABLE):
        os.environ[VARIABLE] = setting


def make_formatter(text: str, times: str | None = None) -> logging.Formatter:
    """Make the formatter of the chosen format.

    Args:
        text: Format of a line of text.
        times: Format of its time.
    """
    return make_json_formatter() if find_format() == JSON else logging.Formatter(text, times)


def make_json_formatter() -> logging.Formatter:
    """Make a formatter that writes one JSON object per record.

    Its fields are `timestamp`, `level`, `logger` and `message`, what the context says, what the
    record was given as `extra`, and `exc_info` for a traceback.
    """
    from pythonjsonlogger.json import JsonFormatter

    class ContextFormatter(JsonFormatter):
        def add_fields(
            self,
            log_data: dict[str, Any],
            record: logging.LogRecord,
            message_dict: dict[str, Any],
        ) -> None:
            super().add_fields(log_data, record, message_dict)
            for name, value in _context.get().items():
                log_data.setdefault(name, value)

    return ContextFormatter(JSON_FIELDS, rename_fields=RENAMED, timestamp=True)
