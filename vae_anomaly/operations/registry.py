"""The model registry: detectors as registered MLflow model versions, found by alias or number.

MLflow is imported on first use, never on import of this module.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, final

from vae_anomaly.config import RegistryConfig
from vae_anomaly.detector.detector import Detector
from vae_anomaly.detector.record import DetectorRecord
from vae_anomaly.detector.storage import read_record_file
from vae_anomaly.domain import MICROSECONDS_PER_S
from vae_anomaly.errors import RegistryError
from vae_anomaly.operations.model_package import DETECTOR_ARTIFACT, log_detector
from vae_anomaly.operations.model_store import (
    create_version,
    find_aliases,
    find_version,
    list_stored_versions,
)
from vae_anomaly.operations.model_versions import (
    CHALLENGER,
    CHAMPION,
    DECISION_TAG,
    MODEL_SCHEME,
    AliasMove,
    ModelVersion,
    explain_decision,
    list_moves,
    name_move,
    parse_reference,
)
from vae_anomaly.operations.run_log import log_figures, log_record
from vae_anomaly.operations.tracking import connect, explain_errors, hide_password, use_tracking

__all__ = [
    "CHALLENGER",
    "CHAMPION",
    "DECISION_TAG",
    "AliasMove",
    "ModelVersion",
    "Registry",
    "load_detector",
    "open_registry",
]


@final
class Registry:
    """Registers detectors with MLflow and finds them again; create one with `open_registry`.

    Args:
        tracking_uri: Any MLflow address; empty means a SQLite file in `folder`.
        folder: Folder or object-store address of the SQLite file and of the artifacts.
        experiment: MLflow experiment of the runs.
        model_name: Name of the registered model.

    Raises:
        RegistryError: The store cannot be reached or made.
    """

    def __init__(
        self, *, tracking_uri: str, folder: str, experiment: str, model_name: str
    ) -> None:
        self._tracking = connect(tracking_uri, folder=folder, experiment=experiment)
        self._client = self._tracking.client
        self._model_name = model_name

    @property
    def tracking_uri(self) -> str:
        """Address of the MLflow store, for `mlflow ui --backend-store-uri` and `mlflow models`."""
        return self._tracking.uri

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
            figures: Figures by heading, beside those drawn from the detector itself: Plotly
                figures or their dicts; a `Path` is attached as it is.
            training_note: What a person should know of this training; shown by MLflow.

        Returns:
            The new version, with its aliases and tags.

        Raises:
            RegistryError: The registry cannot be reached or refuses the version.
        """
        import mlflow

        client, record, tags = self._client, detector.record, dict(tags or {})
        with self._explain("register a detector"), use_tracking(self._tracking.uri):
            run = mlflow.start_run(
                experiment_id=self._tracking.experiment_id,
                run_name=_name_run(record),
                nested=True,
                tags=tags,
                description=training_note,
            )
            with run:
                run_id = run.info.run_id
                log_record(client, run_id, record)
                log_figures(client, run_id, record, figures or {})
                model = log_detector(detector, name=self._model_name)
                number = create_version(
                    client, self._model_name, model, tags=tags, note=training_note
                )
            return self._decide(number, record)

    def list_versions(self) -> tuple[ModelVersion, ...]:
        """Return all versions of the model, the newest first; none where there is no model.

        Raises:
            RegistryError: The registry cannot be reached.
        """
        with self._explain(f"list the versions of model '{self._model_name}'"):
            return list_stored_versions(self._client, self._model_name)

    def find(self, reference: str) -> ModelVersion:
        """Find a version by alias, number or address.

        Args:
            reference: `champion`, `3`, `models:/NAME@champion` or `models:/NAME/3`.

        Returns:
            The version; its `uri` stays with it when an alias moves.

        Raises:
            RegistryError: There is no such model, version or alias.
        """
        wanted = parse_reference(reference, model_name=self._model_name)
        name = wanted.model_name
        with self._explain(f"find '{reference}'"):
            aliases = find_aliases(self._client, name)
            if aliases is None:
                raise self._missing(f"model '{name}'", "expected a registered model, got none")
            number = wanted.version or aliases.get(wanted.alias)
            if number is None:
                found = ", ".join(sorted(aliases)) or "none"
                raise self._missing(
                    f"alias '{wanted.alias}' of model '{name}'", f"its aliases are: {found}"
                )
            version = find_version(self._client, name, number, aliases=aliases)
            if version is None:
                numbers = [one.version for one in list_stored_versions(self._client, name)]
                found = ", ".join(numbers) or "none"
                raise self._missing(
                    f"version {number} of model '{name}'", f"its versions are: {found}"
                )
            return version

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
        version = self.find(reference)
        with tempfile.TemporaryDirectory() as folder:
            return Detector.load(self._download(version, folder)), version

    def load_record(self, reference: str) -> DetectorRecord:
        """Read what a version knows beside its network, such as its thresholds and its health.

        Args:
            reference: As for `find`.

        Returns:
            The record.

        Raises:
            RegistryError: There is no such version, or its files are missing.
            DetectorError: Its record cannot be read.
        """
        with tempfile.TemporaryDirectory() as folder:
            return read_record_file(self._download(self.find(reference), folder))

    def find_by_tag(self, key: str, value: str) -> ModelVersion | None:
        """Return the newest version with a tag of this value, None where there is none.

        A version whose registration was cut short, before its aliases were set, does not count.
        """
        return next(
            (
                version
                for version in self.list_versions()
                if version.tags.get(key) == value and DECISION_TAG in version.tags
            ),
            None,
        )

    def move_alias(
        self, alias: str, reference: str, *, reason: str, moved_us: int | None = None
    ) -> ModelVersion:
        """Point an alias at a version and write down why.

        Args:
            alias: Such as `champion`.
            reference: As for `find`.
            reason: Why, for people; becomes the version's tag `champion_decision` where the
                alias is `champion`.
            moved_us: When, microseconds since 1970; None is now. The same move made again,
                of the same time, is one move.

        Returns:
            The version with its new aliases and tags.

        Raises:
            RegistryError: There is no such version, or the registry cannot be reached.
        """
        version = self.find(reference)
        name, number = version.model_name, version.version
        with self._explain(f"move alias '{alias}' to version {number} of model '{name}'"):
            moved_us = time.time_ns() // 1000 if moved_us is None else moved_us
            self._client.set_registered_model_alias(name, alias, number)
            self._client.set_model_version_tag(name, number, name_move(alias, moved_us), reason)
            if alias == CHAMPION:
                self._client.set_model_version_tag(name, number, DECISION_TAG, reason)
        return self.find(version.uri)

    def set_tags(self, reference: str, tags: Mapping[str, str]) -> ModelVersion:
        """Write tags of a version, in the order given; older ones of the same names go.

        Args:
            reference: As for `find`.
            tags: Name and value of each.

        Returns:
            The version with its tags.

        Raises:
            RegistryError: There is no such version, or the registry cannot be reached.
        """
        version = self.find(reference)
        with self._explain(f"tag version {version.version} of model '{version.model_name}'"):
            for name, value in tags.items():
                self._client.set_model_version_tag(
                    version.model_name, version.version, name, value
                )
        return self.find(version.uri)

    def list_alias_moves(self, alias: str) -> tuple[AliasMove, ...]:
        """Return every move of an alias, the newest first: which version was live when."""
        return list_moves(self.list_versions(), alias)

    def _decide(self, number: str, record: DetectorRecord) -> ModelVersion:
        """Give a new version its aliases; the decision comes last, as the sign of the end."""
        name = self._model_name
        self.move_alias(CHALLENGER, number, reason="Newest version.")
        champion = (find_aliases(self._client, name) or {}).get(CHAMPION)
        is_champion, reason = explain_decision(record.health, version=number, champion=champion)
        if is_champion:
            return self.move_alias(CHAMPION, number, reason=reason)
        self._client.set_model_version_tag(name, number, DECISION_TAG, reason)
        return self.find(number)

    def _download(self, version: ModelVersion, folder: str) -> Path:
        import mlflow

        uri = self._tracking.uri
        with self._explain(f"load version {version.version} of model '{version.model_name}'"):
            source = self._client.get_model_version_download_uri(
                version.model_name, version.version
            )
            return Path(
                mlflow.artifacts.download_artifacts(
                    artifact_uri=f"{source}/artifacts/{DETECTOR_ARTIFACT}",
                    dst_path=folder,
                    tracking_uri=uri,
                )
            )

    def _explain(self, action: str) -> AbstractContextManager[None]:
        return explain_errors(action, self._tracking.uri)

    def _missing(self, what: str, expected: str) -> RegistryError:
        return RegistryError(
            f"Cannot find {what} in the registry at '{hide_password(self._tracking.uri)}': "
            f"{expected}. Train one with 'vae-anomaly run train', or see with 'vae-anomaly "
            "models' what there is and why none is champion."
        )


def open_registry(config: RegistryConfig) -> Registry:
    """Open the registry, creating its database and experiment on first use.

    Args:
        config: Where it lies.

    Returns:
        The registry.

    Raises:
        RegistryError: It cannot be reached or created.
    """
    return Registry(**config.model_dump())


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
    if not reference.startswith(MODEL_SCHEME):
        return Detector.load(reference), None
    parse_reference(reference, model_name=config.model_name)
    return open_registry(config).load(reference)


def _name_run(record: DetectorRecord) -> str:
    last = datetime.fromtimestamp(record.facts.last_us / MICROSECONDS_PER_S, tz=UTC)
    return f"readings to {last:%Y-%m-%d %H:%M} UTC"
