import logging
from dataclasses import replace

import numpy as np
import pytest

from tests.unit.model.small_vae import (
    make_rows,
    make_vae,
    make_windows,
    numbers,
    weights_of,
)
from vae_anomaly.errors import TrainingError
from vae_anomaly.model.ppca import fit_ppca
from vae_anomaly.model.trainer import Trainer
from vae_anomaly.model.training import (
    PASSES,
    TrainingPlan,
    _ShuffledRows,
    check_skipped,
    count_active_units,
    count_passes,
    count_training_steps,
    fit_vae,
)
from vae_anomaly.model.vae import VAE

NUM_STEPS = 20
NUM_PASSES = PASSES[0]
PLAN = TrainingPlan(
    batch_rows=32, num_steps=NUM_STEPS, learning_rate=2e-3, max_skipped_share=0.05, seed=0
)


def fit(*, seed: int = 0, rows=None, plan: TrainingPlan = PLAN, **options):
    vae = VAE(4, latent=2, hidden=8, layers=1, seed=seed)
    vae.build(None)
    return fit_vae(Trainer(vae), rows or make_rows(), plan=replace(plan, seed=seed), **options)


@pytest.fixture(scope="module")
def fitted():
    calls = []
    result = fit(held_out=make_windows(50, missing=0.1), progress=lambda *args: calls.append(args))
    return result, calls


def test_the_same_rows_plan_and_seed_give_the_same_weights(fitted):
    again = fit()
    for mine, other in zip(weights_of(fitted[0].vae), weights_of(again.vae), strict=True):
        np.testing.assert_array_equal(mine, other)


def test_another_seed_takes_the_rows_in_another_order():
    rows = make_rows()
    orders = [_ShuffledRows(rows, 1, seed).take(400) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(orders[0], orders[1])
    assert not np.array_equal(orders[0], orders[2])
    np.testing.assert_array_equal(np.sort(orders[0], axis=0), np.sort(orders[2], axis=0))


def test_every_epoch_takes_every_row_once_and_rows_without_a_value_never():
    rows = make_rows(10)
    rows.values[4] = np.nan
    taken = _ShuffledRows(rows, 1, 0).take(27)
    assert not np.isnan(taken).any()
    assert len(np.unique(taken[:9], axis=0)) == 9
    np.testing.assert_array_equal(np.sort(taken[:9], axis=0), np.sort(taken[18:], axis=0))


def test_windows_of_training_do_not_cross_their_segment():
    rows = replace(make_rows(6), segment_start=np.array([0, 0, 0, 3, 3, 3]))
    taken = _ShuffledRows(rows, 2, 0).take(6)
    assert np.isnan(taken[:, :4]).all(axis=1).sum() == 2
    assert not np.isnan(taken[:, 4:]).any()


def test_the_curves_have_one_point_per_pass(fitted):
    curves = fitted[0].curves
    assert len(curves.nll) == len(curves.kl) == len(curves.active_units) == NUM_PASSES
    assert len(curves.held_out_nll) == NUM_PASSES
    assert list(curves.epochs) == sorted(curves.epochs)
    assert curves.epochs[-1] == pytest.approx(NUM_STEPS * 32 / 400)
    assert np.isfinite(curves.nll + curves.kl + curves.held_out_nll).all()
    assert min(curves.kl) > 0.1  # the code is in use: no collapse, no clamp
    assert curves.active_units[-1] == 2


def test_progress_is_told_of_every_pass(fitted):
    assert fitted[1] == [(step, NUM_STEPS) for step in (5, 10, 15, 20)]
    assert fitted[0].num_steps == NUM_STEPS
    assert fitted[0].num_skipped == 0


def test_training_keeps_the_affine_and_the_floors(fitted):
    vae, rows = fitted[0].vae, make_rows()
    np.testing.assert_array_equal(numbers(vae.affine.loc.value), rows.affine.loc)
    np.testing.assert_array_equal(numbers(vae.affine.scale.value), rows.affine.scale)
    np.testing.assert_allclose(numbers(vae.floor.value), rows.floor, rtol=1e-6)


def test_steps_without_a_finite_gradient_end_with_an_error():
    plan = replace(PLAN, learning_rate=1e30)
    with pytest.raises(TrainingError) as caught:
        fit(plan=plan)
    text = str(caught.value)
    assert text.startswith(
        "Cannot train on these readings: expected at most 5% of 20 steps without a finite "
        "gradient, got "
    )
    assert text.endswith(
        ". Look at the readings with 'vae-anomaly check', or lower the learning rate."
    )


def test_the_start_is_probabilistic_pca():
    rows = make_rows()
    vae = make_vae()
    scaled = rows.affine.apply(rows.values)
    ppca = fit_ppca(scaled, latent=2)
    np.testing.assert_allclose(
        numbers(vae.linear_encoder(scaled.astype(np.float32))),
        (scaled - ppca.mean) @ ppca.projection.T,
        rtol=1e-3,
        atol=1e-5,
    )
    windows = make_windows()
    residual = (windows[:, 0, :] - numbers(vae(windows)["mean"])) / rows.affine.scale
    assert residual.std() < 0.5  # the linear paths already explain most of the variance of 1


def test_active_units_are_those_whose_mean_varies():
    vae, windows = make_vae(), make_windows()
    assert count_active_units(vae, windows) == 2
    vae.linear_encoder.kernel.assign(np.zeros((4, 2)))
    vae.latent_mean.kernel.assign(np.zeros((8, 2)))
    assert count_active_units(vae, windows) == 0


def test_training_steps_stay_within_their_limits():
    limits = {"epochs": 50, "batch_rows": 64, "least": 500, "most": 4000}
    assert count_training_steps(10, **limits) == 500
    assert count_training_steps(1000, **limits) == 782
    assert count_training_steps(10**9, **limits) == 4000


def test_values_are_float64_until_they_are_scaled():
    rows = make_rows()
    offset = 1e9 * np.abs(rows.affine.scale)
    affine = replace(rows.affine, loc=rows.affine.loc + offset)
    far = replace(rows, values=rows.values + offset, affine=affine)
    here, there = (_ShuffledRows(some, 1, 0).take(400) for some in (rows, far))
    np.testing.assert_allclose(there, here, atol=1e-6)


def test_a_few_skipped_steps_are_logged(caplog):
    with caplog.at_level(logging.INFO, logger="vae_anomaly.model.training"):
        check_skipped(0, 100, max_share=0.05)
        assert not caplog.text
        check_skipped(5, 100, max_share=0.05)
    assert "5 of 100 training steps had no finite gradient" in caplog.text


@pytest.mark.parametrize(("num_steps", "passes"), [(20, 4), (500, 10), (4000, 20)])
def test_longer_trainings_have_more_passes(num_steps, passes):
    assert count_passes(num_steps) == passes
