"""A simulated year of two pumps through the whole pipeline, week by week, with what it did.

Run `python -m tests.benchmarks.a_year [WEEKS]`; a year takes about five minutes on two cores. An
operator dismisses what was no fault, so that the next training learns from it.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from tests.year import (
    FAULTS,
    PUMPS,
    REPLACED_WEEK,
    SERVICE,
    START,
    WRONG_UNIT_WEEK,
    write_week,
)
from vae_anomaly.config import PipelineConfig, read_pipeline_config
from vae_anomaly.domain import MICROSECONDS_PER_DAY
from vae_anomaly.operations import pipeline
from vae_anomaly.operations.alerting.browse import ListedAlert, find_alerts
from vae_anomaly.operations.alerting.decisions import Deed, decide
from vae_anomaly.operations.monitoring.monitor import monitor_pipeline, note_announced

TRAINING_WEEKS = 8
TRAINED_EVERY = 4
BUDGET_PER_WEEK = 1.0
BAD_WEEK = 40
"""In this week somebody trains on two days, and two weeks later insists on it for a week."""

SETTINGS = f"""
source = "raw"
[lake]
root = "lake"
[registry]
folder = "mlflow"
[training]
end = "{(START + timedelta(weeks=TRAINING_WEEKS)).isoformat()}"
rolling_days = {7 * TRAINING_WEEKS}
[detector.threshold]
alert_budget_per_week = {BUDGET_PER_WEEK}
provisional = true
[detector.model]
context = ["ambient"]
min_training_steps = 400
max_training_steps = 400
[detector.alerts]
merge_steps = 8
[alerting]
calendars = ["plant.ics"]
[promotion]
num_faults = 100
"""

CALENDAR = f"""BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//pumps//EN
BEGIN:VEVENT
UID:service
DTSTAMP:20250101T000000Z
DTSTART:{SERVICE.begin:%Y%m%dT%H%M%SZ}
DTEND:{SERVICE.finish:%Y%m%dT%H%M%SZ}
LOCATION:{SERVICE.pump}
SUMMARY:yearly service
END:VEVENT
END:VCALENDAR
"""


@dataclass(frozen=True)
class Plant:
    """The pipeline and its folder."""

    folder: Path
    config: PipelineConfig

    @classmethod
    def make(cls, folder: Path) -> Plant:
        (folder / "raw").mkdir()
        (folder / "plant.ics").write_bytes(CALENDAR.replace("\n", "\r\n").encode())
        (folder / "pipeline.toml").write_text(SETTINGS, encoding="utf-8")
        return cls(folder, read_pipeline_config(folder / "pipeline.toml"))

    def live(self, week: int) -> Iterator[str]:
        """Live one week; say what the system did."""
        raw = self.folder / "raw"
        write_week(raw, week, in_bar=week == WRONG_UNIT_WEEK)
        if week == WRONG_UNIT_WEEK + 1:
            write_week(raw, WRONG_UNIT_WEEK)
            yield "the file of last week came again, with the right unit"
        pipeline.ingest_source(self.config)
        if week < TRAINING_WEEKS:
            if week == TRAINING_WEEKS - 1:
                yield pipeline.train_detector(self.config).decision
            return
        result = pipeline.score_readings(self.config)
        yield (
            f"version {result.model_version} scored {result.num_new_rows} rows, "
            f"{result.num_new_events} new alert events"
        )
        yield from self._answer(week)
        yield from self._watch(week)
        yield from self._insist(week)

    def _watch(self, week: int) -> Iterator[str]:
        now_us = _to_us(START + timedelta(weeks=week + 1))
        check = monitor_pipeline(self.config, now_us=now_us)
        if check.event_id:
            note_announced(self.config, check)
            yield "drift: " + "; ".join(f"{one.asset} {one.reason}" for one in check.drifts[:2])
        if check.event_id or week % TRAINED_EVERY == TRAINED_EVERY - 1 or week == BAD_WEEK:
            config = self.config
            if week == BAD_WEEK:
                training = config.training.model_copy(update={"rolling_days": 2})
                config = config.model_copy(update={"training": training})
            trained = pipeline.train_detector(config)
            yield f"trained version {trained.model_version}"
        decision = pipeline.promote_challenger(self.config)
        if decision.decision != "nothing":
            yield f"{decision.decision}: {decision.reason}"

    def _insist(self, week: int) -> Iterator[str]:
        if week == BAD_WEEK + 2:
            forced = pipeline.promote_version(
                self.config, "challenger", by="somebody", reason="I am sure.", force=True
            )
            yield f"forced: {forced.reason}"
        if week == BAD_WEEK + 3:
            yield f"rolled back: {pipeline.roll_back(self.config, by='somebody').reason}"

    def _answer(self, week: int) -> Iterator[str]:
        """Let the operator dismiss what has ended and was nothing."""
        for alert in find_alerts(self.config, status="resolved"):
            if not is_real(alert) and not alert.mute:
                deed = Deed("operator", "nothing wrong", _to_us(START + timedelta(weeks=week + 1)))
                decide(self.config, alert.alert_id, "dismissed", deed=deed)
                yield f"dismissed {alert.asset} {', '.join(alert.top_sensors)} ({alert.severity})"


def is_real(alert: ListedAlert) -> bool:
    """Whether there was a fault, a service, a new sensor or a wrong unit."""
    if any(
        incident.pump == alert.asset
        and alert.start_us < _to_us(incident.finish + timedelta(hours=2))
        and alert.end_us > _to_us(incident.begin)
        for incident in (SERVICE, *FAULTS)
    ):
        return True
    week = (alert.start_us - _to_us(START)) // (7 * MICROSECONDS_PER_DAY)
    if alert.asset == PUMPS[1]:
        return bool(REPLACED_WEEK <= week <= REPLACED_WEEK + 2)
    return bool(week == WRONG_UNIT_WEEK)


def _to_us(time: datetime) -> int:
    return round(time.timestamp() * 1e6)


def main(num_weeks: int) -> None:
    """Live so many weeks; print the diary, the alert events and the rate of false ones."""
    with tempfile.TemporaryDirectory() as folder:
        plant = Plant.make(Path(folder))
        for week in range(num_weeks):
            for line in plant.live(week):
                print(f"week {week:2d}: {line[:200]}", flush=True)
        alerts = find_alerts(plant.config)
        print("\nasset | start | hours | times the threshold | sensors | severity | status | mute")
        for alert in alerts:
            start = START + timedelta(microseconds=alert.start_us - _to_us(START))
            print(
                f"{alert.asset} | {start:%Y-%m-%d %H:%M} | "
                f"{(alert.end_us - alert.start_us) / 3.6e9:.1f} | "
                f"{alert.peak_score / alert.threshold:.1f} | {', '.join(alert.top_sensors)} | "
                f"{alert.severity} | {alert.status} | {alert.mute}"
            )
        false = [alert for alert in alerts if not is_real(alert) and not alert.mute]
        weeks = (num_weeks - TRAINING_WEEKS) * len(PUMPS)
        print(
            f"\n{len(false)} false alert events in {weeks} weeks of a pump: "
            f"{len(false) / weeks:.2f} a week, budget {BUDGET_PER_WEEK:g}"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 52)
