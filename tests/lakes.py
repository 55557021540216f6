"""Readings written into a lake without files to ingest."""

from __future__ import annotations

import numpy as np

from vae_anomaly.domain import Readings
from vae_anomaly.readings import delta
from vae_anomaly.readings.data_files import FileChange, commit_files
from vae_anomaly.readings.intake import Delivery, Staging
from vae_anomaly.readings.layout import readings_schema
from vae_anomaly.readings.tables import Lake


def append_readings(
    lake: Lake, readings: Readings, *, source: str, batch: str, commit_id: str
) -> bool:
    """Append usable readings in one commit; return whether anything was written."""
    uri, columns = lake.uri("readings"), lake.reading_columns()
    if delta.find_mark(uri, commit_id) is not None:
        return False
    order = np.lexsort((readings.timestamps, readings.asset_codes))
    with Staging(lake.readings_folder(), Delivery(source, batch), columns=columns) as staging:
        staging.add(readings.take(order), start=0)
        staging.wait()
    if not staging.added:
        return False
    commit_files(
        uri,
        FileChange(staging.added, (), since=lake.readings_version()),
        schema=readings_schema(columns),
        commit_id=commit_id,
    )
    return True
