import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import vae_anomaly

HEAVY = ("keras", "tensorflow", "jax", "torch", "mlflow", "prefect", "pandas", "pyarrow", "numpy")

SETTINGS = """
import json, os
for name in ("TF_CPP_MIN_LOG_LEVEL", "TF_ENABLE_ONEDNN_OPTS", "JAX_ENABLE_X64"):
    os.environ.pop(name, None)
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"
import vae_anomaly
names = [name for name in os.environ if name.startswith(("TF_", "JAX_"))]
print(json.dumps({name: os.environ[name] for name in names}))
"""


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    return done.stdout


def test_importing_the_package_loads_nothing_heavy():
    code = f"import sys, vae_anomaly; print([m for m in {HEAVY} if m in sys.modules])"
    assert run_python(code).strip() == "[]"


def test_importing_the_settings_loads_no_numbers_and_no_network():
    code = f"""
import sys, vae_anomaly
vae_anomaly.DetectorConfig()
print([m for m in {HEAVY} if m in sys.modules])
"""
    assert run_python(code).strip() == "[]"


def test_importing_the_detector_starts_no_backend():
    backends = ("keras", "tensorflow", "jax", "torch", "mlflow", "prefect", "plotly", "deltalake")
    code = f"""
import sys, vae_anomaly
vae_anomaly.Detector, vae_anomaly.evaluate
print([m for m in {backends} if m in sys.modules])
"""
    assert run_python(code).strip() == "[]"


def test_backends_are_quiet_exact_and_still_up_to_the_user():
    found = json.loads(run_python(SETTINGS))
    assert found["TF_CPP_MIN_LOG_LEVEL"] == "2"
    assert found["JAX_ENABLE_X64"] == "1"
    assert found["TF_ENABLE_ONEDNN_OPTS"] == "1"


@pytest.mark.parametrize("name", vae_anomaly.__all__)
def test_every_public_name_is_there(name):
    assert getattr(vae_anomaly, name).__name__ == name


def test_unknown_names_are_refused():
    with pytest.raises(AttributeError, match="'vae_anomaly' has no attribute 'Detektor'"):
        vae_anomaly.Detektor  # noqa: B018


def test_every_error_is_one_of_ours():
    errors = [getattr(vae_anomaly, name) for name in vae_anomaly.__all__ if name.endswith("Error")]
    assert all(issubclass(error, vae_anomaly.VaeAnomalyError) for error in errors)
    bad_input = [error for error in errors if issubclass(error, ValueError)]
    assert set(errors) - set(bad_input) == {
        vae_anomaly.VaeAnomalyError,
        vae_anomaly.RegistryError,
    }


def test_the_package_knows_its_version_and_is_typed():
    assert vae_anomaly.__version__ == version("vae-anomaly")
    assert (Path(vae_anomaly.__file__).parent / "py.typed").is_file()
