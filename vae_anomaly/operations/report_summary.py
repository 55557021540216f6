"""What the report says in words and tables: verdict, alert events, sensors, calibration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vae_anomaly.domain import (
    MICROSECONDS_PER_S,
    NO_TIME,
    SECONDS_PER_WEEK,
    AlertEvent,
    Calibration,
    FloatArray,
    Quality,
    SensorQuality,
    State,
)
from vae_anomaly.operations.report_data import AssetRows, find_timed
from vae_anomaly.operations.report_events import SEVERITIES, rank_events
from vae_anomaly.operations.report_input import ReportInput
from vae_anomaly.operations.report_text import (
    NOTHING,
    format_count,
    format_duration,
    format_number,
    format_share,
    format_time,
)
from vae_anomaly.wording import format_plural


@dataclass(frozen=True)
class SensorFaults:
    """What was found in the values of one sensor, of all assets.

    Attributes:
        num_spikes: Spikes.
        num_out_of_range: Values outside the range that the rules allow.
        copies: Sensors with the same values, of one asset at least.
    """

    num_spikes: int
    num_out_of_range: int
    copies: tuple[str, ...]


@dataclass(frozen=True)
class Headline:
    """The report in a few lines.

    Attributes:
        tone: `good`, `watch`, `bad` or `unknown`; chooses the colour and the word beside it.
        verdict: One sentence.
        detail: What to look at first, may be empty.
        expectation: What the calibration promised for this period, may be empty.
        num_states: Rows by state.
        first_us: First time, `NO_TIME` where no row has one.
        last_us: Last time.
        duration_s: Seconds between them.
        num_labelled: Rows that truth calls an anomaly, None without labels.
    """

    tone: str
    verdict: str
    detail: str
    expectation: str
    num_states: dict[str, int]
    first_us: int
    last_us: int
    duration_s: float
    num_labelled: int | None


@dataclass(frozen=True)
class Expectation:
    """What the calibrations let one expect of normal readings in the scored period.

    Attributes:
        text: In words, empty without a calibration.
        exceeded: Whether more was found than normal readings should give.
    """

    text: str
    exceeded: bool


def make_headline(report: ReportInput, assets: tuple[AssetRows, ...]) -> Headline:
    """Say in a few lines what was scored and what came out."""
    states = report.scores["state"].cast(pa.string())
    num_states = {
        state.value: int(pc.sum(pc.equal(states, state.value)).as_py() or 0) for state in State
    }
    times = report.readings.timestamps[find_timed(report.readings, report.scores)]
    first, last = (int(times.min()), int(times.max())) if times.shape[0] else (NO_TIME, NO_TIME)
    duration_s = (last - first) / MICROSECONDS_PER_S
    expectation = find_expectation(report, assets)
    tone, verdict = _judge(report, num_states, expectation, format_duration(duration_s))
    labelled = [asset.labelled.sum() for asset in assets if asset.labelled is not None]
    return Headline(
        tone=tone,
        verdict=verdict,
        detail=_point_at(
            rank_events(report.events)[:1], several_assets=len(report.readings.asset_names) > 1
        ),
        expectation=expectation.text,
        num_states=num_states,
        first_us=first,
        last_us=last,
        duration_s=duration_s,
        num_labelled=int(sum(labelled)) if labelled else None,
    )


def find_expectation(report: ReportInput, assets: tuple[AssetRows, ...]) -> Expectation:
    """Work out how many alert events, or flagged steps, normal readings should have given."""
    events, most_events, rates = 0.0, 0.0, set()
    steps, most_steps, flagged, scored = 0.0, 0.0, 0, 0
    for asset in assets:
        calibration = report.calibrations.get(asset.name)
        if calibration is None:
            continue
        rates.add(describe_request(calibration))
        if calibration.budget_per_week is not None:
            weeks = asset.num_scored * report.contract.period_s / SECONDS_PER_WEEK
            events += calibration.budget_per_week * weeks
            most_events += max(calibration.budget_per_week, calibration.rate_high) * weeks
        elif calibration.false_alarm_rate is not None:
            scored += asset.num_scored
            flagged += int(asset.anomalous.sum())
            steps += calibration.false_alarm_rate * asset.num_scored
            most_steps += (
                max(calibration.false_alarm_rate, calibration.rate_high) * asset.num_scored
            )
    if events > 0:
        chance = most_events + 2 * most_events**0.5  # two standard deviations of a Poisson count
        text = f"Budget: {_join(rates)}, so about {format_number(events, 2)} in this period."
        return Expectation(text, exceeded=len(report.events) > chance)
    if scored > 0:
        text = (
            f"Asked for {_join(rates)} above the threshold; {format_share(flagged / scored)} are."
        )
        return Expectation(text, exceeded=flagged > most_steps)
    return Expectation("", exceeded=False)


def describe_request(calibration: Calibration) -> str:
    """Say in words what alarm rate was asked for."""
    if calibration.budget_per_week is not None:
        return f"{format_number(calibration.budget_per_week, 3)} a week for each asset"
    if calibration.false_alarm_rate is not None:
        return f"{format_share(calibration.false_alarm_rate)} of normal steps"
    return NOTHING


def describe_rate(calibration: Calibration) -> tuple[str, str]:
    """Say in words what normal readings should give, and its 90 % interval."""
    if calibration.budget_per_week is not None:
        low, high = format_number(calibration.rate_low, 2), format_number(calibration.rate_high, 2)
        return f"{format_number(calibration.expected_rate, 2)} a week", f"{low} to {high}"
    low, high = format_share(calibration.rate_low), format_share(calibration.rate_high)
    return f"{format_share(calibration.expected_rate)} of steps", f"{low} to {high}"


def count_reasons(scores: pa.Table) -> tuple[tuple[str, int], ...]:
    """Count why rows are unscorable, the most frequent reason first."""
    unscorable = scores.filter(pc.equal(scores["state"].cast(pa.string()), State.UNSCORABLE.value))
    counts = pc.value_counts(unscorable["reason"].cast(pa.string())).to_pylist()
    named = [(item["values"] or "", int(item["counts"])) for item in counts]
    return tuple(sorted((pair for pair in named if pair[0]), key=lambda pair: (-pair[1], pair[0])))


def count_faults(quality: Quality) -> dict[str, SensorFaults]:
    """Add up over assets what was found in the values of each sensor."""
    found: dict[str, list[SensorQuality]] = {sensor.name: [] for sensor in quality.sensors}
    for item in quality.by_asset:
        found[item.sensor].append(item)
    return {
        name: SensorFaults(
            num_spikes=sum(item.num_spikes for item in items),
            num_out_of_range=sum(item.num_out_of_range for item in items),
            copies=tuple(sorted({item.copy_of for item in items if item.copy_of})),
        )
        for name, items in found.items()
    }


def find_share_outside(readings: FloatArray, mean: FloatArray, sigma: FloatArray) -> float:
    """Find the share of readings more than two sigmas from the mean, NaN where none compares."""
    distance = np.abs(readings - mean)
    known = np.isfinite(distance) & np.isfinite(sigma)
    if not known.any():
        return float("nan")
    return float(np.mean(distance[known] > 2 * sigma[known]))


def _judge(
    report: ReportInput, num_states: dict[str, int], expectation: Expectation, period: str
) -> tuple[str, str]:
    num_events, num_flagged = len(report.events), num_states[State.ANOMALOUS]
    if num_flagged + num_states[State.OK] == 0:
        return "unknown", "Nothing could be scored: every row is unscorable."
    if num_events == 0:
        steps = format_plural(num_flagged, "step")
        crossed = f" {steps} crossed the threshold, too few in a row to alert." * (num_flagged > 0)
        return "good", f"No alert event in {period}.{crossed}"
    found = f"{format_plural(num_events, 'alert event')} in {period}"
    num_high = sum(event.severity == SEVERITIES[-1] for event in report.events)
    high = f"{found}, {format_count(num_high)} of high severity" if num_high else found
    if expectation.exceeded:
        return "bad", f"{high}: more than normal readings would give."
    if num_high:
        return "bad", f"{high}."
    if expectation.text:
        return "watch", f"{found}: so few can be chance; look at each."
    return "watch", f"{found}."


def _point_at(gravest: tuple[AlertEvent, ...], *, several_assets: bool) -> str:
    if not gravest:
        return ""
    event = gravest[0]
    where = f" on {event.asset}" if several_assets else ""
    text = f"Look first at {format_time(event.start_us)} UTC{where} ({event.severity} severity)"
    if not event.top_sensors:
        return text + "."
    share = format_share(event.top_shares[0]) if event.top_shares else NOTHING
    return f"{text}, led by {event.top_sensors[0]} with {share} of the excess."


def _join(texts: set[str]) -> str:
    return " or ".join(sorted(texts))
