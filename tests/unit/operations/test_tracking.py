"""Addresses of an MLflow store."""

import pytest

from vae_anomaly.operations.tracking import _place_artifacts, hide_password


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
