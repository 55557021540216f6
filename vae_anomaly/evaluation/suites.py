"""Labelled suites under their published protocols: what trains, what is scored, what counts.

Folders and files are those that data/README.md describes. No protocol adjusts points, and no
label reaches a fit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vae_anomaly.domain import BoolArray, FloatArray, IntArray
from vae_anomaly.errors import ReadingsError
from vae_anomaly.evaluation.metrics import average_precision, measure_flags, roc_auc
from vae_anomaly.evaluation.rows import UNLABELLED
from vae_anomaly.evaluation.vus import find_period, vus_pr

TIMESTAMP = "timestamp"
LABEL = "label_anomaly"
LABEL_CLASS = "label_class"

ASKED = 0.01
"""Share of normal steps that every method is asked to flag."""

MIN_ROWS_TO_REALISE = 200
"""Normal rows after training from which a realised share means something."""

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

Figures = dict[str, float]


@dataclass(frozen=True)
class Series:
    """Labelled readings of one asset.

    Attributes:
        name: Name of the file.
        table: Time and sensors, no labels.
        labels: 1 anomalous, 0 normal, -1 unlabelled. Shape `(rows,)`.
    """

    name: str
    table: pa.Table
    labels: IntArray

    @property
    def values(self) -> FloatArray:
        """Raw values, NaN where missing. Shape `(rows, sensors)`."""
        columns = [self.table[name].to_numpy() for name in self.table.column_names[1:]]
        return np.stack(columns, axis=1).astype(np.float64)

    @property
    def num_rows(self) -> int:
        """Rows."""
        return len(self.labels)

    def take(self, rows: slice | IntArray) -> Series:
        """Return some of the rows."""
        chosen = np.arange(self.num_rows)[rows]
        return Series(self.name, self.table.take(chosen), self.labels[chosen])


@dataclass(frozen=True)
class Scored:
    """What a method says of a series.

    Attributes:
        score: Higher is stranger, NaN where unscorable. Shape `(rows,)`.
        flagged: Whether the method's own limit is exceeded. Shape `(rows,)`.
        is_provisional: The method says that its data cannot carry the limit.
    """

    score: FloatArray
    flagged: BoolArray
    is_provisional: bool = False

    @property
    def ranking(self) -> FloatArray:
        """The score with unscorable rows in the middle: neither normal nor strange."""
        return np.nan_to_num(self.score, nan=float(np.nanmedian(self.score)))


@dataclass(frozen=True)
class Case:
    """One fit, and the series that it is judged on."""

    name: str
    training: Series
    tests: tuple[Series, ...]


@dataclass(frozen=True)
class Result:
    """A case with what one method said of its series."""

    case: Case
    scored: tuple[Scored, ...]


@dataclass(frozen=True)
class Published:
    """A figure that others have published under the protocol of a suite.

    Attributes:
        figure: What is measured, as the suite names it.
        method: What it was measured of.
        value: The figure.
    """

    figure: str
    method: str
    value: float


@dataclass(frozen=True)
class Suite:
    """A labelled suite.

    Attributes:
        name: Name of its folder.
        protocol: What trains, what is scored and what is measured, in a sentence.
        read_cases: Cases of a folder.
        measure: Figures of the results of all cases, of one method and one seed.
        measure_case: Figures of one case, for tables of single series.
        published: What others have measured.
    """

    name: str
    protocol: str
    read_cases: Callable[[Path], Iterator[Case]]
    measure: Callable[[Sequence[Result]], Figures]
    measure_case: Callable[[Result], Figures]
    published: tuple[Published, ...] = ()


def read_series(file: Path, *, label: str = LABEL, drop_nulls: bool = False) -> Series:
    """Read a labelled file.

    Args:
        file: Parquet with `timestamp`, sensors and `label_*` columns.
        label: The label to read.
        drop_nulls: Leave out rows in which a sensor is missing.

    Returns:
        The series.

    Raises:
        ReadingsError: There is no such file.
    """
    if not file.is_file():
        raise ReadingsError(
            f"Cannot run a benchmark: expected '{file}', got no such file. "
            "Give the folder of the labelled data with --data."
        )
    table = pq.read_table(file)
    sensors = [
        name for name in table.column_names if name != TIMESTAMP and not name.startswith("label_")
    ]
    labels = table[label].to_numpy().astype(np.int64)
    series = Series(file.stem, table.select([TIMESTAMP, *sensors]), labels)
    if not drop_nulls:
        return series
    return series.take(np.flatnonzero(~np.isnan(series.values).any(axis=1)))


# --- TSB-AD-M and GECCO ---


def _read_tsb(folder: Path) -> Iterator[Case]:
    for file in _list_files(folder, "*_tr_*.parquet"):
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
    before = scored.flagged[result.case.training.num_rows : int(np.argmax(labels))]
    figures |= _realise(before, scored)
    return figures


def _measure_rankings(results: Sequence[Result]) -> Figures:
    return average([_measure_ranking(result) for result in results])


# --- TEP ---


def _read_tep(folder: Path) -> Iterator[Case]:
    faulty = [file for file in _list_files(folder, "d*_test.parquet") if file.stem != "d00_test"]
    tests = [folder / "d00_test.parquet", *faulty]
    yield Case("tep", read_series(folder / "d00_train.parquet"), tuple(map(read_series, tests)))


def _measure_tep(results: Sequence[Result]) -> Figures:
    result = results[0]
    normal, *faulty = result.scored
    limit = np.sort(normal.ranking)[-round(ASKED * len(normal.score)) - 1]
    rates = [float((one.ranking > limit)[TEP_NORMAL_ROWS:].mean()) for one in faulty]
    own = [float(one.flagged[TEP_NORMAL_ROWS:].mean()) for one in faulty]
    return {
        "FDR": float(np.mean(rates)),
        "FAR": float((normal.ranking > limit).mean()),
        "FDR, own limit": float(np.mean(own)),
        "FAR, own limit": float(normal.flagged.mean()),
        **{
            f"FDR of {series.name}": rate
            for series, rate in zip(result.case.tests[1:], rates, strict=True)
        },
    }


# --- SKAB ---


def _read_skab(folder: Path) -> Iterator[Case]:
    for file in _list_files(folder, "*_*.parquet"):
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
    for file in _list_files(folder, "class*.parquet"):
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
    for file in _list_files(folder, "*.parquet"):
        series = read_series(file)
        num_training = round(0.15 * series.num_rows)
        yield Case(file.stem, series.take(slice(num_training)), (series,))


def average(figures: Sequence[Figures]) -> Figures:
    """Average each figure over those that have it."""
    names = list(dict.fromkeys(name for one in figures for name in one))
    return {name: float(np.mean([one[name] for one in figures if name in one])) for name in names}


def _realise(flagged: BoolArray, scored: Scored) -> Figures:
    """What came true of the asked share on normal rows, and whether the method had doubts."""
    figures = {"provisional": float(scored.is_provisional)}
    if len(flagged) >= MIN_ROWS_TO_REALISE:
        name = "realised, provisional" if scored.is_provisional else "realised"
        figures[f"{name} ({ASKED:.0%} asked)"] = float(flagged.mean())
    return figures


def _list_files(folder: Path, pattern: str) -> list[Path]:
    files = sorted(folder.glob(pattern))
    if not files:
        raise ReadingsError(
            f"Cannot run a benchmark: expected files '{pattern}' in '{folder}', got none. "
            "Give the folder of the labelled data with --data."
        )
    return files


TSB_AD_M = Suite(
    name="tsb_ad_m",
    protocol="The first N rows of each series train (N is in its name), the whole series is "
    "scored; mean VUS-PR (Liu and Paparrizos 2024).",
    read_cases=_read_tsb,
    measure=_measure_rankings,
    measure_case=_measure_ranking,
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
    measure_case=_measure_ranking,
    published=(
        Published("VUS-PR", "PCA", 0.202),
        Published("VUS-PR", "LOF", 0.130),
        Published("VUS-PR", "KMeansAD", 0.055),
    ),
)
TEP = Suite(
    name="tep",
    protocol="d00_train trains; fault detection rate from row 160 on, at the limit that 1 % of "
    "d00_test exceeds (Russell, Chiang and Braatz 2000), and at the method's own.",
    read_cases=_read_tep,
    measure=_measure_tep,
    measure_case=lambda result: _measure_tep([result]),
)
SKAB = Suite(
    name="skab",
    protocol="One fit per run, its first 400 rows train, the rest is scored; flags are counted "
    "over all runs together (SKAB leaderboard).",
    read_cases=_read_skab,
    measure=_measure_skab,
    measure_case=lambda result: _measure_skab([result]),
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
    measure_case=_measure_well,
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
    measure_case=_measure_ranking,
)

ALL_SUITES = (TSB_AD_M, GECCO, TEP, SKAB, WELLS, NAB)
