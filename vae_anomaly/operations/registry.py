"""The model registry: detectors as registered MLflow model versions, found by alias or number.

MLflow is imported on first use, never on import of this module.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vae_anomaly.config import RegistryConfig

if TYPE_CHECKING:
    from vae_anomaly.detector.detector import Detector

CHAMPION = "champion"
"""Alias of the version that scores."""

CHALLENGER = "challenger"
"""Alias of the newest version."""

DECISION_TAG = "champion_decision"
"""Version tag: why the version became champion, or why not."""


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


class Registry:
    """Registers detectors with MLflow and finds them again; create one with `open_registry`."""

    def __init__(
        self, *, tracking_uri: str, folder: str, experiment: str, model_name: str
    ) -> None:
        raise NotImplementedError

    def register(
        self,
        detector: Detector,
        *,
        tags: Mapping[str, str] | None = None,
        figures: Mapping[str, Any] | None = None,
        training_note: str = "",
    ) -> ModelVersion:
        """Log a detector as one MLflow run and register it as a new model version.

        The version gets the alias `challenger`. It also gets `champion` if there is no champion
        yet and every health check passed; its tag `champion_decision` says why or why not.

        Args:
            detector: The detector.
            tags: Tags of the version and of the run, such as the version of the readings table.
            figures: Figures by name, beside those drawn from the detector itself: Plotly figures
                or their dicts; a `Path` is attached as it is.
            training_note: What a person should know of this training; shown by MLflow.

        Returns:
            The new version, with its aliases and tags.

        Raises:
            RegistryError: The registry cannot be reached or refuses the version.
        """
        raise NotImplementedError

    def list_versions(self) -> tuple[ModelVersion, ...]:
        """Return all versions of the model, the newest first; none where there is no model.

        Raises:
            RegistryError: The registry cannot be reached.
        """
        raise NotImplementedError

    def find(self, reference: str) -> ModelVersion:
        """Find a version by alias, number or address.

        Args:
            reference: `champion`, `3`, `models:/NAME@champion` or `models:/NAME/3`.

        Returns:
            The version; its `uri` stays with it when an alias moves.

        Raises:
            RegistryError: There is no such model, version or alias.
        """
        raise NotImplementedError

    def load(self, reference: str) -> tuple[Detector, ModelVersion]:
        """Download a version's detector and prove it on its golden rows; nothing is unpickled.

        Args:
            reference: As for `find`.

        Returns:
            The detector and the version it is.

        Raises:
            RegistryError: There is no such version, or its files are missing.
            DetectorError: Its files were changed.
        """
        raise NotImplementedError

    def find_by_tag(self, key: str, value: str) -> ModelVersion | None:
        """Return the newest version with a tag of this value, None where there is none."""
        raise NotImplementedError

    def move_alias(self, alias: str, reference: str, *, reason: str) -> ModelVersion:
        """Point an alias at a version and write down why.

        Args:
            alias: Such as `champion`.
            reference: As for `find`.
            reason: Why, for people; becomes the version's tag `champion_decision` where the
                alias is `champion`.

        Returns:
            The version with its new aliases and tags.

        Raises:
            RegistryError: There is no such version, or the registry cannot be reached.
        """
        raise NotImplementedError

    def list_alias_moves(self, alias: str) -> tuple[AliasMove, ...]:
        """Return every move of an alias, the newest first: which version was live when."""
        raise NotImplementedError


def open_registry(config: RegistryConfig) -> Registry:
    """Open the registry, creating its database and experiment on first use.

    Args:
        config: Where it lies.

    Returns:
        The registry.

    Raises:
        RegistryError: It cannot be reached or created.
    """
    raise NotImplementedError


def load_detector(
    reference: str, *, config: RegistryConfig
) -> tuple[Detector, ModelVersion | None]:
    """Load a detector from a folder or from the registry.

    Args:
        reference: A folder, or `models:/NAME@alias` or `models:/NAME/3`.
        config: Where the registry lies; not touched for a folder.

    Returns:
        The detector, and its version where it came from the registry.

    Raises:
        DetectorError: The folder holds no detector.
        RegistryError: The registry does not hold it.
    """
    raise NotImplementedError
