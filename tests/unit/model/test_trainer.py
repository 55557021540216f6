import numpy as np
import pytest

from tests.unit.model.small_vae import make_rows, make_vae, numbers, weights_of
from vae_anomaly.model import trainer as module
from vae_anomaly.model.trainer import Trainer, borrow_trainer
from vae_anomaly.model.training import TrainingPlan, fit_vae
from vae_anomaly.model.vae import VAE

PLAN = TrainingPlan(
    batch_rows=32, num_steps=12, learning_rate=2e-3, max_skipped_share=0.05, seed=0
)


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch):
    monkeypatch.setattr(module, "_kept", {})


def fresh(*, seed: int = 0, latent: int = 2) -> VAE:
    vae = VAE(4, latent=latent, hidden=8, layers=1, seed=seed)
    vae.build(None)
    return vae


def fit_borrowed(vae: VAE) -> tuple[Trainer, list[np.ndarray]]:
    with borrow_trainer(vae) as trainer:
        fit_vae(trainer, make_rows(), plan=PLAN)
        return trainer, weights_of(trainer.vae)


def test_a_kept_trainer_gives_the_weights_of_a_new_one():
    first, _ = fit_borrowed(fresh(seed=1))
    second, again = fit_borrowed(fresh(seed=0))
    assert second is first
    assert second.vae.settings["seed"] == 0
    alone = Trainer(fresh(seed=0))
    fit_vae(alone, make_rows(), plan=PLAN)
    for mine, other in zip(again, weights_of(alone.vae), strict=True):
        np.testing.assert_array_equal(mine, other)


def test_another_shape_gets_another_trainer():
    first, _ = fit_borrowed(fresh())
    second, _ = fit_borrowed(fresh(latent=3))
    assert second is not first


def test_two_borrowers_never_share():
    with borrow_trainer(fresh()) as one, borrow_trainer(fresh()) as other:
        assert one is not other


def test_a_trainer_that_failed_is_not_kept():
    with pytest.raises(ZeroDivisionError), borrow_trainer(fresh()):
        raise ZeroDivisionError
    assert not any(module._kept.values())


def test_only_some_are_kept():
    for latent in range(1, module.MAX_KEPT + 3):
        with borrow_trainer(fresh(latent=latent)):
            pass
    assert sum(len(some) for some in module._kept.values()) == module.MAX_KEPT


@pytest.mark.parametrize("num_steps", [3, 20, 27])
def test_every_batch_is_one_step_however_many_go_into_a_call(num_steps):
    trainer = Trainer(make_vae())
    rows = np.random.default_rng(0).normal(size=(num_steps * 32, 4)).astype(np.float32)
    trainer.run(rows, batch_rows=32, learning_rate=1e-3)
    assert int(numbers(trainer._optimiser.iterations.value)) == num_steps


def test_restarting_forgets_every_step():
    trainer = Trainer(make_vae())
    rows = np.ones((64, 4), dtype=np.float32)
    trainer.run(rows, batch_rows=32, learning_rate=0.1)
    trainer.restart()
    optimiser = trainer._optimiser
    assert int(numbers(optimiser.iterations.value)) == 0
    for average, weight in zip(optimiser.averages, trainer.vae.trainable_variables, strict=True):
        np.testing.assert_array_equal(numbers(average.value), numbers(weight.value))
