"""Settings of a detector: the network, its thresholds, alert events and rules."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from vae_anomaly.config.base import Settings
from vae_anomaly.config.readings import ReadingsConfig

LikelihoodName = Literal[
    "gaussian",
    "student_t",
    "laplace",
    "quantised",
    "log_normal",
    "poisson",
    "bernoulli",
    "categorical",
]

RANGE = "[0.0, 14.0]"
"""Limits of a sensor, as an example."""

_Limit = Annotated[float, Field(allow_inf_nan=True)]


class ModelConfig(Settings):
    """The network and its training; the defaults are what measured best.

    Attributes:
        window: Steps the encoder sees, the last being the one scored.
        latent: Latent size; chosen by explained variance where not given.
        explained_variance: Share of variance that chooses the latent size.
        hidden: Units per hidden layer.
        layers: Hidden layers in encoder and in decoder.
        floor_fraction: Lower bound of sigma as a share of each sensor's scale.
        epochs: Passes over the training rows, within the two step limits.
        min_training_steps: Fewest optimiser steps.
        max_training_steps: Most optimiser steps.
        batch_rows: Rows per optimiser step.
        learning_rate: Peak rate of the cosine schedule.
        max_skipped_share: Share of non-finite optimiser steps that ends training with an error.
        likelihoods: Likelihood by name of sensor: gaussian, student_t, laplace, quantised,
            log_normal, poisson, bernoulli or categorical. Sensors that are not named have the
            one of their kind.
        asset_offsets: Whether each asset of a fleet has a middle of its own, or a level that
            other assets do not have is strange.
        context: Sensors that the others depend on and that are not scored themselves, such as
            set-points, modes or the weather.
    """

    window: Annotated[int, Field(ge=1, le=512)] = 1
    latent: Annotated[int, Field(ge=1, le=512)] | None = None
    explained_variance: Annotated[float, Field(gt=0, lt=1)] = 0.8
    hidden: Annotated[int, Field(ge=1)] = 64
    layers: Annotated[int, Field(ge=1, le=8)] = 2
    floor_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.05
    epochs: Annotated[int, Field(ge=1)] = 12
    min_training_steps: Annotated[int, Field(ge=1)] = 700
    max_training_steps: Annotated[int, Field(ge=1)] = 4_000
    batch_rows: Annotated[int, Field(ge=1)] = 64
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    max_skipped_share: Annotated[float, Field(ge=0, le=1)] = 0.05
    likelihoods: dict[str, LikelihoodName] = Field(default_factory=dict)
    asset_offsets: bool = True
    context: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _limits_in_order(self) -> Self:
        if self.min_training_steps > self.max_training_steps:
            raise ValueError("expected min_training_steps <= max_training_steps")
        return self


class ThresholdConfig(Settings):
    """What alarm rate is asked for, and on which rows the threshold is set.

    Attributes:
        alert_budget_per_week: Alert events per asset and week on normal readings. A promise:
            refused where the held-out readings cannot carry it, unless `provisional`.
        fleet_budget_per_week: Alert events of all assets together per week on normal readings:
            each asset that is calibrated gets an equal part, so that the sum holds. Where both
            budgets are given, the smaller one holds for each asset. Refused in the same way.
        false_alarm_rate: Share of normal steps above the threshold, used without a budget.
        calibration_share: Last share of the readings, in time, held out for calibration.
        smoothing_steps: Span of the moving average of the score, in steps; 1 is none. A quarter
            of it and 2.5 times it are averaged over too, the latter where at least ten times as
            many steps are held out.
        shift_steps: Span, in steps, over which small lasting shifts of single sensors are looked
            for; 0 looks for none.
        adaptation_steps: Steps over which the level of a sensor is taken, to which the expected
            values follow; a change is only followed after about half of them. 0 follows
            nothing.
        latency: `causal`: a step's score depends on no later step. Or a number of steps that
            the score waits for and is averaged over too: better separated, and so much later.
            The pipeline scores the last ones before a pause when readings go on.
        min_observed_share: A row with a smaller share of its sensors present is unscorable.
        provisional: Accept a threshold that the data cannot carry, and mark it so.
    """

    alert_budget_per_week: Annotated[float, Field(gt=0)] | None = None
    fleet_budget_per_week: Annotated[float, Field(gt=0)] | None = None
    false_alarm_rate: Annotated[float, Field(gt=0, lt=0.5)] = 0.01
    calibration_share: Annotated[float, Field(gt=0, lt=1)] = 0.3
    smoothing_steps: Annotated[int, Field(ge=1)] = 20
    shift_steps: Annotated[int, Field(ge=0, le=10_000)] = 50
    adaptation_steps: Annotated[int, Field(ge=0, le=1_000_000)] = 2_000
    latency: Literal["causal"] | Annotated[int, Field(ge=1, le=10_000)] = "causal"
    min_observed_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    provisional: bool = False

    @model_validator(mode="after")
    def _latency_needs_a_span(self) -> Self:
        if self.latency != "causal" and self.smoothing_steps == 1:
            raise ValueError("expected smoothing_steps of at least 2 with a latency")
        return self

    @property
    def latency_steps(self) -> int:
        """Steps after a step that its score waits for."""
        return 0 if self.latency == "causal" else self.latency

    def budget_of_each(self, num_assets: int) -> float | None:
        """Return the alert events that each of some assets may have in a week, None for a rate.

        Args:
            num_assets: Assets that share the budget of the fleet.

        Example:
            >>> ThresholdConfig(alert_budget_per_week=1, fleet_budget_per_week=4).budget_of_each(8)
            0.5
        """
        budgets = [self.alert_budget_per_week] if self.alert_budget_per_week else []
        if self.fleet_budget_per_week and num_assets:
            budgets.append(self.fleet_budget_per_week / num_assets)
        return min(budgets, default=None)


class AlertConfig(Settings):
    """How flags become alert events.

    Attributes:
        merge_steps: Flags at most this many steps apart are one event.
        min_steps: Events with fewer flagged steps are dropped.
        release_fraction: An event stays open until the score falls below this share of the
            threshold (hysteresis).
        top_sensors: Sensors named per event.
    """

    merge_steps: Annotated[int, Field(ge=0)] = 30
    min_steps: Annotated[int, Field(ge=1)] = 3
    release_fraction: Annotated[float, Field(gt=0, le=1)] = 0.8
    top_sensors: Annotated[int, Field(ge=1)] = 3


class RulesConfig(Settings):
    """Rules beside the density, for what it cannot see; a step where one fires is anomalous.

    Attributes:
        flat_lines: Whether a sensor that keeps one value at least four times as long as it ever
            did in training is anomalous. Sensors that seldom change have no such rule.
        ranges: Smallest and largest value allowed of a sensor, raw units, as in
            `{ flow = [0.0, 0.2] }`; -inf or inf where there is no limit.
        max_changes: Largest change allowed from one tick to the next, raw units, as in
            `{ tank_level = 0.5 }`.
    """

    flat_lines: bool = True
    ranges: dict[str, tuple[_Limit, _Limit]] = Field(default_factory=dict)
    max_changes: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _ranges_in_order(self) -> Self:
        for name, (low, high) in self.ranges.items():
            if not low < high:
                raise ValueError(
                    f"expected the lower limit of '{name}' before the upper one, got "
                    f"[{low:g}, {high:g}]; write it first, as in {RANGE}, with -inf or inf where "
                    "there is no limit"
                )
        return self


class DetectorConfig(Settings):
    """Everything `Detector.fit` needs beyond the readings.

    Attributes:
        preset: `default`, or `question`: the small all-dense network of the question this
            project started from, with a likelihood; or `question-squared-error`: the same with
            the question's own loss, mean squared error + 1e-4 KL, for comparison.
        readings: How raw input is understood.
        model: The network and its training.
        threshold: What alarm rate is asked for.
        alerts: How flags become alert events.
        rules: What is anomalous whatever the density says.
    """

    preset: Literal["default", "question", "question-squared-error"] = "default"
    readings: ReadingsConfig = ReadingsConfig()
    model: ModelConfig = ModelConfig()
    threshold: ThresholdConfig = ThresholdConfig()
    alerts: AlertConfig = AlertConfig()
    rules: RulesConfig = RulesConfig()
