"""What Keras and its backend keep of networks that were trained, and how to be rid of it."""

from __future__ import annotations

import keras


def release_networks() -> None:
    """Let the process forget the kernels and names of networks that were trained before.

    A process that trains again and again grows by about 2 MB each time otherwise, with TensorFlow.
    Networks that are alive still work. Global settings of Keras go back to their defaults, so
    this is for processes of our own, not for a library call.
    """
    keras.utils.clear_session()
