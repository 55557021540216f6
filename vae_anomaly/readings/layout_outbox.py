"""How messages to people lie in the columns of the table `outbox`."""

from __future__ import annotations

import pyarrow as pa

from vae_anomaly.readings.layout import TIME

ATTEMPT = pa.struct(
    [
        ("at", TIME),
        ("arrived", pa.string()),  # yes, no, or unknown
        ("answer", pa.string()),
    ]
)

OUTBOX = pa.schema(
    [
        ("key", pa.string()),
        ("channel", pa.string()),
        ("alert_id", pa.string()),
        ("what", pa.string()),
        ("round", pa.int64()),
        ("thread", pa.string()),
        ("asset", pa.string()),
        ("group_id", pa.string()),
        ("severity", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("arrived", pa.string()),  # the same, of all tries
        ("created", TIME),
        ("due", TIME),
        ("message", pa.string()),
        ("sealed", TIME),
        ("hold", TIME),
        ("tries", pa.int64()),
        ("attempts", pa.list_(ATTEMPT)),
        ("last_error", pa.string()),
        ("payload", pa.string()),
    ]
)
"""One row per channel, alert event, what happened to it, and how often it did."""
