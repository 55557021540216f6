"""The latest decisions about the champion, as the report page shows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from vae_anomaly.wording import format_plural

MAX_PROMOTIONS = 10
"""Latest decisions on the page; the table has all."""

TONES = {"promoted": "good", "first": "good", "refused": "bad", "rolled_back": "medium"}

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class PromotionLine:
    """One decision about the champion.

    Attributes:
        time_us: When, microseconds since 1970, UTC.
        challenger: Version looked at.
        champion: Champion before; empty where none was.
        decision: What was decided, in words.
        tone: How it is shown.
        by: Who or what decided.
        basis: What it was compared on; empty where nothing was.
        reason: Why, with the figures.
    """

    time_us: int
    challenger: str
    champion: str
    decision: str
    tone: str
    by: str
    basis: str
    reason: str


def make_promotion_lines(promotions: pa.Table) -> tuple[PromotionLine, ...]:
    """Take the latest decisions of the table `promotions`, the newest first."""
    latest = promotions.slice(max(promotions.num_rows - MAX_PROMOTIONS, 0))
    return tuple(_make_line(row) for row in reversed(latest.to_pylist()))


def _make_line(row: Mapping[str, Any]) -> PromotionLine:
    basis = ""
    if row["num_normal_steps"] is not None:
        basis = (
            f"{format_plural(int(row['num_normal_steps']), 'normal step')}, "
            f"{format_plural(int(row['num_faults']), 'fault')}"
        )
    words = row["decision"].replace("_", " ")
    return PromotionLine(
        time_us=(row["time"] - EPOCH) // timedelta(microseconds=1),
        challenger=row["challenger"],
        champion=row["champion"],
        decision=f"{words}, forced" if row["forced"] else words,
        tone=TONES.get(row["decision"], "plain"),
        by=row["by"],
        basis=basis,
        reason=row["reason"],
    )
