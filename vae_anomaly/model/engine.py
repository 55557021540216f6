"""Running a trained VAE over any number of windows: ONNX Runtime where exported, else Keras.

Both take fixed chunks with a padded tail, so that a row's numbers never depend on how many rows
came with it.
"""

from __future__ import annotations

import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from vae_anomaly.domain import FloatArray

KERAS_FILE = "vae.keras"
ONNX_FILE = "score.onnx"

MAX_CHUNK_ROWS = 16_384
MIN_CHUNK_ROWS = 256
CHUNK_VALUES = 1 << 20
"""Values per chunk that keep its arrays within tens of megabytes."""


@dataclass(frozen=True)
class Decoded:
    """What the VAE says of the last step of each window.

    Attributes:
        contribution: Nats per channel, raw units, 0 where missing. Shape `(rows, channels)`.
        kl: Nats per row. Shape `(rows,)`.
        mean: Expected values, raw units. Shape `(rows, channels)`.
        sigma: Their standard deviations, raw units. Shape `(rows, channels)`.
    """

    contribution: FloatArray
    kl: FloatArray
    mean: FloatArray
    sigma: FloatArray


class Engine(Protocol):
    """Something that decodes one chunk of windows."""

    def decode(self, values: FloatArray, observed: FloatArray) -> Decoded:
        """Decode windows without NaN; see `VAE.score_observed`."""


class OnnxEngine:
    """Decodes with ONNX Runtime; needs neither Keras nor a backend."""

    def __init__(self, content: bytes) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            content, options, providers=["CPUExecutionProvider"]
        )
        self._outputs = [output.name for output in self._session.get_outputs()]

    def decode(self, values: FloatArray, observed: FloatArray) -> Decoded:
        """Decode windows without NaN."""
        feed = {"windows": values, "observed": observed.astype(np.float32)}
        results = dict(zip(self._outputs, self._session.run(self._outputs, feed), strict=True))
        return _make_decoded(results)


class KerasEngine:
    """Decodes with Keras on whatever backend it runs on."""

    def __init__(self, vae: Any) -> None:
        self._vae = vae

    def decode(self, values: FloatArray, observed: FloatArray) -> Decoded:
        """Decode windows without NaN."""
        windows = np.where(observed > 0, values, np.nan)
        return _make_decoded(self._vae.predict_on_batch(windows))


def open_engine(files: dict[str, bytes]) -> Engine:
    """Open the fastest engine that a detector's files allow.

    Args:
        files: Contents by name, `ONNX_FILE` if exported, `KERAS_FILE` always.

    Returns:
        The engine.
    """
    if ONNX_FILE in files:
        return OnnxEngine(files[ONNX_FILE])
    return KerasEngine(load_vae(files[KERAS_FILE]))


def decode_windows(engine: Engine, windows: FloatArray) -> Decoded:
    """Decode any number of windows, chunk by chunk.

    Args:
        engine: The engine.
        windows: Raw values, NaN where missing. Shape `(rows, window, channels)`.

    Returns:
        What the VAE says; a row's numbers do not depend on the other rows.
    """
    num_rows, window, channels = windows.shape
    chunk = chunk_rows(window * channels)
    parts = [
        _decode_chunk(engine, windows[i : i + chunk], chunk) for i in range(0, num_rows, chunk)
    ]
    if not parts:
        none = np.empty((0, channels))
        return Decoded(none, np.empty(0), none, none)
    return Decoded(
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("contribution", "kl", "mean", "sigma")
        )
    )


def chunk_rows(width: int) -> int:
    """Return the rows per chunk for windows of `width` values: a power of two.

    Example:
        >>> chunk_rows(8), chunk_rows(512)
        (16384, 2048)
    """
    rows = 1 << max(CHUNK_VALUES // width, 1).bit_length() - 1
    return min(max(rows, MIN_CHUNK_ROWS), MAX_CHUNK_ROWS)


def save_vae(vae: Any) -> dict[str, bytes]:
    """Turn a trained VAE into file contents: Keras's own, and ONNX where it can be exported.

    Args:
        vae: The trained VAE.

    Returns:
        Contents by file name.
    """
    import keras

    with tempfile.TemporaryDirectory() as folder:
        keras_file, onnx_file = Path(folder, KERAS_FILE), Path(folder, ONNX_FILE)
        vae.save(keras_file)
        files = {KERAS_FILE: keras_file.read_bytes()}
        if keras.backend.backend() == "tensorflow":
            _export_onnx(vae, onnx_file)
            files[ONNX_FILE] = onnx_file.read_bytes()
    return files


def load_vae(content: bytes) -> Any:
    """Load a VAE from the content of its `.keras` file, on any backend."""
    import keras

    import vae_anomaly.model.vae  # noqa: F401 - registers the layers

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, KERAS_FILE)
        file.write_bytes(content)
        return keras.saving.load_model(file, compile=False)


def _export_onnx(vae: Any, file: Path) -> None:
    import keras

    from vae_anomaly.model.vae import ObservedScore

    shape = (vae.window, vae.channels)
    inputs = [
        keras.Input(shape, dtype="float64", name="windows"),
        keras.Input(shape, dtype="float32", name="observed"),
    ]
    score = keras.Model(inputs, ObservedScore(vae)(inputs))
    signature = [
        keras.InputSpec(shape=(None, *shape), dtype="float64", name="windows"),
        keras.InputSpec(shape=(None, *shape), dtype="float32", name="observed"),
    ]
    with warnings.catch_warnings():
        # the converter looks up an attribute that NumPy is about to bring back
        warnings.simplefilter("ignore", FutureWarning)
        score.export(file, format="onnx", verbose=False, input_signature=[signature])


def _decode_chunk(engine: Engine, windows: FloatArray, chunk: int) -> Decoded:
    num_rows = len(windows)
    padded = np.zeros((chunk, *windows.shape[1:]))
    padded[:num_rows] = windows
    observed = ~np.isnan(padded)
    decoded = engine.decode(np.where(observed, padded, 0.0), observed.astype(np.float64))
    return Decoded(
        decoded.contribution[:num_rows],
        decoded.kl[:num_rows],
        decoded.mean[:num_rows],
        decoded.sigma[:num_rows],
    )


def _make_decoded(results: Any) -> Decoded:
    return Decoded(
        *(
            np.asarray(results[name], dtype=np.float64)
            for name in ("contribution", "kl", "mean", "sigma")
        )
    )
