"""How well the default finds labelled anomalies, beside PCA and an isolation forest.

    python -m tests.benchmarks.detection FOLDER [--suite tsb_ad_m ...] [--seeds 2]

FOLDER holds labelled Parquet files as in data/README.md. Every suite is run by its published
protocol with one default configuration; nothing is point-adjusted. Baselines see the same rows,
and their scores are smoothed like the detector's.
"""

from __future__ import annotations

import argparse
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.ensemble import IsolationForest

from vae_anomaly import Detector
from vae_anomaly.detector.smoothing import smooth
from vae_anomaly.domain import BoolArray, FloatArray, State
from vae_anomaly.evaluation.metrics import measure_flags
from vae_anomaly.evaluation.vus import find_period, vus_pr
from vae_anomaly.model.ppca import choose_latent_size, fit_ppca

SPAN = 20
ASKED = 0.01
SKAB_TRAINING_ROWS = 400
GECCO_TRAINING_ROWS = 16_165
TEP_NORMAL_ROWS = 160


@dataclass(frozen=True)
class Series:
    """A labelled file: its rows, and the values and labels in them."""

    name: str
    table: pa.Table
    values: FloatArray
    labels: BoolArray

    def rows(self, first: int, last: int | None = None) -> Series:
        chosen = slice(first, last)
        table = self.table.slice(first, None if last is None else last - first)
        return Series(self.name, table, self.values[chosen], self.labels[chosen])


@dataclass(frozen=True)
class Scored:
    """Scores of some rows, and whether they are over the method's own limit."""

    score: FloatArray
    flagged: BoolArray


Scorer = Callable[[Series], Scored]
Figures = dict[str, float]


def read_series(file: Path, *, drop_nulls: bool = False) -> Series:
    table = pq.read_table(file)
    names = [name for name in table.column_names if name != "timestamp" and "label_" not in name]
    values = np.stack([table[name].to_numpy() for name in names], axis=1).astype(float)
    labels = table["label_anomaly"].to_numpy() == 1
    whole = Series(file.stem, table.select(["timestamp", *names]), values, labels)
    if not drop_nulls:
        return whole
    kept = np.flatnonzero(~np.isnan(values).any(axis=1))
    return Series(file.stem, whole.table.take(kept), values[kept], labels[kept])


# --- methods ---


def fit_detector(training: Series, seed: int) -> Scorer:
    detector = Detector.fit(training.table, seed=seed)

    def score(series: Series) -> Scored:
        scores = detector.score(series.table)
        values = scores["score"].to_numpy()
        level = np.nanmedian(values)  # a row without a score is as strange as the middle one
        flagged = np.array(scores["state"].to_pylist()) == State.ANOMALOUS.value
        return Scored(np.nan_to_num(values, nan=level), flagged)

    return score


def fit_pca(training: Series, seed: int) -> Scorer:
    spread = training.values.std(axis=0)
    moves = spread > 0
    middle = training.values.mean(axis=0)

    def scale(values: FloatArray) -> FloatArray:
        return (values - middle)[:, moves] / spread[moves]

    scaled = scale(training.values)
    ppca = fit_ppca(scaled, latent=choose_latent_size(scaled, explained_variance=0.8))
    return _with_limit(training, lambda values: ppca.nll(scale(values)))


def fit_forest(training: Series, seed: int) -> Scorer:
    forest = IsolationForest(random_state=seed).fit(training.values)
    return _with_limit(training, lambda values: -forest.score_samples(values))


def _with_limit(training: Series, score_rows: Callable[[FloatArray], FloatArray]) -> Scorer:
    level = float(np.median(score_rows(training.values)))

    def smoothed(values: FloatArray) -> FloatArray:
        starts = np.zeros(len(values), dtype=np.int64)
        return smooth(score_rows(values), starts, span=SPAN, normal_level=level)

    limit = float(np.quantile(smoothed(training.values), 1 - ASKED))

    def score(series: Series) -> Scored:
        values = smoothed(series.values)
        return Scored(values, values > limit)

    return score


METHODS = {"vae-anomaly": fit_detector, "PCA": fit_pca, "isolation forest": fit_forest}
Fit = Callable[[Series, int], Scorer]


