"""Reaching MLflow: its database and experiment, made once, and its failures in plain words."""

from __future__ import annotations

import logging
import sqlite3
import threading
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from vae_anomaly.errors import RegistryError

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

DATABASE_FILE = "mlflow.db"
ARTIFACT_FOLDER = "artifacts"
LOCK_SUFFIX = ".lock"
DRAFT_SUFFIX = ".new"
ADVISORY_KEY = 0x76_61_65
"""Number of the lock in PostgreSQL; other users of the database have other numbers."""

LOCK_TIMEOUT_S = 300.0
"""Longest wait for another process to make the database, which takes about 10 seconds."""

MAX_MESSAGE = 300
"""Characters kept of a message that is not ours."""

_global_address = threading.RLock()


@dataclass(frozen=True)
class Tracking:
    """An open MLflow store.

    Attributes:
        client: Reads and writes it.
        uri: Its address.
        experiment_id: Where runs are logged.
    """

    client: MlflowClient
    uri: str
    experiment_id: str


def connect(tracking_uri: str, *, folder: str, experiment: str) -> Tracking:
    """Open an MLflow store, making database and experiment where they are missing.

    Args:
        tracking_uri: Any MLflow address; empty means a SQLite file in `folder`.
        folder: Folder or object-store address of the SQLite file and of the artifacts.
        experiment: Name of the experiment.

    Returns:
        The open store.

    Raises:
        RegistryError: It cannot be reached or made.
    """
    uri = tracking_uri or _make_database_uri(folder)
    _import_mlflow()
    with explain_errors("open the registry", uri), _hold_lock(uri):
        from mlflow import MlflowClient

        _make_database(uri)
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        return Tracking(client, uri, _find_experiment(client, uri, folder, experiment))


@contextmanager
def explain_errors(action: str, uri: str) -> Iterator[None]:
    """Turn a failure of MLflow, its database or the network into a `RegistryError`.

    Args:
        action: What cannot be done then.
        uri: Address of the store.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError, ImportError) as error:
        said = _hide_password_in(" ".join(str(error).split()), uri)
        said = said if len(said) <= MAX_MESSAGE else said[:MAX_MESSAGE] + "..."
        raise RegistryError(
            f"Cannot {action} at '{hide_password(uri)}': {said.rstrip('.')}. Check that MLflow "
            "can be reached there, or change `tracking_uri` or `folder` of the registry settings."
        ) from error


@contextmanager
def use_tracking(uri: str) -> Iterator[None]:
    """Point MLflow's global functions at a store for a while, one thread at a time.

    Warnings are off meanwhile: MLflow calls pandas in ways that pandas has deprecated.
    """
    import mlflow

    with _global_address, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        is_set: bool = mlflow.is_tracking_uri_set()  # type: ignore[no-untyped-call]
        before = mlflow.get_tracking_uri() if is_set else None
        mlflow.set_tracking_uri(uri)
        try:
            yield
        finally:
            mlflow.set_tracking_uri(before)  # type: ignore[arg-type] # None unsets it


def hide_password(uri: str) -> str:
    """Return an address without its password, for messages.

    Example:
        >>> hide_password("postgresql://mlflow:secret@db/mlflow")
        'postgresql://mlflow:***@db/mlflow'
    """
    password = urlsplit(uri).password
    return uri.replace(f":{password}@", ":***@") if password else uri


def _hide_password_in(text: str, uri: str) -> str:
    """Return a message without the password of an address, however it is written in it."""
    password = urlsplit(uri).password
    for written in {password, unquote(password)} if password else ():
        text = text.replace(written, "***")
    return text


def _import_mlflow() -> None:
    """Import what is needed of MLflow, which warns of its own type hints as it is imported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow.artifacts
        import mlflow.pyfunc  # noqa: F401


def _make_database_uri(folder: str) -> str:
    if "://" in folder:
        raise RegistryError(
            f"Cannot keep a SQLite file at '{folder}': expected a folder of this machine. Set "
            "`tracking_uri` of the registry settings to an MLflow server or database."
        )
    return f"sqlite:///{(Path(folder).resolve() / DATABASE_FILE).as_posix()}"


def _make_database(uri: str) -> None:
    """Make a SQLite store whole or not at all: MLflow cannot go on with one it was killed in."""
    from mlflow import MlflowClient

    database = _find_database(uri)
    if database is None or database.exists():
        return
    draft = database.with_name(database.name + DRAFT_SUFFIX)
    for left in database.parent.glob(draft.name + "*"):
        left.unlink()  # of a process that was killed, its journal too
    address = f"sqlite:///{draft.as_posix()}"
    MlflowClient(tracking_uri=address, registry_uri=address).search_registered_models(
        max_results=1
    )
    draft.replace(database)


def _find_database(uri: str) -> Path | None:
    """Return the file of a SQLite store, None for any other."""
    from sqlalchemy.engine import make_url

    database = make_url(uri).database if uri.startswith("sqlite:") else None
    return Path(database) if database else None


@contextmanager
def _hold_lock(uri: str) -> Iterator[None]:
    """Let one process at a time open a database: MLflow's first opening is not atomic.

    For SQLite the lock is that of a second SQLite file, because it works on every system and goes
    with the process that holds it. PostgreSQL has such a lock itself. Servers look after theirs.
    """
    if uri.startswith("postgresql"):
        with _hold_advisory_lock(uri):
            yield
        return
    database = _find_database(uri)
    if database is None:
        yield
        return
    file = database.with_name(database.name + LOCK_SUFFIX)
    file.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(file, timeout=LOCK_TIMEOUT_S, isolation_level=None)) as lock:
        lock.execute("BEGIN EXCLUSIVE")
        yield


@contextmanager
def _hold_advisory_lock(uri: str) -> Iterator[None]:
    from sqlalchemy import create_engine, text
    from sqlalchemy.pool import NullPool

    engine = create_engine(uri, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT_S:g}s'"))
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": ADVISORY_KEY})
        yield


def _find_experiment(client: MlflowClient, uri: str, folder: str, name: str) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, _place_artifacts(uri, folder)))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)  # another process was faster
    if found is None or found.lifecycle_stage != "active":
        raise RegistryError(
            f"Cannot log to experiment '{name}' at '{hide_password(uri)}': expected an active "
            "experiment, got a deleted one. Restore it with 'mlflow experiments restore', or "
            "choose another `experiment` in the registry settings."
        )
    return str(found.experiment_id)


def _place_artifacts(uri: str, folder: str) -> str | None:
    """Return where a new experiment keeps its files; a server chooses for itself."""
    if urlsplit(uri).scheme in {"http", "https"}:
        return None
    if "://" in folder:
        return f"{folder.rstrip('/')}/{ARTIFACT_FOLDER}"
    return (Path(folder).resolve() / ARTIFACT_FOLDER).as_uri()
