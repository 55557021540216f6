"""Settings of the comparison of a challenger with the champion."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from vae_anomaly.config.base import Settings


class PromotionConfig(Settings):
    """When a newly trained detector replaces the champion.

    Attributes:
        automatic: Whether a training ends with the comparison, and a better challenger becomes
            champion at once. Without it, a person calls for it.
        min_rows: Normal readings, later than both training periods, below which nothing is
            decided.
        max_rows: Readings to compare on at most: of more the latest are taken.
        num_faults: Faults to inject into them, the same for all that are compared.
        recall_tolerance: Share of these faults that the challenger may miss more than the
            champion, or than PCA, at the lower end of the 90 % interval of the difference.
        alarm_tolerance: Share of normal steps that the challenger may flag more than the
            champion, at the upper end of the 90 % interval of the difference.
    """

    automatic: bool = True
    min_rows: Annotated[int, Field(ge=200)] = 1_000
    max_rows: Annotated[int, Field(ge=1_000)] = 100_000
    num_faults: Annotated[int, Field(ge=50, le=5_000)] = 500
    recall_tolerance: Annotated[float, Field(ge=0, lt=1)] = 0.05
    alarm_tolerance: Annotated[float, Field(ge=0, lt=1)] = 0.01
