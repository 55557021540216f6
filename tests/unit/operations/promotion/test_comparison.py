"""Which rows count as normal, and what follows where something cannot be measured."""

import numpy as np
import pyarrow as pa

from vae_anomaly.operations.promotion.comparison import NEAR_STEPS, _find_normal
from vae_anomaly.operations.promotion.contenders import Scored
from vae_anomaly.operations.promotion.rows import ComparisonRows
from vae_anomaly.operations.promotion.trial import _flag, _join

NUM_ROWS = 1_000


def make_rows():
    table = pa.table({"asset": ["a"] * NUM_ROWS, "timestamp": np.arange(NUM_ROWS)})
    codes = np.repeat([0, 1], NUM_ROWS // 2)
    return ComparisonRows(table, np.ones(NUM_ROWS, dtype=bool), codes, np.arange(NUM_ROWS))


def mark(*spans):
    flags = np.zeros(NUM_ROWS, dtype=bool)
    for first, end in spans:
        flags[first:end] = True
    return flags


def test_what_both_alert_to_is_left_out_with_what_each_makes_of_it():
    first, second = mark((100, 150), (400, 420)), mark((120, 300))
    normal = _find_normal(make_rows(), first, second, wake=100)
    left_out = np.flatnonzero(~normal.is_normal)
    assert left_out[0] == 120 - NEAR_STEPS
    assert left_out[-1] == 149 + 100  # as far as a score takes to come down
    assert normal.num_agreed == left_out.size
    assert normal.num_events == (1, 1)  # 400 to 420, and what goes on after the wake


def test_what_one_alone_alerts_to_counts_against_it_and_events_end_with_the_asset():
    normal = _find_normal(make_rows(), mark((450, 550)), mark(), wake=100)
    assert normal.is_normal.all()
    assert normal.num_events == (2, 0)


def test_an_alarm_that_never_ends_excuses_nothing():
    normal = _find_normal(make_rows(), mark((0, NUM_ROWS)), mark((500, 510)), wake=50)
    assert normal.is_normal.sum() == NUM_ROWS - 10 - 2 * 50
    assert normal.num_events[0] == 2


def test_without_pca_nothing_is_said_of_it():
    flags = np.array([True, False])
    scored = Scored(np.array([2.0, 0.0]), flags, np.zeros(2))
    assert [one.tolist() for one in _flag([scored, scored], [1.0, 1.0])] == [[True, False]] * 3
    found = _join(np.array([3, 9]), [[flags], [flags], [flags]])
    assert np.isnan(found.shares[3]).all()
    assert found.shares[2].tolist() == [1.0, 0.0]


def test_a_champion_that_flags_too_much_finds_no_more_for_it():
    scores = np.array([3.0, 2.0, 1.0])
    challenger = Scored(scores, np.array([True, False, False]), np.zeros(3))
    champion = Scored(scores, np.array([True, True, True]), np.zeros(3))
    flags = _flag([challenger, champion], [1.5, 2.5])
    assert [one.tolist() for one in flags[:2]] == [[True, False, False]] * 2
