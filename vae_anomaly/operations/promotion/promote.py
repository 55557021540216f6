"""The champion changes for a better one, by a person's word, or back; each once, with reasons."""

from __future__ import annotations

from vae_anomaly.config import PipelineConfig
from vae_anomaly.errors import PromotionError
from vae_anomaly.operations.pipeline_tables import open_lake
from vae_anomaly.operations.promotion.desk import Desk
from vae_anomaly.operations.promotion.results import PromotionResult
from vae_anomaly.readings.lock import hold_lock

WAIT_S = 600.0
"""Seconds to wait for another comparison: it takes as long as scoring its readings some times."""


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
    with hold_lock(config.lake.root, "promote", wait_s=WAIT_S):
        return Desk(config, by).compare_newest()


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
    with hold_lock(config.lake.root, "promote", wait_s=WAIT_S):
        desk = Desk(config, by)
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
    with hold_lock(config.lake.root, "promote", wait_s=WAIT_S):
        return Desk(config, by).roll_back(reason=reason)


def note_moves(config: PipelineConfig) -> None:
    """Write down in the table what the registry knows of the champion, such as the first one.

    Args:
        config: The pipeline.

    Raises:
        RegistryError: The registry cannot be reached.
        TableError: The table cannot be read or written.
    """
    with hold_lock(config.lake.root, "promote", wait_s=WAIT_S):
        Desk(config, "")
