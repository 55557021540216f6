"""Run on JAX by test_backends.py: score a TensorFlow detector, and fit one for TensorFlow."""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np
import pyarrow.parquet as pq

from tests.conftest import QUICK, make_plant
from vae_anomaly import Detector
from vae_anomaly.config import DetectorConfig
from vae_anomaly.model.engine import KERAS_FILE, NUMBERS, load_vae


def main() -> None:
    folder = Path(sys.argv[1])
    if keras.backend.backend() != "jax":
        raise SystemExit("this is to be run with KERAS_BACKEND=jax")
    fresh = make_plant(300, seed=1)
    loaded = Detector.load(folder / "tensorflow")
    pq.write_table(loaded.score(fresh), folder / "tensorflow.parquet")
    vae = load_vae((folder / "tensorflow" / KERAS_FILE).read_bytes())
    decoded = vae.predict_on_batch(np.load(folder / "windows.npy"))
    np.savez(folder / "decoded.npz", **{name: np.asarray(decoded[name]) for name in NUMBERS})
    detector = Detector.fit(make_plant(), config=DetectorConfig(model=QUICK))
    detector.save(folder / "jax")
    pq.write_table(detector.score(fresh), folder / "jax.parquet")


if __name__ == "__main__":
    main()
