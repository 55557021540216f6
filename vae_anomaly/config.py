"""All settings, as frozen models that reject unknown keys; read from one TOML file."""

from __future__ import annotations

import json
import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar
from zoneinfo import available_timezones

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from vae_anomaly.errors import ConfigError
from vae_anomaly.wording import ask_nearest, find_nearest

ENVIRONMENT_PREFIX = "VAE_ANOMALY_"

SettingsT = TypeVar("SettingsT", bound=BaseModel)
RecordT = TypeVar("RecordT")

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

AlignmentRule = Literal["none", "last", "mean"]
"""What a tick takes of the values of one sensor."""

RANGE = "[0.0, 14.0]"
"""Limits of a sensor, as an example."""

UNKNOWN = "extra_forbidden"
"""pydantic's type of the error that a setting is not known."""

NO_LIST = "tuple_type"
"""Its type of the error that a value is no list."""

MISCHOSEN = "literal_error"
"""Its type of the error that a value is none of those to choose from."""


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


_Limit = Annotated[float, Field(allow_inf_nan=True)]


class LongConfig(_Settings):
    """Long input: one row per value, with the name of its sensor; it is pivoted while it is read.

    Attributes:
        sensor: Name of the column that names the sensor; empty where no input is long. A file
            without this column is taken as wide.
        value: Name of the column of values.
        quality: Name of the column of quality codes; empty where there is none.
        good: Codes that are good, written as text; values with another code are missing.
    """

    sensor: str = ""
    value: str = "value"
    quality: str = ""
    good: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _columns_apart(self) -> Self:
        names = [name for name in (self.sensor, self.value, self.quality) if name]
        if len(set(names)) < len(names):
            raise ValueError("expected sensor, value and quality to be different columns")
        if self.quality and not self.good:
            raise ValueError("expected good to list the quality codes whose values count")
        return self


class ReadingsConfig(_Settings):
    """How raw input is understood.

    Attributes:
        timestamp: Name of the time column. Times without a zone are taken as UTC, unless
            `timezone` says otherwise.
        asset: Name of the asset column; without it the input is one asset.
        sensors: Columns to use; empty means every numeric column but `label_*`.
        ignore: Columns to leave out.
        units: Unit of each sensor, for people.
        period_s: Seconds between ticks; inferred (median step) where not given.
        sentinels: Values that mean "missing". Any magnitude of 1e30 or more always does.
        gap_steps: A step longer than this many periods is a gap; no window crosses one.
        align: What of the readings of one period counts at the tick that ends it: `none` leaves
            all times as they are; `last` takes the latest value of each sensor, `mean` the mean.
            Ticks are multiples of `period_s` since 1970.
        alignments: The same by name of sensor, as in `{ valve = "last" }`. Where one is aligned,
            a sensor with `none` counts only where it has a value at the tick itself.
        aliases: Columns to read under another name, as in `{ "P1 old" = "P1" }`.
        new_sensors: What a column of numbers is that the contract does not know: `note` leaves
            it out and says so, `refuse` refuses the file.
        missing_sensors: What becomes of a file that lacks a sensor of the contract: `refuse`, or
            `missing`, which takes the sensor as missing in all of its rows and says so.
        timestamp_unit: Unit of times that are numbers since 1970 in UTC: s, ms, us or ns. Without
            it such times are refused.
        timezone: Zone of times that have none, such as "Europe/Berlin".
        numeric_text: Whether text that holds numbers is read as numbers; what is none is missing.
        long: Long input.
    """

    timestamp: str = "timestamp"
    asset: str = "asset"
    sensors: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    units: dict[str, str] = Field(default_factory=dict)
    period_s: Annotated[float, Field(gt=0)] | None = None
    sentinels: tuple[float, ...] = ()
    gap_steps: Annotated[int, Field(ge=1)] = 5
    align: AlignmentRule = "none"
    alignments: dict[str, AlignmentRule] = Field(default_factory=dict)
    aliases: dict[str, str] = Field(default_factory=dict)
    new_sensors: Literal["note", "refuse"] = "note"
    missing_sensors: Literal["refuse", "missing"] = "refuse"
    timestamp_unit: Literal["s", "ms", "us", "ns"] | None = None
    timezone: str = ""
    numeric_text: bool = False
    long: LongConfig = LongConfig()

    @field_validator("timezone")
    @classmethod
    def _zone_exists(cls, name: str) -> str:
        if name and name not in available_timezones():
            raise ValueError("expected the name of a zone, such as 'Europe/Berlin'")
        return name

    @model_validator(mode="after")
    def _aliases_lead_to_columns(self) -> Self:
        for old, new in self.aliases.items():
            if new in self.aliases or not new:
                raise ValueError(
                    f"expected an alias of '{old}' that is no alias itself, got '{new}'"
                )
        return self


