"""Which of many spans overlap one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, Protocol, TypeVar

import numpy as np

from vae_anomaly.readings.alerting_layout import EVERY_ASSET


class Spanned(Protocol):
    """Something that is about a span `[start_us, end_us)` of an asset, or of all (`*`)."""

    @property
    def asset(self) -> str:
        """The asset."""

    @property
    def start_us(self) -> int:
        """Microseconds since 1970."""

    @property
    def end_us(self) -> int:
        """Microseconds since 1970, exclusive."""


SpannedT = TypeVar("SpannedT", bound=Spanned)


class Overlaps(Generic[SpannedT]):
    """Finds spans by asset and time.

    Args:
        items: The spans; they are found in the order given.
    """

    def __init__(self, items: Iterable[SpannedT]) -> None:
        by_asset: dict[str, list[SpannedT]] = {}
        for item in items:
            by_asset.setdefault(item.asset, []).append(item)
        self._found = {
            asset: (mine, np.array([(item.start_us, item.end_us) for item in mine]).T)
            for asset, mine in by_asset.items()
        }

    def find(self, asset: str, start_us: int, end_us: int) -> tuple[SpannedT, ...]:
        """Return the spans of an asset, and those of all, that overlap `[start_us, end_us)`."""
        found: list[SpannedT] = []
        for name in dict.fromkeys((EVERY_ASSET, asset)):
            if name in self._found:
                mine, (starts, ends) = self._found[name]
                places = np.flatnonzero((starts < end_us) & (start_us < ends))
                found += [mine[place] for place in places]
        return tuple(found)
