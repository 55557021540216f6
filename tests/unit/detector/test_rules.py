import math

import numpy as np
import pytest

from vae_anomaly.config import RulesConfig
from vae_anomaly.detector.rules import (
    ALL_RULES,
    FLAT_FACTOR,
    MAX_FLAT_STEPS,
    MIN_FLAT_STEPS,
    NO_LIMIT,
    TRAINING_PER_LIMIT,
    RuleLimits,
    RuleSteps,
    declare_limits,
    find_breaches,
    require_quiet_rules,
    set_rule_limits,
)
from vae_anomaly.domain import Contract, Sensor, SensorReason
from vae_anomaly.errors import CalibrationError, ContractError
from vae_anomaly.readings.quality import profile_sensors

INF, NAN = math.inf, math.nan
FLOW = Contract((Sensor("flow"),), period_s=60.0)


def make_steps(values, *, ticks=None, starts=()) -> RuleSteps:
    """Steps of one sensor; `ticks` are minutes."""
    at = np.arange(len(values))
    start = np.maximum.accumulate(np.where(np.isin(at, starts), at, 0)) if len(at) else at
    times = np.array(at if ticks is None else ticks) * 60_000_000
    return RuleSteps(np.array(values, dtype=np.float64)[:, None], start, times, 60.0)


def make_limits(*, flat_steps=0, low=-INF, high=INF, change=INF) -> RuleLimits:
    return RuleLimits((flat_steps,), (low,), (high,), (change,))


def find(values, limits, **options) -> list[str]:
    return find_breaches(make_steps(values, **options), limits, FLOW).tolist()


def learn(values, *, starts=(), **settings) -> RuleLimits:
    steps = make_steps(values, starts=starts)
    profiles = profile_sensors(steps.values, sensors=FLOW.sensors)
    return set_rule_limits(
        steps.values, steps.segment_start, profiles, settings=RulesConfig(**settings)
    )


def noise(num_steps: int, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=num_steps)


# --- every rule ---


@pytest.mark.parametrize("rule", ALL_RULES, ids=lambda rule: rule.reason.value)
def test_every_rule_is_silent_without_a_limit_and_without_a_value(rule):
    values = [1.0, 1.0, 9.0, NAN, NAN, NAN, 1.0] * 5
    assert rule.find(make_steps(values), make_limits()) is None
    tight = make_limits(flat_steps=2, low=1e6, high=-1e6, change=1e-9)
    assert not rule.find(make_steps([NAN] * 9), tight).any()
    assert rule.find(make_steps([]), tight).shape == (0, 1)
    assert rule.memory_steps(make_limits()) == 1


def test_each_rule_has_its_own_reason():
    assert len({rule.reason for rule in ALL_RULES}) == len(ALL_RULES)
    assert {rule.reason for rule in ALL_RULES} == set(SensorReason) - {SensorReason.SHIFT}


def test_a_detector_without_sensors_to_rule_remembers_one_step():
    assert RuleLimits((), (), (), ()).memory_steps == 1


# --- flat lines ---


def test_a_flat_line_begins_after_its_limit_and_ends_with_another_value():
    found = find([5.0, 7.0, 7.0, 7.0, 7.0, 8.0], make_limits(flat_steps=3))
    assert found == ["", "", "", "", "flat_line: flow", ""]
    assert make_limits(flat_steps=3).memory_steps == 4


def test_a_flat_line_does_not_cross_a_gap():
    assert find([7.0] * 8, make_limits(flat_steps=3), starts=(4,)).count("flat_line: flow") == 2


def test_a_missing_value_neither_ends_a_flat_line_nor_has_one():
    found = find([7.0, NAN, 7.0, 7.0, NAN, 7.0], make_limits(flat_steps=3))
    assert [bool(reason) for reason in found] == [False, False, False, True, False, True]


def test_mostly_missing_values_are_silence_and_no_flat_line():
    assert set(find([7.0, NAN, NAN, NAN] * 5, make_limits(flat_steps=7))) == {""}


def test_the_limit_is_a_multiple_of_the_longest_run_in_training():
    values = noise(10_000)
    values[100:110] = values[100]
    assert learn(values).flat_steps == (FLAT_FACTOR * 10,)
    assert learn(noise(10_000)).flat_steps == (MIN_FLAT_STEPS,)


def test_a_run_in_training_reaches_over_missing_values_but_not_over_gaps():
    values = noise(10_000)
    values[100:110] = values[100]
    values[103:106] = NAN
    assert learn(values).flat_steps == (FLAT_FACTOR * 10,)
    assert learn(values, starts=(105,)).flat_steps == (MIN_FLAT_STEPS,)


def test_a_sensor_that_was_seen_for_too_short_has_no_rule():
    enough = TRAINING_PER_LIMIT * MIN_FLAT_STEPS
    assert learn(noise(enough)).flat_steps == (MIN_FLAT_STEPS,)
    assert learn(noise(enough - 1)).flat_steps == (NO_LIMIT,)
    few = np.where(np.arange(2 * enough) < enough - 1, noise(2 * enough), NAN)
    assert learn(few).flat_steps == (NO_LIMIT,)


