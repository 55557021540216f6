"""Flags to alert events: hysteresis, merging, minimum length, and the sensors to blame."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from vae_anomaly.config import DetectorConfig
from vae_anomaly.domain import (
    MICROSECONDS_PER_S,
    AlertEvent,
    BoolArray,
    FloatArray,
    IntArray,
    SensorReason,
    Texts,
)

MEDIUM_SEVERITY = 2.0
"""Peak over threshold from which an event is of medium severity."""

HIGH_SEVERITY = 5.0
"""Peak over threshold from which an event is of high severity."""


@dataclass(frozen=True)
class AlertRules:
    """How flags become alert events; see `AlertConfig` for the meanings.

    `gap_steps` is that of `ReadingsConfig`: what comes after a gap is not held by what was before.
    """

    merge_steps: int
    min_steps: int
    release_fraction: float
    top_sensors: int
    period_s: float
    gap_steps: int


@dataclass(frozen=True)
class ScoreTrace:
    """The scored steps of one asset in order of time; unscorable steps are left out.

    Attributes:
        timestamps: Microseconds since 1970, UTC. Shape `(steps,)`.
        score: Higher is stranger. Shape `(steps,)`.
        excess: How much stranger than normal each sensor is, in nats. Shape
            `(steps, sensors)`.
        reason: Which sensor alone makes a step anomalous and how, else "". Shape `(steps,)`.
    """

    timestamps: IntArray
    score: FloatArray
    excess: FloatArray
    reason: Texts


@dataclass(frozen=True)
class Span:
    """Positions `[first, last]` of one alert event in a trace."""

    first: int
    last: int


def make_alert_rules(config: DetectorConfig, period_s: float) -> AlertRules:
    """Return the alert rules of the settings, at a sampling period in seconds."""
    alerts = config.alerts
    return AlertRules(
        merge_steps=alerts.merge_steps,
        min_steps=alerts.min_steps,
        release_fraction=alerts.release_fraction,
        top_sensors=alerts.top_sensors,
        period_s=period_s,
        gap_steps=config.readings.gap_steps,
    )


def find_spans(
    timestamps: IntArray, score: FloatArray, *, threshold: float, rules: AlertRules
) -> tuple[Span, ...]:
    """Find where alert events begin and end.

    An event opens above the threshold and stays open until the score falls to
    `release_fraction` of it, or readings stop for more than `gap_steps`. Events at most
    `merge_steps` apart are one. Events with fewer than `min_steps` flagged steps are dropped.

    Args:
        timestamps: Microseconds, sorted. Shape `(steps,)`.
        score: Higher is stranger, no NaN. Shape `(steps,)`.
        threshold: The limit.
        rules: Merging, length and hysteresis.

    Returns:
        The events in order of time; they begin and end on flagged or held steps.
    """
    flagged = score > threshold
    if not flagged.any():
        return ()
    held = flagged | (score > rules.release_fraction * threshold)
    period_us = rules.period_s * MICROSECONDS_PER_S
    first, last = _find_runs(held, np.diff(timestamps) > rules.gap_steps * period_us)
    flags_before = np.concatenate([[0], np.cumsum(flagged)])
    opened = flags_before[last + 1] > flags_before[first]
    first, last = first[opened], last[opened]
    first = _first_flag_at_or_after(flagged, first)
    apart = timestamps[first[1:]] - timestamps[last[:-1]] > rules.merge_steps * period_us
    first = first[np.concatenate([[True], apart])]
    last = last[np.concatenate([apart, [True]])]
    enough = flags_before[last + 1] - flags_before[first] >= rules.min_steps
    return tuple(Span(int(a), int(b)) for a, b in zip(first[enough], last[enough], strict=True))


def make_alert_events(
    trace: ScoreTrace,
    *,
    asset: str,
    model_name: str,
    sensors: tuple[str, ...],
    threshold: float,
    rules: AlertRules,
) -> tuple[AlertEvent, ...]:
    """Turn one asset's scores into alert events.

    Args:
        trace: The asset's scored steps.
        asset: Its name.
        model_name: Name of the registered model, part of the alert's identity.
        sensors: Names of the columns of `trace.excess`.
        threshold: The limit of the score.
        rules: Merging, length, hysteresis and sensors to name.

    Returns:
        The events in order of time.
    """
    spans = find_spans(trace.timestamps, trace.score, threshold=threshold, rules=rules)
    events = []
    for span in spans:
        inside = slice(span.first, span.last + 1)
        flagged = span.first + np.flatnonzero(trace.score[inside] > threshold)
        peak = span.first + int(np.argmax(trace.score[inside]))
        start_us = int(trace.timestamps[span.first])
        names, shares = _blame(trace.excess[inside], sensors, count=rules.top_sensors)
        peak_score = float(trace.score[peak])
        events.append(
            AlertEvent(
                alert_id=make_alert_id(asset, model_name, start_us),
                asset=asset,
                start_us=start_us,
                end_us=int(trace.timestamps[span.last])
                + round(rules.period_s * MICROSECONDS_PER_S),
                peak_us=int(trace.timestamps[peak]),
                peak_score=peak_score,
                threshold=threshold,
                num_steps=len(flagged),
                top_sensors=names,
                top_shares=shares,
                severity=_rate_severity(peak_score, threshold),
                reasons=_name_reasons(trace.reason[flagged], count=rules.top_sensors),
            )
        )
    return tuple(events)


def make_alert_id(asset: str, model_name: str, start_us: int) -> str:
    """Return the identity of an alert: a hash of asset, model name and start.

    Example:
        >>> make_alert_id("pump-07", "vae-anomaly", 0)
        '7c210bde47d130e4'
    """
    text = "\x1f".join((asset, model_name, str(start_us)))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _find_runs(inside: BoolArray, breaks: BoolArray) -> tuple[IntArray, IntArray]:
    """Return first and last positions of each run of true values.

    Args:
        inside: Shape `(steps,)`.
        breaks: Whether a run is cut between neighbours. Shape `(steps - 1,)`.
    """
    joined = inside[1:] & inside[:-1] & ~breaks
    first = inside & ~np.concatenate([[False], joined])
    last = inside & ~np.concatenate([joined, [False]])
    return np.flatnonzero(first), np.flatnonzero(last)


def _first_flag_at_or_after(flagged: BoolArray, positions: IntArray) -> IntArray:
    flags = np.flatnonzero(flagged)
    return flags[np.searchsorted(flags, positions)]


def _blame(
    excess: FloatArray, sensors: tuple[str, ...], *, count: int
) -> tuple[tuple[str, ...], tuple[float, ...]]:
    # one order in memory is one order of summation, however the scores were read
    mean = np.maximum(np.ascontiguousarray(np.nan_to_num(excess)).mean(axis=0), 0.0)
    total = float(mean.sum())
    if total <= 0:
        return (), ()
    order = [int(i) for i in np.argsort(-mean, kind="stable")[:count] if mean[i] > 0]
    return tuple(sensors[i] for i in order), tuple(float(mean[i] / total) for i in order)


def _name_reasons(reason: Texts, *, count: int) -> tuple[str, ...]:
    """Name the reasons of rules, which are certain, before those of shifts."""
    codes, nums = np.unique(reason.codes, return_counts=True)
    found = [(reason.names[code], -int(num)) for code, num in zip(codes, nums, strict=True)]
    ranked = sorted(
        (name.startswith(SensorReason.SHIFT), num, name) for name, num in found if name
    )
    return tuple(name for _, _, name in ranked[:count])


def _rate_severity(peak: float, threshold: float) -> str:
    if peak >= HIGH_SEVERITY * threshold:
        return "high"
    return "medium" if peak >= MEDIUM_SEVERITY * threshold else "low"
