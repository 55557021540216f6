"""From sensors to the channels of a network, and back to what is said of each sensor.

A sensor whose likelihood is a density of the reading itself is one channel, as it is. A positive
sensor is the log of its readings, a count the log of count + 1/2, a two-state sensor 0 or 1, and
a sensor of few states one channel per state. A reading that its likelihood cannot have, such as
a third state, is no value for the network; it is scored by a rule (`CHANGE_NATS`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from vae_anomaly.domain import BoolArray, FloatArray, IntArray
from vae_anomaly.model.likelihoods import (
    ALL_LIKELIHOODS,
    COUNT_OFFSET,
    GAUSSIAN,
    Likelihood,
    Reading,
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
            residual = (values - location) / scale
            cost = np.where(np.isnan(values), 0.0, 0.5 * residual**2)
            return SensorScores(nats, cost, location, scale)
        encoded = self.encode(values)
        contribution, energy, mean, sigma = (np.empty(values.shape) for _ in range(4))
        for part in self.parts:
            mine, there = part.sensors, part.channels
            reading = _compare(part, encoded[:, there], location[:, there], scale[:, there])
            unseen = np.isnan(encoded[:, there])
            energies = np.where(unseen, 0.0, part.likelihood.energy(reading))
            impossible = unseen[:, : len(mine)] & ~np.isnan(values[:, mine])
            for out, costs in ((contribution, nats[:, there]), (energy, energies)):
                out[:, mine] = np.where(impossible, CHANGE_NATS, _per_sensor(part, costs))
            mean[:, mine], sigma[:, mine] = _expect(part, location[:, there], scale[:, there])
        return SensorScores(contribution, energy, mean, sigma)

    def standardise(self, values: FloatArray, mean: FloatArray, sigma: FloatArray) -> FloatArray:
        """Return the residuals of sensors that a level can move, in units of their scale.

        Args:
            values: Raw values of the modelled sensors. Shape `(steps, sensors)`.
            mean: Expected values. Same shape.
            sigma: Their standard deviations. Same shape.

        Returns:
            NaN for the other sensors. Same shape.
        """
        if self.is_plain:
            return (values - mean) / sigma
        out = np.full(values.shape, np.nan)
        for part in self.parts:
            if part.likelihood.parameters is not None:
                mine = part.sensors
                location, scale = part.likelihood.parameters(
                    mean[:, mine], sigma[:, mine], part.step
                )
                out[:, mine] = (_encode(part, values[:, mine]) - location) / scale
        return out

    def move(self, values: FloatArray, scores: SensorScores, level: FloatArray) -> SensorScores:
        """Move the location of each sensor by its level, in units of its scale.

        Args:
            values: Raw values of the modelled sensors. Shape `(steps, sensors)`.
            scores: What was said of them.
            level: The level, 0 for sensors that cannot move. Same shape.

        Returns:
            The scores with mean, contribution and energy moved.
        """
        if self.is_plain:
            residual = (values - scores.mean) / scores.sigma
            moved = np.nan_to_num(0.5 * (residual - level) ** 2)
            nats = scores.contribution + (moved - scores.energy)
            return SensorScores(nats, moved, scores.mean + level * scores.sigma, scores.sigma)
        contribution, energy, mean, sigma = (
            array.copy()
            for array in (scores.contribution, scores.energy, scores.mean, scores.sigma)
        )
        for part in self.parts:
            mine, likelihood = part.sensors, part.likelihood
            if likelihood.parameters is None or not level[:, mine].any():
                continue
            old, scale = likelihood.parameters(mean[:, mine], sigma[:, mine], part.step)
            new, encoded = old + level[:, mine] * scale, _encode(part, values[:, mine])
            before, after = (_compare(part, encoded, one, scale) for one in (old, new))
            seen = ~np.isnan(encoded)
            change = likelihood.nll(np, after) - likelihood.nll(np, before)
            contribution[:, mine] += np.where(seen, change, 0.0)
            energy[:, mine] = np.where(seen, likelihood.energy(after), energy[:, mine])
            mean[:, mine], sigma[:, mine] = likelihood.moments(new, scale, part.step)
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
    if part.likelihood.name in {"log_normal", "poisson"}:
        offset = COUNT_OFFSET if part.likelihood.name == "poisson" else 0.0
        possible = values >= 0.0 if offset else values > 0.0
        return np.log(np.where(possible, values, np.nan) + offset)
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


def _compare(part: Part, encoded: FloatArray, location: FloatArray, scale: FloatArray) -> Reading:
    return Reading(
        residual=(encoded - location) / scale,
        log_sigma=np.log(scale),
        value=encoded,
        location=location,
        half_step=0.5 * part.step / scale,
        group=np.ones((encoded.shape[-1], encoded.shape[-1])),
    )


def _expect(part: Part, location: FloatArray, scale: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return mean and standard deviation of a part's sensors in raw units."""
    mean, sigma = part.likelihood.moments(location, scale, part.step)
    if part.is_one_hot:
        levels = part.levels[0]
        middle = mean @ levels
        variance = (mean * np.square(levels - middle[:, None])).sum(axis=1)
        return middle[:, None], np.sqrt(variance)[:, None]
    if part.levels.size:
        low, width = part.levels[:, 0], np.diff(part.levels, axis=1)[:, 0]
        return low + width * mean, width * sigma
    return mean, sigma


def _per_sensor(part: Part, of_channels: FloatArray) -> FloatArray:
    return of_channels.sum(axis=1, keepdims=True) if part.is_one_hot else of_channels


def gaussian_channels(num_sensors: int) -> Channels:
    """Return channels that are the sensors themselves."""
    return Channels((ChosenLikelihood(),) * num_sensors)


def make_channels(chosen: Sequence[ChosenLikelihood], num_sensors: int) -> Channels:
    """Return the channels of sensors; where nothing is chosen, all are Gaussian."""
    return Channels(tuple(chosen)) if chosen else gaussian_channels(num_sensors)
