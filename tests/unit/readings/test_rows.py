import numpy as np
import pytest

from vae_anomaly.domain import Texts
from vae_anomaly.readings.rows import is_range, take_rows


@pytest.mark.parametrize(
    ("rows", "expected"),
    [([], True), ([4], True), ([4, 5, 6], True), ([4, 6, 5], False), ([0, 2, 1, 3], False)],
)
def test_a_range_has_no_gap_and_no_other_order(rows, expected):
    assert is_range(np.array(rows, dtype=np.int64)) is expected


def test_rows_are_copied_only_where_they_are_not_all_in_order():
    values = np.arange(4.0)
    assert take_rows(values, np.arange(4)) is values
    assert take_rows(values, np.array([1, 0, 2, 3])).tolist() == [1, 0, 2, 3]
    assert take_rows(values, np.array([1, 2])).tolist() == [1, 2]


def test_texts_are_what_their_codes_say():
    texts = Texts(np.array([1, 0, 1], dtype=np.int8), ("ok", "anomalous"))
    assert texts.tolist() == ["anomalous", "ok", "anomalous"]
    assert texts.equals("ok").tolist() == [False, True, False]
    assert texts[np.array([1])].tolist() == ["ok"]
