"""The detector as an MLflow model: `mlflow models serve`, `mlflow.pyfunc.load_model`, Spark.

MLflow copies this file and the package beside the detector's folder, and runs the file to load
the model (models from code): no pickle, and a version is scored by the code it was made with,
even where the package is not installed. The copy costs less than 1 MB per version.

What goes in: the time column, the asset column if the contract has one, and the sensors as
floating-point numbers; null is a missing value. Times may be timestamps with or without a zone,
or ISO 8601 text; without a zone they are UTC. MLflow itself turns away int64 columns outside of
JSON: cast them to float64.

What comes out: see `vae_anomaly.operations.predictions.predict_frame`. The score of a step
depends on the steps before it, so a request should begin `lookback_steps` early, as should each
Spark partition; what lies before a request counts as normal. With a latency in its settings a
request should also end `lookahead_steps` late.
"""

from __future__ import annotations

import warnings
from typing import Any

import pandas as pd  # MLflow reads the annotations

from vae_anomaly.detector.detector import Detector
from vae_anomaly.errors import VaeAnomalyError
from vae_anomaly.operations.model_package import DETECTOR_ARTIFACT
from vae_anomaly.operations.predictions import predict_frame

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow warns of its own type hints when it is imported
    from mlflow.exceptions import MlflowException
    from mlflow.models import set_model
    from mlflow.pyfunc.model import PythonModel, PythonModelContext


class DetectorModel(PythonModel):
    """Scores frames with a registered detector."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the detector and prove it on its golden rows."""
        self._detector = Detector.load(context.artifacts[DETECTOR_ARTIFACT])

    def predict(
        self,
        context: PythonModelContext,  # noqa: ARG002 - MLflow names the arguments
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,  # noqa: ARG002
    ) -> pd.DataFrame:
        """Score readings; a request that cannot be scored is the caller's error (HTTP 400)."""
        try:
            return predict_frame(self._detector, model_input)
        except VaeAnomalyError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error


set_model(DetectorModel())
