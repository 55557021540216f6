"""Watching the detector and the pipeline: drift, metrics, logs, and the doctor."""
