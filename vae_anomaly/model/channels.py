"""From sensors to the channels of a network, and back to what is said of each sensor.

A sensor whose likelihood is a density of the reading itself is one channel, as it is. A positive
sensor is the log of its readings, a count the log of count + 1/2, a two-state sensor 0 or 1, and
a sensor of few states one channel per state. A reading that its likelihood cannot have, such as
a third state, is no value for the network; it is scored by a rule (`CHANGE_NATS`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from vae_anomaly.domain import BoolArray, FloatArray, IntArray
from vae_anomaly.model.likelihoods import (
    ALL_LIKELIHOODS,
    COUNT_OFFSET,
    GAUSSIAN,
    Likelihood,
    Reading,
    find_likelihood,
)

CHANGE_NATS = 50.0
"""Nats for a sensor that was constant in training and now reads otherwise, and for a reading that
its likelihood cannot have. There is no unit to measure the change in, so its size cannot count;
50 nats are those of a Gaussian at ten standard deviations."""

STATE_TOLERANCE = 1e-3
"""Share of the smallest distance between two states within which a reading is a state."""


@dataclass(frozen=True)
class ChosenLikelihood:
    """The likelihood of one sensor, with what it needs to know of the sensor.

    Attributes:
        name: One of `ALL_LIKELIHOODS`.
        levels: The states of a `bernoulli` or `categorical` sensor, rising, in raw units.
        step: Quantisation step of a `quantised` sensor, in raw units.
    """

    name: str = GAUSSIAN.name
    levels: tuple[float, ...] = ()
    step: float = 0.0


@dataclass(frozen=True)
class Part:
    """Sensors of one likelihood and the channels they lie in.

    Attributes:
        likelihood: The likelihood.
        sensors: Positions among the modelled sensors; one alone where it has several channels.
        channels: Its channels.
        step: Quantisation steps, raw units. Shape `(sensors,)`.
        levels: States, raw units. Shape `(sensors, states)`.
    """

    likelihood: Likelihood
    sensors: list[int]
    channels: slice
    step: FloatArray
    levels: FloatArray

    @property
    def is_one_hot(self) -> bool:
        """Whether its one sensor has a channel per state."""
        return self.likelihood.name == "categorical"


@dataclass(frozen=True)
class SensorScores:
    """What the network says of each sensor, for some steps; each of shape `(steps, sensors)`.

    Attributes:
        contribution: Nats, raw units, 0 where missing, `CHANGE_NATS` where impossible.
        energy: log p(mode) - log p(x), likewise.
        mean: Expected values, raw units.
        sigma: Their standard deviations, raw units.
    """

    contribution: FloatArray
    energy: FloatArray
    mean: FloatArray
    sigma: FloatArray


@dataclass(frozen=True)
class Channels:
    """The modelled sensors as channels, those of one likelihood side by side.

    Attributes:
        sensors: The likelihood of each modelled sensor.
    """

    sensors: tuple[ChosenLikelihood, ...]

    @cached_property
    def is_plain(self) -> bool:
        """Whether every sensor is Gaussian: then channels are sensors."""
        return all(one.name == GAUSSIAN.name for one in self.sensors)

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The parts, in the order of their channels."""
        parts: list[Part] = []
        for likelihood in ALL_LIKELIHOODS:
            mine = [i for i, one in enumerate(self.sensors) if one.name == likelihood.name]
            # the states of a sensor are channels, so that each such sensor is a part of its own
            apart = [[one] for one in mine] if likelihood.name == "categorical" else [mine]
            for sensors in apart:
                if sensors:
                    start = parts[-1].channels.stop if parts else 0
                    parts.append(self._make_part(likelihood, sensors, start))
        return tuple(parts)

    @property
    def num_channels(self) -> int:
        """Number of channels."""
        return int(self.parts[-1].channels.stop)

    @property
    def likelihoods(self) -> tuple[str, ...]:
        """Name of the likelihood of each channel; empty where all are Gaussian."""
        return () if self.is_plain else tuple(part.likelihood.name for part, _ in self._walk())

    @property
    def groups(self) -> tuple[int, ...]:
        """The sensor of each channel; empty where all are Gaussian."""
        return () if self.is_plain else tuple(self.sensor_of.tolist())

    @property
    def first_channels(self) -> IntArray:
        """The first channel of each sensor. Shape `(sensors,)`."""
        found = np.unique(self.sensor_of, return_index=True)[1]
        return found.astype(np.int64)

    @property
    def sensor_of(self) -> IntArray:
        """The sensor of each channel. Shape `(channels,)`."""
        return np.array([sensor for _, sensor in self._walk()], dtype=np.int64)

    @property
    def is_on_raw(self) -> BoolArray:
        """Whether each channel holds the reading as it is. Shape `(channels,)`."""
        return np.array([part.likelihood.is_on_raw for part, _ in self._walk()])

    def encode(self, values: FloatArray) -> FloatArray:
        """Return what the network sees of raw values; NaN where missing or impossible.

        Args:
            values: Raw values of the modelled sensors. Shape `(..., sensors)`.

        Returns:
            Channel values. Shape `(..., channels)`.
        """
        if self.is_plain:
            return values
        out = np.empty((*values.shape[:-1], self.num_channels))
        for part in self.parts:
            out[..., part.channels] = _encode(part, values[..., part.sensors])
        return out

    def describe(
        self, values: FloatArray, nats: FloatArray, location: FloatArray, scale: FloatArray
    ) -> SensorScores:
        """Turn what the network says of channels into what is said of sensors.

        Args:
            values: Raw values of the modelled sensors. Shape `(steps, sensors)`.
            nats: Contribution of each channel. Shape `(steps, channels)`.
            location: Location that the network gives each channel. Same shape.
            scale: Scale of each channel. Same shape.

        Returns:
            Contribution, energy, mean and standard deviation per sensor.
        """
        if self.is_plain:
            energy = np.square((values - location) / scale)
            energy *= 0.5
            missing = np.isnan(energy)
            if missing.any():
                energy[missing & np.isnan(values)] = 0.0
            return SensorScores(nats, energy, location, scale)
        encoded = self.encode(values)
        contribution, energy, mean, sigma = (np.empty(values.shape) for _ in range(4))
        for part in self.parts:
            mine, there = part.sensors, part.channels
            reading = replace(
                _compare(encoded[:, there], location[:, there], scale[:, there], step=part.step),
                group=np.ones((encoded[:, there].shape[1],) * 2),
            )
            unseen = np.isnan(encoded[:, there])
            energies = np.where(unseen, 0.0, part.likelihood.energy(reading))
            impossible = unseen[:, : len(mine)] & ~np.isnan(values[:, mine])
            for out, costs in ((contribution, nats[:, there]), (energy, energies)):
                out[:, mine] = np.where(impossible, CHANGE_NATS, _per_sensor(part, costs))
            mean[:, mine], sigma[:, mine] = _expect(part, location[:, there], scale[:, there])
        return SensorScores(contribution, energy, mean, sigma)

    def find_floors(self, floor: FloatArray) -> FloatArray:
        """Return the least standard deviations, raw units; 0 where there is no such bound.

        Args:
            floor: Lower bounds of the scales, raw units. Shape `(sensors,)`.
        """
        out = np.zeros_like(floor)
        for part in self.parts:
            if part.likelihood.is_on_raw:
                mine = floor[part.sensors]
                out[part.sensors] = part.likelihood.moments(mine, mine, part.step)[1]
        return out

    def _make_part(self, likelihood: Likelihood, sensors: list[int], start: int) -> Part:
        chosen = [self.sensors[i] for i in sensors]
        levels = np.array([one.levels for one in chosen], dtype=np.float64)
        num_channels = levels.shape[1] if likelihood.name == "categorical" else len(sensors)
        step = np.array([one.step for one in chosen])
        return Part(likelihood, sensors, slice(start, start + num_channels), step, levels)

    def _walk(self) -> list[tuple[Part, int]]:
        """Return part and sensor of each channel."""
        return [
            (part, part.sensors[0] if part.is_one_hot else part.sensors[i])
            for part in self.parts
            for i in range(part.channels.stop - part.channels.start)
        ]


