"""A lake of alerts for the tests of alerting."""

import pytest

from tests.alerting import AlertLake
from vae_anomaly.config import AlertingConfig


@pytest.fixture
def make_lake(tmp_path_factory, detector, plant):
    def make(**settings) -> AlertLake:
        chosen = AlertingConfig(**({"cooldown_s": 0, "group_s": 0} | settings))
        return AlertLake(tmp_path_factory.mktemp("alerts") / "lake", detector, plant, chosen)

    return make


@pytest.fixture
def alert_lake(make_lake) -> AlertLake:
    return make_lake()
