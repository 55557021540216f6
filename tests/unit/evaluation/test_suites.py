"""Protocols of the labelled suites, on small files laid out like them."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vae_anomaly.errors import ReadingsError
from vae_anomaly.evaluation.labelled import Result, Scored, average, read_series
from vae_anomaly.evaluation.suites import (
    ALL_SUITES,
    GECCO,
    NAB,
    SKAB,
    TEP,
    TSB_AD_M,
    WELL_WINDOW,
    WELLS,
)

NORMAL, TRANSIENT, STEADY = 0, 105, 5


def write(file, labels, *, values=None, label="label_anomaly"):
    file.parent.mkdir(parents=True, exist_ok=True)
    num = len(labels)
    times = pa.array(np.arange(num) * 60_000_000, pa.int64()).cast(pa.timestamp("us", "UTC"))
    wave = np.sin(np.arange(num) / 5) if values is None else np.asarray(values, dtype=float)
    pq.write_table(
        pa.table({"timestamp": times, "a (bar)": wave, "b": wave**2, label: labels}), file
    )


def judge(case, rate):
    """A method that scores each row by `rate` and flags what is above a half."""
    scored = []
    for series in case.tests:
        score = np.asarray(rate(series), dtype=float)
        scored.append(Scored(score, score > 0.5))
    return Result(case, tuple(scored))


def label_of(series):
    return series.labels == 1


def test_labels_are_no_inputs_and_nulls_can_be_dropped(tmp_path):
    write(tmp_path / "x.parquet", [0, 1, 0], values=[1.0, np.nan, 3.0])
    series = read_series(tmp_path / "x.parquet")
    assert series.table.column_names == ["timestamp", "a (bar)", "b"]
    assert series.labels.tolist() == [0, 1, 0]
    assert read_series(tmp_path / "x.parquet", drop_nulls=True).values[:, 0].tolist() == [1.0, 3.0]


@pytest.mark.parametrize("suite", ALL_SUITES, ids=lambda suite: suite.name)
def test_an_empty_folder_is_refused_with_what_to_do(suite, tmp_path):
    with pytest.raises(ReadingsError, match=r"Cannot run a benchmark: expected .* with --data"):
        list(suite.read_cases(tmp_path))


def test_tsb_trains_on_as_many_rows_as_the_name_says_and_scores_all(tmp_path):
    labels = np.zeros(900, dtype=int)
    labels[700:720] = 1
    write(tmp_path / "007_MSL_id_6_Sensor_tr_300_1st_700.parquet", labels)
    (case,) = TSB_AD_M.read_cases(tmp_path)
    assert (case.training.num_rows, case.tests[0].num_rows) == (300, 900)
    good = TSB_AD_M.measure([judge(case, label_of)])
    assert good["PR-AUC"] == good["ROC-AUC"] == 1.0
    assert good["VUS-PR"] > 0.6
    assert good["realised (1% asked)"] == 0.0
    bad = TSB_AD_M.measure([judge(case, lambda _: np.arange(900) % 2)])
    assert bad["VUS-PR"] < 0.2
    assert bad["realised (1% asked)"] == 0.5


def test_what_a_provisional_limit_realised_is_counted_apart(tmp_path):
    labels = np.zeros(900, dtype=int)
    labels[700:720] = 1
    write(tmp_path / "007_MSL_id_6_Sensor_tr_300_1st_700.parquet", labels)
    (case,) = TSB_AD_M.read_cases(tmp_path)
    scored = Scored(np.zeros(900), np.zeros(900, dtype=bool), is_provisional=True)
    figures = TSB_AD_M.measure([Result(case, (scored,))])
    assert figures["provisional"] == 1.0
    assert "realised (1% asked)" not in figures
    assert figures["realised, provisional (1% asked)"] == 0.0


def test_a_row_without_a_score_ranks_in_the_middle():
    assert Scored(np.array([1.0, np.nan, 9.0, 2.0]), np.zeros(4, dtype=bool)).ranking[1] == 2.0


def test_gecco_drops_rows_with_nulls(tmp_path):
    labels = np.zeros(17_000, dtype=int)
    labels[16_900:] = 1
    values = np.sin(np.arange(17_000) / 9)
    values[[3, 50]] = np.nan
    write(tmp_path / "train.parquet", labels, values=values)
    (case,) = GECCO.read_cases(tmp_path)
    assert (case.training.num_rows, case.tests[0].num_rows) == (16_165, 16_998)


def test_tep_takes_its_limit_from_the_normal_run_and_counts_from_the_fault_on(tmp_path):
    write(tmp_path / "d00_train.parquet", np.zeros(50, dtype=int))
    write(tmp_path / "d00_test.parquet", np.zeros(200, dtype=int))
    write(tmp_path / "d01_test.parquet", np.arange(200) >= 160)
    (case,) = TEP.read_cases(tmp_path)
    assert [series.name for series in case.tests] == ["d00_test", "d01_test"]

    def rate(series):
        if series.name == "d00_test":
            return np.arange(200) / 1000  # the limit that 1 % exceeds is 0.197
        return np.where(np.arange(200) >= 180, 0.198, 0.0)

    figures = TEP.measure([judge(case, rate)])
    assert figures["FAR"] == 0.01
    assert figures["FDR"] == figures["FDR of d01_test"] == 0.5
    assert figures["FDR, own limit"] == figures["FAR, own limit"] == 0.0


def test_skab_counts_flags_over_all_runs_after_their_first_400_rows(tmp_path):
    write(tmp_path / "anomaly-free.parquet", np.zeros(500, dtype=int))
    write(tmp_path / "valve1_0.parquet", np.arange(500) >= 450)
    write(tmp_path / "other_1.parquet", np.arange(600) >= 550)
    cases = list(SKAB.read_cases(tmp_path))
    assert [case.name for case in cases] == ["other_1", "valve1_0"]
    assert [case.tests[0].num_rows for case in cases] == [200, 100]
    only_one = [judge(cases[0], label_of), judge(cases[1], lambda _: np.zeros(100))]
    figures = SKAB.measure(only_one)
    assert figures["FAR"] == 0.0
    assert figures["MAR"] == 0.5
    assert figures["F1"] == pytest.approx(2 / 3)


def test_a_well_is_cut_into_windows_before_and_after_its_fault(tmp_path):
    labels = np.repeat([NORMAL, TRANSIENT, STEADY], [2_700, 1_000, 2_000])
    write(tmp_path / "class5_WELL-1.parquet", labels, label="label_class")
    write(tmp_path / "class5_WELL-2.parquet", labels[2_000:], label="label_class")  # too short
    write(tmp_path / "class0_WELL-3.parquet", 0 * labels, label="label_class")  # no fault
    (case,) = WELLS.read_cases(tmp_path)
    assert case.training.num_rows == 9 * WELL_WINDOW
    ends = np.flatnonzero(case.tests[0].labels != -1)
    assert case.tests[0].labels[ends].tolist() == [0] * 6 + [1] * 6
    first = case.tests[0].table["timestamp"][0].value // 60_000_000
    assert first == 9 * WELL_WINDOW
    assert ends[5] + first == 2_699  # the normal windows end where the fault begins
    perfect = WELLS.measure([judge(case, lambda series: np.arange(series.num_rows) > ends[5])])
    assert perfect == {"F1 (micro)": 1.0, "FAR": 0.0, "MAR": 0.0}
    everything = WELLS.measure([judge(case, lambda series: np.ones(series.num_rows))])
    assert everything == {"F1 (micro)": 0.5, "FAR": 1.0, "MAR": 0.0}


def test_windows_of_a_well_overlap_where_its_normal_period_is_short(tmp_path):
    labels = np.repeat([NORMAL, TRANSIENT, STEADY], [1_300, 100, 2_000])
    write(tmp_path / "class5_WELL-1.parquet", labels, label="label_class")
    (case,) = WELLS.read_cases(tmp_path)
    judged = case.tests[0].labels[case.tests[0].labels != -1]
    assert judged.tolist() == [0] * 6 + [1] * 6  # no room for a transient one: all are steady


def test_a_well_whose_fault_is_too_short_for_a_window_is_left_out(tmp_path):
    labels = np.repeat([NORMAL, STEADY], [1_300, 100])
    write(tmp_path / "class5_WELL-1.parquet", labels, label="label_class")
    assert list(WELLS.read_cases(tmp_path)) == []


def test_nab_trains_on_its_first_rows(tmp_path):
    write(tmp_path / "machine.parquet", np.arange(1_000) >= 900)
    (case,) = NAB.read_cases(tmp_path)
    assert case.training.num_rows == 150


def test_figures_are_averaged_over_the_cases_that_have_them():
    assert average([{"a": 1.0, "b": 4.0}, {"a": 3.0}]) == {"a": 2.0, "b": 4.0}


def test_runs_of_flags_are_counted_against_runs_of_labels(tmp_path):
    labels = np.zeros(1_000)
    labels[600:650] = labels[900:950] = 1
    write(tmp_path / "007_MSL_id_6_Sensor_tr_300_1st_600.parquet", labels)
    (case,) = TSB_AD_M.read_cases(tmp_path)
    flagged = np.zeros(1_000, dtype=bool)
    flagged[[310, 311, 500, 610, 611]] = True
    figures = TSB_AD_M.measure([Result(case, (Scored(flagged.astype(float), flagged),))])
    assert figures["event recall"] == 0.5
    assert figures["delay (steps)"] == 10
    num_days = 900 * 60 / 86_400
    assert figures["false alarms a day"] == pytest.approx(2 / num_days)


def test_rows_in_the_wake_of_an_anomaly_are_not_counted_as_normal(tmp_path):
    labels = np.zeros(1_000)
    labels[500:510] = 1
    write(tmp_path / "007_MSL_id_6_Sensor_tr_300_1st_500.parquet", labels)
    (case,) = TSB_AD_M.read_cases(tmp_path)
    flagged = np.zeros(1_000, dtype=bool)
    flagged[100:300] = flagged[500:700] = True  # training, the anomaly and its wake
    figures = TSB_AD_M.measure([Result(case, (Scored(flagged.astype(float), flagged),))])
    assert figures["realised (1% asked)"] == 0.0
