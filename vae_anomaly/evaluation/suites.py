"""Labelled suites under their published protocols: what trains, what is scored, what counts.

Folders and files are those that data/README.md describes. No protocol adjusts points, and no
label reaches a fit.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from vae_anomaly.domain import SECONDS_PER_DAY, BoolArray, IntArray
from vae_anomaly.evaluation.labelled import (
    TIMESTAMP,
    Case,
    Figures,
    Published,
    Result,
    Scored,
    Series,
    Suite,
    average,
    list_files,
    read_series,
)
from vae_anomaly.evaluation.metrics import (
    average_precision,
    count_overlaps,
    find_delays_s,
    find_intervals,
    measure_flags,
    roc_auc,
)
from vae_anomaly.evaluation.rows import UNLABELLED
from vae_anomaly.evaluation.vus import find_period, vus_pr

LABEL_CLASS = "label_class"

ASKED = 0.01
"""Share of normal steps that every method is asked to flag."""

MIN_ROWS_TO_REALISE = 200
"""Normal rows after training from which a realised share means something."""

WAKE_STEPS = 200
"""Steps after an anomaly in which a score may still come down; they are not counted as normal."""

TEP_NORMAL_ROWS = 160
"""Rows of a faulty run before its fault (Russell, Chiang and Braatz 2000)."""

SKAB_TRAINING_ROWS = 400
GECCO_TRAINING_ROWS = 16_165

WELL_WINDOW = 180
WELL_WINDOWS = 15
WELL_TRAINING_SHARE = 0.6
MIN_WELL_ROWS = 1_200
"""Windows of 180 rows, up to 15 of each kind, from instances of at least 1,200 normal rows
(Vargas et al. 2019, benchmark 2)."""


# --- TSB-AD-M and GECCO ---


def _read_tsb(folder: Path) -> Iterator[Case]:
    for file in list_files(folder, "*_tr_*.parquet"):
        series = read_series(file)
        num_training = int(re.findall(r"_tr_(\d+)", file.stem)[0])
        yield Case(file.stem, series.take(slice(num_training)), (series,))


def _read_gecco(folder: Path) -> Iterator[Case]:
    series = read_series(folder / "train.parquet", drop_nulls=True)
    yield Case(series.name, series.take(slice(GECCO_TRAINING_ROWS)), (series,))


def _measure_ranking(result: Result) -> Figures:
    series, scored = result.case.tests[0], result.scored[0]
    labels, ranking = series.labels == 1, scored.ranking
    figures = {
        "VUS-PR": vus_pr(ranking, labels, window_steps=find_period(series.values[:, 0])),
        "PR-AUC": average_precision(ranking, labels),
        "ROC-AUC": roc_auc(ranking, labels),
    }
    figures |= _measure_events(series, scored)
    figures |= _realise(scored.flagged[_find_calm(labels, result.case.training.num_rows)], scored)
    return figures


def _measure_events(series: Series, scored: Scored) -> Figures:
    """Runs of flags against runs of labels, in the steps and days of the series."""
    times = series.table[TIMESTAMP].cast("int64").to_numpy()
    period_us = max(int(np.median(np.diff(times))), 1)
    anomalies = find_intervals(times, series.labels == 1, period_us=period_us)
    alerts = find_intervals(times, scored.flagged, period_us=period_us)
    delays = find_delays_s(anomalies, alerts)
    is_false = count_overlaps(alerts, anomalies) == 0
    num_days = float(np.sum(series.labels == 0)) * period_us / (SECONDS_PER_DAY * 1e6)
    figures = {
        "event recall": float(np.mean(np.isfinite(delays))),
        "false alarms a day": float(is_false.sum()) / num_days,
    }
    if np.isfinite(delays).any():
        figures["delay (steps)"] = float(np.nanmedian(delays)) * 1e6 / period_us
    return figures


def _find_calm(labels: BoolArray, num_training: int) -> BoolArray:
    """Tell which rows are normal, after training, and not in the wake of an anomaly."""
    position = np.arange(len(labels))
    last = np.maximum.accumulate(np.where(labels, position, -WAKE_STEPS))
    calm: BoolArray = (position >= num_training) & (position - last >= WAKE_STEPS)
    return calm


def _measure_rankings(results: Sequence[Result]) -> Figures:
    return average([_measure_ranking(result) for result in results])


# --- TEP ---


def _read_tep(folder: Path) -> Iterator[Case]:
    faulty = [file for file in list_files(folder, "d*_test.parquet") if file.stem != "d00_test"]
    tests = [folder / "d00_test.parquet", *faulty]
    yield Case("tep", read_series(folder / "d00_train.parquet"), tuple(map(read_series, tests)))


def _measure_tep(results: Sequence[Result]) -> Figures:
    result = results[0]
    normal, *faulty = result.scored
    limit = np.sort(normal.ranking)[-math.floor(ASKED * len(normal.score)) - 1]
    rates = [float((one.ranking > limit)[TEP_NORMAL_ROWS:].mean()) for one in faulty]
    own = [float(one.flagged[TEP_NORMAL_ROWS:].mean()) for one in faulty]
    return {
        "FDR": float(np.mean(rates)),
        "FAR": float((normal.ranking > limit).mean()),
        "FDR, own limit": float(np.mean(own)),
        "FAR, own limit": float(normal.flagged.mean()),
        **_realise(normal.flagged, normal),
        **{
            f"FDR of {series.name}": rate
            for series, rate in zip(result.case.tests[1:], rates, strict=True)
        },
    }


# --- SKAB ---


def _read_skab(folder: Path) -> Iterator[Case]:
    for file in list_files(folder, "*_*.parquet"):
        series = read_series(file)
        training = series.take(slice(SKAB_TRAINING_ROWS))
        yield Case(file.stem, training, (series.take(slice(SKAB_TRAINING_ROWS, None)),))


def _measure_skab(results: Sequence[Result]) -> Figures:
    labels = np.concatenate([result.case.tests[0].labels == 1 for result in results])
    flagged = np.concatenate([result.scored[0].flagged for result in results])
    counts = measure_flags(flagged, labels)
    return {
        "F1": counts.f1,
        "FAR": float(flagged[~labels].mean()),
        "MAR": 1.0 - counts.recall,
        **_realise(flagged[~labels], results[0].scored[0]),
        "ROC-AUC": float(
            np.mean(
                [
                    roc_auc(result.scored[0].ranking, result.case.tests[0].labels == 1)
                    for result in results
                ]
            )
        ),
    }


# --- 3W ---


def _read_wells(folder: Path) -> Iterator[Case]:
    for file in list_files(folder, "class*.parquet"):
        series = read_series(file, label=LABEL_CLASS)
        case = _cut_well(series)
        if case is not None:
            yield case


def _cut_well(series: Series) -> Case | None:
    """Cut an instance into training rows, and windows of normal and faulty rows."""
    kind = int(re.findall(r"class(\d+)", series.name)[0])
    normal = np.flatnonzero(series.labels == 0)
    if kind == 0 or len(normal) < MIN_WELL_ROWS:
        return None
    windows = _cut_windows(normal, WELL_WINDOWS)
    num_training = int(WELL_TRAINING_SHARE * len(windows))
    tests = windows[num_training:]
    half = len(tests) // 2
    transient = _cut_windows(np.flatnonzero(series.labels == 100 + kind), half)
    steady = _cut_windows(np.flatnonzero(series.labels == kind), len(tests) - len(transient))
    if not transient + steady:
        return None
    training = np.unique(np.concatenate(windows[:num_training]))
    starts = [rows[0] for rows in (*tests, *transient, *steady)]
    scored = np.arange(min(starts), max(starts) + WELL_WINDOW)
    labels = np.full(len(scored), UNLABELLED)
    for rows, label in ((tests, 0), (transient + steady, 1)):
        for window in rows:
            labels[window[-1] - scored[0]] = label
    test = series.take(scored)
    return Case(series.name, series.take(training), (Series(test.name, test.table, labels),))


def _cut_windows(rows: IntArray, num_windows: int) -> list[IntArray]:
    """Cut up to so many windows out of a period, counted from its end."""
    if len(rows) < WELL_WINDOW or num_windows < 1:
        return []
    step = max(min(WELL_WINDOW, (len(rows) - WELL_WINDOW) // max(num_windows - 1, 1)), 1)
    ends = len(rows) - step * np.arange(min(num_windows, (len(rows) - WELL_WINDOW) // step + 1))
    return [rows[end - WELL_WINDOW : end] for end in sorted(ends.tolist())]


def _measure_well(result: Result) -> Figures:
    labels, flagged = result.case.tests[0].labels, result.scored[0].flagged
    counted = np.cumsum(np.insert(flagged.astype(np.int64), 0, 0))
    ends = np.flatnonzero(labels != UNLABELLED) + 1
    # a window is as strange as most of its rows
    strange = counted[ends] - counted[np.maximum(ends - WELL_WINDOW, 0)] > WELL_WINDOW // 2
    truth = labels[ends - 1] == 1
    return {
        "F1 (micro)": float(np.mean(strange == truth)),
        "FAR": float(strange[~truth].mean()),
        "MAR": float((~strange[truth]).mean()),
    }


def _measure_wells(results: Sequence[Result]) -> Figures:
    return average([_measure_well(result) for result in results])


# --- NAB ---


def _read_nab(folder: Path) -> Iterator[Case]:
    for file in list_files(folder, "*.parquet"):
        series = read_series(file)
        num_training = round(0.15 * series.num_rows)
        yield Case(file.stem, series.take(slice(num_training)), (series,))


def _realise(flagged: BoolArray, scored: Scored) -> Figures:
    """What came true of the asked share on normal rows, and whether the method had doubts."""
    figures = {"provisional": float(scored.is_provisional)}
    if len(flagged) >= MIN_ROWS_TO_REALISE:
        name = "realised, provisional" if scored.is_provisional else "realised"
        figures[f"{name} ({ASKED:.0%} asked)"] = float(flagged.mean())
    return figures


TSB_AD_M = Suite(
    name="tsb_ad_m",
    protocol="The first N rows of each series train (N is in its name), the whole series is "
    "scored; mean VUS-PR (Liu and Paparrizos 2024).",
    read_cases=_read_tsb,
    measure=_measure_rankings,
    published=(
        Published("VUS-PR", "KMeansAD", 0.404),
        Published("VUS-PR", "CNN", 0.267),
        Published("VUS-PR", "Donut", 0.166),
    ),
)
GECCO = Suite(
    name="gecco2018",
    protocol="As TSB-AD-M takes it: rows with nulls dropped, 16,165 rows train, all are scored.",
    read_cases=_read_gecco,
    measure=_measure_rankings,
    published=(
        Published("VUS-PR", "PCA", 0.202),
        Published("VUS-PR", "LOF", 0.130),
        Published("VUS-PR", "KMeansAD", 0.055),
    ),
)
TEP = Suite(
    name="tep",
    protocol="d00_train trains; fault detection rate from row 160 on, at the limit that at most "
    "1 % of d00_test exceed (Russell, Chiang and Braatz 2000), and at the method's own.",
    read_cases=_read_tep,
    measure=_measure_tep,
)
SKAB = Suite(
    name="skab",
    protocol="One fit per run, its first 400 rows train, the rest is scored; flags are counted "
    "over all runs together (SKAB leaderboard).",
    read_cases=_read_skab,
    measure=_measure_skab,
    published=(  # over all 34 runs of SKAB, of which the folder may hold fewer
        Published("F1", "Conv-AE", 0.78),
        Published("FAR", "Conv-AE", 0.136),
        Published("MAR", "Conv-AE", 0.280),
        Published("F1", "T2 + Q (PCA)", 0.76),
        Published("FAR", "T2 + Q (PCA)", 0.266),
        Published("MAR", "T2 + Q (PCA)", 0.249),
    ),
)
WELLS = Suite(
    name="3w",
    protocol="One fit per instance with 1,200 normal rows: the first 60 % of up to 15 windows of "
    "180 rows before the fault train; the others and as many faulty ones are judged, a window "
    "being flagged where most of its rows are (Vargas et al. 2019).",
    read_cases=_read_wells,
    measure=_measure_wells,
    published=(
        # over 36 instances, of which the folder may hold fewer
        Published("F1 (micro)", "isolation forest", 0.727),
        Published("F1 (micro)", "one-class SVM", 0.532),
    ),
)
NAB = Suite(
    name="nab",
    protocol="The first 15 % of each series train, the whole series is scored.",
    read_cases=_read_nab,
    measure=_measure_rankings,
)

ALL_SUITES = (TSB_AD_M, GECCO, TEP, SKAB, WELLS, NAB)
