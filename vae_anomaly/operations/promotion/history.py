"""Which version was champion when, and the table of decisions kept in line with the registry.

The registry is what counts: a decision is a tag of its version before the alias moves, the move is
a tag after it, and the table `promotions` follows. So what was killed in between is found in the
tags, and completed.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from vae_anomaly.operations.model_versions import CHAMPION, AliasMove, ModelVersion
from vae_anomaly.operations.promotion.records import (
    FIRST,
    MOVED,
    MOVES,
    ROLLED_BACK,
    VOID,
    PromotionRecord,
    has_moved,
    read_records,
)
from vae_anomaly.operations.registry import Registry
from vae_anomaly.readings.promotions import append_promotion, read_promotions
from vae_anomaly.readings.tables import Lake


@dataclass(frozen=True)
class LiveSpan:
    """When a version was champion.

    Attributes:
        version: Its number.
        since_us: From when on, microseconds since 1970, UTC.
        until_us: Until when, exclusive; None where it still is.
        reason: Why it became champion.
    """

    version: str
    since_us: int
    until_us: int | None
    reason: str


def find_live(moves: Sequence[AliasMove], at_us: int) -> LiveSpan | None:
    """Find the version that was champion at a time, None where none was.

    Args:
        moves: Moves of the alias, the newest first.
        at_us: The time, microseconds since 1970, UTC.

    Example:
        >>> moves = [AliasMove("champion", "2", 20, "b"), AliasMove("champion", "1", 10, "a")]
        >>> find_live(moves, 15)
        LiveSpan(version='1', since_us=10, until_us=20, reason='a')
        >>> find_live(moves, 9) is None
        True
    """
    until_us = None
    for move in moves:
        if move.moved_us <= at_us:
            return LiveSpan(move.version, move.moved_us, until_us, move.reason)
        until_us = move.moved_us
    return None


def find_earlier(
    moves: Sequence[AliasMove], records: Sequence[PromotionRecord]
) -> tuple[str, str | None]:
    """Find the champion, and the one that a rollback goes back to.

    A rollback takes back the last promotion that stands. So a second one in a row goes back one
    further, and does not undo the first.

    Args:
        moves: Moves of the alias, the newest first; one at least.
        records: What was decided.

    Returns:
        The champion, and the version that was champion before its promotion; None where there
        is none.
    """
    taken_back = {record.time_us for record in records if record.decision == ROLLED_BACK}
    standing: list[str] = []
    for move in reversed(moves):
        if move.moved_us in taken_back and move.version in standing:
            while standing[-1] != move.version:
                standing.pop()
        elif not standing or standing[-1] != move.version:
            standing.append(move.version)
    return standing[-1], standing[-2] if len(standing) > 1 else None


def keep_in_line(registry: Registry, lake: Lake, *, model_name: str) -> tuple[ModelVersion, ...]:
    """Complete what was broken off, and write down in the table what it lacks.

    Args:
        registry: The registry.
        lake: The lake.
        model_name: Registered model.

    Returns:
        All versions, the newest first.

    Raises:
        RegistryError: The registry cannot be reached.
        TableError: The table cannot be read or written.
    """
    _finish_moves(registry)
    _note_foreign_move(registry)
    versions = registry.list_versions()
    known = set(read_promotions(lake, model_name=model_name)["promotion_id"].to_pylist())
    records = (*read_records(versions), *_list_other_moves(registry, versions, model_name))
    for record in sorted(records, key=lambda one: one.time_us):
        if record.promotion_id not in known:
            append_promotion(lake, record.to_row())
    return versions


def find_champion(versions: Sequence[ModelVersion]) -> str:
    """Return the number of the champion, the empty text where there is none."""
    return next((one.version for one in versions if CHAMPION in one.aliases), "")


def _finish_moves(registry: Registry) -> None:
    versions = registry.list_versions()
    for record in read_records(versions):
        if record.decision not in MOVES or has_moved(record, versions):
            continue
        if find_champion(versions) in (record.champion, record.challenger):
            registry.move_alias(
                CHAMPION, record.challenger, reason=record.reason, moved_us=record.time_us
            )
        else:  # overtaken by another tool: what it did stands
            void = replace(record, decision=VOID)
            registry.set_tags(record.challenger, {record.tag: void.write()})
        versions = registry.list_versions()


def _note_foreign_move(registry: Registry) -> None:
    """Write down a move of the alias by another tool, at the time it is found."""
    champion = find_champion(registry.list_versions())
    moves = registry.list_alias_moves(CHAMPION)
    if champion and (not moves or moves[0].version != champion):
        registry.move_alias(
            CHAMPION,
            champion,
            reason="Moved by another tool, or in a run that was killed.",
            moved_us=time.time_ns() // 1000,
        )


def _list_other_moves(
    registry: Registry, versions: Sequence[ModelVersion], model_name: str
) -> list[PromotionRecord]:
    """List the moves that no decision of ours made, such as that of the first champion."""
    decided = {(one.challenger, one.time_us) for one in read_records(versions)}
    moves = registry.list_alias_moves(CHAMPION)
    found = []
    for place, move in enumerate(moves):
        if (move.version, move.moved_us) in decided:
            continue
        is_first = place == len(moves) - 1
        text = f"{model_name}:{move.version}:{move.moved_us}"
        found.append(
            PromotionRecord(
                promotion_id=hashlib.sha256(text.encode()).hexdigest()[:32],
                time_us=move.moved_us,
                model_name=model_name,
                challenger=move.version,
                champion="" if is_first else moves[place + 1].version,
                decision=FIRST if is_first else MOVED,
                forced=False,
                by="training" if is_first else "another tool",
                reason=move.reason,
            )
        )
    return found
