"""A lake with alert events that are written by hand, and a clock that is set by hand."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from vae_anomaly.config import ChannelConfig, LakeConfig, NotifyConfig, PipelineConfig
from vae_anomaly.domain import MICROSECONDS_PER_S
from vae_anomaly.operations.notify.deliver import NotifyResult, deliver_messages
from vae_anomaly.operations.notify.outbox import Entry, Outbox
from vae_anomaly.readings import delta
from vae_anomaly.readings.layout import ALERTS

NOW = datetime(2026, 5, 1, 3, 0, tzinfo=UTC)
COLUMNS = ALERTS
SECRET_VARIABLE, URL_VARIABLE = "TEST_HOOK_SECRET", "TEST_HOOK_URL"


@dataclass
class Clock:
    """A time that stands still until it is moved."""

    now_us: int = int(NOW.timestamp()) * MICROSECONDS_PER_S

    def __call__(self) -> int:
        return self.now_us

    def forward(self, *, hours: float = 0.0, seconds: float = 0.0) -> None:
        self.now_us += int((hours * 3600 + seconds) * MICROSECONDS_PER_S)


@dataclass
class Desk:
    """A lake in which alert events are written by hand, and a pipeline that tells of them."""

    root: Path
    clock: Clock = field(default_factory=Clock)
    channels: dict[str, ChannelConfig] = field(default_factory=dict)
    options: dict[str, float | str] = field(default_factory=dict)

    @property
    def config(self) -> PipelineConfig:
        return PipelineConfig(
            lake=LakeConfig(root=str(self.root)),
            report="/reports/report.html",
            notify=NotifyConfig(channels=self.channels, **self.options),
        )

    def put(
        self,
        alert_id: str,
        *,
        start_min: float = -10,
        length_min: float = 5,
        columns: pa.Schema = COLUMNS,
        **other: object,
    ) -> None:
        """Write an alert event that starts some minutes from now."""
        start = self.clock.now_us + int(start_min * 60 * MICROSECONDS_PER_S)
        row = {
            "alert_id": alert_id,
            "asset": "pump-07",
            "model_name": "vae-anomaly",
            "model_version": "1",
            "start": start,
            "end": start + int(length_min * 60 * MICROSECONDS_PER_S),
            "peak": start + 60 * MICROSECONDS_PER_S,
            "peak_score": 6.2,
            "threshold": 1.0,
            "num_steps": 5,
            "severity": "high",
            "status": "open",
            "top_sensors": ["flow", "pressure"],
            "top_shares": [0.62, 0.21],
            "reasons": [],
            "mute": "",
            "group_id": "",
        } | other
        table = pa.Table.from_pylist([row], schema=columns)
        uri = str(self.root / "alerts")
        if delta.has_table(uri):
            delta.upsert(uri, table, keys=("alert_id",))
        else:
            delta.append_once(uri, table)

    def deliver(self) -> NotifyResult:
        return deliver_messages(self.config, clock=self.clock)

    def rows(self) -> list[Entry]:
        return list(Outbox(str(self.root)).read())

    def statuses(self) -> list[tuple[str, str, str]]:
        return sorted((row.alert_id, row.what, row.status) for row in self.rows())

    def change(self, name: str, **options: object) -> None:
        """Change the settings of a channel."""
        content = self.channels[name].model_dump() | options
        self.channels[name] = ChannelConfig.model_validate(content)
