"""Unit tests of the precision of matrix products."""

from __future__ import annotations

import keras
import pytest

from vae_anomaly.model.precision import use_full_precision


def test_matrix_products_are_in_full_float32() -> None:
    use_full_precision()
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        assert jax.config.jax_default_matmul_precision == "highest"
    elif backend == "tensorflow":
        import tensorflow as tf

        assert not tf.config.experimental.tensor_float_32_execution_enabled()
    else:
        pytest.skip(f"nothing is set on {backend}")
