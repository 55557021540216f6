import math

import numpy as np
import pytest

from vae_anomaly.domain import Sensor
from vae_anomaly.model.channels import ChosenLikelihood
from vae_anomaly.model.likelihoods import GAUSSIAN
from vae_anomaly.model.roles import CONTINUOUS_NATS, weigh_sensors
from vae_anomaly.readings.quality import profile_sensors


def weigh(*columns, likelihood=GAUSSIAN.name):
    values = np.stack(columns, axis=1)
    profiles = profile_sensors(values, sensors=[Sensor(str(k)) for k in range(len(columns))])
    return weigh_sensors(values, profiles, [ChosenLikelihood(likelihood)] * len(columns))


def two_states(share, *, low=0.0, high=1.0):
    return np.where(np.arange(1000) < 1000 * share, high, low)


def test_two_states_weigh_what_their_entropy_is_beside_a_continuous_sensor():
    noise = np.random.default_rng(0).normal(size=1000)
    half, rare, plain = weigh(two_states(0.5), two_states(0.1), noise)
    assert half == pytest.approx(math.log(2.0) / CONTINUOUS_NATS)
    assert rare == pytest.approx(-(0.1 * math.log(0.1) + 0.9 * math.log(0.9)) / CONTINUOUS_NATS)
    assert plain == 1.0


def test_the_weight_depends_on_neither_unit_nor_side():
    [first] = weigh(two_states(0.1))
    assert weigh(two_states(0.1, low=7.0, high=-3.0)) == pytest.approx((first,))
    assert weigh(two_states(0.9)) == pytest.approx((first,))


def test_missing_values_weigh_nothing():
    [whole] = weigh(two_states(0.5))
    gaps = two_states(0.5)
    gaps[::2] = np.nan
    assert weigh(gaps) == pytest.approx((whole,))


def test_nothing_is_weighed_where_nothing_has_two_states_or_a_density_of_its_own():
    assert weigh(np.random.default_rng(0).normal(size=1000)) == ()
    assert weigh(two_states(0.5), likelihood="bernoulli") == ()
