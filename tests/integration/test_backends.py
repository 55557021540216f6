"""The same guarantees, tests and numbers on JAX, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.conftest import PROJECT, make_plant
from vae_anomaly import Detector
from vae_anomaly.model.engine import NUMBERS, decode_windows

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(find_spec("jax") is None, reason="JAX is not installed (extra 'jax')"),
]

TESTS_ON_JAX = (
    "tests/property/test_guarantees.py::test_g1_units_do_not_matter",
    "tests/property/test_guarantees.py::test_g1_holds_for_offsets_of_a_billion_spreads",
    "tests/unit/model",
)

LIMIT_S = 900
COLUMNS = ("nll", "score", "kl")

EXCHANGE = Path(__file__).with_name("exchange_on_jax.py")
WARNINGS = (
    "-Werror",
    # Keras saving a variable under NumPy 2.4, as in pyproject.toml
    "-Wignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning",
)


@pytest.fixture(scope="module")
def run_on_jax(tmp_path_factory) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs Python on JAX; XLA compiles each network once for all of these tests, and quickly."""
    settings = {
        "KERAS_BACKEND": "jax",
        "PYTHONPATH": str(PROJECT),
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("xla")),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5",
        "XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
    }
    return partial(_run, os.environ | settings)


def _run(environment: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env=dict(environment),
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def test_g1_and_the_tests_of_the_model_pass_on_jax(run_on_jax):
    done = run_on_jax("-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS_ON_JAX)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout.splitlines()[-1]


# --- across backends ---


@pytest.fixture(scope="module")
def exchange(detector, run_on_jax, tmp_path_factory) -> Path:
    """A folder with a TensorFlow detector, a JAX detector, and what JAX made of both."""
    folder = tmp_path_factory.mktemp("backends")
    detector.save(folder / "tensorflow")
    np.save(folder / "windows.npy", windows_of(detector))
    done = run_on_jax(*WARNINGS, str(EXCHANGE), str(folder))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return folder


def windows_of(detector: Detector) -> np.ndarray:
    table = make_plant(300, seed=1)
    values = np.stack([table[name].to_numpy() for name in detector.contract.sensor_names], axis=1)
    values[::7, 0] = np.nan
    return values[:, None, :]


def assert_close(one, other):
    assert one["state"].to_pylist() == other["state"].to_pylist()
    for name in COLUMNS:
        np.testing.assert_allclose(
            one[name].to_numpy(), other[name].to_numpy(), rtol=1e-4, atol=1e-4
        )


def test_a_tensorflow_detector_scores_the_same_in_a_process_of_jax(detector, exchange):
    assert_close(
        pq.read_table(exchange / "tensorflow.parquet"), detector.score(make_plant(300, seed=1))
    )


def test_a_network_trained_on_tensorflow_decodes_the_same_on_jax(detector, exchange):
    here = decode_windows(detector._density.engine, windows_of(detector))
    there = np.load(exchange / "decoded.npz")
    for name in NUMBERS:
        scale = np.maximum(np.abs(getattr(here, name)).max(axis=0), 1.0)
        assert (np.abs(there[name] - getattr(here, name)) / scale).max() < 1e-4


def test_a_detector_trained_on_jax_loads_and_scores_the_same_on_tensorflow(exchange):
    record = json.loads((exchange / "jax" / "detector.json").read_text())
    assert record["facts"]["backend"] == "jax"
    loaded = Detector.load(exchange / "jax")
    assert_close(loaded.score(make_plant(300, seed=1)), pq.read_table(exchange / "jax.parquet"))
