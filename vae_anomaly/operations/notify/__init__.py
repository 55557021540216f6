"""Telling people of alert events: an outbox, and channels that empty it."""
