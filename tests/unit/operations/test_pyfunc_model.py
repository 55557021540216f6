"""The model script itself; MLflow runs a copy of it in tests/integration/test_mlflow.py."""

from types import SimpleNamespace

import pytest

from vae_anomaly.operations.predictions import predict_frame


@pytest.fixture(scope="module")
def model(detector, tmp_path_factory):
    from vae_anomaly.operations.pyfunc_model import DetectorModel

    folder = detector.save(tmp_path_factory.mktemp("model") / "detector")
    model = DetectorModel()
    model.load_context(SimpleNamespace(artifacts={"detector": str(folder)}))
    return model


def test_it_predicts_as_the_detector_does(model, detector, plant):
    frame = plant.slice(0, 100).to_pandas()
    assert model.predict(None, frame).equals(predict_frame(detector, frame))


def test_what_cannot_be_scored_is_the_callers_error(model, plant):
    from mlflow.exceptions import MlflowException

    frame = plant.slice(0, 100).to_pandas().assign(timestamp="yesterday")
    with pytest.raises(MlflowException, match="Cannot read times") as caught:
        model.predict(None, frame)
    assert caught.value.get_http_status_code() == 400
