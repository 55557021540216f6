"""What a scoring writes down of itself, so that the next one goes on from there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from vae_anomaly.operations.pipeline_tables import LakeView
from vae_anomaly.operations.registry import ModelVersion
from vae_anomaly.readings import delta


@dataclass(frozen=True)
class ScoringMarks:
    """Application transactions of the table `scores`.

    Attributes:
        uri: The table `scores`.
        scored: Name of the mark of the version of `readings` that was scored last. Another model
            version, start of scoring or table of readings has another.
        alerts: Name of the mark that says whose scores the alert events come from.
        version: Version of `readings` that is scored now.
    """

    uri: str
    scored: str
    alerts: str
    version: int

    @classmethod
    def of(cls, view: LakeView, model: ModelVersion, *, start_us: int | None) -> ScoringMarks:
        """Name the marks of a scoring.

        Args:
            view: The lake.
            model: The model version that scores.
            start_us: Earlier steps are not scored; None scores all.
        """
        table = delta.table_id(view.lake.uri("readings"))
        start = "all" if start_us is None else start_us
        return cls(
            uri=view.lake.uri("scores"),
            scored=f"scored:{model.model_name}:{model.version}:{start}:{table}",
            alerts=f"alerts:{model.model_name}",
            version=view.version,
        )

    def find_scored(self) -> int | None:
        """Return the version of `readings` that was scored last, None where there is none."""
        return delta.find_mark(self.uri, self.scored)

    def have_alerts(self) -> bool:
        """Whether the alert events are those of these scores."""
        return delta.find_mark(self.uri, self.alerts) == self._owner

    @staticmethod
    def write_all(found: Iterable[tuple[ScoringMarks, bool]]) -> None:
        """Write down that all was scored, in one commit; nothing is written where that is known.

        Args:
            found: Marks, all of one table, and whether the alert events are those of their scores.
        """
        names: dict[str, int] = {}
        uri = ""
        for marks, with_alerts in found:
            uri = marks.uri
            if marks.find_scored() != marks.version:
                names[marks.scored] = marks.version
            if with_alerts and not marks.have_alerts():
                names[marks.alerts] = marks._owner  # noqa: SLF001 (of its own class)
        if names:
            delta.mark(uri, names)

    @property
    def _owner(self) -> int:
        """A number that stands for the model version, start and table."""
        digest = hashlib.sha256(self.scored.encode()).digest()
        return int.from_bytes(digest[:8], "big") >> 1
