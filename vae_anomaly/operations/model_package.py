"""A detector packed as an MLflow model: signature, example, requirements, code."""

from __future__ import annotations

import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import vae_anomaly
from vae_anomaly.domain import Contract
from vae_anomaly.operations.predictions import TEXTS, list_prediction_numbers

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import ModelSignature
    from mlflow.models.model import ModelInfo

    from vae_anomaly.detector.detector import Detector

DETECTOR_ARTIFACT = "detector"
"""Name of the detector's folder among the model's files."""

EXAMPLE_ROWS = 5

LIBRARIES = ("mlflow", "numpy", "onnxruntime", "pandas", "pyarrow", "pydantic")
"""What a model needs to be served: neither Keras nor a backend."""


def log_detector(detector: Detector, *, name: str) -> ModelInfo:
    """Log a detector as a model of the active MLflow run.

    Args:
        detector: The detector.
        name: Name of the model within the run.

    Returns:
        What MLflow knows of the model; `model_uri` is its address.
    """
    import mlflow

    with tempfile.TemporaryDirectory() as folder:
        saved = detector.save(Path(folder, DETECTOR_ARTIFACT))
        model: ModelInfo = mlflow.pyfunc.log_model(
            name=name,
            python_model=str(Path(__file__).with_name("pyfunc_model.py")),
            artifacts={DETECTOR_ARTIFACT: str(saved)},
            code_paths=[str(Path(vae_anomaly.__file__).parent)],
            signature=make_signature(detector.contract),
            input_example=make_input_example(detector),
            pip_requirements=list_requirements(),
        )
        return model


def make_signature(contract: Contract) -> ModelSignature:
    """Describe input and output to MLflow.

    Times are of the type "any": MLflow's own type for times turns away zones, and with them
    nearly every time in JSON. The detector checks them instead.

    Args:
        contract: Names of time, asset and sensors.

    Returns:
        The signature; every input column is required, a missing value is not an error.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema, TensorSpec
    from mlflow.types.schema import AnyType

    any_type = AnyType()  # type: ignore[no-untyped-call]
    inputs: list[ColSpec | TensorSpec] = [ColSpec(any_type, contract.timestamp)]
    if contract.asset is not None:
        inputs.append(ColSpec(DataType.string, contract.asset))
    inputs += [ColSpec(DataType.double, name) for name in contract.sensor_names]
    numbers = list_prediction_numbers(contract)
    outputs: list[ColSpec | TensorSpec] = [
        ColSpec(DataType.double, name, required=False) for name in numbers
    ]
    outputs += [ColSpec(DataType.string, name) for name in TEXTS]
    return ModelSignature(Schema(inputs), Schema(outputs))


def make_input_example(detector: Detector) -> pd.DataFrame:
    """Return a few golden readings as a request would hold them: times as ISO 8601 text."""
    contract = detector.contract
    example: pd.DataFrame = detector.golden_readings.slice(0, EXAMPLE_ROWS).to_pandas()
    times = example[contract.timestamp].dt.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return example.assign(**{contract.timestamp: times})


def list_requirements() -> list[str]:
    """Return the pinned packages that scoring needs, for an environment of its own, for pip."""
    return [f"{name}=={version(name)}" for name in LIBRARIES]