def test_a_sensor_that_seldom_changes_has_no_rule():
    assert learn(np.repeat(noise(100), 100)).flat_steps == (NO_LIMIT,)
    long = np.append(noise(60 * MAX_FLAT_STEPS), np.zeros(MAX_FLAT_STEPS // FLAT_FACTOR + 1))
    assert learn(long).flat_steps == (NO_LIMIT,)


@pytest.mark.parametrize(
    "values",
    [np.arange(5000) // 3 % 2.0, np.full(5000, 4.0), np.full(5000, NAN)],
    ids=["binary", "constant", "empty"],
)
def test_switches_constants_and_dead_sensors_have_no_rule(values):
    assert learn(values).flat_steps == (NO_LIMIT,)


def test_a_quantised_sensor_has_a_rule():
    assert learn(np.round(noise(10_000) * 3)).flat_steps[0] >= MIN_FLAT_STEPS


def test_flat_lines_can_be_left_alone():
    assert learn(noise(10_000), flat_lines=False).flat_steps == (NO_LIMIT,)


# --- declared limits ---


def test_a_value_outside_its_declared_range_is_out_of_range():
    found = find([0.0, 1.0, -0.1, 1.1], make_limits(low=0.0, high=1.0))
    assert found == ["", "", *["out_of_range: flow"] * 2]


def test_a_declared_change_is_from_one_tick_to_the_next():
    found = find([0.0, 5.0, -5.0, 0.0], make_limits(change=5.0))
    assert found == ["", "", "change: flow", ""]
    assert find([0.0, 8.0], make_limits(change=5.0), ticks=[0, 2]) == ["", ""]
    assert find([0.0, 11.0], make_limits(change=5.0), ticks=[0, 2])[1] == "change: flow"
    assert make_limits(change=5.0).memory_steps == 2


def test_no_change_is_found_across_a_gap_or_beside_a_missing_value():
    limits = make_limits(change=1.0)
    assert find([0.0, 9.0], limits, starts=(1,)) == ["", ""]
    assert find([0.0, NAN, 9.0], limits) == ["", "", ""]


def test_what_is_declared_is_taken_over_in_the_order_of_the_sensors():
    values = noise(200).reshape(100, 2)
    profiles = profile_sensors(values, sensors=[Sensor("a"), Sensor("b")])
    limits = set_rule_limits(
        values,
        np.zeros(100, dtype=np.int64),
        profiles,
        settings=RulesConfig(ranges={"b": (-INF, 2.0)}, max_changes={"a": 0.5}),
    )
    assert limits == RuleLimits((0, 0), (-INF, -INF), (INF, 2.0), (0.5, INF))


@pytest.mark.parametrize("settings", [{"ranges": {"flwo": (0.0, 1.0)}}, {"max_changes": {"x": 1}}])
def test_a_rule_for_a_sensor_that_there_is_not_is_refused(settings):
    with pytest.raises(ContractError, match=r"Cannot apply a rule to sensor '\w+': expected one"):
        learn(noise(100), **settings)


def test_the_refusal_names_what_was_meant():
    with pytest.raises(ContractError) as caught:
        learn(noise(100), ranges={"flwo": (0.0, 1.0)})
    assert str(caught.value) == (
        "Cannot apply a rule to sensor 'flwo': expected one of ('flow',), got 'flwo'. Check "
        "[detector.rules] in pipeline.toml; did you mean 'flow'?"
    )


# --- declared limits that normal steps exceed ---


def require(values, **settings) -> None:
    limits = declare_limits(("flow",), RulesConfig(**settings))
    require_quiet_rules("pump", make_steps(values), limits, sensors=("flow",))


def test_declared_rules_that_fire_on_much_of_what_is_normal_are_refused():
    values = np.linspace(800.0, 2800.0, 40)
    values[7] = 50.0
    with pytest.raises(CalibrationError) as caught:
        require(values, ranges={"flow": (0.0, 100.0)}, max_changes={"flow": 5000.0})
    assert str(caught.value) == (
        "Cannot set a threshold for asset 'pump': expected declared rules to fire on at most 5 % "
        "of its held-out normal rows, got 97.5 %; out_of_range of sensor 'flow' fires on 97.5 %. "
        "Correct ranges of that sensor in [detector.rules], or take other readings if these are "
        "not normal."
    )


def test_the_refusal_names_a_change_that_is_too_small():
    with pytest.raises(CalibrationError, match=r"change of sensor 'flow' .* Correct max_changes"):
        require(np.arange(40.0), max_changes={"flow": 0.5}, ranges={"flow": (0.0, 38.0)})


def test_the_share_counts_a_step_once_whatever_fires_on_it():
    values = np.zeros(100)
    values[:4] = [0.0, 9.0, 0.0, 9.0]
    require(values, ranges={"flow": (0.0, 5.0)}, max_changes={"flow": 5.0})
    values[50] = values[60] = 9.0
    with pytest.raises(CalibrationError, match="got 8 %; change of sensor 'flow' fires on 8 %"):
        require(values, ranges={"flow": (0.0, 5.0)}, max_changes={"flow": 5.0})


def test_rules_that_seldom_fire_and_steps_that_are_not_there_are_accepted():
    values = np.zeros(100)
    values[:5] = 9.0
    require(values, ranges={"flow": (0.0, 5.0)})
    require(values)
    require([], ranges={"flow": (0.0, 5.0)})
    require([7.0] * 100)  # how long a flat line may be is learnt, not declared


# --- several at once ---


def test_a_range_comes_before_a_change_and_a_change_before_a_flat_line():
    values = [0.0, 0.0, 0.0, 5.0, 9.0, 9.0]
    found = find(values, make_limits(flat_steps=1, high=8.0, change=3.0))
    assert found == [
        "",
        *["flat_line: flow"] * 2,
        "change: flow",
        *["out_of_range: flow"] * 2,
    ]
