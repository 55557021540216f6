"""A detector's scores as a flat pandas frame: the output of its MLflow model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vae_anomaly.domain import Contract
from vae_anomaly.readings.alignment import list_rules

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from vae_anomaly.detector.detector import Detector

CONTRIBUTION_PREFIX = "contribution_"
NUMBERS = ("nll", "score", "threshold", "kl")
TEXTS = ("state", "reason")


def list_prediction_numbers(contract: Contract) -> tuple[str, ...]:
    """Name the columns of a prediction that hold numbers."""
    shares = tuple(CONTRIBUTION_PREFIX + name for name in contract.sensor_names)
    return NUMBERS + shares


def predict_frame(detector: Detector, readings: pd.DataFrame) -> pd.DataFrame:
    """Score a frame and flatten the scores, for callers that know neither Arrow nor structs.

    Args:
        detector: The detector.
        readings: Raw readings under the names of the contract, in any number of rows, none
            included.

    Returns:
        One row per row of `readings`, in its order and with its index (or one per tick, with an
        index of its own, where the detector aligns): `nll`, `score`,
        `threshold`, `kl`, `state`, `reason`, and `contribution_<sensor>` per sensor. A missing
        number is None, since NaN is not JSON; such a column then holds objects.

    Raises:
        ReadingsError: The times cannot be read.
        ContractError: A sensor is missing or of the wrong type.
    """
    import pandas as pd

    numbers = list_prediction_numbers(detector.contract)
    if readings.empty:
        none = {name: np.empty(0) for name in numbers}
        none |= {name: np.empty(0, dtype=object) for name in TEXTS}
        return pd.DataFrame(none, index=readings.index)
    scores = detector.score(readings)
    arrays = [scores[name].combine_chunks() for name in NUMBERS]
    arrays += scores["contribution"].combine_chunks().flatten()
    columns = {name: _read_numbers(array) for name, array in zip(numbers, arrays, strict=True)}
    columns |= {name: scores[name].to_numpy() for name in TEXTS}
    is_aligned = list_rules(detector.record.config.readings, detector.contract.sensor_names)
    return pd.DataFrame(columns, index=None if is_aligned else readings.index)


def _read_numbers(array: pa.Array) -> np.ndarray:
    values: np.ndarray = array.to_numpy(zero_copy_only=False)
    if not array.null_count:
        return values
    numbers = values.astype(object)
    numbers[np.isnan(values)] = None
    return numbers
