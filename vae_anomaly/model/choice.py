"""Which likelihood each sensor gets: the one asked for, or the one of its kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from vae_anomaly.domain import FloatArray, SensorKind, SensorProfile
from vae_anomaly.errors import ConfigError, TrainingError
from vae_anomaly.model.channels import STATE_TOLERANCE, ChosenLikelihood
from vae_anomaly.model.likelihoods import GAUSSIAN
from vae_anomaly.wording import ask_nearest

SETTING = "detector.model.likelihoods"

DEFAULT_LIKELIHOODS = {
    SensorKind.CONTINUOUS: "gaussian",
    SensorKind.QUANTISED: "gaussian",
    SensorKind.BINARY: "gaussian",
}
"""Likelihood of each kind of sensor, as measured in docs/science/density.md."""

MAX_STATES = 12
"""Most states of a `categorical` sensor: each is a channel."""

MIN_STEP_SHARE = 0.01
"""Least step of a `quantised` sensor, in spreads; below it a Gaussian is the same."""


def choose_likelihoods(
    values: FloatArray,
    profiles: Sequence[SensorProfile],
    *,
    wanted: Mapping[str, str],
    by_kind: Mapping[SensorKind, str] = DEFAULT_LIKELIHOODS,
) -> tuple[ChosenLikelihood, ...]:
    """Choose the likelihood of each sensor in the network.

    Args:
        values: Training values of these sensors, NaN where missing. Shape `(rows, sensors)`.
        profiles: What they look like.
        wanted: Likelihood by name of sensor.
        by_kind: Likelihood by kind, for the others; the Gaussian where it cannot be had.

    Returns:
        One per sensor.

    Raises:
        TrainingError: A sensor cannot have the likelihood asked for.
    """
    chosen = []
    for column, profile in zip(values.T, profiles, strict=True):
        present = column[np.isfinite(column)]
        name = wanted.get(profile.name, by_kind.get(profile.kind, GAUSSIAN.name))
        problem = find_problem(name, present, profile)
        if problem and profile.name in wanted:
            expected, got = problem
            raise TrainingError(
                f"Cannot fit a {name} likelihood to sensor '{profile.name}': expected {expected}, "
                f"got {got}. Choose another one in {SETTING}, or leave the sensor out of it."
            )
        chosen.append(_make(GAUSSIAN.name if problem else name, present, profile))
    return tuple(chosen)


def require_known_sensors(wanted: Mapping[str, str], sensors: Sequence[str]) -> None:
    """Refuse a likelihood for a sensor that there is not.

    Args:
        wanted: Likelihood by name of sensor.
        sensors: The sensors of the readings.

    Raises:
        ConfigError: A name is not among them.
    """
    for name, likelihood in wanted.items():
        if name not in sensors:
            raise ConfigError(
                f"Cannot give sensor '{name}' the {likelihood} likelihood: expected one of "
                f"{', '.join(sensors)}, got '{name}'. Correct the name in {SETTING}"
                + (ask_nearest(name, sensors) or ".")
            )


def find_problem(name: str, present: FloatArray, profile: SensorProfile) -> tuple[str, str] | None:
    """Say why a sensor cannot have a likelihood.

    Args:
        name: The likelihood.
        present: The finite values of the sensor. Shape `(values,)`.
        profile: What they look like.

    Returns:
        What is expected and what there is, or None.
    """
    check = CHECKS.get(name)
    return None if check is None else check(present, profile)


def find_states(present: FloatArray) -> tuple[float, ...]:
    """Return the distinct values, those closer than `STATE_TOLERANCE` of the range as one."""
    levels = np.unique(present)
    room = STATE_TOLERANCE / MAX_STATES * float(levels[-1] - levels[0])
    return tuple(levels[np.insert(np.diff(levels) > room, 0, True)].tolist())


def _require_positive(present: FloatArray, _: SensorProfile) -> tuple[str, str] | None:
    least = float(present.min())
    return None if least > 0 else ("values above 0", f"{least:g}")


def _require_counts(present: FloatArray, _: SensorProfile) -> tuple[str, str] | None:
    wrong = present[(present < 0) | (present != np.rint(present))]
    return ("counts: 0, 1, 2 and so on", f"{wrong[0]:g}") if wrong.size else None


def _require_two_states(present: FloatArray, _: SensorProfile) -> tuple[str, str] | None:
    found = len(find_states(present))
    return None if found == 2 else ("exactly two states", str(found))


def _require_few_states(present: FloatArray, _: SensorProfile) -> tuple[str, str] | None:
    found = len(find_states(present))
    return None if found <= MAX_STATES else (f"at most {MAX_STATES} states", str(found))


def _require_steps(present: FloatArray, profile: SensorProfile) -> tuple[str, str] | None:
    share = profile.step / float(present.std())
    wanted = f"steps of at least {MIN_STEP_SHARE:.0%} of the spread"
    if not profile.step:
        return wanted, "none"
    return None if share >= MIN_STEP_SHARE else (wanted, f"{share:.2g} of it")


CHECKS: dict[str, Callable[[FloatArray, SensorProfile], tuple[str, str] | None]] = {
    "log_normal": _require_positive,
    "poisson": _require_counts,
    "bernoulli": _require_two_states,
    "categorical": _require_few_states,
    "quantised": _require_steps,
}
"""What a likelihood asks of a sensor; one that is not here takes any."""


def _make(name: str, present: FloatArray, profile: SensorProfile) -> ChosenLikelihood:
    return ChosenLikelihood(
        name=name,
        levels=find_states(present) if name in {"bernoulli", "categorical"} else (),
        step=profile.step if name == "quantised" else 0.0,
    )
