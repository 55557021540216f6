"""A lake with scores by hand and real alert events, for tests of what becomes of these."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vae_anomaly.config import AlertConfig, AlertingConfig, PipelineConfig
from vae_anomaly.detector.detector import Detector
from vae_anomaly.operations.alerting.decisions import Deed, decide
from vae_anomaly.operations.alerting.events import Change, Event, read_changes, read_events
from vae_anomaly.operations.alerting.settle import settle_alerts
from vae_anomaly.operations.pipeline_alerts import update_alerts
from vae_anomaly.readings.ingest import ingest
from vae_anomaly.readings.spans import list_spans
from vae_anomaly.readings.tables import Lake

START_US = 1_750_000_000_000_000
STEP_US = 60_000_000
MERGE_STEPS = 5
NUM_STEPS = 120
MODEL = {"model_name": "vae-anomaly", "model_version": "1"}


@dataclass(frozen=True)
class AlertLake:
    """A lake, its settings, and the detector whose scores are written by hand."""

    folder: Path
    detector: Detector
    plant: pa.Table
    settings: AlertingConfig

    @property
    def config(self) -> PipelineConfig:
        usual = PipelineConfig()
        alerts = AlertConfig(merge_steps=MERGE_STEPS, min_steps=1)
        return usual.model_copy(
            update={
                "lake": usual.lake.model_copy(update={"root": str(self.folder)}),
                "detector": usual.detector.model_copy(update={"alerts": alerts}),
                "alerting": self.settings,
            }
        )

    @property
    def lake(self) -> Lake:
        return Lake(self.folder)

    def score(
        self,
        flagged: Iterable[int],
        *,
        asset: str = "a",
        first: int = 0,
        stop: int = NUM_STEPS,
        unscorable: Iterable[int] = (),
        settle: bool = True,
    ) -> None:
        """Score steps `[first, stop)` of an asset, some of them flagged, and find the events."""
        if not self.lake.read_contract():
            self.lake.write_contract(self.detector.contract)
        given = self.detector.score(self.plant.slice(0, stop)).slice(first)
        score = np.zeros(stop)
        score[[step for step in flagged if step < stop]] = 3 * self.threshold
        missing = np.isin(np.arange(stop), list(unscorable))
        columns = {"asset": pa.repeat(asset, given.num_rows)}
        columns |= {name: given[name] for name in given.column_names}
        columns["score"] = pa.array(score[first:], mask=missing[first:])
        table = pa.table(columns)
        self.lake.write_scores(table, **MODEL)
        update_alerts(self.lake, self.detector, list_spans(table), **MODEL)
        if settle:
            settle_alerts(self.config)

    @property
    def threshold(self) -> float:
        return self.detector.record.calibration_of("asset").threshold

    def ingest(self) -> None:
        """Take in readings, which say from when to when calendars matter."""
        raw = self.folder.parent / "raw.parquet"
        pq.write_table(self.plant, raw)
        ingest(str(raw), self.lake, config=self.config.detector.readings)

    def decide(self, alert_id: str, status: str, *, at_us: int | None = None) -> Event:
        return decide(self.config, alert_id, status, deed=Deed("ann", "why", at_us))

    def live(self) -> list[Event]:
        events = read_events(self.lake, model_name="vae-anomaly")
        return [event for event in events if event.is_live]

    def statuses(self) -> list[str]:
        return self.lake.read_alerts()["status"].to_pylist()

    def history(self, alert_id: str) -> list[Change]:
        return [change for change in read_changes(self.lake) if change.alert_id == alert_id]


def at(step: int) -> int:
    """Return the time of a step, microseconds since 1970."""
    return START_US + step * STEP_US
