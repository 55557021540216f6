"""The registry where no MLflow is needed; tests/integration/test_mlflow.py has the rest."""

import subprocess
import sys

import pytest

from vae_anomaly.config import RegistryConfig
from vae_anomaly.errors import DetectorError, RegistryError
from vae_anomaly.operations.registry import load_detector, open_registry


def test_importing_the_registry_does_not_import_mlflow():
    code = (
        "import sys, vae_anomaly.operations.registry as _;"
        "print([m for m in ('mlflow', 'keras', 'prefect', 'plotly') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_folder_is_loaded_without_a_registry(detector, tmp_path):
    detector.save(tmp_path / "detector")
    untouched = tmp_path / "mlflow"
    loaded, version = load_detector(
        str(tmp_path / "detector"), config=RegistryConfig(folder=str(untouched))
    )
    assert version is None
    assert loaded.contract == detector.contract
    assert not untouched.exists()


def test_a_missing_folder_is_a_detector_error(tmp_path):
    with pytest.raises(DetectorError, match="expected a folder"):
        load_detector(str(tmp_path / "none"), config=RegistryConfig())


def test_a_wrong_address_is_refused_before_anything_is_opened(tmp_path):
    config = RegistryConfig(folder=str(tmp_path / "mlflow"))
    with pytest.raises(RegistryError, match="models:/NAME@champion"):
        load_detector("models:/a/b", config=config)
    assert not (tmp_path / "mlflow").exists()


def test_a_sqlite_file_needs_a_folder_of_this_machine():
    with pytest.raises(RegistryError, match="Set `tracking_uri`"):
        open_registry(RegistryConfig(folder="s3://bucket/mlflow"))
