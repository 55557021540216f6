"""Commands on registered detectors: models, promote, rollback."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vae_anomaly.cli.files import DEFAULT_CONFIG, Json
from vae_anomaly.cli.output import format_iso_time, print_json, print_lines, show_progress
from vae_anomaly.errors import PromotionError

if TYPE_CHECKING:
    from vae_anomaly.config import PipelineConfig
    from vae_anomaly.operations.promotion.promote import PromotionResult
    from vae_anomaly.operations.registry import ModelVersion, Registry


def models(*, at: str = "", config: Path = DEFAULT_CONFIG, json: Json = False) -> None:
    """List the registered model versions, and why each is champion or not.

    Args:
        at: Say instead which version was champion at this time, in ISO 8601 with a zone.
        config: The settings of the pipeline.
        json: Print the result for machines.
    """
    settings = _read_settings(config)
    if at:
        _show_live(settings, at, json=json)
        return
    with show_progress("Reading the registry"):
        versions = _open_registry(settings).list_versions()
    if json:
        print_json([_describe(version) for version in versions])
        return
    if not versions:
        print_lines("No model version is registered yet. Run 'vae-anomaly run train'.")
        return
    from vae_anomaly.cli.tables import print_versions

    print_versions(versions)


def promote(
    version: str,
    /,
    *,
    force: bool = False,
    reason: str = "",
    config: Path = DEFAULT_CONFIG,
    json: Json = False,
) -> None:
    """Make a model version the champion, the one that scores, if it is as good as that there is.

    It is compared with the champion on readings that neither was trained on. Where it is worse,
    or where there are too few such readings, the command refuses with the figures.

    Args:
        version: Its number, or an alias such as challenger.
        force: Make it champion without a comparison; needs --reason.
        reason: Why; it is kept with the version.
        config: The settings of the pipeline.
        json: Print the result for machines.
    """
    from vae_anomaly.operations.pipeline import promote_version

    with show_progress("Comparing"):
        result = promote_version(
            _read_settings(config), version, by=_name_user(), reason=reason, force=force
        )
    _print_result(result, json=json)
    if result.decision in {"refused", "waiting"}:
        raise PromotionError(
            f"Cannot make version {result.challenger} champion: {result.reason} Train anew, or "
            f'give --force --reason "..." to make it champion all the same.'
        )


def rollback(*, reason: str = "", config: Path = DEFAULT_CONFIG, json: Json = False) -> None:
    """Make the champion before this one the champion again; a second time goes back further.

    Args:
        reason: Why; it is kept with the version.
        config: The settings of the pipeline.
        json: Print the result for machines.
    """
    from vae_anomaly.operations.pipeline import roll_back

    with show_progress("Moving the alias"):
        result = roll_back(_read_settings(config), by=_name_user(), reason=reason)
    _print_result(result, json=json)


def rescore(start: str, /, *, config: Path = DEFAULT_CONFIG, json: Json = False) -> None:
    """Let the champion score again, from a time on, what earlier versions scored.

    A new champion otherwise scores what comes after the one before it.

    Args:
        start: The time, in ISO 8601 with a zone.
        config: The settings of the pipeline.
        json: Print the result for machines.
    """
    from vae_anomaly.cli import steps
    from vae_anomaly.operations.pipeline import rescore_readings
    from vae_anomaly.operations.pipeline_tables import parse_time

    start_us = parse_time(start, setting="START")
    settings = _read_settings(config)
    with show_progress(steps.TITLES["score"]) as progress:
        result = rescore_readings(settings, start_us=start_us or 0, progress=progress)
    if json:
        print_json(result)
    else:
        steps.print_step(result)


def _read_settings(config: Path) -> PipelineConfig:
    from vae_anomaly.config import read_pipeline_config

    return read_pipeline_config(config)


def _open_registry(settings: PipelineConfig) -> Registry:
    from vae_anomaly.operations.registry import open_registry

    return open_registry(settings.registry)


def _name_user() -> str:
    """Name who gave the command; a process without an account has a number only."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown user"


def _show_live(settings: PipelineConfig, at: str, *, json: bool) -> None:
    from vae_anomaly.operations.pipeline_tables import parse_time
    from vae_anomaly.operations.promotion.history import find_live
    from vae_anomaly.operations.registry import CHAMPION

    at_us = parse_time(at, setting="--at") or 0
    with show_progress("Reading the registry"):
        live = find_live(_open_registry(settings).list_alias_moves(CHAMPION), at_us)
    name = settings.registry.model_name
    if json:
        print_json(
            {
                "model_name": name,
                "at": format_iso_time(at_us),
                "version": live and live.version,
                "since": live and format_iso_time(live.since_us),
                "until": format_iso_time(live.until_us) if live and live.until_us else None,
                "reason": live and live.reason,
            }
        )
    elif live is None:
        print_lines(f"No version of {name} was champion at {format_iso_time(at_us)}.")
    else:
        until = f"until {format_iso_time(live.until_us)}" if live.until_us else "and still is"
        print_lines(
            f"{name} version {live.version} was champion at {format_iso_time(at_us)}: since "
            f"{format_iso_time(live.since_us)}, {until}. {live.reason}"
        )


def _print_result(result: PromotionResult, *, json: bool) -> None:
    if json:
        print_json(result)
    elif result.decision not in {"refused", "waiting"}:  # those are said by the error
        from vae_anomaly.cli.steps import describe_promotion

        print_lines(describe_promotion(result))


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
