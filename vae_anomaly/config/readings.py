"""Settings of the readings: how raw input is understood."""

from __future__ import annotations

from typing import Annotated, Literal, Self
from zoneinfo import available_timezones

from pydantic import Field, field_validator, model_validator

from vae_anomaly.config.base import Settings

AlignmentRule = Literal["none", "last", "mean"]
"""What a tick takes of the values of one sensor."""


class LongConfig(Settings):
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


class ReadingsConfig(Settings):
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
