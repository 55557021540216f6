"""The nouns shared by every room: readings, contract, sensor profile, calibration, alert event."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
CodeArray = NDArray[np.int8] | NDArray[np.int32]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
TextArray = NDArray[np.object_]

MICROSECONDS_PER_S = 1_000_000
MICROSECONDS_PER_DAY = 86_400 * MICROSECONDS_PER_S
SECONDS_PER_DAY = 86_400.0
SECONDS_PER_WEEK = 7 * SECONDS_PER_DAY

NO_TIME = int(np.iinfo(np.int64).min)
"""Stands for a missing timestamp in `Readings.timestamps`."""

DEFAULT_ASSET = "asset"
"""Name of the only asset where the input has no asset column."""

LABEL_PREFIX = "label_"
"""Columns named so hold truth; they are never inputs."""


@dataclass(frozen=True)
class Texts:
    """A column of few different texts, as codes: rows in millions are no place for text.

    Attributes:
        codes: Position of each row's text in `names`. Shape `(rows,)`.
        names: The texts.
    """

    codes: CodeArray
    names: tuple[str, ...]

    def __getitem__(self, rows: BoolArray | IntArray) -> Texts:
        return Texts(self.codes[rows], self.names)

    def equals(self, name: str) -> BoolArray:
        """Tell in which rows the text is this one."""
        equal: BoolArray = self.codes == self.names.index(name)
        return equal

    def to_array(self) -> TextArray:
        """Return the texts themselves. Shape `(rows,)`."""
        texts: TextArray = np.array(self.names, dtype=object)[self.codes]
        return texts

    def tolist(self) -> list[str]:
        """Return the texts themselves, as a list."""
        names: list[str] = self.to_array().tolist()
        return names


class State(StrEnum):
    """What is said of one step; every row in gets exactly one of these out."""

    OK = "ok"
    ANOMALOUS = "anomalous"
    UNSCORABLE = "unscorable"


class Problem(StrEnum):
    """Why a row cannot be used; `NONE` where it can."""

    NONE = ""
    NO_TIMESTAMP = "no_timestamp"
    IMPLAUSIBLE_TIME = "implausible_time"
    NO_ASSET = "no_asset"
    NO_SENSOR = "no_sensor"
    """A value of long input that does not say which sensor it is of."""
    DUPLICATE = "duplicate"
    """Same asset, time and values as a row that is kept."""
    CONFLICTING_DUPLICATE = "conflicting_duplicate"
    """Same asset and time as a row that is kept, other values."""


class SensorReason(StrEnum):
    """Why a step is anomalous for one sensor alone; the reason reads `KIND: SENSOR`."""

    SHIFT = "shift"
    """Off what the others suggest, a little but for long."""
    OUT_OF_RANGE = "out_of_range"
    """Outside the declared range."""
    CHANGE = "change"
    """Changed by more than the declared step."""
    FLAT_LINE = "flat_line"
    """Kept one value for far longer than it ever did in training."""

    def of(self, sensor: str) -> str:
        """Return the reason for a sensor.

        Example:
            >>> SensorReason.FLAT_LINE.of("flow")
            'flat_line: flow'
        """
        return f"{self.value}: {sensor}"


def name_sensor_reasons(sensors: tuple[str, ...]) -> tuple[str, ...]:
    """Return every reason for every sensor, kind by kind."""
    return tuple(kind.of(sensor) for kind in SensorReason for sensor in sensors)


PROBLEMS = tuple(problem.value for problem in Problem)
STATES = tuple(state.value for state in State)


class SensorKind(StrEnum):
    """What a sensor's training values look like; it chooses how the sensor is scored."""

    CONTINUOUS = "continuous"
    QUANTISED = "quantised"
    BINARY = "binary"
    CONSTANT = "constant"
    EMPTY = "empty"


@dataclass(frozen=True)
class Sensor:
    """One instrument of the contract; `unit` is for people and is never used in arithmetic."""

    name: str
    unit: str | None = None


@dataclass(frozen=True)
class Contract:
    """What readings must look like; written down once and checked ever after.

    Attributes:
        sensors: The sensors, in the order of the channels.
        period_s: Seconds between ticks.
        timestamp: Name of the time column.
        asset: Name of the asset column, or None where the input holds one asset only.
        ignored: Input columns left out, with the reason for each.
    """

    sensors: tuple[Sensor, ...]
    period_s: float
    timestamp: str = "timestamp"
    asset: str | None = None
    ignored: dict[str, str] = field(default_factory=dict)

    @property
    def sensor_names(self) -> tuple[str, ...]:
        """Names of the sensors, in channel order."""
        return tuple(sensor.name for sensor in self.sensors)


