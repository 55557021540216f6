import numpy as np
import pytest

from vae_anomaly.evaluation.metrics import (
    Intervals,
    average_precision,
    count_overlaps,
    find_delays_s,
    find_intervals,
    measure_flags,
    roc_auc,
)

SECOND = 1_000_000


def intervals(*pairs):
    return Intervals(
        np.array([start for start, _ in pairs], dtype=np.int64),
        np.array([end for _, end in pairs], dtype=np.int64),
    )


@pytest.mark.parametrize("measure", [average_precision, roc_auc])
def test_a_perfect_ranking_measures_one(measure):
    assert measure(np.array([1.0, 2.0, 3.0]), np.array([False, False, True])) == 1.0


@pytest.mark.parametrize("measure", [average_precision, roc_auc])
@pytest.mark.parametrize("label", [False, True])
def test_ranking_measures_are_undefined_for_one_class(measure, label):
    assert np.isnan(measure(np.arange(3.0), np.full(3, label)))


def test_equal_scores_are_worth_chance():
    labels = np.array([True, False, False, False])
    assert average_precision(np.ones(4), labels) == 0.25
    assert roc_auc(np.ones(4), labels) == 0.5


def test_flags_are_measured_step_by_step():
    labels = np.array([True, True, True, False, False])
    flags = np.array([True, False, False, True, False])
    measures = measure_flags(flags, labels)
    assert measures.precision == 0.5
    assert measures.recall == pytest.approx(1 / 3)
    assert measures.f1 == pytest.approx(0.4)
    assert measures.false_alarm_rate == 0.5
    assert measures.missed_alarm_rate == pytest.approx(2 / 3)


def test_an_unscorable_step_is_missed_when_anomalous_and_ignored_when_normal():
    labels = np.array([True, True, False, False])
    flags = np.array([True, False, True, False])
    scorable = np.array([True, False, True, False])
    measures = measure_flags(flags, labels, scorable=scorable)
    assert measures.recall == 0.5
    assert measures.false_alarm_rate == 1.0


def test_measures_without_flags_or_anomalies_are_undefined():
    measures = measure_flags(np.zeros(2, dtype=bool), np.zeros(2, dtype=bool))
    assert np.isnan(measures.precision)
    assert np.isnan(measures.recall)
    assert np.isnan(measures.f1)
    assert measures.false_alarm_rate == 0.0


def test_a_run_ends_one_period_after_its_last_step_or_at_the_next_step():
    times = np.array([0, 10, 17, 50, 60])
    runs = find_intervals(times, np.array([0, 1, 0, 0, 1], dtype=bool), period_us=10)
    assert runs.starts_us.tolist() == [10, 60]
    assert runs.ends_us.tolist() == [17, 70]


def test_a_run_over_a_gap_in_time_stays_one():
    runs = find_intervals(np.array([0, 10, 900]), np.ones(3, dtype=bool), period_us=10)
    assert (runs.starts_us.tolist(), runs.ends_us.tolist()) == ([0], [910])


def test_runs_at_one_instant_are_never_empty():
    runs = find_intervals(np.zeros(2, dtype=np.int64), np.array([True, False]), period_us=0)
    assert (runs.starts_us.tolist(), runs.ends_us.tolist()) == ([0], [1])


def test_touching_intervals_do_not_overlap():
    alerts = intervals((0, 10), (5, 20), (30, 40))
    assert count_overlaps(intervals((10, 12), (20, 30), (0, 100)), alerts).tolist() == [1, 0, 3]


def test_a_delay_counts_from_the_start_of_the_anomaly_to_the_first_alert_on_it():
    anomalies = intervals((0, 10 * SECOND), (20 * SECOND, 30 * SECOND), (50 * SECOND, 60 * SECOND))
    alerts = intervals(
        (4 * SECOND, 5 * SECOND), (7 * SECOND, 8 * SECOND), (15 * SECOND, 25 * SECOND)
    )
    delays = find_delays_s(anomalies, alerts)
    assert delays[:2].tolist() == [4.0, 0.0]
    assert np.isnan(delays[2])


def test_a_long_alert_behind_a_short_one_is_seen():
    anomalies = intervals((50 * SECOND, 60 * SECOND))
    alerts = intervals((0, 100 * SECOND), (10 * SECOND, 11 * SECOND), (55 * SECOND, 56 * SECOND))
    assert find_delays_s(anomalies, alerts).tolist() == [0.0]


def test_intervals_are_extended_by_seconds():
    longer = intervals((0, SECOND)).extended(1.5)
    assert (longer.num_intervals, longer.ends_us.tolist()) == (1, [2_500_000])
