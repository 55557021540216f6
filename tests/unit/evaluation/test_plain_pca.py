import numpy as np

from vae_anomaly.evaluation.plain_pca import fit_plain_pca


def make_rows(num_rows=400):
    rng = np.random.default_rng(0)
    factor = rng.normal(size=(num_rows, 1))
    return factor @ np.array([[1.0, 1e4, -1e-3]]) * 1.0 + rng.normal(size=(num_rows, 3)) * [
        0.1,
        1e3,
        1e-4,
    ]


def test_what_breaks_the_coupling_scores_higher():
    rows = make_rows()
    pca = fit_plain_pca(rows)
    faulty = rows.copy()
    faulty[200:260, 0] *= -1
    starts = np.zeros(400, dtype=np.int64)
    clean, found = pca.score(rows, starts, span=5), pca.score(faulty, starts, span=5)
    assert found[210:260].mean() > clean.max()
    assert np.array_equal(clean[:200], found[:200])


def test_missing_values_and_dead_sensors_leave_scores():
    rows = np.column_stack([make_rows(), np.full(400, 3.0), np.full(400, np.nan)])
    pca = fit_plain_pca(rows)
    assert pca.moves.tolist() == [True, True, True, False, False]
    rows[5, 0] = np.nan
    assert np.isfinite(pca.score(rows, np.zeros(400, dtype=np.int64), span=1)).all()


def test_one_sensor_that_moves_is_none_too_few():
    assert fit_plain_pca(np.column_stack([np.arange(9.0), np.ones(9)])) is None
    assert fit_plain_pca(np.zeros((0, 3))) is None
