"""Decisions about the champion, as they are kept with the versions and in the table."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from vae_anomaly.operations.model_versions import CHAMPION, ModelVersion, name_move
from vae_anomaly.operations.promotion.comparison import Measured
from vae_anomaly.readings.promotions import FIGURES

PREFIX = "promotion_"
"""What the names of version tags begin with that keep a decision."""

PROMOTED = "promoted"
REFUSED = "refused"
WAITING = "waiting"
ROLLED_BACK = "rolled_back"
FIRST = "first"
MOVED = "moved"
VOID = "void"

MOVES = (PROMOTED, ROLLED_BACK)
"""Decisions that move the alias."""


@dataclass(frozen=True)
class PromotionRecord:
    """One decision about the champion.

    Attributes:
        promotion_id: What makes it this one: the same pair and readings give the same.
        time_us: When, microseconds since 1970, UTC; a move of the alias has this time.
        model_name: Registered model.
        challenger: Version that was to become champion, or did.
        champion: Version that was champion before; empty where none was.
        decision: `promoted`, `refused`, `waiting` (too few readings), `rolled_back`, `first`
            (there was none, and it was healthy), `moved` (found so: by another tool), or `void`
            (broken off, and overtaken by another move).
        forced: Whether a person moved the alias whatever the figures say.
        by: Who or what decided.
        reason: Why, for people.
        readings_version: Version of the readings compared on; -1 where none were.
        start_us: First reading compared on; None where none were.
        end_us: Last one.
        figures: Figures by name, as in `FIGURES`; none where nothing was compared.
    """

    promotion_id: str
    time_us: int
    model_name: str
    challenger: str
    champion: str
    decision: str
    forced: bool
    by: str
    reason: str
    readings_version: int = -1
    start_us: int | None = None
    end_us: int | None = None
    figures: dict[str, float] = field(default_factory=dict)

    @property
    def tag(self) -> str:
        """Name of the version tag that keeps it."""
        return f"{PREFIX}{self.promotion_id}"

    def write(self) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(self), ensure_ascii=False, sort_keys=True, allow_nan=False)

    def to_row(self) -> dict[str, Any]:
        """Return it as a row of the table."""
        row = asdict(self)
        figures = row.pop("figures")
        times = {"time": self.time_us, "start": self.start_us, "end": self.end_us}
        return {**row, **times, **{name: figures.get(name) for name in FIGURES}}


def read_records(versions: Iterable[ModelVersion]) -> tuple[PromotionRecord, ...]:
    """Read the decisions that versions keep, the oldest first."""
    found = [
        PromotionRecord(**json.loads(text))
        for version in versions
        for name, text in version.tags.items()
        if name.startswith(PREFIX)
    ]
    return tuple(sorted(found, key=lambda record: (record.time_us, record.promotion_id)))


def has_moved(record: PromotionRecord, versions: Iterable[ModelVersion]) -> bool:
    """Whether the alias was moved as a decision says."""
    move = name_move(CHAMPION, record.time_us)
    return any(
        version.version == record.challenger and move in version.tags for version in versions
    )


def list_figures(measured: Measured) -> dict[str, float]:
    """Name the figures of a comparison as the table does; what is not finite is left out."""
    weeks = max(measured.weeks, 1e-9)
    values: dict[str, float] = {
        "num_normal_steps": measured.num_normal,
        "num_agreed_steps": measured.num_agreed,
        "num_faults": measured.num_faults,
        "challenger_alarm_share": measured.alarm_share[0],
        "champion_alarm_share": measured.alarm_share[1],
        "challenger_events_per_week": measured.num_events[0] / weeks,
        "champion_events_per_week": measured.num_events[1] / weeks,
        "challenger_recall": measured.recall[0],
        "champion_recall": measured.recall[1],
        "challenger_matched_recall": measured.matched_recall[0],
        "pca_matched_recall": measured.matched_recall[1],
        "challenger_nll": measured.nll[0],
        "champion_nll": measured.nll[1],
    }
    for name in ("alarm_gap", "recall_gap", "pca_gap"):
        gap = getattr(measured, name)
        values |= {name: gap.value, f"{name}_low": gap.low, f"{name}_high": gap.high}
    return {name: float(value) for name, value in values.items() if math.isfinite(value)}
