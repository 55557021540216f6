"""Prefect flows: thin wrappers, one library call each."""
