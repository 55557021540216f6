import numpy as np
import pytest

from tests.unit.model.small_vae import make_vae, make_values, make_windows
from vae_anomaly.errors import TrainingError
from vae_anomaly.model import engine, export
from vae_anomaly.model.affine import fit_affine
from vae_anomaly.model.engine import (
    KERAS_FILE,
    NUMBERS,
    ONNX_FILE,
    Decoded,
    Engine,
    chunk_rows,
    decode_windows,
    load_vae,
    save_vae,
)
from vae_anomaly.model.training import TrainingRows, start_weights
from vae_anomaly.model.vae import VAE

WINDOW = 3


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return save_vae(make_vae(window=WINDOW), make_windows(window=WINDOW))


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(engine, "MAX_CHUNK_ROWS", 16)
    monkeypatch.setattr(engine, "MIN_CHUNK_ROWS", 16)


def decode_with_keras(vae: VAE, windows: np.ndarray) -> Decoded:
    results = vae.predict_on_batch(windows)
    return Decoded(*(np.asarray(results[name], dtype=np.float64) for name in NUMBERS))


def assert_same(one, other, **tolerance):
    for name in NUMBERS:
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), **tolerance)


@pytest.mark.parametrize("missing", [0.0, 0.2])
@pytest.mark.parametrize("settings", [{"window": 1}, {"window": 3}, {"linear": False}])
def test_onnx_gives_the_numbers_of_keras(settings, missing, small_chunks):
    vae = make_vae(**settings)
    windows = make_windows(64, window=vae.window, missing=missing)
    files = save_vae(vae, windows)
    assert set(files) == {KERAS_FILE, ONNX_FILE}
    fast = decode_windows(Engine(files[ONNX_FILE]), windows)
    assert_same(fast, decode_with_keras(vae, windows), rtol=1e-5, atol=1e-5)


def test_the_question_network_is_exported_with_its_own_activation():
    vae = VAE(4, latent=2, hidden=4, layers=1, activation="leaky_relu", linear=False)
    vae.build(None)
    rows = make_values(64)
    affine = fit_affine(rows)
    start_weights(vae, TrainingRows(rows, np.zeros(64, np.int64), affine, np.full(4, 0.05)))
    windows = make_windows(64, missing=0.1)
    fast = decode_windows(Engine(save_vae(vae, windows)[ONNX_FILE]), windows)
    assert_same(fast, decode_with_keras(vae, windows), rtol=1e-5, atol=1e-5)


def test_an_export_that_says_something_else_is_not_saved(monkeypatch):
    other = export.export_onnx(make_vae(seed=1))
    monkeypatch.setattr(export, "export_onnx", lambda _: other)
    with pytest.raises(TrainingError, match="expected ONNX Runtime to differ from Keras by at"):
        save_vae(make_vae(), make_windows())


def test_a_row_does_not_depend_on_the_rows_beside_it(files):
    windows = make_windows(50, window=WINDOW, missing=0.2)
    fast = Engine(files[ONNX_FILE])
    whole = decode_windows(fast, windows)
    for rows in (slice(0, 1), slice(7, 20), slice(49, 50)):
        part = decode_windows(fast, windows[rows])
        for name in NUMBERS:
            np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[rows])


def test_the_padding_of_the_last_chunk_does_not_show(files, monkeypatch):
    windows = make_windows(40, window=WINDOW, missing=0.2)
    some = Engine(files[ONNX_FILE])
    decoded = []
    for chunk in (16, 64):
        monkeypatch.setattr(engine, "MAX_CHUNK_ROWS", chunk)
        monkeypatch.setattr(engine, "MIN_CHUNK_ROWS", chunk)
        decoded.append(decode_windows(some, windows))
    assert decoded[0].mean.shape == (40, 4)
    assert_same(*decoded, rtol=1e-5, atol=1e-5)


def test_a_missing_value_contributes_nothing(files):
    windows = make_windows(20, window=WINDOW)
    windows[3, -1, 2] = np.nan
    contribution = decode_windows(Engine(files[ONNX_FILE]), windows).contribution
    assert np.argwhere(contribution == 0).tolist() == [[3, 2]]


def test_no_window_gives_no_number(files):
    decoded = decode_windows(Engine(files[ONNX_FILE]), np.empty((0, WINDOW, 4)))
    assert decoded.mean.shape == decoded.contribution.shape == decoded.sigma.shape == (0, 4)
    assert decoded.kl.shape == (0,)


def test_a_loaded_vae_is_the_saved_one(files):
    loaded = load_vae(files[KERAS_FILE])
    assert loaded.settings == make_vae(window=WINDOW).settings


@pytest.mark.parametrize(("width", "rows"), [(1, 2048), (64, 2048), (65, 1024), (10**9, 256)])
def test_chunks_are_powers_of_two_within_limits(width, rows):
    assert chunk_rows(width) == rows
