"""Prefect flows: thin wrappers, one library call each."""

import logging

logging.getLogger(__name__).setLevel(logging.INFO)  # one line per flow run is meant to be seen
