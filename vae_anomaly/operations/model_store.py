"""Registered models as MLflow stores them; what is missing is None, not an error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from vae_anomaly.operations.model_versions import ModelVersion, make_model_version

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.models.model import ModelInfo

MISSING = "RESOURCE_DOES_NOT_EXIST"
EXISTS = "RESOURCE_ALREADY_EXISTS"


def find_aliases(client: MlflowClient, name: str) -> dict[str, str] | None:
    """Return the version number of each alias of a model, None where there is no such model."""
    from mlflow.exceptions import MlflowException

    try:
        model = client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code == MISSING:
            return None
        raise
    return {alias: str(version) for alias, version in model.aliases.items()}


def find_version(
    client: MlflowClient, name: str, number: str, *, aliases: Mapping[str, str]
) -> ModelVersion | None:
    """Return a version of a model, None where there is none of this number."""
    from mlflow.exceptions import MlflowException

    try:
        stored = client.get_model_version(name, number)
    except MlflowException as error:
        if error.error_code == MISSING:
            return None
        raise
    return make_model_version(stored, aliases)


def list_stored_versions(client: MlflowClient, name: str) -> tuple[ModelVersion, ...]:
    """Return all versions of a model, the newest first; none where there is no such model."""
    aliases = find_aliases(client, name)
    if aliases is None:
        return ()
    found: list[ModelVersion] = []
    token: str | None = None
    while token is None or token:
        page = client.search_model_versions(f"name = '{name}'", page_token=token)
        found += [make_model_version(stored, aliases) for stored in page]
        token = page.token or ""
    return tuple(sorted(found, key=lambda version: -int(version.version)))


def create_version(
    client: MlflowClient, name: str, model: ModelInfo, *, tags: Mapping[str, str], note: str
) -> str:
    """Register a logged model, and the model of this name where it is new.

    Args:
        client: The store.
        name: Name of the registered model.
        model: The logged model.
        tags: Tags of the version.
        note: Description of the version.

    Returns:
        The number of the version.
    """
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != EXISTS:
            raise
    version = client.create_model_version(
        name,
        source=model.model_uri,
        run_id=model.run_id,
        tags=dict(tags),
        description=note,
        model_id=model.model_id,
    )
    return str(version.version)
