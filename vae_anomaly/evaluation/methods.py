"""The detector and the baselines that a benchmark fits to the same rows, in the same run.

Baselines see sensors scaled by the mean and spread of the training rows, without those that never
move; missing values are their means. Their scores are smoothed as the detector's are, and their
limit is that share of their own training scores that is asked for, as is usual.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vae_anomaly.config import DetectorConfig, ModelConfig, ThresholdConfig
from vae_anomaly.detector.detector import Detector
from vae_anomaly.detector.fitting import Networks, fit_networks
from vae_anomaly.detector.judging import judge_networks
from vae_anomaly.detector.smoothing import smooth
from vae_anomaly.domain import CheckedReadings, FloatArray, State
from vae_anomaly.evaluation.labelled import Scored, Series
from vae_anomaly.evaluation.suites import ASKED
from vae_anomaly.model.ppca import choose_latent_size, fit_ppca
from vae_anomaly.model.windows import gather_windows
from vae_anomaly.readings.check import check_readings

SPAN = ThresholdConfig().smoothing_steps
LATENT_VARIANCE = ModelConfig().explained_variance

WINDOW = 40
NUM_CLUSTERS = 10
"""Windows and clusters of the k-means baseline, as TSB-AD-M runs it."""

HIDDEN = 64

LATER = DetectorConfig(threshold=ThresholdConfig(latency=20))

Scorer = Callable[[Series], Scored]
ScoreRows = Callable[[FloatArray], FloatArray]
"""Scaled rows without gaps to scores, higher is stranger."""


@dataclass(frozen=True)
class Method:
    """A way to score readings after normal ones.

    Attributes:
        name: As tables show it.
        fit: Training series and seed to a function that scores other series.
    """

    name: str
    fit: Callable[[Series, int], Scorer]


class SharedFits:
    """Fits detectors; those that differ in their latency alone share the networks of a fit."""

    def __init__(self) -> None:
        self._training: Series | None = None
        self._networks: dict[tuple[int, str], Networks] = {}

    def fit(self, training: Series, seed: int, *, config: DetectorConfig) -> Scorer:
        """Fit a `Detector`; see `Method`."""
        checked = check_readings(training.table, config=config.readings, purpose="fit a detector")
        detector = Detector.from_fitted(
            judge_networks(
                self._borrow(training, checked, seed, config), config=config, seed=seed
            ),
            checked,
        )
        provisional = any(one.provisional for one in detector.record.calibrations.values())

        def score(series: Series) -> Scored:
            table = detector.score(series.table)
            states = np.array(table["state"].to_pylist())
            return Scored(
                table["score"].to_numpy(),
                states == State.ANOMALOUS.value,
                is_provisional=provisional,
            )

        return score

    def _borrow(
        self, training: Series, checked: CheckedReadings, seed: int, config: DetectorConfig
    ) -> Networks:
        if training is not self._training:
            self._training, self._networks = training, {}
        causal = config.threshold.model_copy(update={"latency": "causal"})
        key = (seed, config.model_copy(update={"threshold": causal}).model_dump_json())
        if key not in self._networks:
            self._networks[key] = fit_networks(checked, None, config=config, seed=seed)
        return self._networks[key]


def _fit_pca(scaled: FloatArray, _seed: int) -> ScoreRows:
    ppca = fit_ppca(scaled, latent=choose_latent_size(scaled, explained_variance=LATENT_VARIANCE))
    return ppca.nll


def _fit_forest(scaled: FloatArray, seed: int) -> ScoreRows:
    from sklearn.ensemble import IsolationForest

    forest = IsolationForest(random_state=seed).fit(scaled)
    return lambda values: -np.asarray(forest.score_samples(values), dtype=np.float64)


def _fit_autoencoder(scaled: FloatArray, seed: int) -> ScoreRows:
    from sklearn.neural_network import MLPRegressor

    latent = choose_latent_size(scaled, explained_variance=LATENT_VARIANCE)
    network = MLPRegressor(
        hidden_layer_sizes=(HIDDEN, latent, HIDDEN),
        batch_size=min(64, len(scaled)),
        max_iter=50,
        early_stopping=True,
        random_state=seed,
    )
    network.fit(scaled, scaled)
    return lambda values: np.mean(
        (np.reshape(network.predict(values), values.shape) - values) ** 2, axis=1
    )


def _fit_clusters(scaled: FloatArray, seed: int) -> ScoreRows:
    from sklearn.cluster import KMeans

    width = min(WINDOW, len(scaled) // NUM_CLUSTERS)

    def cut(values: FloatArray) -> FloatArray:
        starts = np.zeros(len(values), dtype=np.int64)
        windows = gather_windows(values, starts, np.arange(len(values)), window=width)
        return np.nan_to_num(windows).reshape(len(values), -1)

    clusters = KMeans(NUM_CLUSTERS, n_init=1, random_state=seed).fit(cut(scaled)[width - 1 :])
    return lambda values: np.asarray(clusters.transform(cut(values)).min(axis=1), dtype=np.float64)


def _as_method(name: str, fit_rows: Callable[[FloatArray, int], ScoreRows]) -> Method:
    """Make a method of a model of complete, scaled rows."""

    def fit(training: Series, seed: int) -> Scorer:
        raw = training.values
        middle, spread = np.nanmean(raw, axis=0), np.nanstd(raw, axis=0)
        moves = spread > 0

        def scale(values: FloatArray) -> FloatArray:
            scaled = (values[:, moves] - middle[moves]) / spread[moves]
            filled: FloatArray = np.nan_to_num(scaled, posinf=0.0, neginf=0.0)
            return filled

        scaled = scale(raw)
        score_rows = fit_rows(scaled, seed)
        level = float(np.median(score_rows(scaled)))

        def score_smoothed(values: FloatArray) -> FloatArray:
            starts = np.zeros(len(values), dtype=np.int64)
            return smooth(score_rows(values), starts, span=SPAN, normal_level=level)

        limit = float(np.quantile(score_smoothed(scaled), 1.0 - ASKED))

        def score(series: Series) -> Scored:
            values = score_smoothed(scale(series.values))
            return Scored(values, values > limit)

        return score

    return Method(name, fit)


def _as_detector(name: str, config: DetectorConfig) -> Method:
    return Method(name, lambda training, seed: SHARED_FITS.fit(training, seed, config=config))


SHARED_FITS = SharedFits()

ALL_METHODS = (
    _as_detector("vae-anomaly", DetectorConfig()),
    _as_detector("vae-anomaly, 20 steps later", LATER),
    _as_detector("question preset", DetectorConfig(preset="question")),
    _as_detector(
        "question preset, squared error", DetectorConfig(preset="question-squared-error")
    ),
    _as_method("PCA", _fit_pca),
    _as_method("k-means on windows", _fit_clusters),
    _as_method("isolation forest", _fit_forest),
    _as_method("autoencoder, squared error", _fit_autoencoder),
)
