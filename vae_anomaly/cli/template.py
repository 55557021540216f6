"""`pipeline.toml` as text: every setting with its meaning, defaults as comments."""

from __future__ import annotations

import inspect
import json
import math
import re
import textwrap
from typing import Any

from pydantic import BaseModel

from vae_anomaly.config import PipelineConfig

HEADER = """\
# Settings of one pipeline. A line such as "#seed = 0" shows a default: take the "#" away and
# change the value to set it otherwise. Relative paths are taken from the folder of this file.
"""

COMMENT_WIDTH = 96
NO_DEFAULT = "not set"


def make_template(config: PipelineConfig | None = None) -> str:
    """Write settings as commented TOML.

    Args:
        config: Settings that differ from the defaults are set, all others are comments; without
            it all are comments.

    Returns:
        TOML that reads back as these settings.
    """
    chosen = PipelineConfig() if config is None else config
    return HEADER + "\n".join(_write_section(chosen, PipelineConfig(), path=())) + "\n"


def _write_section(chosen: BaseModel, default: BaseModel, *, path: tuple[str, ...]) -> list[str]:
    """Write the settings of a section, then the sections inside it, as TOML wants it."""
    about, meanings = _read_docstring(type(chosen))
    lines = ["", *_comment(about), f"[{'.'.join(path)}]"] if path else []
    sections = []
    for name in type(chosen).model_fields:
        value, usual = getattr(chosen, name), getattr(default, name)
        if isinstance(value, BaseModel):
            sections += _write_section(value, usual, path=(*path, name))
        else:
            comment = _comment(meanings.get(name, ""))
            lines += [*([""] if comment else []), *comment, _write_setting(name, value, usual)]
    return [*lines, *sections]


def _write_setting(name: str, value: Any, usual: Any) -> str:
    if value is None:
        return f"#{name} =   # {NO_DEFAULT}"
    return f"{'#' if value == usual else ''}{name} = {_write_value(value)}"


def _write_value(value: Any) -> str:
    """Write a value as TOML; JSON text, numbers and truth values are TOML too."""
    if isinstance(value, BaseModel):
        return _write_value(value.model_dump(mode="json", exclude_defaults=True))
    if isinstance(value, dict):
        pairs = [f"{_quote(key)} = {_write_value(item)}" for key, item in value.items()]
        return "{ " + ", ".join(pairs) + " }" if pairs else "{}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_write_value(item) for item in value)}]"
    if isinstance(value, float) and math.isinf(value):
        return str(value)
    return _quote(value)


def _quote(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, COMMENT_WIDTH, initial_indent="# ", subsequent_indent="# ")


def _read_docstring(kind: type) -> tuple[str, dict[str, str]]:
    """Take apart what a settings class says of itself and of each attribute."""
    about, _, attributes = (inspect.getdoc(kind) or "").partition("\nAttributes:\n")
    found = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", attributes, flags=re.MULTILINE)
    return " ".join(about.split()), {name: " ".join(text.split()) for name, text in found}
