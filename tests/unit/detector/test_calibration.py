import numpy as np
import pytest

from vae_anomaly.detector.alerts import AlertRules, find_spans
from vae_anomaly.detector.calibration import (
    HeldOut,
    calibrate,
    effective_sample_size,
    require_held_out,
)
from vae_anomaly.domain import SECONDS_PER_WEEK
from vae_anomaly.errors import CalibrationError

MINUTE_US = 60_000_000
STEPS_PER_WEEK = int(SECONDS_PER_WEEK // 60)
RULES = AlertRules(
    merge_steps=30, min_steps=1, release_fraction=0.8, top_sensors=3, period_s=60.0, gap_steps=5
)


def ar1(num: int, phi: float, *, seed: int = 0) -> np.ndarray:
    """Positive, autocorrelated scores."""
    noise = np.random.default_rng(seed).normal(size=num) * np.sqrt(1 - phi**2)
    values = np.empty(num)
    value = noise[0]
    for step in range(num):
        value = phi * value + noise[step]
        values[step] = value
    return np.exp(values)


def held_out(score: np.ndarray, ruled: np.ndarray | None = None) -> HeldOut:
    times = np.arange(len(score), dtype=np.int64) * MINUTE_US
    ruled = np.zeros(len(score), dtype=bool) if ruled is None else ruled
    return HeldOut("pump-07", times, score, ruled)


def at(score, *, budget=None, rate=0.01, provisional=False, ruled=None):
    return calibrate(
        held_out(score, ruled),
        rules=RULES,
        budget_per_week=budget,
        false_alarm_rate=rate,
        provisional=provisional,
    )


def count_events(score: np.ndarray, threshold: float) -> int:
    times = np.arange(len(score), dtype=np.int64) * MINUTE_US
    return len(find_spans(times, score, threshold=threshold, rules=RULES))


# --- effective steps ---


@pytest.mark.parametrize("phi", [0.0, 0.5, 0.9, 0.99])
def test_the_effective_steps_of_an_ar1_series_are_those_of_the_theory(phi):
    num = 40_000
    noise = np.log(ar1(num, phi))
    assert effective_sample_size(noise) == pytest.approx(num * (1 - phi) / (1 + phi), rel=0.35)


def test_alternating_scores_are_not_worth_more_than_their_number():
    assert effective_sample_size(np.tile([1.0, -1.0], 500)) == 1000


@pytest.mark.parametrize(
    ("score", "steps"),
    [([], 1), ([1.0], 1), ([1.0, 2.0, 3.0], 3), ([5.0] * 40, 40)],
)
def test_short_or_constant_scores_count_as_they_are(score, steps):
    assert effective_sample_size(np.array(score)) == steps


def test_a_drift_is_worth_next_to_nothing():
    assert effective_sample_size(np.linspace(0, 1, 1000)) < 10


# --- a step rate ---


def test_a_step_rate_is_kept_on_the_held_out_steps():
    score = ar1(10_000, 0.5)
    found = at(score, rate=0.01)
    assert np.mean(score > found.threshold) == pytest.approx(0.01, abs=2e-4)
    assert found.expected_rate == np.mean(score > found.threshold)
    assert found.rate_low < 0.01 < found.rate_high
    assert (found.false_alarm_rate, found.budget_per_week) == (0.01, None)
    assert (found.num_steps, found.duration_s) == (10_000, 600_000.0)
    assert not found.provisional


def test_the_interval_widens_with_autocorrelation():
    loose, tight = at(ar1(20_000, 0.99)), at(ar1(20_000, 0.0))
    assert loose.rate_high - loose.rate_low > 2 * (tight.rate_high - tight.rate_low)
    assert loose.effective_steps < tight.effective_steps / 20


def test_too_few_steps_for_a_rate_are_refused_with_the_number_needed():
    with pytest.raises(CalibrationError) as caught:
        at(ar1(99, 0.0), rate=0.01)
    assert str(caught.value) == (
        "Cannot set a threshold for asset 'pump-07' at a false-alarm rate of 0.01: expected at "
        "least 100 held-out steps, got 99. Use a longer training period, a larger "
        "calibration_share or a larger false_alarm_rate."
    )


def test_too_few_independent_steps_make_a_rate_provisional():
    assert at(ar1(200, 0.99)).provisional
    assert at(ar1(99, 0.0), provisional=True).provisional
    assert not at(ar1(500, 0.0)).provisional


# --- what rules flag ---


def test_what_rules_flag_leaves_less_of_a_step_rate_for_the_scores():
    score, ruled = ar1(10_000, 0.0), np.arange(10_000) % 200 == 0
    found = at(score, rate=0.01, ruled=ruled)
    assert found.threshold > at(score, rate=0.01).threshold
    assert found.expected_rate == pytest.approx(0.01, abs=3e-4)


def test_what_rules_flag_sets_no_threshold_by_its_own_score():
    score, ruled = ar1(10_000, 0.0), np.arange(10_000) < 50
    wild = np.where(ruled, 1e6, score)
    for options in ({"rate": 0.01}, {"budget": 20.0}):
        assert at(wild, ruled=ruled, **options).threshold <= score.max()


def test_what_rules_flag_uses_up_the_budget():
    score = ar1(2 * STEPS_PER_WEEK, 0.9)
    ruled = np.arange(len(score)) % 4000 < 10
    by_rules = count_events(ruled.astype(float), 0.5)
    found = at(score, budget=10.0, ruled=ruled)
    assert found.threshold > at(score, budget=10.0).threshold
    assert by_rules / 2 <= found.expected_rate <= 10.0
    assert count_events(np.where(ruled, np.inf, score), found.threshold) == (
        2 * found.expected_rate
    )


def test_rules_beyond_the_budget_leave_the_threshold_above_the_scores_but_not_endless():
    score = ar1(2 * STEPS_PER_WEEK, 0.9)
    ruled = np.arange(len(score)) % 200 < 10
    found = at(score, budget=1.0, ruled=ruled, provisional=True)
    assert found.expected_rate > 1.0
    assert np.quantile(score, 0.99) < found.threshold < 10 * score.max()


# --- a budget ---


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("phi", [0.0, 0.9])
def test_a_budget_holds_on_the_held_out_steps_themselves(seed, phi):
    score = ar1(2 * STEPS_PER_WEEK, phi, seed=seed)
    for budget in (1.0, 5.0, 30.0):
        found = at(score, budget=budget)
        assert count_events(score, found.threshold) <= 2 * budget
        assert found.expected_rate == count_events(score, found.threshold) / 2
        assert found.rate_low <= found.expected_rate <= found.rate_high
        assert (found.budget_per_week, found.false_alarm_rate) == (budget, None)
        assert not found.provisional


def test_a_larger_budget_gives_a_lower_threshold():
    score = ar1(2 * STEPS_PER_WEEK, 0.9)
    thresholds = [at(score, budget=budget).threshold for budget in (0.5, 1, 2, 5, 20, 100)]
    assert thresholds == sorted(thresholds, reverse=True)
    assert thresholds[0] > thresholds[-1]


def test_a_budget_that_allows_every_event_stays_in_the_upper_scores():
    score = ar1(STEPS_PER_WEEK, 0.0)
    assert at(score, budget=1e6).threshold >= np.quantile(score, 0.8)


def test_no_event_in_the_held_out_time_still_has_an_upper_limit():
    found = at(ar1(2 * STEPS_PER_WEEK, 0.9), budget=0.6)
    assert (found.expected_rate, found.rate_low) == (0.0, 0.0)
    assert found.rate_high == pytest.approx(-np.log(0.05) / 2)  # the rule of three


def test_too_short_a_time_for_a_budget_is_refused_with_the_days_needed():
    with pytest.raises(CalibrationError) as caught:
        at(ar1(3456, 0.0), budget=0.5)
    assert str(caught.value) == (
        "Cannot set a threshold for asset 'pump-07' at 0.5 alert events a week: expected at "
        "least 14 days of held-out normal readings, got 2.4. Use a longer training period or a "
        "larger budget, or accept an unproven threshold with provisional = true in the settings."
    )


def test_too_few_independent_steps_for_a_budget_are_refused():
    drifting = np.linspace(1.0, 2.0, STEPS_PER_WEEK) + ar1(STEPS_PER_WEEK, 0.0) * 1e-3
    needed = STEPS_PER_WEEK / 1440 * 30 / effective_sample_size(drifting)
    for budget in (2.0, 20.0):
        with pytest.raises(CalibrationError) as caught:
            at(drifting, budget=budget)
        assert str(caught.value) == (
            f"Cannot set a threshold for asset 'pump-07' at {budget:g} alert events a week: "
            "expected held-out scores worth at least 30 independent steps, got "
            f"{int(effective_sample_size(drifting))} in 7 days of held-out normal readings; "
            f"about {needed:.3g} days would do. Use a longer training period, or accept an "
            "unproven threshold with provisional = true in the settings."
        )
    assert at(drifting, budget=2.0, provisional=True).provisional


@pytest.mark.parametrize(("num_steps", "is_offered"), [(0, False), (29, False), (30, True)])
def test_a_larger_budget_is_offered_only_where_it_can_help(num_steps, is_offered):
    with pytest.raises(CalibrationError) as caught:
        at(ar1(num_steps, 0.0) if num_steps else np.empty(0), budget=2.0)
    assert ("a larger budget" in str(caught.value)) == is_offered
    assert ("provisional" in str(caught.value)) == (num_steps > 0)


def test_what_cannot_be_carried_is_accepted_as_provisional_and_marked():
    found = at(ar1(3456, 0.0), budget=0.5, provisional=True)
    assert found.provisional
    assert found.threshold >= ar1(3456, 0.0).max()


@pytest.mark.parametrize("budget", [None, 2.0])
@pytest.mark.parametrize("provisional", [False, True])
def test_without_any_held_out_step_there_is_no_threshold_at_all(budget, provisional):
    with pytest.raises(CalibrationError, match=r"got 0\."):
        at(np.empty(0), budget=budget, provisional=provisional)


def test_enough_steps_are_not_refused_early():
    require_held_out("a", 100, period_s=60.0, budget_per_week=None, rate=0.01)
    require_held_out("a", STEPS_PER_WEEK, period_s=60.0, budget_per_week=1.0, rate=0.01)


def test_a_budget_that_the_rules_alone_use_up_is_refused_or_provisional():
    score = np.random.default_rng(0).random(4 * 10_080)
    ruled = np.arange(len(score)) % 500 < 5
    held = HeldOut("pump", np.arange(len(score)) * 60_000_000, score, ruled)
    asked = {"rules": RULES, "budget_per_week": 2.0, "false_alarm_rate": 0.01}
    with pytest.raises(
        CalibrationError, match=r"expected at most 8 events .* got 81 from the rul"
    ):
        calibrate(held, provisional=False, **asked)
    assert calibrate(held, provisional=True, **asked).provisional


def test_a_share_that_the_rules_alone_use_up_is_provisional():
    score = np.random.default_rng(0).random(40_000)
    held = HeldOut("pump", np.arange(40_000) * 60_000_000, score, np.arange(40_000) % 50 == 0)
    found = calibrate(
        held, rules=RULES, budget_per_week=None, false_alarm_rate=0.01, provisional=False
    )
    assert found.provisional
    assert found.expected_rate >= 0.02


def test_a_held_out_part_of_nothing_but_breaches_leaves_a_threshold_above_nothing():
    score = np.ones(20_000)
    held = HeldOut("pump", np.arange(20_000) * 60_000_000, score, np.ones(20_000, dtype=bool))
    found = calibrate(
        held, rules=RULES, budget_per_week=1.0, false_alarm_rate=0.01, provisional=True
    )
    assert found.threshold > 0
