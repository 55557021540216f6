"""Flat predictions beside the scores table."""

import json

import numpy as np
import pytest

from vae_anomaly.errors import ContractError
from vae_anomaly.operations.predictions import list_prediction_numbers, predict_frame


@pytest.fixture(scope="module")
def frame(plant):
    return plant.slice(0, 200).to_pandas()


def test_a_prediction_is_the_scores_table_bit_for_bit(detector, frame):
    scores = detector.score(frame)
    predicted = predict_frame(detector, frame)
    for name in ("nll", "score", "threshold", "kl"):
        assert predicted[name].to_numpy().tobytes() == scores[name].to_numpy().tobytes()
    shares = scores["contribution"].combine_chunks()
    for name in detector.contract.sensor_names:
        assert predicted[f"contribution_{name}"].tolist() == shares.field(name).to_pylist()
    assert predicted["state"].tolist() == scores["state"].to_pylist()
    assert predicted["reason"].tolist() == scores["reason"].to_pylist()


def test_rows_keep_their_order_and_index(detector, frame):
    shuffled = frame.sample(frac=1.0, random_state=0)
    predicted = predict_frame(detector, shuffled)
    assert predicted.index.equals(shuffled.index)
    straight = predict_frame(detector, frame)
    assert predicted.sort_index()["score"].tolist() == straight["score"].tolist()


def test_an_unscorable_row_has_none_and_a_reason(detector, frame):
    broken = frame.copy()
    broken.loc[3, list(detector.contract.sensor_names)] = np.nan
    predicted = predict_frame(detector, broken)
    row = predicted.to_dict(orient="records")[3]
    assert (row["state"], row["reason"]) == ("unscorable", "too_few_sensors")
    assert all(row[name] is None for name in list_prediction_numbers(detector.contract)[:2])
    json.dumps(predicted.to_dict(orient="records"), allow_nan=False)


def test_no_rows_in_are_no_rows_out(detector, frame):
    none = predict_frame(detector, frame.iloc[:0])
    assert len(none) == 0
    assert list(none.columns) == list(predict_frame(detector, frame).columns)


def test_a_missing_sensor_is_refused(detector, frame):
    with pytest.raises(ContractError, match="sensor 0"):
        predict_frame(detector, frame.drop(columns="sensor 0 (unit)"))