def encode_sensor(chosen: ChosenLikelihood, values: FloatArray) -> FloatArray:
    """Return the channel of one sensor; NaN where missing or impossible.

    Args:
        chosen: Its likelihood, any but `categorical`.
        values: Its raw values. Shape `(steps,)`.
    """
    if find_likelihood(chosen.name).is_on_raw:
        return values
    part = Channels((chosen,)).parts[0]
    return _encode(part, values[:, None])[:, 0]


def find_parameters(
    chosen: ChosenLikelihood, mean: FloatArray, sigma: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return location and standard deviation of the channel of one sensor that has a level.

    Args:
        chosen: Its likelihood.
        mean: Its expected values, raw units. Shape `(steps,)`.
        sigma: Their standard deviations. Same shape.
    """
    likelihood = find_likelihood(chosen.name)
    if likelihood.is_on_raw or likelihood.parameters is None:
        return mean, sigma
    return likelihood.parameters(mean, sigma, chosen.step)


def move_sensor(
    chosen: ChosenLikelihood,
    values: FloatArray,
    scores: SensorScores,
    *,
    level: FloatArray,
    width: FloatArray,
) -> SensorScores:
    """Move and widen the likelihood of one sensor.

    Args:
        chosen: Its likelihood, one that has a level.
        values: Its raw values. Shape `(steps,)`.
        scores: What was said of them, each of the same shape.
        level: How far its location moves, in standard deviations of its channel. Same shape.
        width: How many times as wide its scale becomes. Same shape.

    Returns:
        The scores, those of steps at level 0 and width 1 as they came.
    """
    likelihood, step = find_likelihood(chosen.name), chosen.step
    if likelihood.parameters is None:
        return scores
    encoded = encode_sensor(chosen, values)
    location, scale = likelihood.parameters(scores.mean, scores.sigma, step)
    _, spread = find_parameters(chosen, scores.mean, scores.sigma)
    there, wide = location + level * spread, width * scale
    before, after = (
        _compare(encoded, at, size, step=step) for at, size in ((location, scale), (there, wide))
    )
    change = likelihood.nll(np, after) - likelihood.nll(np, before)
    mean, sigma = likelihood.moments(there, wide, step)
    moves = (level != 0.0) | (width != 1.0)
    costs = moves & ~np.isnan(encoded)
    return SensorScores(
        contribution=scores.contribution + np.where(costs, change, 0.0),
        energy=np.where(costs, likelihood.energy(after), scores.energy),
        mean=np.where(moves, mean, scores.mean),
        sigma=np.where(moves, sigma, scores.sigma),
    )


def make_fault(
    chosen: ChosenLikelihood, values: FloatArray, size: FloatArray | float
) -> FloatArray:
    """Make readings wrong: off by some spreads of their channel, or in another state.

    Args:
        chosen: The likelihood of the sensor.
        values: Raw values. Any shape.
        size: How much to add to the channel. A count is raised whatever the sign, since 0 may
            be all that it can fall to.

    Returns:
        The wrong values. Same shape.
    """
    if chosen.levels:
        levels = np.array(chosen.levels)
        state = _find_states(values, levels[None, :])
        following: FloatArray = levels[(state + 1) % len(levels)]
        return np.where(state < 0, values, following)
    if chosen.name == "log_normal":
        return values * np.exp(size)
    if chosen.name == "poisson":
        return np.rint((values + COUNT_OFFSET) * np.exp(np.abs(size)))
    return values + size


def _encode(part: Part, values: FloatArray) -> FloatArray:
    """Return the channels of a part's sensors; NaN where missing or impossible."""
    if part.likelihood.is_on_raw:
        return values
    if part.likelihood.name == "log_normal":
        return np.log(np.where(values > 0.0, values, np.nan))
    if part.likelihood.name == "poisson":
        return np.log(np.where(values >= 0.0, values, np.nan) + COUNT_OFFSET)
    state = _find_states(values, part.levels)
    if part.is_one_hot:
        one_hot = (state == np.arange(part.levels.shape[1])).astype(np.float64)
        return np.where(state < 0, np.nan, one_hot)
    return np.where(state < 0, np.nan, state.astype(np.float64))


def _find_states(values: FloatArray, levels: FloatArray) -> IntArray:
    """Return the index of the state of each reading, -1 where it is none.

    Args:
        values: Raw values. Shape `(..., sensors)`, or any with one row of levels.
        levels: States, rising. Shape `(sensors, states)`.
    """
    distance = np.abs(values[..., None] - levels)
    state = distance.argmin(axis=-1)
    room = STATE_TOLERANCE * np.diff(levels, axis=-1).min(axis=-1)
    near = distance.min(axis=-1) <= room  # false for NaN
    return np.where(near, state, -1)


def _compare(
    encoded: FloatArray, location: FloatArray, scale: FloatArray, *, step: FloatArray | float
) -> Reading:
    return Reading(
        residual=(encoded - location) / scale,
        log_sigma=np.log(scale),
        value=encoded,
        location=location,
        half_step=0.5 * step / scale,
    )


def _expect(part: Part, location: FloatArray, scale: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return mean and standard deviation of a part's sensors in raw units."""
    mean, sigma = part.likelihood.moments(location, scale, part.step)
    if part.is_one_hot:
        levels = part.levels[0]
        middle = add_up(mean * levels)
        variance = add_up(mean * np.square(levels - middle[:, None]))
        return middle[:, None], np.sqrt(variance)[:, None]
    if part.levels.size:
        low, width = part.levels[:, 0], np.diff(part.levels, axis=1)[:, 0]
        return low + width * mean, width * sigma
    return mean, sigma


def _per_sensor(part: Part, of_channels: FloatArray) -> FloatArray:
    return add_up(of_channels)[:, None] if part.is_one_hot else of_channels


def add_up(values: FloatArray) -> FloatArray:
    """Add up the sensors of each step, one after the other: NumPy adds a row alone otherwise."""
    total = np.zeros(len(values))
    for column in values.T:
        total += column
    return total


def gaussian_channels(num_sensors: int) -> Channels:
    """Return channels that are the sensors themselves."""
    return Channels((ChosenLikelihood(),) * num_sensors)


def make_channels(chosen: Sequence[ChosenLikelihood], num_sensors: int) -> Channels:
    """Return the channels of sensors; where nothing is chosen, all are Gaussian."""
    return Channels(tuple(chosen)) if chosen else gaussian_channels(num_sensors)