@dataclass(frozen=True)
class Readings:
    """Values of several sensors over time, in raw units, in the order they came.

    Attributes:
        timestamps: Microseconds since 1970 in UTC, `NO_TIME` where missing. Shape `(rows,)`.
        asset_codes: Index into `asset_names`, -1 where missing. Shape `(rows,)`.
        asset_names: Names of the assets.
        values: Raw values, NaN where missing. Shape `(rows, sensors)`.
        sensors: Names of the sensors, one per column of `values`.
        problems: Position in `PROBLEMS` of what was found wrong with each row while it was read;
            None where nothing was. Shape `(rows,)`.
    """

    timestamps: IntArray
    asset_codes: IntArray
    asset_names: tuple[str, ...]
    values: FloatArray
    sensors: tuple[str, ...]
    problems: CodeArray | None = None

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return int(self.timestamps.shape[0])

    def take(self, rows: IntArray | BoolArray) -> Readings:
        """Return the chosen rows, in the order given."""
        return Readings(
            timestamps=self.timestamps[rows],
            asset_codes=self.asset_codes[rows],
            asset_names=self.asset_names,
            values=self.values[rows],
            sensors=self.sensors,
            problems=None if self.problems is None else self.problems[rows],
        )


@dataclass(frozen=True)
class SensorProfile:
    """What one sensor's values look like.

    Attributes:
        name: The sensor.
        kind: What its values look like.
        unit: Unit, where the contract gives one.
        missing_share: Share of rows without a value after cleaning, in [0, 1].
        num_infinite: Values that were plus or minus infinity.
        num_sentinel: Values that were sentinels.
        minimum: Smallest value, NaN where there is none.
        median: Middle value, NaN where there is none.
        maximum: Largest value, NaN where there is none.
        step: Quantisation step in raw units, 0 where none was found.
        longest_flat_steps: Longest run of one unchanged value; missing values are not counted.
        suggested_sentinels: Values that look like sentinels but are not declared so.
        period_s: Median time between two values, seconds, NaN where there are none.
    """

    name: str
    kind: SensorKind
    unit: str | None
    missing_share: float
    num_infinite: int
    num_sentinel: int
    minimum: float
    median: float
    maximum: float
    step: float
    longest_flat_steps: int
    suggested_sentinels: tuple[float, ...] = ()
    period_s: float = float("nan")


@dataclass(frozen=True)
class SensorQuality:
    """What the values of one sensor of one asset are like.

    Attributes:
        asset: The asset.
        sensor: The sensor.
        first_us: Time of its first row, microseconds since 1970, UTC.
        last_us: Time of its last row.
        num_rows: Usable rows.
        num_missing: Those without a value.
        num_infinite: Values that were plus or minus infinity, and are missing.
        num_sentinel: Values that were sentinels, and are missing.
        num_out_of_range: Values outside the range that the rules allow.
        num_spikes: Values that leave both neighbours on the same side, by more than ten usual
            changes.
        longest_flat_steps: Longest run of one unchanged value; missing values are not counted.
        last_flat_steps: The same at the end.
        minimum: Smallest value, raw units, NaN where there is none.
        maximum: Largest value, NaN where there is none.
        copy_of: The first sensor with the same value in every row, the empty text where none has,
            or where the value never changes.
    """

    asset: str
    sensor: str
    first_us: int
    last_us: int
    num_rows: int
    num_missing: int
    num_infinite: int
    num_sentinel: int
    num_out_of_range: int
    num_spikes: int
    longest_flat_steps: int
    last_flat_steps: int
    minimum: float
    maximum: float
    copy_of: str


