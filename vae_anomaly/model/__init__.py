"""The density p(x): affine, windows, likelihoods, VAE, training; nothing about thresholds."""
