"""Alignment against its slow twin, and what must not play a part in it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import naive
from vae_anomaly.domain import Readings
from vae_anomaly.readings.alignment import RULES, align_readings

PERIOD = 10

rows = st.lists(
    st.tuples(
        st.sampled_from("ab"),
        st.integers(-25, 45),
        st.sampled_from([math.nan, -3.0, 0.0, 0.1, 1.0, 7.25, 1e6]),
    ),
    max_size=30,
    unique_by=lambda row: row[:2],
)


def make_readings(given_rows: list[tuple[str, int, float]]) -> Readings:
    assets, times, values = zip(*given_rows, strict=True) if given_rows else ((), (), ())
    return Readings(
        timestamps=np.array(times, dtype=np.int64),
        asset_codes=np.array(["ab".index(asset) for asset in assets], dtype=np.int64),
        asset_names=("a", "b"),
        values=np.array(values, dtype=np.float64).reshape(-1, 1),
        sensors=("flow",),
    )


def align(readings: Readings, rule: str) -> Readings:
    return align_readings(readings, period_s=PERIOD * 1e-6, rules={"flow": rule})


def as_dict(readings: Readings) -> dict[tuple[str, int], float]:
    names = [readings.asset_names[code] for code in readings.asset_codes]
    times, values = readings.timestamps.tolist(), readings.values[:, 0].tolist()
    return dict(zip(zip(names, times, strict=True), values, strict=True))


def same(left: Readings, right: Readings) -> bool:
    return (
        left.timestamps.tolist() == right.timestamps.tolist()
        and left.asset_codes.tolist() == right.asset_codes.tolist()
        and left.values.tobytes() == right.values.tobytes()
    )


@pytest.mark.parametrize("rule", RULES)
@given(given_rows=rows)
def test_alignment_is_that_of_its_definition(rule: str, given_rows) -> None:
    found = as_dict(align(make_readings(given_rows), rule))
    wanted = naive.align(given_rows, period=PERIOD, rule=rule)
    assert found.keys() == wanted.keys()
    for key, value in wanted.items():
        assert found[key] == pytest.approx(value, rel=1e-12, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("rule", RULES)
@given(given_rows=rows, order=st.randoms(use_true_random=False))
def test_g3_the_order_of_rows_plays_no_part(rule: str, given_rows, order) -> None:
    shuffled = list(given_rows)
    order.shuffle(shuffled)
    assert same(align(make_readings(given_rows), rule), align(make_readings(shuffled), rule))


@pytest.mark.parametrize("rule", RULES)
@given(given_rows=rows)
def test_aligned_readings_are_aligned(rule: str, given_rows) -> None:
    once = align(make_readings(given_rows), rule)
    assert same(align(once, rule), once)


@pytest.mark.parametrize("rule", RULES)
@given(given_rows=rows, exponent=st.integers(-30, 30), sign=st.sampled_from([-1.0, 1.0]))
def test_g1_units_of_sensors_play_no_part(rule: str, given_rows, exponent, sign) -> None:
    factor = sign * 2.0**exponent
    scaled = [(asset, time, value * factor) for asset, time, value in given_rows]
    straight = align(make_readings(given_rows), rule).values * factor
    np.testing.assert_array_equal(align(make_readings(scaled), rule).values, straight)


@pytest.mark.parametrize("rule", RULES)
@given(given_rows=rows, cut=st.integers(-3, 5))
def test_readings_cut_at_a_tick_are_aligned_part_by_part(rule: str, given_rows, cut) -> None:
    early = [row for row in given_rows if row[1] <= cut * PERIOD]
    late = [row for row in given_rows if row[1] > cut * PERIOD]
    parts = as_dict(align(make_readings(early), rule)) | as_dict(align(make_readings(late), rule))
    whole = as_dict(align(make_readings(given_rows), rule))
    assert {key: repr(value) for key, value in parts.items()} == {
        key: repr(value) for key, value in whole.items()
    }
