"""Running a trained VAE over any number of windows, with ONNX Runtime.

Windows go through in fixed chunks with a padded tail, so that a row's numbers never depend on
how many rows came with it. Chunks are small enough for the cache of a core, and a core works on
one by itself: threads inside a product of this size wait for one another longer than they work.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from vae_anomaly.domain import FloatArray
from vae_anomaly.errors import TrainingError

NumberT = TypeVar("NumberT", bound=np.floating)

KERAS_FILE = "vae.keras"
ONNX_FILE = "score.onnx"

NUMBERS = ("contribution", "kl", "mean", "sigma")

MAX_DIFFERENCE = 1e-3
"""Between Keras and ONNX Runtime, relative, or absolute below 1. Both compute in float32: sums
in another order differ by about 1e-6, and by more where a residual is thousands of sigmas."""

MAX_CHUNK_ROWS = 2048
MIN_CHUNK_ROWS = 256
CHUNK_VALUES = 1 << 17
"""Values per chunk that keep its arrays within the cache of a core."""


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


class Engine:
    """Decodes with ONNX Runtime; needs neither Keras nor a backend.

    Args:
        content: The ONNX model that `save_vae` wrote.
    """

    def __init__(self, content: bytes) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1  # spans of steps run side by side instead
        self._session = onnxruntime.InferenceSession(
            content, options, providers=["CPUExecutionProvider"]
        )
        self._outputs = [output.name for output in self._session.get_outputs()]

    def decode(self, values: FloatArray, observed: NDArray[np.float32]) -> Decoded:
        """Decode windows without NaN.

        Args:
            values: Raw values. Shape `(rows, window, channels)`.
            observed: 1 where observed, 0 where not. Same shape.

        Returns:
            What the VAE says; a contribution holds only where its value is observed.
        """
        feed = {"windows": _as_lines(values), "observed": _as_lines(observed)}
        results = (one.T for one in self._session.run(self._outputs, feed))
        return _make_decoded(dict(zip(self._outputs, results, strict=True)))


def decode_windows(engine: Engine, windows: FloatArray) -> Decoded:
    """Decode any number of windows, chunk by chunk.

    Args:
        engine: The engine.
        windows: Raw values, NaN where missing. Shape `(rows, window, channels)`.

    Returns:
        What the VAE says; a row's numbers do not depend on the other rows.
    """
    num_rows, window, channels = windows.shape
    shape, chunk = (num_rows, channels), chunk_rows(window * channels)
    whole = Decoded(np.empty(shape), np.empty(num_rows), np.empty(shape), np.empty(shape))
    for start in range(0, num_rows, chunk):
        rows = slice(start, start + chunk)
        part = decode_chunk(engine, windows[rows], chunk)
        for name in NUMBERS:
            getattr(whole, name)[rows] = getattr(part, name)
    return whole


def decode_chunk(engine: Engine, windows: FloatArray, chunk: int) -> Decoded:
    """Decode at most one chunk of windows, padded to its full length."""
    num_rows = len(windows)
    if num_rows < chunk:
        padded = np.zeros((chunk, *windows.shape[1:]))
        padded[:num_rows] = windows
        windows = padded
    if np.isnan(windows.sum()):  # the quickest way to ask whether any value is missing
        observed = ~np.isnan(windows)
        values = np.where(observed, windows, 0.0)
        decoded = engine.decode(values, observed.astype(np.float32))
        seen = observed[:, -1, :]
        decoded = replace(decoded, contribution=np.where(seen, decoded.contribution, 0.0))
    else:
        decoded = engine.decode(windows, _all_observed(windows.shape))
    if num_rows == chunk:
        return decoded
    return Decoded(*(getattr(decoded, name)[:num_rows] for name in NUMBERS))


def chunk_rows(width: int) -> int:
    """Return the rows per chunk for windows of `width` values: a power of two.

    Example:
        >>> chunk_rows(8), chunk_rows(512)
        (2048, 256)
    """
    rows = 1 << max(CHUNK_VALUES // width, 1).bit_length() - 1
    return min(max(rows, MIN_CHUNK_ROWS), MAX_CHUNK_ROWS)


def save_vae(vae: Any, sample: FloatArray) -> dict[str, bytes]:
    """Turn a trained VAE into file contents, and prove that both files say the same.

    Args:
        vae: The trained VAE.
        sample: Windows to prove it on. Shape `(rows, window, channels)`.

    Returns:
        Contents by file name: Keras's own, and ONNX.

    Raises:
        TrainingError: Keras and ONNX Runtime decode the sample differently.
    """
    from vae_anomaly.model.export import export_onnx

    onnx = export_onnx(vae)
    by_keras = _make_decoded(vae.predict_on_batch(sample))
    difference = _largest_difference(by_keras, decode_windows(Engine(onnx), sample))
    if not difference <= MAX_DIFFERENCE:
        raise TrainingError(
            f"Cannot save the network: expected ONNX Runtime to differ from Keras by at most "
            f"{MAX_DIFFERENCE:g}, got {difference:g}. Please report it, with the versions of "
            "keras, onnx and onnxruntime."
        )
    with tempfile.TemporaryDirectory() as folder:
        keras_file = Path(folder, KERAS_FILE)
        vae.save(keras_file)
        return {KERAS_FILE: keras_file.read_bytes(), ONNX_FILE: onnx}


def load_vae(content: bytes) -> Any:
    """Load a VAE from the content of its `.keras` file, on any backend."""
    import keras

    import vae_anomaly.model.vae  # noqa: F401 - registers the layers

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, KERAS_FILE)
        file.write_bytes(content)
        return keras.saving.load_model(file, compile=False)


def _largest_difference(one: Decoded, other: Decoded) -> float:
    """Return the largest difference, as a share of the size of each column (at least 1)."""
    shares = []
    for name in NUMBERS:
        first, second = getattr(one, name), getattr(other, name)
        size = np.maximum(np.abs(first).max(axis=0, initial=0.0), 1.0)
        shares.append(float(np.max(np.abs(first - second) / size, initial=0.0)))
    return float(np.max(shares))


def _as_lines(windows: NDArray[NumberT]) -> NDArray[NumberT]:
    """Lay out each channel of each step of the window as one line, with the rows along it."""
    return np.ascontiguousarray(windows.reshape(len(windows), -1).T)


@lru_cache(maxsize=16)
def _all_observed(shape: tuple[int, ...]) -> NDArray[np.float32]:
    ones = np.ones(shape, dtype=np.float32, order="F")
    ones.setflags(write=False)
    return ones


def _make_decoded(results: Any) -> Decoded:
    return Decoded(*(np.asarray(results[name], dtype=np.float64) for name in NUMBERS))
