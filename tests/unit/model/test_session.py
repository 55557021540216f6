"""Networks that were trained are forgotten; those that are alive still work."""

import keras
import numpy as np

from vae_anomaly.model.session import release_networks


def test_a_network_that_is_alive_still_works_and_names_begin_anew():
    network = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2)])
    rows = np.ones((4, 3), dtype=np.float32)
    before = keras.ops.convert_to_numpy(network(rows))
    release_networks()
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(network(rows)), before)
    assert keras.layers.Dense(2).name == "dense"
