"""What speaks against a detector by its own fit, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vae_anomaly.cli.sensor_tables import find_sentinels
from vae_anomaly.domain import HealthCheck, SensorProfile
from vae_anomaly.wording import name_figure

if TYPE_CHECKING:
    from vae_anomaly.detector.record import DetectorRecord

GAIN_CHECK = "gain_over_pca_nats"

ADVICE = {
    "active_units": "the sensors may have nothing in common. Fit it on sensors of one machine",
    "sigma_at_floor_share": "many sensors are copies of each other. Leave some out",
    "two_sigma_coverage": "the held-out readings are unlike those before them. Fit it on a period "
    "that holds every way of running, and no fault",
    GAIN_CHECK: "the sensors are as good as linear, or the readings too few for a network, or "
    "spoilt by faults. Look at them with 'vae-anomaly check', and fit it on more",
}
"""What to do about each health check that can fail."""

MORE = "docs/how-to/read-the-report.md#health"


def advise(
    checks: Sequence[HealthCheck], profiles: Sequence[SensorProfile] = ()
) -> tuple[str, ...]:
    """Note each failed check with what to do about it.

    Args:
        checks: Figures of a detector's health.
        profiles: What its training readings looked like. Values that look like sentinels spoil a
            fit more than they do PCA, so they are named where PCA fits better.

    Returns:
        One note per failed check.
    """
    sentinels = find_sentinels(profiles)
    notes = []
    for check in checks:
        if check.passed:
            continue
        advice = ADVICE.get(check.name, check.meaning.rstrip("."))
        if check.name == GAIN_CHECK and sentinels:
            where = "; ".join(f"{text} in {', '.join(found)}" for text, found in sentinels)
            options = " ".join(f"--sentinel {text}" for text, _ in sentinels)
            advice = (
                f"its readings hold values that look like sentinels ({where}). If they mean "
                f"missing, fit it again with {options}, or sentinels in the settings"
            )
        name = name_figure(check.name)
        notes.append(f"the detector failed its health check '{name}': {advice}; see {MORE}")
    return tuple(notes)


def note_doubts(record: DetectorRecord) -> tuple[str, ...]:
    """Note what its own fit says against a detector that scores."""
    notes = [*advise(record.health, record.profiles)]
    if any(one.provisional for one in record.calibrations.values()):
        notes.append(
            "the threshold is provisional: the readings of the fit were too few to carry the rate "
            "that was asked for"
        )
    return tuple(notes)
