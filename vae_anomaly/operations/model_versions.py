"""Registered detectors as plain values: versions, moves of aliases, references to them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vae_anomaly.domain import HealthCheck
from vae_anomaly.errors import RegistryError
from vae_anomaly.wording import name_figure

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion as StoredVersion

CHAMPION = "champion"
"""Alias of the version that scores."""

CHALLENGER = "challenger"
"""Alias of the newest version."""

DECISION_TAG = "champion_decision"
"""Version tag: why the version became champion, or why not."""

MODEL_SCHEME = "models:/"

_ADDRESS = re.compile(MODEL_SCHEME + r"(?P<name>[^/@:]+)(?:@(?P<alias>[\w-]+)|/(?P<version>\d+))")
_SHORT = re.compile(r"(?P<version>\d+)|(?P<alias>[\w-]+)")


@dataclass(frozen=True)
class ModelVersion:
    """One registered detector.

    Attributes:
        model_name: Name of the registered model.
        version: Its number, as text.
        run_id: MLflow run that it came from.
        aliases: Aliases that point to it, sorted.
        created_us: When it was registered, microseconds since 1970, UTC.
        uri: Address of exactly this version, such as `models:/vae-anomaly/3`.
        tags: Its tags; `champion_decision` says why it is champion or not.
    """

    model_name: str
    version: str
    run_id: str
    aliases: tuple[str, ...]
    created_us: int
    uri: str
    tags: dict[str, str]


@dataclass(frozen=True)
class AliasMove:
    """One move of an alias: from this time on it pointed to this version.

    Attributes:
        alias: The alias.
        version: Version that it was moved to.
        moved_us: When, microseconds since 1970, UTC.
        reason: Why, for people.
    """

    alias: str
    version: str
    moved_us: int
    reason: str


@dataclass(frozen=True)
class Reference:
    """What someone asks the registry for; `alias` or `version` is empty.

    Attributes:
        model_name: Name of the registered model.
        alias: An alias of it.
        version: A version number of it, as text.
    """

    model_name: str
    alias: str
    version: str


def parse_reference(text: str, *, model_name: str) -> Reference:
    """Read an alias, a version number or an address.

    Args:
        text: `champion`, `3`, `models:/NAME@champion` or `models:/NAME/3`.
        model_name: The model meant where `text` names none.

    Returns:
        The reference.

    Raises:
        RegistryError: The text is none of these.

    Example:
        >>> parse_reference("models:/pumps@champion", model_name="vae-anomaly")
        Reference(model_name='pumps', alias='champion', version='')
        >>> parse_reference("3", model_name="vae-anomaly")
        Reference(model_name='vae-anomaly', alias='', version='3')
    """
    match = _ADDRESS.fullmatch(text) or _SHORT.fullmatch(text)
    if match is None:
        raise RegistryError(
            f"Cannot find '{text}' in the registry: expected an alias such as 'champion', a "
            f"version number, '{MODEL_SCHEME}NAME@champion' or '{MODEL_SCHEME}NAME/3', got none "
            "of these. Correct it."
        )
    parts = match.groupdict(default="")
    return Reference(parts.get("name", model_name), parts["alias"], parts["version"])


def make_model_version(stored: StoredVersion, aliases: Mapping[str, str]) -> ModelVersion:
    """Take what matters of MLflow's version, and the aliases that point to it.

    Args:
        stored: MLflow's version.
        aliases: Version number by alias, of the whole model.

    Returns:
        The version.
    """
    number = str(stored.version)
    return ModelVersion(
        model_name=stored.name,
        version=number,
        run_id=stored.run_id or "",
        aliases=tuple(sorted(alias for alias, target in aliases.items() if target == number)),
        created_us=int(stored.creation_timestamp) * 1000,
        uri=f"{MODEL_SCHEME}{stored.name}/{number}",
        tags=dict(stored.tags),
    )


def name_move(alias: str, moved_us: int | None = None) -> str:
    """Name the version tag that records a move, or what all such tags of an alias begin with.

    Example:
        >>> name_move("champion", 1_700_000_000_000_000), name_move("champion")
        ('moved_champion_1700000000000000', 'moved_champion_')
    """
    return f"moved_{alias}_{'' if moved_us is None else moved_us}"


def list_moves(versions: tuple[ModelVersion, ...], alias: str) -> tuple[AliasMove, ...]:
    """Read the moves of an alias from the tags of all versions, the newest first."""
    prefix = name_move(alias)
    moves = [
        AliasMove(alias, version.version, int(name.removeprefix(prefix)), reason)
        for version in versions
        for name, reason in version.tags.items()
        if name.startswith(prefix)
    ]
    return tuple(sorted(moves, key=lambda move: -move.moved_us))


def explain_decision(
    health: tuple[HealthCheck, ...], *, version: str, champion: str | None
) -> tuple[bool, str]:
    """Decide whether a new version becomes champion at once.

    Args:
        health: Health figures of the new version.
        version: Its number, as text.
        champion: The champion there is, None where there is none.

    Returns:
        Whether it does, and why or why not.
    """
    failed = [check for check in health if not check.passed]
    if failed:
        figures = "; ".join(
            f"{name_figure(check.name)} is {check.value:.4g}, expected {check.limit}"
            for check in failed
        )
        return False, (
            f"Not champion: it failed health checks ({figures}). Train on other readings, or make "
            f"it champion all the same with 'vae-anomaly promote {version} --force --reason "
            '"..."\'.'
        )
    if champion is not None:
        return False, f"Not champion: version {champion} is, until a comparison moves the alias."
    return True, "Champion: there was none, and every health check passed."
