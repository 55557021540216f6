"""What PyOD's VAE takes to train and to score: run by `stages.py` with a Python that has PyOD.

Run with `PYTHON pyod_vae.py VALUES.npy HIDDEN LATENT BATCH_ROWS`; prints one JSON object.
"""

import json
import sys
import time

import numpy as np
from pyod.models.vae import VAE

MORE_EPOCHS = 3


def fit(values, hidden, latent, batch_rows, epochs):
    """Return a fitted VAE and the seconds its fit took."""
    vae = VAE(
        epoch_num=epochs,
        batch_size=batch_rows,
        encoder_neuron_list=[hidden, hidden],
        decoder_neuron_list=[hidden, hidden],
        latent_dim=latent,
        dropout_rate=0.0,
        verbose=0,
    )
    start = time.perf_counter()
    vae.fit(values)
    return vae, time.perf_counter() - start


def main():
    """Time an epoch as what further epochs add, and scoring as the best of three."""
    values = np.load(sys.argv[1])
    sizes = [int(text) for text in sys.argv[2:5]]
    fit(values, *sizes, epochs=1)  # the first fit of a process pays for what is loaded late
    _, short_s = fit(values, *sizes, epochs=1)
    vae, long_s = fit(values, *sizes, epochs=1 + MORE_EPOCHS)
    scoring_s = []
    for _ in range(3):
        start = time.perf_counter()
        vae.decision_function(values)
        scoring_s.append(time.perf_counter() - start)
    found = {
        "training_rows_per_s": MORE_EPOCHS * len(values) / (long_s - short_s),
        "scoring_rows_per_s": len(values) / min(scoring_s),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