@dataclass(frozen=True)
class Quality:
    """What was found in a set of raw readings; counts are of rows unless they say otherwise.

    `num_rows = num_usable + num_duplicates + num_quarantined`, always. `by_asset` has an entry
    per asset and sensor, in their order.
    """

    num_rows: int
    num_usable: int
    num_duplicates: int
    num_quarantined: int
    problems: dict[str, int]
    num_out_of_order: int
    num_gaps: int
    longest_gap_s: float
    period_s: float
    irregular_share: float
    first_us: int
    last_us: int
    num_assets: int
    sensors: tuple[SensorProfile, ...]
    by_asset: tuple[SensorQuality, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class CheckedReadings:
    """Readings with what is wrong with them; no row is dropped.

    Attributes:
        contract: The contract they were read under.
        readings: All rows as they came, cleaned: infinities and sentinels are NaN. Or, where the
            settings align, one row per asset and tick.
        row_problems: A `Problem` per row, the empty text where the row is usable.
        note: Finds `notes`.
        count: Counts what `quality` says. Both take as long as reading, so they wait to be asked.
        ticks: Where rows were aligned, the row of `readings` that each row of the input became
            part of, -1 where it could not be used; None where the rows are as they came.
    """

    contract: Contract
    readings: Readings
    row_problems: Texts
    note: Callable[[], tuple[str, ...]]
    count: Callable[[], Quality]
    ticks: IntArray | None = None

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What a person should know about the readings."""
        return self.note()

    @cached_property
    def quality(self) -> Quality:
        """The counts, and what the sensors' values look like."""
        return self.count()

    @cached_property
    def problems(self) -> TextArray:
        """A `Problem` value per row, "" where the row is usable. Shape `(rows,)`."""
        return self.row_problems.to_array()

    @property
    def usable(self) -> BoolArray:
        """Whether a row has no problem. Shape `(rows,)`."""
        return self.row_problems.equals(Problem.NONE.value)


@dataclass(frozen=True)
class AlertEvent:
    """Merged flags of one asset: the thing a person is called for.

    Attributes:
        alert_id: Hash of asset, model name and start.
        asset: Name of the asset.
        start_us: First flagged step, microseconds since 1970, UTC.
        end_us: End of the last step above the release level, exclusive.
        peak_us: Step with the highest score.
        peak_score: The highest score; higher is stranger.
        threshold: The limit it crossed.
        num_steps: Flagged steps inside.
        top_sensors: Sensors to blame, the most to blame first.
        top_shares: Their shares of the excess, in (0, 1].
        severity: `low`, `medium` or `high`, from the peak over the threshold.
        reasons: Reasons of its flagged steps that name a sensor, such as `flat_line: flow`: those
            of rules first, then the most frequent; empty where the density alone flagged them.
    """

    alert_id: str
    asset: str
    start_us: int
    end_us: int
    peak_us: int
    peak_score: float
    threshold: float
    num_steps: int
    top_sensors: tuple[str, ...]
    top_shares: tuple[float, ...]
    severity: str
    reasons: tuple[str, ...] = ()

    @property
    def peak_ratio(self) -> float:
        """Highest score as a multiple of the threshold."""
        return self.peak_score / self.threshold if self.threshold > 0 else math.inf


@dataclass(frozen=True)
class Calibration:
    """A threshold with the promise it carries, for one asset.

    Attributes:
        method: How the threshold was chosen.
        threshold: The limit of `score`; a step above it is flagged.
        budget_per_week: Alert events per week asked for, None where a step rate was asked for.
        false_alarm_rate: Share of normal steps asked for, None where a budget was asked for.
        expected_rate: What normal readings should give, in the unit that was asked for.
        rate_low: Lower end of its 90 % interval.
        rate_high: Upper end of its 90 % interval.
        num_steps: Held-out normal steps it rests on.
        effective_steps: Independent steps they are worth, autocorrelation counted.
        duration_s: Seconds of held-out readings, gaps not counted.
        provisional: Whether the data is too little to carry what was asked for.
    """

    method: str
    threshold: float
    budget_per_week: float | None
    false_alarm_rate: float | None
    expected_rate: float
    rate_low: float
    rate_high: float
    num_steps: int
    effective_steps: float
    duration_s: float
    provisional: bool


@dataclass(frozen=True)
class HealthCheck:
    """One figure of a detector's health, with its limit.

    Attributes:
        name: Short name, such as `active_units`.
        value: The figure.
        limit: The limit in words, such as "at least 1"; empty for a figure without one.
        passed: Whether the figure is within the limit.
        meaning: One sentence for people.
    """

    name: str
    value: float
    limit: str
    passed: bool
    meaning: str


@dataclass(frozen=True)
class Reach:
    """How far around a step the readings lie that its score depends on.

    Attributes:
        window_steps: Steps before it whose energies enter its score, or that a rule looks at.
        lookahead_steps: Steps after it that do.
        level_us: Microseconds before the first of those steps from which levels are taken.
    """

    window_steps: int
    lookahead_steps: int = 0
    level_us: int = 0


@dataclass(frozen=True)
class TrainingCurves:
    """How training went, one entry per recorded pass; NLL and KL in nats per row.

    Attributes:
        epochs: Passes over the training rows so far.
        nll: Reconstruction NLL on training rows, in affine units.
        kl: KL on training rows.
        held_out_nll: NLL plus KL on held-out rows, in affine units, empty where not recorded.
        active_units: Latent units whose mean varies over rows (variance above 0.01).
    """

    epochs: tuple[float, ...]
    nll: tuple[float, ...]
    kl: tuple[float, ...]
    held_out_nll: tuple[float, ...]
    active_units: tuple[int, ...]
