"""Addresses of an MLflow store."""

import pytest

from vae_anomaly.errors import RegistryError
from vae_anomaly.operations.tracking import (
    _place_artifacts,
    connect,
    explain_errors,
    hide_password,
)


@pytest.mark.parametrize(
    ("uri", "folder", "expected"),
    [
        ("http://mlflow:5000", "/data/mlflow", None),
        ("sqlite:////data/ml.db", "/data/ml flow", "file:///data/ml%20flow/artifacts"),
        ("postgresql://db/mlflow", "s3://bucket/mlflow/", "s3://bucket/mlflow/artifacts"),
    ],
)
def test_artifacts_lie_at_an_absolute_address_unless_a_server_chooses(uri, folder, expected):
    assert _place_artifacts(uri, folder) == expected


def test_an_address_without_a_password_is_shown_as_it_is():
    assert hide_password("sqlite:////data/mlflow.db") == "sqlite:////data/mlflow.db"


@pytest.mark.parametrize("written", ["p%40ss", "p@ss"])
def test_what_a_library_says_is_shown_without_the_password(written):
    with (
        pytest.raises(RegistryError, match=r"u:\*\*\*@db/mlflow': no \*\*\* here"),
        explain_errors("read", "postgresql://u:p%40ss@db/mlflow"),
    ):
        raise OSError(f"no {written} here")


def test_postgresql_that_cannot_be_reached_is_said():
    with pytest.raises(
        RegistryError, match=r"Cannot open the registry at 'postgresql://u:\*\*\*@"
    ):
        connect("postgresql://u:secret@127.0.0.1:9/mlflow", folder="data", experiment="one")
