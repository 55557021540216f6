"""G5: what is asked of a threshold comes true on later normal steps, or is refused."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import signal

from vae_anomaly.detector.alerts import AlertRules, find_spans
from vae_anomaly.detector.calibration import HeldOut, calibrate
from vae_anomaly.detector.channels import combine, set_limits
from vae_anomaly.domain import FloatArray, IntArray
from vae_anomaly.errors import CalibrationError

RULES = AlertRules(
    merge_steps=30, min_steps=3, release_fraction=0.8, top_sensors=3, period_s=60.0, gap_steps=5
)
STEPS_PER_WEEK = 7 * 24 * 60
RATE = 0.01
NUM_PLANTS = 30


def make_energy(random: np.random.Generator, num: int, *, memory: float) -> FloatArray:
    """Log-normal energies whose logarithm forgets at a rate: AR(1) with coefficient `memory`."""
    noise = random.normal(size=num + 1000) * np.sqrt(1 - memory**2)
    energy: FloatArray = np.exp(0.4 * signal.lfilter([1.0], [1.0, -memory], noise)[1000:])
    return energy


def times_of(energy: FloatArray) -> IntArray:
    return np.arange(len(energy)) * 60_000_000


def ask(held: FloatArray, **asked: float | None) -> tuple[FloatArray, float]:
    """Return the score of a held-out part and the threshold that it gives."""
    nothing = np.zeros(len(held))
    limits = set_limits(held[None], nothing, smoothing_steps=1, false_alarm_rate=RATE)
    score, _ = combine(held[None], nothing, [limits])
    settings = {"budget_per_week": None, "false_alarm_rate": RATE} | asked
    found = calibrate(
        HeldOut("pump", times_of(held), score, np.zeros(len(held), dtype=bool)),
        rules=RULES,
        provisional=False,
        **settings,
    )
    return score / held, found.threshold


@pytest.mark.parametrize(("memory", "num"), [(0.0, 1_000), (0.9, 4_000), (0.98, 20_000)])
def test_g5_the_share_of_steps_that_was_asked_for_is_not_exceeded(memory, num):
    random = np.random.default_rng(0)
    realised = []
    for _ in range(NUM_PLANTS):
        held, later = (make_energy(random, num, memory=memory) for _ in range(2))
        scale, threshold = ask(held)
        realised.append(float(np.mean(later * scale[0] > threshold)))
    assert np.mean(realised) < 1.5 * RATE


@pytest.mark.parametrize("memory", [0.9, 0.98])
def test_g5_a_share_asked_of_too_few_independent_steps_is_not_exceeded_either(memory):
    random = np.random.default_rng(1)
    realised = []
    for _ in range(100):
        held, later = (make_energy(random, 400, memory=memory) for _ in range(2))
        scale, threshold = ask(held)
        realised.append(float(np.mean(later * scale[0] > threshold)))
    assert np.mean(realised) < 1.5 * RATE


@pytest.mark.parametrize("budget", [1.0, 5.0])
def test_g5_the_alert_budget_is_kept_on_average(budget):
    random = np.random.default_rng(2)
    num = round(2 * STEPS_PER_WEEK / min(budget, 2.0))
    events = []
    for _ in range(NUM_PLANTS):
        held = make_energy(random, num, memory=0.9)
        later = make_energy(random, 2 * STEPS_PER_WEEK, memory=0.9)
        scale, threshold = ask(held, budget_per_week=budget)
        spans = find_spans(times_of(later), later * scale[0], threshold=threshold, rules=RULES)
        events.append(len(spans) / 2)
    assert np.mean(events) < 1.5 * budget


def test_g5_a_budget_that_the_readings_cannot_carry_is_refused_with_the_days_it_needs():
    held = make_energy(np.random.default_rng(3), STEPS_PER_WEEK, memory=0.9)
    with pytest.raises(CalibrationError, match=r"expected at least 14 days .* got 7\."):
        ask(held, budget_per_week=0.5)
