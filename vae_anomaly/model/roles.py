"""Which sensors the network models, which a rule watches, and which cannot be scored."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vae_anomaly.domain import FloatArray, SensorKind, SensorProfile
from vae_anomaly.model.channels import Channels, ChosenLikelihood, encode_sensor, make_channels
from vae_anomaly.model.likelihoods import GAUSSIAN, find_likelihood

CONTINUOUS_NATS = 3.0
"""What a reading of a continuous sensor tells, in nats: about log(1 / 0.05), as it is not told
apart from one that is less than 0.05 of the sensor's spread away, the lower bound of its sigma."""


@dataclass(frozen=True)
class SensorRoles:
    """How each sensor is scored, by its position in the contract.

    Attributes:
        modelled: Sensors in the network.
        constant: Sensors under the change rule: they never moved in training.
        constant_values: Their values.
        empty: Sensors without any value in training; they are not scored.
        log_scale: Log of the absolute affine scale of the modelled sensors, in the log of what
            their channel holds: raw units, or a log or a state.
        likelihoods: The likelihood of each modelled sensor; empty where all are Gaussian.
        context: Modelled sensors that the others depend on and that are not scored themselves.
        weights: What the energy of each modelled sensor counts; empty where all count in full.
    """

    modelled: tuple[int, ...]
    constant: tuple[int, ...]
    constant_values: tuple[float, ...]
    empty: tuple[int, ...]
    log_scale: tuple[float, ...]
    likelihoods: tuple[ChosenLikelihood, ...] = ()
    context: tuple[int, ...] = ()
    weights: tuple[float, ...] = ()

    @property
    def channels(self) -> Channels:
        """The modelled sensors as channels of the network."""
        return make_channels(self.likelihoods, len(self.modelled))

    @property
    def scored(self) -> tuple[tuple[int, ChosenLikelihood], ...]:
        """The sensors that the network scores, with their likelihoods."""
        chosen = zip(self.modelled, self.channels.sensors, strict=True)
        return tuple((sensor, one) for sensor, one in chosen if sensor not in self.context)

    @property
    def num_scored(self) -> int:
        """Number of sensors that count: those that the network scores, and constant ones."""
        return len(self.modelled) - len(self.context) + len(self.constant)

    @property
    def dense(self) -> tuple[int, ...]:
        """The modelled sensors whose nats are those of a density in raw units.

        They alone have a level that can drift or shift: states and counts have none. Context
        is among them, as they depend on it.
        """
        return tuple(sensor for sensor, _ in self._choose_dense())

    def take_dense(self, values: FloatArray) -> FloatArray:
        """Return what the network sees of those sensors.

        Args:
            values: Raw values. Shape `(steps, sensors)`.

        Returns:
            Raw values, or their logs; NaN where missing or impossible. Shape `(steps, dense)`.
        """
        taken = values[:, as_columns(self.dense)]
        if self.channels.is_plain:
            return taken
        taken = taken.copy(order="F")
        for k, (_, chosen) in enumerate(self._choose_dense()):
            taken[:, k] = encode_sensor(chosen, taken[:, k])
        return taken

    def _choose_dense(self) -> list[tuple[int, ChosenLikelihood]]:
        chosen = zip(self.modelled, self.channels.sensors, strict=True)
        return [(sensor, one) for sensor, one in chosen if find_likelihood(one.name).is_density]


def weigh_sensors(
    values: FloatArray, profiles: Sequence[SensorProfile], chosen: Sequence[ChosenLikelihood]
) -> tuple[float, ...]:
    """Weigh the energy of each modelled sensor by how much its readings can tell.

    A Gaussian measures two states in spreads like anything else, and the rarer one is the more
    of them away. Yet a reading tells no more than the entropy of the states, log 2 at most, where
    that of a continuous sensor tells `CONTINUOUS_NATS`. Its weight is the ratio of both.

    Args:
        values: Training values of these sensors, NaN where missing. Shape `(rows, sensors)`.
        profiles: What they look like.
        chosen: Their likelihoods; only a Gaussian one is weighted.

    Returns:
        One weight per sensor, 1 for most; empty where all are 1.

    Example:
        >>> from vae_anomaly.domain import Sensor
        >>> from vae_anomaly.readings.quality import profile_sensors
        >>> valve = np.repeat([0.0, 1.0], 50)[:, None]
        >>> profiles = profile_sensors(valve, sensors=[Sensor("valve")])
        >>> [round(one, 3) for one in weigh_sensors(valve, profiles, [ChosenLikelihood()])]
        [0.231]
    """
    weights = []
    for column, profile, one in zip(values.T, profiles, chosen, strict=True):
        weight = 1.0
        if profile.kind is SensorKind.BINARY and one.name == GAUSSIAN.name:
            present = column[np.isfinite(column)]
            share = float(np.mean(present == profile.maximum))
            entropy = -share * math.log(share) - (1.0 - share) * math.log1p(-share)
            weight = entropy / CONTINUOUS_NATS
        weights.append(weight)
    return () if all(weight == 1.0 for weight in weights) else tuple(weights)


def as_columns(positions: tuple[int, ...]) -> slice | list[int]:
    """Return an index of these columns: a slice, which copies nothing, where they are adjacent.

    Example:
        >>> as_columns((0, 1, 2)), as_columns((0, 2))
        (slice(0, 3, None), [0, 2])
    """
    first = positions[0] if positions else 0
    last = first + len(positions)
    return slice(first, last) if positions == tuple(range(first, last)) else list(positions)
