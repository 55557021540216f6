import csv
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.decomposition import PCA

from vae_anomaly.errors import EvaluationError
from vae_anomaly.evaluation.vus import find_period, vus_pr

ROOT = Path(__file__).parents[3]
DATA = Path(os.environ.get("VAE_ANOMALY_BENCHMARK_DATA", ROOT / ".." / "shared" / "data"))


def test_a_perfect_ranking_without_buffers_measures_one():
    labels = np.arange(300) // 10 == 7
    assert vus_pr(labels.astype(float), labels, window_steps=0) == pytest.approx(1.0)


def test_a_score_that_is_a_little_late_is_worth_more_with_buffers():
    labels = np.arange(500) // 10 == 20
    late = np.roll(labels, 8).astype(float)
    points, ranges = vus_pr(late, labels, window_steps=0), vus_pr(late, labels, window_steps=20)
    assert ranges > 1.5 * points


def test_missing_one_of_two_anomalies_costs_more_than_its_steps():
    labels = np.zeros(400, dtype=bool)
    labels[50:60] = labels[300:390] = True
    missed_short = np.where(np.arange(400) >= 300, labels, False).astype(float)
    # 90 of 100 steps are flagged, and 1 of 2 anomalies
    assert vus_pr(missed_short, labels, window_steps=0) < 0.75


@pytest.mark.parametrize("label", [False, True])
def test_one_class_alone_is_undefined(label):
    assert np.isnan(vus_pr(np.arange(5.0), np.full(5, label)))


def test_infinite_scores_are_ranked_like_others():
    labels = np.array([False, True, False, False])
    scores = np.array([0.0, np.inf, -np.inf, 1.0])
    assert vus_pr(scores, labels, window_steps=0) == pytest.approx(1.0)


def test_a_buffer_at_the_edge_of_one_asset_leaves_the_next_asset_alone():
    labels = np.zeros(60, dtype=bool)
    labels[25:30] = True
    scores = np.zeros(60)
    scores[30] = 1.0
    codes = np.repeat([0, 1], 30)
    together = vus_pr(scores, labels, window_steps=10, num_thresholds=60)
    apart = vus_pr(scores, labels, window_steps=10, num_thresholds=60, asset_codes=codes)
    without = vus_pr(scores, labels, window_steps=0, num_thresholds=60)
    assert together > apart
    assert apart < without + 0.05


def test_assets_may_come_mixed():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 3, size=200)
    labels, scores = rng.random(200) < 0.1, rng.normal(size=200)
    order = np.argsort(codes, kind="stable")
    mixed = vus_pr(scores, labels, window_steps=9, asset_codes=codes)
    grouped = vus_pr(scores[order], labels[order], window_steps=9, asset_codes=codes[order])
    assert mixed == pytest.approx(grouped, abs=1e-12)


@pytest.mark.parametrize(
    ("scores", "settings", "message"),
    [
        (np.zeros(3), {}, "expected as many labels as scores"),
        (np.array([np.nan, 1.0]), {}, "expected scores without NaN, got 1 NaN"),
        (np.zeros(2), {"window_steps": -1}, "expected window_steps of at least 0"),
        (np.zeros(2), {"num_thresholds": 0}, "num_thresholds of at least 1, got 100 and 0"),
    ],
)
def test_what_cannot_be_measured_is_refused(scores, settings, message):
    with pytest.raises(EvaluationError, match=message):
        vus_pr(scores, np.array([True, False]), **settings)


@pytest.mark.parametrize("period", [6, 24, 125, 300])
def test_the_period_of_a_sine_is_found_in_noise(period):
    noise = np.random.default_rng(0).normal(scale=0.001, size=5000)
    values = np.sin(np.arange(5000) * 2 * np.pi / period) + noise
    assert abs(find_period(values) - period) <= 1


@pytest.mark.parametrize(
    "values",
    [np.empty(0), np.full(100, 3.3), np.full(100, np.nan), np.arange(5.0), np.arange(3000.0)],
    ids=["empty", "constant", "missing", "short", "trend"],
)
def test_a_channel_without_period_gets_the_default(values):
    assert find_period(values) == 125


def test_a_period_out_of_range_gets_the_default():
    assert find_period(np.sin(np.arange(5000) * 2 * np.pi / 350)) == 125


def test_missing_values_are_left_out_of_the_period():
    values = np.sin(np.arange(2000) * 2 * np.pi / 48)
    holes = np.insert(values, [100, 500, 900], [np.nan, np.inf, np.nan])
    assert find_period(holes) == find_period(values) == 48


@pytest.mark.parametrize("number", ["156_SMAP", "158_SMAP", "166_SMAP", "066_SMD"])
def test_published_values_of_pca_are_reproduced(number):
    folder = DATA / "tsb_ad_m"
    if not folder.is_dir():
        pytest.skip("no benchmark data: set VAE_ANOMALY_BENCHMARK_DATA to its folder")
    with (folder / "published_vus_pr.csv").open() as file:
        row = next(row for row in csv.DictReader(file) if row["tsb_file"].startswith(number))
    table = pq.read_table(folder / row["tsb_file"].replace(".csv", ".parquet"))
    labels = table["label_anomaly"].to_numpy() == 1
    values = table.drop_columns(["timestamp", "label_anomaly"]).to_pandas().to_numpy(dtype=float)
    scores = _score_like_the_published_pca(values)
    measured = vus_pr(scores, labels, window_steps=find_period(values[:, 0]))
    assert measured == pytest.approx(float(row["PCA"]), abs=6e-5)


def _score_like_the_published_pca(values):
    varying = values[:, values.std(axis=0) > 0]
    standard = (varying - varying.mean(axis=0)) / varying.std(axis=0)
    fitted = PCA(n_components=0.25, random_state=0).fit(standard)
    # distance to each principal axis' end point, in shares of explained variance
    distances = [np.linalg.norm(standard - axis, axis=1) for axis in fitted.components_]
    return np.array(distances).T @ (1 / fitted.explained_variance_ratio_)
