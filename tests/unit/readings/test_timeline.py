"""Unit tests of estimates of rows over time."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vae_anomaly.readings.data_files import DataFile
from vae_anomaly.readings.timeline import Timeline


def make_file(first_us: int, last_us: int, num_rows: int) -> DataFile:
    return DataFile("x", "a", "1970-01-01", num_rows, first_us, last_us, 0)


FILES = st.lists(
    st.builds(
        lambda first, length, rows: make_file(first, first + length, rows),
        st.integers(0, 10**6),
        st.integers(0, 10**5),
        st.integers(1, 1000),
    ),
    min_size=1,
    max_size=8,
)


@given(files=FILES, time=st.integers(-100, 1_200_000))
def test_rows_before_and_from_a_time_on_are_all_rows(files, time):
    line = Timeline.of(files)
    total = sum(file.num_rows for file in files)
    before = line.count(line.start_us, time)
    after = line.count(time, line.end_us)
    np.testing.assert_allclose(before + after, total, rtol=1e-9)


@given(
    files=FILES,
    start=st.integers(-100, 500_000),
    length=st.integers(1, 10**6),
    max_rows=st.integers(1, 500),
)
def test_parts_are_the_span_and_none_is_much_larger_than_asked_for(files, start, length, max_rows):
    line, end = Timeline.of(files), start + length
    parts = line.cut(start, end, max_rows=max_rows)
    assert parts[0][0] == start
    assert parts[-1][1] == end
    assert all(one[1] == other[0] for one, other in pairwise(parts))
    densest = max(file.num_rows / (file.last_us - file.first_us + 1) for file in files)
    slack = len(files) * densest + 1  # a cut lies at a whole microsecond
    assert all(line.count(*part) <= max_rows + slack for part in parts)


@given(files=FILES, time=st.integers(-100, 1_200_000), num_rows=st.integers(0, 5000))
def test_looking_back_and_ahead_finds_the_rows_or_all_there_are(files, time, num_rows):
    line = Timeline.of(files)
    back, ahead = line.find_back(time, num_rows), line.find_ahead(time, num_rows)
    assert back <= time <= ahead
    densest = sum(file.num_rows / (file.last_us - file.first_us + 1) for file in files)
    assert back <= line.start_us or line.count(back, time) >= num_rows - densest
    assert ahead >= line.end_us or line.count(time, ahead) >= num_rows - densest


def test_without_files_there_is_nothing_and_nowhere_to_look():
    line = Timeline.of([])
    assert line.count(0, 10**15) == 0
    assert line.cut(0, 10, max_rows=1) == ((0, 10),)
    assert line.find_back(5, 3) == line.find_ahead(5, 3) == 5
    assert line.start_us > line.end_us
