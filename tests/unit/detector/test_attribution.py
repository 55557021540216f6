import math

import numpy as np
import pytest

from tests.unit.detector.plain_density import StandardNormal, make_density
from vae_anomaly.detector.attribution import FAULT_STEPS, measure_attribution
from vae_anomaly.model.density import Density
from vae_anomaly.model.engine import Decoded
from vae_anomaly.model.roles import SensorRoles

NORMAL = np.array([1.4, 1.4])


def starts(num):
    return np.zeros(num, dtype=np.int64)


def test_independent_sensors_get_their_own_blame():
    values = np.random.default_rng(0).normal(size=(300, 2))
    found = measure_attribution(make_density(), values, starts(300), normal_contribution=NORMAL)
    assert (found.top_1, found.top_3, found.num_faults) == (1.0, 1.0, 40)


class Crossed(StandardNormal):
    """Blames the other sensor."""

    def decode(self, values, observed):
        decoded = super().decode(values, observed)
        swapped = decoded.contribution[:, ::-1]
        return Decoded(swapped, decoded.kl, decoded.mean, decoded.sigma)


def test_blame_on_the_wrong_sensor_is_no_hit():
    crossed = Density(make_density().roles, 1, {}, Crossed())
    values = np.random.default_rng(0).normal(size=(300, 2))
    found = measure_attribution(crossed, values, starts(300), normal_contribution=NORMAL)
    assert (found.top_1, found.top_3) == (0.0, 1.0)


def test_faults_are_as_large_as_the_spread_of_their_sensor():
    roles = SensorRoles((0, 1), (), (), (), (math.log(1e-6), 0.0))
    values = np.random.default_rng(0).normal(size=(300, 2))
    density = Density(roles, 1, {}, StandardNormal())
    found = measure_attribution(density, values, starts(300), normal_contribution=NORMAL)
    assert 0.4 < found.top_1 < 0.9  # an offset of 5e-6 beside a noise of 1 is no fault


@pytest.mark.parametrize("num_steps", [0, FAULT_STEPS - 1])
def test_too_few_steps_hold_no_fault(num_steps):
    found = measure_attribution(
        make_density(), np.zeros((num_steps, 2)), starts(num_steps), normal_contribution=NORMAL
    )
    assert found.num_faults == 0
    assert math.isnan(found.top_1)


def test_no_fault_lies_across_a_gap_or_on_a_missing_value():
    values = np.zeros((60, 2))
    values[:, 1] = np.nan
    across = np.repeat([0, 15, 30], [15, 15, 30])
    found = measure_attribution(make_density(), values, across, normal_contribution=NORMAL)
    assert found.num_faults == 30 - FAULT_STEPS + 1
