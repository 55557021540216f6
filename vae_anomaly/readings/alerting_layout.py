"""How the history of alerts, labels and maintenance windows lie in their tables.

All are append-only: what is withdrawn gets a row that says so.
"""

from __future__ import annotations

import pyarrow as pa

from vae_anomaly.readings.layout import TIME

EVERY_ASSET = "*"
"""Stands for all assets in `maintenance`."""

ALERT_CHANGES = pa.schema(
    [
        ("alert_id", pa.string()),
        ("number", pa.int64()),
        ("status", pa.string()),
        ("at", TIME),
        ("by", pa.string()),
        ("reason", pa.string()),
        ("asset", pa.string()),
        ("model_name", pa.string()),
        ("start", TIME),
        ("end", TIME),
    ]
)
"""Each change of status; `start` and `end` are those of the event when it changed."""

_ENTRY = [
    ("entry_id", pa.string()),
    ("number", pa.int64()),
    ("action", pa.string()),
    ("at", TIME),
    ("by", pa.string()),
    ("reason", pa.string()),
    ("asset", pa.string()),
    ("start", TIME),
    ("end", TIME),
]
LABELS = pa.schema([*_ENTRY, ("kind", pa.string())])
MAINTENANCE = pa.schema([*_ENTRY, ("source", pa.string())])
