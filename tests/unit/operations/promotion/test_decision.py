"""Figures to a decision: each condition alone can refuse."""

from dataclasses import replace

import pytest

from vae_anomaly.config import PromotionConfig
from vae_anomaly.domain import Calibration, HealthCheck
from vae_anomaly.evaluation.paired import Gap
from vae_anomaly.operations.promotion.comparison import Measured, TooFewRows
from vae_anomaly.operations.promotion.decision import describe, describe_wait, judge
from vae_anomaly.operations.promotion.records import list_figures
from vae_anomaly.readings.promotions import FIGURES

EVEN = Gap(0.0, 0.0, 0.0)

GOOD = Measured(
    start_us=0,
    end_us=86_400_000_000,
    num_normal=10_000,
    num_agreed=10,
    num_faults=500,
    alarm_share=(0.01, 0.01),
    num_events=(1, 1),
    weeks=1.0,
    recall=(0.7, 0.7),
    matched_recall=(0.8, 0.6),
    nll=(30.0, float("nan")),
    alarm_gap=EVEN,
    recall_gap=EVEN,
    pca_gap=Gap(0.2, 0.1, 0.3),
)
HEALTHY = HealthCheck("active_units", 3.0, "at least 1", True, "Units in use.")
RATE = Calibration("m", 1.0, None, 0.01, 0.01, 0.0, 0.02, 1000, 500.0, 1e6, False)
BUDGET = replace(RATE, budget_per_week=1.0, false_alarm_rate=None)


def find_failed(measured=GOOD, *, health=HEALTHY, asked=RATE):
    checks = judge(measured, health=(health,), asked=asked, settings=PromotionConfig())
    return [check.text for check in checks if not check.passed]


def test_as_good_everywhere_is_good_enough():
    assert find_failed() == find_failed(asked=BUDGET) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"alarm_share": (0.05, 0.05)}, "5.000% of normal steps flagged, at least 5.000% (asked"),
        ({"alarm_gap": Gap(0.005, 0.0, 0.02)}, "(at most +2.000%, tolerated +1.000%)"),
        ({"recall_gap": Gap(0.0, -0.06, 0.06)}, "the champion finds 70.0% (at least -6.0%, toler"),
        ({"pca_gap": Gap(-0.1, -0.2, 0.0)}, "PCA at the same rate of false alarms finds 60.0%"),
        ({"pca_gap": Gap(*[float("nan")] * 3)}, "cannot be compared with PCA at the same rate"),
    ],
)
def test_one_figure_that_is_worse_refuses_and_is_named(changes, words):
    (failed,) = find_failed(replace(GOOD, **changes))
    assert words in failed


def test_noise_is_allowed_for_where_the_rate_is_above_what_was_asked_for():
    noisy = replace(GOOD, alarm_share=(0.012, 0.01), alarm_gap=Gap(0.002, -0.002, 0.006))
    assert find_failed(noisy) == []


def test_a_budget_that_is_surely_broken_refuses():
    assert find_failed(replace(GOOD, num_events=(3, 0)), asked=BUDGET) == []  # may be chance
    (failed,) = find_failed(replace(GOOD, num_events=(5, 0)), asked=BUDGET)
    assert failed.startswith("5 alert events a week on normal steps, at least 1.97 with noise")


def test_an_unhealthy_detector_is_refused():
    (failed,) = find_failed(health=replace(HEALTHY, passed=False, value=0.0))
    assert failed == "it failed health checks (active units is 0, expected at least 1)"


def test_the_decision_says_on_what_it_rests():
    checks = judge(GOOD, health=(HEALTHY,), asked=RATE, settings=PromotionConfig())
    text = describe(checks, GOOD)
    assert text.startswith(
        "Champion, compared on 10,000 normal steps and 500 injected faults from 1970-01-01 00:00 "
        "UTC to 1970-01-02 00:00 UTC: every health check passed; "
    )


def test_too_few_readings_say_how_many_there_are():
    text = describe_wait(TooFewRows(12, 1, 0), PromotionConfig())
    assert "expected at least 1,000 normal readings after 1970-01-01 00:00 UTC" in text
    assert "got 12 (1 step left out, where both detectors alert)" in text


def test_figures_are_those_of_the_table_and_finite():
    figures = list_figures(GOOD)
    assert set(FIGURES) - set(figures) == {"champion_nll"}
    assert set(figures) <= set(FIGURES)
