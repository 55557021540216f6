import keras
import numpy as np
import pytest

from tests.unit.model.small_vae import make_vae, make_windows
from vae_anomaly.model import engine
from vae_anomaly.model.engine import (
    KERAS_FILE,
    ONNX_FILE,
    KerasEngine,
    OnnxEngine,
    chunk_rows,
    decode_windows,
    load_vae,
    open_engine,
    save_vae,
)

NUMBERS = ("contribution", "kl", "mean", "sigma")
WINDOW = 3
exports = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="only TensorFlow exports ONNX"
)


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return save_vae(make_vae(window=WINDOW))


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(engine, "MAX_CHUNK_ROWS", 16)
    monkeypatch.setattr(engine, "MIN_CHUNK_ROWS", 16)


def assert_same(one, other, **tolerance):
    for name in NUMBERS:
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), **tolerance)


@exports
def test_onnx_gives_the_numbers_of_keras(files, small_chunks):
    assert set(files) == {KERAS_FILE, ONNX_FILE}
    windows = make_windows(100, window=WINDOW, missing=0.2)
    fast = open_engine(files)
    plain = open_engine({KERAS_FILE: files[KERAS_FILE]})
    assert isinstance(fast, OnnxEngine)
    assert isinstance(plain, KerasEngine)
    assert_same(
        decode_windows(fast, windows), decode_windows(plain, windows), rtol=1e-4, atol=1e-4
    )


@exports
def test_a_row_does_not_depend_on_the_rows_beside_it(files):
    windows = make_windows(50, window=WINDOW, missing=0.2)
    fast = open_engine(files)
    whole = decode_windows(fast, windows)
    for rows in (slice(0, 1), slice(7, 20), slice(49, 50)):
        part = decode_windows(fast, windows[rows])
        for name in NUMBERS:
            np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[rows])


def test_the_padding_of_the_last_chunk_does_not_show(files, monkeypatch):
    windows = make_windows(40, window=WINDOW, missing=0.2)
    some = open_engine(files)
    decoded = []
    for chunk in (16, 64):
        monkeypatch.setattr(engine, "MAX_CHUNK_ROWS", chunk)
        monkeypatch.setattr(engine, "MIN_CHUNK_ROWS", chunk)
        decoded.append(decode_windows(some, windows))
    assert decoded[0].mean.shape == (40, 4)
    assert_same(*decoded, rtol=1e-5, atol=1e-5)


def test_no_window_gives_no_number(files):
    decoded = decode_windows(open_engine(files), np.empty((0, WINDOW, 4)))
    assert decoded.mean.shape == decoded.contribution.shape == decoded.sigma.shape == (0, 4)
    assert decoded.kl.shape == (0,)


def test_a_loaded_vae_is_the_saved_one(files):
    loaded = load_vae(files[KERAS_FILE])
    assert loaded.settings == make_vae(window=WINDOW).settings


@pytest.mark.parametrize(("width", "rows"), [(1, 16_384), (64, 16_384), (65, 8192), (10**9, 256)])
def test_chunks_are_powers_of_two_within_limits(width, rows):
    assert chunk_rows(width) == rows
