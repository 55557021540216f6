"""What was decided about the champion."""

from __future__ import annotations

from dataclasses import dataclass, field

NOTHING = "nothing"
"""Decision where the version is champion already."""


@dataclass(frozen=True)
class PromotionResult:
    """What was decided about the champion.

    Attributes:
        model_name: Registered model.
        challenger: Version that was looked at.
        champion: Version that is champion now; empty where none is.
        decision: `promoted`, `refused`, `waiting`, `rolled_back`, or `nothing`.
        reason: Why, with the figures, in words.
        forced: Whether a person moved the alias whatever the figures say.
        figures: Figures of the comparison by name; none where nothing was compared.
        skipped: Whether this was decided before, on the same readings, so that nothing was done.
    """

    model_name: str
    challenger: str
    champion: str
    decision: str
    reason: str
    forced: bool = False
    figures: dict[str, float] = field(default_factory=dict)
    skipped: bool = False
