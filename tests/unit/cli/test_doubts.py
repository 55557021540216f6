from types import SimpleNamespace

import numpy as np
import pytest

from tests.unit.cli.test_tables import make_calibration, make_profile
from vae_anomaly.cli import tables
from vae_anomaly.cli.doubts import ADVICE, GAIN_CHECK, advise, note_doubts
from vae_anomaly.detector.attribution import HitRates
from vae_anomaly.detector.baseline import BaselineFit
from vae_anomaly.detector.health import HeldOutFit, check_health
from vae_anomaly.domain import HealthCheck
from vae_anomaly.wording import name_figure


def make_check(name, *, passed=False) -> HealthCheck:
    return HealthCheck(name, 1.0, "at least 2", passed=passed, meaning="Too little.")


def test_every_check_that_can_fail_has_advice_of_its_own():
    fit = HeldOutFit(np.zeros((9, 1)), np.ones((9, 1)), np.full((9, 1), 0.1), np.full(1, 0.1))
    checks = check_health(fit, BaselineFit(0.0, 1.0, 9), HitRates(1.0, 1.0, 9), active_units=0)
    failed = {check.name for check in checks if not check.passed}
    assert failed == {check.name for check in checks if check.limit} == set(ADVICE)
    assert len(set(ADVICE.values())) == len(ADVICE)


@pytest.mark.parametrize("name", ADVICE)
def test_a_failed_check_comes_with_its_advice(name):
    (note,) = advise((make_check(name), make_check("other", passed=True)))
    assert f"health check '{name_figure(name)}': {ADVICE[name]}; see docs/" in note


def test_an_unknown_check_of_another_version_says_what_it_means():
    assert "'new one': Too little; see" in advise((make_check("new_one"),))[0]


def test_suspected_sentinels_are_named_where_pca_fits_better():
    odd = make_profile("pH", suggested_sentinels=(-9999.0,))
    gain, coverage = advise((make_check(GAIN_CHECK), make_check("two_sigma_coverage")), (odd,))
    assert "look like sentinels (-9999 in pH)" in gain
    assert "fit it again with --sentinel -9999, or sentinels in the settings" in gain
    assert "sentinel" not in coverage


@pytest.mark.parametrize("provisional", [False, True])
@pytest.mark.parametrize("passed", [False, True])
def test_a_detector_is_doubted_for_failed_checks_and_provisional_thresholds(passed, provisional):
    record = SimpleNamespace(
        health=(make_check(GAIN_CHECK, passed=passed),),
        profiles=(make_profile(),),
        calibrations={"a": make_calibration(), "b": make_calibration(provisional=provisional)},
    )
    notes = note_doubts(record)
    assert [ADVICE[GAIN_CHECK] in note for note in notes] == [True] * (not passed) + (
        [False] * provisional
    )
    assert ("the threshold is provisional" in " ".join(notes)) == provisional


def test_the_table_of_health_ends_with_what_to_do(capsys):
    tables.print_health((make_check("active_units", passed=True),))
    assert "note:" not in capsys.readouterr().out
    tables.print_health((make_check("active_units"),))
    assert "note: the detector failed its health check" in capsys.readouterr().out
