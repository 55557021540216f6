"""Methods over suites and seeds."""

import numpy as np
import pyarrow as pa
import pytest

from vae_anomaly.config import DetectorConfig, ModelConfig
from vae_anomaly.evaluation.benchmark import Summary, run_benchmark
from vae_anomaly.evaluation.labelled import Case, Scored, Series, Suite
from vae_anomaly.evaluation.methods import ALL_METHODS, Method, SharedFits

BASELINES = [
    method for method in ALL_METHODS if not method.name.startswith(("vae-anomaly", "question"))
]


def make_series(num=700, *, fault=slice(600, 660), seed=0):
    rng = np.random.default_rng(seed)
    load = np.sin(np.arange(num) / 20) + 0.1 * rng.normal(size=num)
    values = np.column_stack([load, 1e6 * load + 1e5 * rng.normal(size=num), np.full(num, 7.0)])
    labels = np.zeros(num, dtype=np.int64)
    labels[fault] = 1
    values[fault, 1] -= 4e6
    times = pa.array(np.arange(num) * 60_000_000 + 1_600_000_000_000_000, pa.int64()).cast(
        pa.timestamp("us", "UTC")
    )
    names = ("load", "pressure (Pa)", "dead")
    columns = {name: values[:, i] for i, name in enumerate(names)}
    return Series(f"series {seed}", pa.table({"timestamp": times} | columns), labels)


def read_cases(_folder):
    for seed in range(2):
        series = make_series(seed=seed)
        yield Case(series.name, series.take(slice(400)), (series,))


def count_found(result):
    anomalous = result.case.tests[0].labels == 1
    return {"found": float(result.scored[0].flagged[anomalous].mean())}


SUITE = Suite(
    name="small",
    protocol="",
    read_cases=read_cases,
    measure=lambda results: {"found": float(np.mean([count_found(r)["found"] for r in results]))},
)


def fit_counting(training, seed):
    def score(series):
        flagged = np.arange(series.num_rows) >= 600 + 30 * seed
        return Scored(flagged.astype(float), flagged)

    return score


def test_every_method_is_fitted_to_every_case_with_every_seed(tmp_path):
    told = []
    method = Method("counting", fit_counting)
    found = run_benchmark(
        SUITE, tmp_path, [method], seeds=[0, 1], progress=lambda *done: told.append(done)
    )
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    (summary,) = found.summaries
    assert summary.values == (1.0, 0.5)
    assert (summary.mean, summary.spread) == (0.75, pytest.approx(0.5 / 2**0.5))
    assert [(one.case, one.seed) for one in found.cases] == [
        (f"series {case}", seed) for case in range(2) for seed in range(2)
    ]


def test_one_seed_has_no_spread():
    assert Summary("suite", "method", "figure", (0.5,)).spread == 0.0


@pytest.mark.parametrize("method", BASELINES, ids=lambda method: method.name)
def test_every_baseline_finds_a_gross_fault_and_copes_with_gaps(method):
    series = make_series()
    score = method.fit(series.take(slice(400)), 0)
    scored = score(series)
    assert scored.flagged[605:655].mean() > 0.9
    assert scored.flagged[:590].mean() < 0.2
    gaps = series.table.set_column(1, "load", pa.array([None] * series.num_rows, pa.float64()))
    assert np.isfinite(score(Series("gaps", gaps, series.labels)).score).all()


def test_the_detector_says_when_its_limit_is_provisional():
    series = make_series()
    config = DetectorConfig(model=ModelConfig(min_training_steps=60, max_training_steps=60))
    scored = SharedFits().fit(series.take(slice(400)), 0, config=config)(series)
    assert scored.is_provisional
    assert scored.flagged[605:655].all()
    assert scored.score.shape == scored.flagged.shape == (700,)
