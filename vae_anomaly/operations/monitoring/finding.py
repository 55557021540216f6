"""What a check of the doctor found."""

from __future__ import annotations

from dataclasses import dataclass

OK, WARNING, FAILED = "ok", "warning", "failed"


@dataclass(frozen=True)
class Finding:
    """What was found of one thing.

    Attributes:
        check: What was looked at, in a word.
        status: `ok`, `warning` or `failed`.
        message: What is so.
        advice: What to do; empty where there is nothing to do, or the message says it.
    """

    check: str
    status: str
    message: str
    advice: str = ""