# --- protocols ---


def run_tsb(folder: Path, fit: Fit, seed: int) -> Iterator[tuple[str, Figures]]:
    """The first N rows train, the whole series is scored."""
    for file in sorted(folder.glob("*.parquet")):
        series = read_series(file)
        num_training = int(re.search(r"_tr_(\d+)", file.stem)[1])
        yield file.stem, _vus(series, num_training, fit, seed)


def run_gecco(folder: Path, fit: Fit, seed: int) -> Iterator[tuple[str, Figures]]:
    """As TSB-AD-M takes it: rows with nulls dropped, 16,165 rows train."""
    series = read_series(folder / "train.parquet", drop_nulls=True)
    yield "train", _vus(series, GECCO_TRAINING_ROWS, fit, seed)


def run_tep(folder: Path, fit: Fit, seed: int) -> Iterator[tuple[str, Figures]]:
    """Fault detection rate, with the limit from d00_test as published, and with the own one."""
    score = fit(read_series(folder / "d00_train.parquet"), seed)
    normal = score(read_series(folder / "d00_test.parquet"))
    limit = np.sort(normal.score)[-10]  # the tenth largest of 960: a false-alarm rate of 1 %
    for file in sorted(folder.glob("d*_test.parquet")):
        if file.stem == "d00_test":
            continue
        scored = score(read_series(file))
        faulty = slice(TEP_NORMAL_ROWS, None)
        yield (
            file.stem,
            {
                "FDR": float((scored.score[faulty] > limit).mean()),
                "FDR, own limit": float(scored.flagged[faulty].mean()),
                "FAR, own limit": float(normal.flagged.mean()),
            },
        )


def run_skab(folder: Path, fit: Fit, seed: int) -> Iterator[tuple[str, Figures]]:
    """One model per run, 400 rows train; flags are counted over all runs together."""
    flagged, labels = [], []
    for file in sorted(folder.glob("valve*.parquet")):
        series = read_series(file)
        scored = fit(series.rows(0, SKAB_TRAINING_ROWS), seed)(series.rows(SKAB_TRAINING_ROWS))
        flagged.append(scored.flagged)
        labels.append(series.labels[SKAB_TRAINING_ROWS:])
    counts = measure_flags(np.concatenate(flagged), np.concatenate(labels))
    normal = ~np.concatenate(labels)
    far = float(np.concatenate(flagged)[normal].mean())
    yield "valve", {"F1": counts.f1, "FAR": far, "MAR": 1 - counts.recall}


def _vus(series: Series, num_training: int, fit: Fit, seed: int) -> Figures:
    scored = fit(series.rows(0, num_training), seed)(series)
    window = find_period(series.values[:, 0])
    first = int(np.argmax(series.labels))
    before = scored.flagged[num_training:first]
    figures = {"VUS-PR": vus_pr(scored.score, series.labels, window_steps=window)}
    if len(before) >= 200:
        figures["flagged before the first anomaly (1 % asked)"] = float(before.mean())
    return figures


SUITES = {"tsb_ad_m": run_tsb, "gecco2018": run_gecco, "tep": run_tep, "skab": run_skab}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--suite", nargs="*", choices=list(SUITES), default=list(SUITES))
    parser.add_argument("--method", nargs="*", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--each", action="store_true", help="print every series too")
    options = parser.parse_args()
    for suite in options.suite:
        for method in options.method:
            means: dict[str, list[float]] = defaultdict(list)
            for seed in range(options.seeds):
                found: dict[str, list[float]] = defaultdict(list)
                for name, figures in SUITES[suite](options.folder / suite, METHODS[method], seed):
                    for figure, value in figures.items():
                        found[figure].append(value)
                    if options.each:
                        print(f"  {suite} {method} seed {seed} {name}: {figures}", flush=True)
                for figure, values in found.items():
                    means[figure].append(float(np.mean(values)))
            for figure, values in means.items():
                spread = np.std(values, ddof=1) if len(values) > 1 else 0.0
                print(
                    f"{suite:10} {method:17} {figure:45} {np.mean(values):.4f} ± {spread:.4f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
