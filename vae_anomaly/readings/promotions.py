"""The table of promotions: every decision about the champion, appended, never changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from vae_anomaly.readings import delta
from vae_anomaly.readings.layout import TIME
from vae_anomaly.readings.tables import Lake

TABLE = "promotions"

FIGURES = (
    "num_normal_steps",
    "num_agreed_steps",
    "num_faults",
    "challenger_alarm_share",
    "champion_alarm_share",
    "alarm_gap",
    "alarm_gap_low",
    "alarm_gap_high",
    "challenger_events_per_week",
    "champion_events_per_week",
    "challenger_recall",
    "champion_recall",
    "recall_gap",
    "recall_gap_low",
    "recall_gap_high",
    "challenger_matched_recall",
    "pca_matched_recall",
    "pca_gap",
    "pca_gap_low",
    "pca_gap_high",
    "challenger_nll",
    "champion_nll",
)
"""Figures of a comparison, null where none was made; shares in [0, 1], NLL in nats per step."""

PROMOTIONS = pa.schema(
    [
        ("promotion_id", pa.string()),
        ("time", TIME),
        ("model_name", pa.string()),
        ("challenger", pa.string()),
        ("champion", pa.string()),
        ("decision", pa.string()),
        ("forced", pa.bool_()),
        ("by", pa.string()),
        ("reason", pa.string()),
        ("readings_version", pa.int64()),
        ("start", TIME),
        ("end", TIME),
        *((name, pa.float64()) for name in FIGURES),
    ]
)


def read_promotions(lake: Lake, *, model_name: str) -> pa.Table:
    """Read the decisions about a model, in order of time; none before the first.

    Raises:
        TableError: The table cannot be read.
    """
    uri = lake.uri(TABLE)
    if not delta.has_table(uri):
        return PROMOTIONS.empty_table()
    table = delta.read_table(uri, columns=PROMOTIONS.names)
    mine = table.filter(pc.equal(table["model_name"], model_name))
    return mine.sort_by([("time", "ascending"), ("promotion_id", "ascending")])


def append_promotion(lake: Lake, row: Mapping[str, Any]) -> bool:
    """Append a decision, once whoever tries how often; return whether anything was written.

    Args:
        lake: The lake.
        row: Of the schema `PROMOTIONS`.

    Raises:
        TableError: The table cannot be written.
    """
    table = pa.Table.from_pylist([dict(row)], schema=PROMOTIONS)
    commit_id = f"promotion:{row['promotion_id']}"
    return delta.append_once(lake.uri(TABLE), table, commit_id=commit_id)
