"""The champion changes for a better one, by a person's word, or back; each once, with reasons."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field, replace

from vae_anomaly.config import PipelineConfig
from vae_anomaly.errors import PromotionError
from vae_anomaly.operations.model_versions import explain_decision
from vae_anomaly.operations.pipeline_tables import LakeView, open_lake
from vae_anomaly.operations.promotion.comparison import TooFewRows, compare
from vae_anomaly.operations.promotion.decision import describe, describe_wait, format_time, judge
from vae_anomaly.operations.promotion.history import find_champion, find_earlier, keep_in_line
from vae_anomaly.operations.promotion.records import (
    MOVES,
    PROMOTED,
    REFUSED,
    ROLLED_BACK,
    WAITING,
    PromotionRecord,
    list_figures,
    read_records,
)
from vae_anomaly.operations.registry import (
    CHALLENGER,
    CHAMPION,
    DECISION_TAG,
    ModelVersion,
    open_registry,
)
from vae_anomaly.readings import delta
from vae_anomaly.readings.lock import hold_lock
from vae_anomaly.readings.tables import Lake

MAX_WAITING = 5
"""Versions that wait for readings and are looked at again, the newest first."""

NOTHING = "nothing"
"""Decision where the challenger is champion already."""


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


def promote_challenger(config: PipelineConfig, *, by: str = "comparison") -> PromotionResult:
    """Compare the newest version with the champion, and move the alias where it is as good.

    The same pair on the same readings is decided once. Where the newest version still waits for
    readings, those that waited before it are compared, so that frequent trainings do not put the
    decision off for ever. A version that was champion before does not become it again by itself:
    somebody had a reason to take it back.

    Args:
        config: The pipeline.
        by: Who or what asks.

    Returns:
        What was decided.

    Raises:
        TableError: Nothing was ingested yet, or the lake cannot be read or written.
        RegistryError: There is no challenger, or the registry cannot be reached.
        ContractError: The lake has other sensors than a detector.
    """
    open_lake(config, verb="compare a challenger")  # said before anything is made
    with hold_lock(config.lake.root, "promote"):
        return _Desk(config, by).compare_newest()


def promote_version(
    config: PipelineConfig, reference: str, *, by: str, reason: str = "", force: bool = False
) -> PromotionResult:
    """Make a version champion if it is as good as the champion, or in any case with `force`.

    Args:
        config: The pipeline.
        reference: Alias, number or address of the version.
        by: Who asks.
        reason: Why; needed with `force`.
        force: Move the alias without a comparison.

    Returns:
        What was decided; a refusal is a result, not an error.

    Raises:
        PromotionError: `force` without a reason.
        TableError: Nothing was ingested yet, or the lake cannot be read or written.
        RegistryError: There is no such version, or the registry cannot be reached.
    """
    if force and not reason.strip():
        raise PromotionError(
            f"Cannot force version '{reference}' to be champion: expected a reason, got none. "
            'Give --reason "..."; it is kept with the version.'
        )
    if not force:
        open_lake(config, verb="compare a version")
    with hold_lock(config.lake.root, "promote"):
        desk = _Desk(config, by)
        if force:
            return desk.force(reference, reason=reason)
        return desk.compare(reference, may_return=True, note=reason)


def roll_back(config: PipelineConfig, *, by: str, reason: str = "") -> PromotionResult:
    """Make the champion before this one the champion again; a second time goes back further.

    Args:
        config: The pipeline.
        by: Who asks.
        reason: Why.

    Returns:
        What was done.

    Raises:
        PromotionError: There was no champion before this one.
        RegistryError: The registry cannot be reached.
    """
    with hold_lock(config.lake.root, "promote"):
        return _Desk(config, by).roll_back(reason=reason)


def note_moves(config: PipelineConfig) -> None:
    """Write down in the table what the registry knows of the champion, such as the first one.

    Args:
        config: The pipeline.

    Raises:
        RegistryError: The registry cannot be reached.
        TableError: The table cannot be read or written.
    """
    with hold_lock(config.lake.root, "promote"):
        _Desk(config, "")


class _Desk:
    """Registry and lake, in line with one another, held by one run.

    Args:
        config: The pipeline.
        by: Who or what asks.
    """

    def __init__(self, config: PipelineConfig, by: str) -> None:
        self._config, self._by = config, by
        self._registry = open_registry(config.registry)
        self._lake = Lake(config.lake.root)
        self._name = config.registry.model_name
        self._versions = self._keep_in_line()

    def compare_newest(self) -> PromotionResult:
        """Decide about the challenger, or the newest before it that need not wait any more."""
        result = self.compare(CHALLENGER, may_return=False)
        if result.decision != WAITING:
            return result
        last = {one.challenger: one for one in read_records(self._versions)}
        waiting = [
            one.version
            for one in self._versions
            if one.version in last
            and one.version != result.challenger
            and last[one.version].decision == WAITING
            and last[one.version].champion == find_champion(self._versions)
        ]
        for version in waiting[:MAX_WAITING]:
            other = self.compare(version, may_return=False)
            if other.decision != WAITING:
                return other
        return result

    def compare(self, reference: str, *, may_return: bool, note: str = "") -> PromotionResult:
        """Decide about a version, once for the same pair and readings."""
        version = self._registry.find(reference)
        champion = find_champion(self._versions)
        if version.version == champion:
            return self._say_nothing(champion)
        view = open_lake(self._config, verb="compare a version")
        draft = self._draft(version, view, may_return=may_return)
        records = {one.promotion_id: one for one in read_records(self._versions)}
        known = records.get(draft.promotion_id)
        if known is not None:
            return self._make_result(known, skipped=True)
        decided = self._decide(draft, view, may_return=may_return)
        if note:
            decided = replace(decided, reason=f"{note} {decided.reason}")
        return self._carry_out(decided)

    def force(self, reference: str, *, reason: str) -> PromotionResult:
        """Move the alias by a person's word, with the figures there are of the pair."""
        version = self._registry.find(reference)
        champion = find_champion(self._versions)
        if version.version == champion:
            return self._say_nothing(champion)
        draft = self._make_record(version.version, champion, PROMOTED, reason)
        compared = [
            one
            for one in read_records(self._versions)
            if (one.challenger, one.champion) == (version.version, champion) and one.figures
        ]
        for last in compared[-1:]:
            draft = replace(
                draft,
                readings_version=last.readings_version,
                start_us=last.start_us,
                end_us=last.end_us,
                figures=last.figures,
            )
        return self._carry_out(replace(draft, forced=True))

    def roll_back(self, *, reason: str) -> PromotionResult:
        """Take back the last promotion that stands."""
        moves = self._registry.list_alias_moves(CHAMPION)
        records = read_records(self._versions)
        champion, before = find_earlier(moves, records) if moves else ("", None)
        if before is None:
            raise PromotionError(
                "Cannot roll back: expected a champion before this one, got none. See "
                "'vae-anomaly models' for what there is; 'vae-anomaly promote VERSION --force' "
                "makes any version champion."
            )
        why = reason or f"Rolled back from version {champion}."
        return self._carry_out(self._make_record(before, champion, ROLLED_BACK, why))

    def _draft(
        self, version: ModelVersion, view: LakeView, *, may_return: bool
    ) -> PromotionRecord:
        """Name the decision by all that it depends on."""
        champion = find_champion(self._versions)
        moves = self._registry.list_alias_moves(CHAMPION)
        parts = (
            self._name,
            champion,
            version.version,
            str(moves[0].moved_us if moves else 0),
            delta.table_id(view.lake.uri("readings")),
            str(view.version),
            self._config.promotion.model_dump_json(exclude={"automatic"}),
            str(may_return),
        )
        draft = self._make_record(version.version, champion, REFUSED, "")
        named = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
        return replace(draft, promotion_id=named, readings_version=view.version)

    def _decide(
        self, draft: PromotionRecord, view: LakeView, *, may_return: bool
    ) -> PromotionRecord:
        if not draft.champion:
            health = self._registry.load_record(draft.challenger).health
            is_champion, reason = explain_decision(health, version=draft.challenger, champion=None)
            return replace(draft, decision=PROMOTED if is_champion else REFUSED, reason=reason)
        moves = self._registry.list_alias_moves(CHAMPION)
        was = next((move for move in moves if move.version == draft.challenger), None)
        if was is not None and not may_return:
            return replace(
                draft,
                reason=(
                    f"Not champion: it was since {format_time(was.moved_us)}, and was replaced. "
                    f"Make it champion again with 'vae-anomaly promote {draft.challenger}'."
                ),
            )
        settings = self._config.promotion
        challenger = self._registry.load(draft.challenger)[0]
        champion = self._registry.load(draft.champion)[0]
        found = compare(view, challenger, champion, settings=settings, model_name=self._name)
        if isinstance(found, TooFewRows):
            return replace(draft, decision=WAITING, reason=describe_wait(found, settings))
        record = challenger.record
        checks = judge(
            found,
            health=record.health,
            asked=record.calibrations[record.fallback],
            settings=settings,
        )
        is_better = all(check.passed for check in checks)
        return replace(
            draft,
            decision=PROMOTED if is_better else REFUSED,
            reason=describe(checks, found),
            start_us=found.start_us,
            end_us=found.end_us,
            figures=list_figures(found),
        )

    def _carry_out(self, record: PromotionRecord) -> PromotionResult:
        """Write the decision down, move the alias, write the table; killed, it is completed."""
        tags = {record.tag: record.write(), DECISION_TAG: record.reason}
        self._registry.set_tags(record.challenger, tags)
        if record.decision in MOVES:
            self._registry.move_alias(
                CHAMPION, record.challenger, reason=record.reason, moved_us=record.time_us
            )
        self._versions = self._keep_in_line()
        return self._make_result(record)

    def _keep_in_line(self) -> tuple[ModelVersion, ...]:
        return keep_in_line(self._registry, self._lake, model_name=self._name)

    def _make_record(
        self, challenger: str, champion: str, decision: str, reason: str
    ) -> PromotionRecord:
        time_us = time.time_ns() // 1000
        text = f"{self._name}:{challenger}:{champion}:{decision}:{time_us}"
        return PromotionRecord(
            promotion_id=hashlib.sha256(text.encode()).hexdigest()[:32],
            time_us=time_us,
            model_name=self._name,
            challenger=challenger,
            champion=champion,
            decision=decision,
            forced=False,
            by=self._by,
            reason=reason,
        )

    def _say_nothing(self, champion: str) -> PromotionResult:
        return PromotionResult(
            self._name, champion, champion, NOTHING, f"Version {champion} is champion already.",
            skipped=True,
        )  # fmt: skip

    def _make_result(self, record: PromotionRecord, *, skipped: bool = False) -> PromotionResult:
        return PromotionResult(
            model_name=self._name,
            challenger=record.challenger,
            champion=find_champion(self._versions),
            decision=record.decision,
            reason=record.reason,
            forced=record.forced,
            figures=record.figures,
            skipped=skipped,
        )
