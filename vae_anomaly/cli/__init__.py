"""The command line: `vae-anomaly`."""

from vae_anomaly.cli.app import main

__all__ = ["main"]
