"""Commands on registered detectors: models, promote, rollback."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vae_anomaly.cli.files import DEFAULT_CONFIG, Json
from vae_anomaly.cli.output import format_iso_time, print_json, print_lines, show_progress
from vae_anomaly.errors import RegistryError

if TYPE_CHECKING:
    from vae_anomaly.operations.registry import ModelVersion, Registry


def models(*, config: Path = DEFAULT_CONFIG, json: Json = False) -> None:
    """List the registered model versions, and why each is champion or not.

    Args:
        config: The settings of the pipeline.
        json: Print the result for machines.
    """
    with show_progress("Reading the registry"):
        versions = _open_registry(config).list_versions()
    if json:
        print_json([_describe(version) for version in versions])
        return
    if not versions:
        print_lines("No model version is registered yet. Run 'vae-anomaly run train'.")
        return
    from vae_anomaly.cli.tables import print_versions

    print_versions(versions)


def promote(
    version: str, /, *, reason: str, config: Path = DEFAULT_CONFIG, json: Json = False
) -> None:
    """Make a model version the champion: the one that scores from now on.

    Args:
        version: Its number, or an alias such as challenger.
        reason: Why; it is kept with the version.
        config: The settings of the pipeline.
        json: Print the result for machines.
    """
    with show_progress("Moving the alias"):
        moved = _move_champion(_open_registry(config), version, reason=reason)
    _print_moved(moved, json=json)


def rollback(*, reason: str = "", config: Path = DEFAULT_CONFIG, json: Json = False) -> None:
    """Make the champion before this one the champion again.

    Args:
        reason: Why; it is kept with the version.
        config: The settings of the pipeline.
        json: Print the result for machines.
    """
    from vae_anomaly.operations.registry import CHAMPION

    with show_progress("Moving the alias"):
        registry = _open_registry(config)
        live = [move.version for move in registry.list_alias_moves(CHAMPION)]
        before = next((version for version in live if version != live[0]), None)
        if before is None:
            raise RegistryError(
                "Cannot roll back: expected a champion before this one, got none. "
                "See 'vae-anomaly models' for what there is."
            )
        why = reason or f"Rolled back from version {live[0]}."
        moved = _move_champion(registry, before, reason=why)
    _print_moved(moved, json=json)


def rescore(start: str, /, *, config: Path = DEFAULT_CONFIG, json: Json = False) -> None:
    """Let the champion score again, from a time on, what earlier versions scored.

    A new champion otherwise scores what comes after the one before it.

    Args:
        start: The time, in ISO 8601 with a zone.
        config: The settings of the pipeline.
        json: Print the result for machines.
    """
    from vae_anomaly.cli import steps
    from vae_anomaly.config import read_pipeline_config
    from vae_anomaly.operations.pipeline import rescore_readings
    from vae_anomaly.operations.pipeline_tables import parse_time

    start_us = parse_time(start, setting="START")
    settings = read_pipeline_config(config)
    with show_progress(steps.TITLES["score"]) as progress:
        result = rescore_readings(settings, start_us=start_us or 0, progress=progress)
    if json:
        print_json(result)
    else:
        steps.print_step(result)


def _open_registry(config: Path) -> Registry:
    from vae_anomaly.config import read_pipeline_config
    from vae_anomaly.operations.registry import open_registry

    return open_registry(read_pipeline_config(config).registry)


def _move_champion(registry: Registry, reference: str, *, reason: str) -> ModelVersion:
    from vae_anomaly.operations.registry import CHAMPION

    return registry.move_alias(CHAMPION, reference, reason=reason)


def _print_moved(version: ModelVersion, *, json: bool) -> None:
    if json:
        print_json(_describe(version))
        return
    print_lines(f"Champion is now {version.model_name} version {version.version}.")


def _describe(version: ModelVersion) -> dict[str, Any]:
    from vae_anomaly.operations.registry import DECISION_TAG

    return {
        "model_name": version.model_name,
        "version": version.version,
        "aliases": version.aliases,
        "created": format_iso_time(version.created_us),
        "champion_decision": version.tags.get(DECISION_TAG),
        "run_id": version.run_id,
        "uri": version.uri,
    }
