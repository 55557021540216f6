"""What a detector knows beside its network, as one frozen record and as JSON."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from vae_anomaly.config import DetectorConfig, parse_record
from vae_anomaly.detector.channels import ChannelLimits
from vae_anomaly.detector.rules import RuleLimits
from vae_anomaly.detector.shift import ShiftModel
from vae_anomaly.detector.smoothing import list_spans
from vae_anomaly.domain import (
    Calibration,
    Contract,
    HealthCheck,
    SensorProfile,
    TrainingCurves,
)
from vae_anomaly.errors import DetectorError
from vae_anomaly.model.likelihoods import ALL_LIKELIHOODS
from vae_anomaly.model.roles import SensorRoles
from vae_anomaly.wording import format_plural

CONTEXT = "context"
"""What a sensor has in place of a likelihood that counts."""

FORMAT = 5
"""Version of the saved form; raised when an older reader could misread it."""


@dataclass(frozen=True)
class TrainingFacts:
    """How the detector came to be.

    Attributes:
        seed: Seed of the fit.
        backend: Keras backend it was trained on.
        latent: Latent size.
        num_rows: Steps the network was fitted to.
        num_held_out: Steps the threshold was set on, by a fit that left them out.
        num_steps: Optimiser steps.
        num_skipped: Optimiser steps without a finite gradient.
        first_us: First training step, microseconds since 1970, UTC.
        last_us: Last training or held-out step.
        versions: Versions of the libraries that matter to the numbers.
    """

    seed: int
    backend: str
    latent: int
    num_rows: int
    num_held_out: int
    num_steps: int
    num_skipped: int
    first_us: int
    last_us: int
    versions: dict[str, str]


@dataclass(frozen=True)
class DetectorRecord:
    """Everything of a detector that is not weights.

    Attributes:
        format: Version of the saved form.
        config: Settings it was fitted with.
        contract: Sensors, units and period.
        profiles: What the training values of each sensor looked like.
        roles: How each sensor is scored.
        offsets: Offset of each sensor, raw units, by asset of a fleet; see `find_offsets`.
        normal_level: Median energy of held-out normal steps; stands in for missing steps.
        normal_contribution: Mean contribution of each sensor on held-out normal steps, nats.
        shift_model: What a shifted sensor is, or None where none is looked for.
        rule_limits: Where the rules beside the density fire, per sensor.
        limits: Limits of both channels per asset; the score is in multiples of them.
        calibrations: Threshold per asset.
        fallback: Asset whose threshold serves those that were not calibrated: the lowest one, as
            a fault unseen costs more than an alarm too many.
        health: Health figures.
        baseline: Held-out NLL of the VAE and of PCA, in nats per row.
        curves: Training curves.
        facts: How it came to be.
        files: SHA-256 of every other file of the saved folder.
    """

    format: int
    config: DetectorConfig
    contract: Contract
    profiles: tuple[SensorProfile, ...]
    roles: SensorRoles
    offsets: dict[str, tuple[float, ...]]
    normal_level: float
    normal_contribution: tuple[float, ...]
    shift_model: ShiftModel | None
    rule_limits: RuleLimits
    limits: dict[str, ChannelLimits]
    calibrations: dict[str, Calibration]
    fallback: str
    health: tuple[HealthCheck, ...]
    baseline: dict[str, float]
    curves: TrainingCurves
    facts: TrainingFacts
    files: dict[str, str]

    def calibration_of(self, asset: str) -> Calibration:
        """Return the calibration of an asset, or the fallback for an unknown one."""
        return self.calibrations.get(asset, self.calibrations[self.fallback])

    def limits_of(self, asset: str) -> ChannelLimits:
        """Return the limits of an asset, or the lowest of each kind for an unknown one."""
        return self.limits.get(asset, self._limits_of_unknown)

    @cached_property
    def _limits_of_unknown(self) -> ChannelLimits:
        limits = self.limits.values()
        by_span = itertools.zip_longest(*(one.energy for one in limits), fillvalue=math.inf)
        return ChannelLimits(
            energy=tuple(map(min, by_span)), shift=min(one.shift for one in limits)
        )

    @property
    def likelihoods(self) -> dict[str, str]:
        """Likelihood by name of sensor, of those in the network; `CONTEXT` of context."""
        names, roles = self.contract.sensor_names, self.roles
        chosen = zip(roles.modelled, roles.channels.sensors, strict=True)
        return {
            names[sensor]: CONTEXT if sensor in roles.context else one.name
            for sensor, one in chosen
        }

    @property
    def flat_steps(self) -> dict[str, int]:
        """Steps a sensor may keep one value for, by its name; 0 where no rule looks at it."""
        return dict(zip(self.contract.sensor_names, self.rule_limits.flat_steps, strict=True))


def write_record(record: DetectorRecord) -> str:
    """Return the record as strict JSON; numbers that are not finite become text."""
    content = asdict(record) | {"config": record.config.model_dump(mode="json")}
    return json.dumps(_encode(content), indent=1, ensure_ascii=False, allow_nan=False)


def read_record(text: str, *, origin: str) -> DetectorRecord:
    """Parse a record.

    Args:
        text: What `write_record` returned.
        origin: Where it came from, for the message.

    Returns:
        The record.

    Raises:
        DetectorError: The text is no record, or of another format.
    """
    try:
        content = json.loads(text)
        found = content.get("format") if isinstance(content, dict) else None
    except json.JSONDecodeError as error:
        raise DetectorError(
            f"Cannot load the detector from '{origin}': detector.json is damaged ({error}). "
            "Fit it again."
        ) from None
    if found != FORMAT:
        raise DetectorError(
            f"Cannot load the detector from '{origin}': expected format {FORMAT}, got {found}. "
            "Fit it again with this version."
        )
    try:
        record = parse_record(DetectorRecord, content)
        _check_consistent(record)
    except ValueError as error:
        raise DetectorError(
            f"Cannot load the detector from '{origin}': detector.json is damaged: {error}. "
            "Fit it again."
        ) from error
    return record


def _check_consistent(record: DetectorRecord) -> None:
    if record.fallback not in record.calibrations:
        raise ValueError(f"expected a calibration of fallback '{record.fallback}', got none")
    if record.limits.keys() != record.calibrations.keys():
        raise ValueError("expected limits for each calibrated asset, got others")
    limits = record.limits.values()
    if not all(0.0 < limit < math.inf for one in limits for limit in (*one.energy, one.shift)):
        raise ValueError("expected limits above 0, got others")
    num_spans = len(list_spans(record.config.threshold.smoothing_steps))
    if not all(1 <= len(one.energy) <= num_spans for one in limits):
        raise ValueError(f"expected 1 to {num_spans} limits of the energy, got others")
    num_sensors, rules = len(record.contract.sensors), record.rule_limits
    _check_roles(record.roles, num_sensors)
    if {len(x) for x in (rules.flat_steps, rules.low, rules.high, rules.change)} != {num_sensors}:
        raise ValueError(
            f"expected limits of the rules for {format_plural(num_sensors, 'sensor')}, got others"
        )
    if any(len(offset) != num_sensors for offset in record.offsets.values()):
        raise ValueError(f"expected offsets of {format_plural(num_sensors, 'sensor')}, got others")
    shift, num_dense = record.shift_model, len(record.roles.dense)
    if shift is not None and len(shift.spread) != num_dense:
        raise ValueError(
            f"expected {format_plural(num_dense, 'sensor')} in the shift model, "
            f"got {len(shift.spread)}"
        )
    if len(record.normal_contribution) != num_sensors:
        raise ValueError(
            f"expected {num_sensors} normal contributions, got {len(record.normal_contribution)}"
        )


def _check_roles(roles: SensorRoles, num_sensors: int) -> None:
    given = sorted((*roles.modelled, *roles.constant, *roles.empty))
    if given != list(range(num_sensors)) or len(roles.constant) != len(roles.constant_values):
        raise ValueError(
            f"expected one role for each of {format_plural(num_sensors, 'sensor')}, got others"
        )
    if not {*roles.context} <= {*roles.modelled}:
        raise ValueError("expected context among the modelled sensors, got others")
    if len(roles.likelihoods) not in {0, len(roles.modelled)}:
        raise ValueError(
            f"expected {len(roles.modelled)} likelihoods, got {len(roles.likelihoods)}"
        )
    if len(roles.weights) not in {0, len(roles.modelled)}:
        raise ValueError(f"expected {len(roles.modelled)} weights, got {len(roles.weights)}")
    unknown = {one.name for one in roles.likelihoods} - {one.name for one in ALL_LIKELIHOODS}
    if unknown:
        raise ValueError(f"expected known likelihoods, got {sorted(unknown)}")


def _encode(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _encode(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_encode(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