class ModelConfig(_Settings):
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


class ThresholdConfig(_Settings):
    """What alarm rate is asked for, and on which rows the threshold is set.

    Attributes:
        alert_budget_per_week: Alert events per asset and week on normal readings. A promise:
            refused where the held-out readings cannot carry it, unless `provisional`.
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


class AlertConfig(_Settings):
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


class RulesConfig(_Settings):
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


class DetectorConfig(_Settings):
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


class LakeConfig(_Settings):
    """Where the tables lie: a folder or an object-store address."""

    root: str = "data/lake"


class RegistryConfig(_Settings):
    """Where MLflow keeps runs and registered detectors.

    Attributes:
        tracking_uri: Any MLflow address; empty means a SQLite file at `folder`.
        folder: Folder of the SQLite file and of the artifacts.
        experiment: MLflow experiment.
        model_name: Registered model.
    """

    tracking_uri: str = ""
    folder: str = "data/mlflow"
    experiment: str = "vae-anomaly"
    model_name: str = "vae-anomaly"


class TrainingPeriod(_Settings):
    """Which readings are normal: `[start, end)`, ISO 8601 with a zone, empty for no limit.

    Attributes:
        max_rows: Readings to train on at most. Of a longer period evenly spread blocks are taken,
            and the last part in one piece for the threshold.
    """

    start: str = ""
    end: str = ""
    max_rows: Annotated[int, Field(ge=1_000)] = 2_000_000


class ScheduleConfig(_Settings):
    """Seconds between scheduled flow runs; 0 leaves a flow unscheduled."""

    ingest_every_s: Annotated[float, Field(ge=0)] = 300
    train_every_s: Annotated[float, Field(ge=0)] = 7 * 86_400
    score_every_s: Annotated[float, Field(ge=0)] = 300


class PipelineConfig(_Settings):
    """One pipeline: `pipeline.toml`.

    Attributes:
        source: Raw Parquet: a file, folder, glob or URI.
        report: Where the report page is written.
        seed: Seed of training.
    """

    source: str = "data/raw"
    report: str = "data/report.html"
    seed: Annotated[int, Field(ge=0)] = 0
    detector: DetectorConfig = DetectorConfig()
    lake: LakeConfig = LakeConfig()
    registry: RegistryConfig = RegistryConfig()
    training: TrainingPeriod = TrainingPeriod()
    schedule: ScheduleConfig = ScheduleConfig()


def read_pipeline_config(path: str | Path) -> PipelineConfig:
    """Read `pipeline.toml`; relative paths in it are taken from its own folder.

    The environment may set addresses only: `VAE_ANOMALY_SOURCE`, `VAE_ANOMALY_LAKE_ROOT`,
    `VAE_ANOMALY_TRACKING_URI`.

    Args:
        path: The TOML file.

    Returns:
        The settings, with paths made absolute.

    Raises:
        ConfigError: The file is missing, is not TOML, or holds an unknown or wrong setting.
    """
    file = Path(path)
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"Cannot read settings from '{file}': no such file. Write one with 'vae-anomaly init'."
        ) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"Cannot read settings from '{file}': {error}.") from error
    _apply_environment(content)
    config = make_config(PipelineConfig, content, origin=str(file))
    base = file.resolve().parent
    return config.model_copy(
        update={
            "source": _anchor(config.source, base),
            "report": _anchor(config.report, base),
            "lake": LakeConfig(root=_anchor(config.lake.root, base)),
            "registry": config.registry.model_copy(
                update={"folder": _anchor(config.registry.folder, base)}
            ),
        }
    )


def make_config(kind: type[SettingsT], content: dict[str, Any], *, origin: str) -> SettingsT:
    """Validate settings, turning pydantic's report into one readable error.

    Args:
        kind: The settings class.
        content: Nested settings.
        origin: Where they came from, for the message.

    Returns:
        The frozen settings.

    Raises:
        ConfigError: A setting is unknown or wrong.
    """
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        lines = "; ".join(
            f"'{'.'.join(str(part) for part in item['loc']) or 'settings'}': "
            + _describe_problem(dict(item), kind)
            for item in error.errors()
        ).replace("?;", "?")
        end = "" if lines.endswith("?") else "."
        raise ConfigError(f"Cannot use the settings of '{origin}': {lines}{end}") from error


def _describe_problem(item: dict[str, Any], kind: type[BaseModel]) -> str:
    """Say of one setting what is expected and what there is, with the nearest that would do."""
    if item["type"] == UNKNOWN:
        places = _name_settings(kind)
        near = find_nearest(str(item["loc"][-1]), places)
        return "no such setting" + (f"; did you mean '{places[near]}'?" if near else "")
    wanted, given = item["msg"].removeprefix("Value error, "), item["input"]
    wanted = re.sub("^Input should be (?=greater|less)", "expected a number ", wanted)
    wanted = wanted.replace("Input should be", "expected")
    if item["type"] == NO_LIST:
        wanted = f"expected a list{_show_list(item)}"
    if not _is_single(given):
        return wanted  # what is a table says more in its own settings
    text = f"{wanted}, got {given!r}"
    if item["type"] != MISCHOSEN:
        return text
    return text + ask_nearest(str(given), re.findall("'([^']*)'", item["ctx"]["expected"]))


def _show_list(item: dict[str, Any]) -> str:
    """Show the list that was meant, where a single value was given or limits are due."""
    if "ranges" in item["loc"]:
        return f" of two limits, as in {RANGE}"
    given = item["input"]
    return f", as in [{json.dumps(given, ensure_ascii=False)}]" if _is_single(given) else ""


def _is_single(given: Any) -> bool:
    return isinstance(given, str | int | float)


def _name_settings(kind: type[BaseModel], prefix: str = "") -> dict[str, str]:
    """Return where each setting stands, by its own name."""
    places: dict[str, str] = {}
    for name, field in kind.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            places |= _name_settings(inner, f"{prefix}{name}.")
        else:
            places[name] = prefix + name
    return places


def _apply_environment(content: dict[str, Any]) -> None:
    source = os.environ.get(ENVIRONMENT_PREFIX + "SOURCE")
    if source:
        content["source"] = source
    for name, section, key in (
        ("LAKE_ROOT", "lake", "root"),
        ("TRACKING_URI", "registry", "tracking_uri"),
    ):
        value = os.environ.get(ENVIRONMENT_PREFIX + name)
        settings = content.setdefault(section, {}) if value else None
        if isinstance(settings, dict):  # anything else is refused with the other settings
            settings[key] = value


def _anchor(location: str, base: Path) -> str:
    """Make a relative path absolute against `base`; leave URIs alone."""
    if "://" in location:
        return location
    return str(base / Path(location).expanduser())


def parse_record(kind: type[RecordT], content: Any) -> RecordT:
    """Build a frozen dataclass, nested ones included, from plain values.

    Args:
        kind: The dataclass.
        content: Nested plain values, as read from JSON; "nan" and "inf" stand for themselves.

    Returns:
        The record.

    Raises:
        ValueError: A field is missing or wrong.
    """
    return TypeAdapter(kind).validate_python(content)
