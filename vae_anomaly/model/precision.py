"""Full float32 precision of matrix products, where a GPU would round them to fewer digits."""

from __future__ import annotations

from typing import Any

import keras


def use_full_precision() -> None:
    """Let the backend multiply matrices in float32, not in TF32 with 10 bits of mantissa.

    NVIDIA GPUs take TF32 unless told otherwise. For a network of this size it saves nothing, and
    scores then differ by more than 1e-3 from those of the same weights on a CPU.
    """
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        settings: Any = jax.config
        settings.update("jax_default_matmul_precision", "highest")
    elif backend == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_tensor_float_32_execution(enabled=False)
    # Torch multiplies in full float32 unless it is told otherwise.
