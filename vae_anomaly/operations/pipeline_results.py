"""What each step of the pipeline says it did."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from vae_anomaly.domain import AlertEvent, Calibration, HealthCheck


@dataclass(frozen=True)
class TrainResult:
    """What one training did.

    Attributes:
        model_name: Registered model.
        model_version: The version that these readings, settings and seed give.
        run_id: MLflow run that it came from.
        is_champion: Whether it is the champion now.
        decision: Why it is, or is not, in words.
        num_rows: Readings that it was trained on.
        num_period_rows: Readings in the training period.
        num_blocks: Stretches of neighbouring readings that were taken of it.
        num_assets: Assets that they are from.
        readings_version: Version of the table of readings.
        calibrations: Threshold of each asset; empty where skipped.
        health: Figures of its health; empty where skipped.
        baseline: Held-out NLL by name of the model, nats per row; empty where skipped.
        skipped: Whether the version was there before, so that nothing was done.
        num_excluded: Readings of the period that were left out, as they are not normal.
    """

    model_name: str
    model_version: str
    run_id: str
    is_champion: bool
    decision: str
    num_rows: int
    num_period_rows: int
    num_blocks: int
    num_assets: int
    readings_version: int
    calibrations: dict[str, Calibration] = field(default_factory=dict)
    health: tuple[HealthCheck, ...] = ()
    baseline: dict[str, float] = field(default_factory=dict)
    skipped: bool = False
    num_excluded: int = 0


@dataclass(frozen=True)
class ScoreResult:
    """What one scoring did, and what there is now.

    `num_rows = num_ok + num_anomalous + num_unscorable`, always.

    Attributes:
        model_name: Registered model.
        model_version: The version that scored.
        num_rows: Rows that this version has scored, now and before; of the champion, since it is
            live.
        num_ok: Of those, rows in state `ok`.
        num_anomalous: Rows in state `anomalous`.
        num_unscorable: Rows in state `unscorable`.
        num_events: Alert events that stand, of all versions that were live; 0 for one that is not
            champion.
        num_new_rows: Rows scored or scored again now.
        num_new_events: Alert events that were not there before.
        readings_version: Version of the table of readings.
        skipped: Whether every reading had its score, so that nothing was done.
    """

    model_name: str
    model_version: str
    num_rows: int
    num_ok: int
    num_anomalous: int
    num_unscorable: int
    num_events: int
    num_new_rows: int
    num_new_events: int
    readings_version: int
    skipped: bool


@dataclass(frozen=True)
class Alert:
    """One alert event as it stands in the lake.

    Attributes:
        event: The event.
        model_name: Registered model that found it.
        model_version: The version that found it last.
        status: `open`, or what has become of it since.
        mute: Why nobody is called for it; empty where somebody is.
        group_id: The first of the events that belong together.
    """

    event: AlertEvent
    model_name: str
    model_version: str
    status: str
    mute: str = ""
    group_id: str = ""


@dataclass(frozen=True)
class ReportResult:
    """What is on the report page.

    Attributes:
        path: The HTML file.
        model_name: Registered model.
        model_version: Its version.
        num_rows: Rows shown.
        num_events: Alert events shown.
        num_left_out: Earlier rows that were left out, to keep the page small.
    """

    path: Path
    model_name: str
    model_version: str
    num_rows: int
    num_events: int
    num_left_out: int
