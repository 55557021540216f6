"""Readings and scores of the lake as a detector wants them, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vae_anomaly.config import AlignmentRule, PipelineConfig, ReadingsConfig
from vae_anomaly.domain import MICROSECONDS_PER_S, Contract, IntArray
from vae_anomaly.errors import ConfigError, ContractError, TableError
from vae_anomaly.readings import delta
from vae_anomaly.readings.aligned_tables import align_table, widen_to_ticks
from vae_anomaly.readings.alignment import find_ticks, list_rules
from vae_anomaly.readings.layout import SCORES
from vae_anomaly.readings.pinned import PinnedReadings
from vae_anomaly.readings.rows import EARLIEST_US, LATEST_US
from vae_anomaly.readings.selection import Selection
from vae_anomaly.readings.tables import Lake

if TYPE_CHECKING:
    from vae_anomaly.detector.detector import Detector

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

ASSET = "asset"
TIMESTAMP = "timestamp"
"""What the columns are called in the lake, whatever they are called in the raw files."""


@dataclass(frozen=True)
class LakeView:
    """The lake, pinned to one version of its readings.

    A step is a reading, or a tick where readings are aligned.

    Attributes:
        lake: The lake.
        contract: Contract of its readings.
        readings: Its readings at that version.
        settings: Say how readings are aligned to ticks.
    """

    lake: Lake
    contract: Contract
    readings: PinnedReadings
    settings: ReadingsConfig

    @property
    def version(self) -> int:
        """Version of the readings."""
        return self.readings.version

    @property
    def rules(self) -> dict[str, AlignmentRule]:
        """Rule of each sensor; empty where readings are not aligned."""
        return list_rules(self.settings, self.contract.sensor_names)

    @property
    def period_us(self) -> int:
        """Microseconds between steps, as the contract has it."""
        return round(self.contract.period_s * MICROSECONDS_PER_S)

    def read(self, asset: str, *, start_us: int, end_us: int) -> pa.Table:
        """Read the steps of an asset in `[start_us, end_us)`, in order of time."""
        start_us, end_us = self.to_readings(start_us, end_us)
        table = self.readings.read(asset, start_us=start_us, end_us=end_us)
        return align_table(table, self.contract, self.settings)

    def read_times(self, asset: str, *, start_us: int, end_us: int) -> IntArray:
        """Read the times of the steps of an asset in `[start_us, end_us)`, ascending."""
        start_us, end_us = self.to_readings(start_us, end_us)
        return self.to_steps(self.readings.read_times(asset, start_us=start_us, end_us=end_us))

    def read_times_before(self, asset: str, time_us: int, *, num_steps: int) -> IntArray:
        """Read the times of so many steps of an asset before a time, fewer at its beginning."""
        timeline, num_rows = self.readings.timeline_of(asset), 2.0 * num_steps
        while num_steps:
            from_us = timeline.find_back(time_us, num_rows)
            times = self.read_times(asset, start_us=from_us, end_us=time_us)
            if times.size >= num_steps or from_us <= timeline.start_us:
                return times[-num_steps:]
            num_rows *= 4
        return np.zeros(0, dtype=np.int64)

    def read_times_from(self, asset: str, time_us: int, *, num_steps: int) -> IntArray:
        """Read the times of so many steps of an asset from a time on, fewer at its end."""
        timeline, num_rows = self.readings.timeline_of(asset), 2.0 * num_steps
        while num_steps:
            until_us = timeline.find_ahead(time_us, num_rows)
            is_end = until_us >= timeline.end_us
            until_us += self.period_us if is_end else 0  # the tick of the last reading
            times = self.read_times(asset, start_us=time_us, end_us=until_us)
            if times.size >= num_steps or is_end:
                return times[:num_steps]
            num_rows *= 4
        return np.zeros(0, dtype=np.int64)

    def read_steps(self) -> dict[str, IntArray]:
        """Read the times of all steps: microseconds since 1970 per asset, ascending."""
        return {
            asset: self.to_steps(
                self.readings.read_times(asset, start_us=EARLIEST_US, end_us=LATEST_US)
            )
            for asset in self.readings.assets
        }

    def to_steps(self, times: IntArray) -> IntArray:
        """Return the steps that readings of these times are part of, ascending."""
        if not self.rules:
            return times
        return np.unique(find_ticks(times, period_s=self.contract.period_s))

    def to_readings(self, start_us: int, end_us: int) -> tuple[int, int]:
        """Return the span of readings that the steps of `[start_us, end_us)` are made of."""
        if not self.rules:
            return start_us, end_us
        start, end = widen_to_ticks(start_us, end_us, period_s=self.contract.period_s)
        return (start_us if start is None else start), (end_us if end is None else end)

    def require_rules_of(self, detector: Detector) -> None:
        """Refuse a detector that was fitted to readings that were aligned otherwise.

        Raises:
            ContractError: It was.
        """
        theirs = list_rules(detector.record.config.readings, detector.contract.sensor_names)
        if theirs == self.rules:
            return
        raise ContractError(
            f"Cannot score: expected readings aligned as those the detector was fitted to "
            f"({_describe_rules(theirs)}), got settings that say otherwise "
            f"({_describe_rules(self.rules)}). Set align and alignments back, or train anew."
        )


def _describe_rules(rules: Mapping[str, AlignmentRule]) -> str:
    return ", ".join(f"{name}: {rule}" for name, rule in rules.items()) or "not aligned"


def open_lake(config: PipelineConfig, *, verb: str) -> LakeView:
    """Open the lake as it is now.

    Args:
        config: The pipeline.
        verb: What cannot be done without readings, such as "score".

    Returns:
        The lake, pinned.

    Raises:
        TableError: Nothing was ingested yet, or the lake cannot be read.
    """
    lake = Lake(config.lake.root)
    version, contract = lake.readings_version(), lake.read_contract()
    if version is None or contract is None:
        raise TableError(
            f"Cannot {verb}: expected readings in the lake '{lake.root}', got none. "
            "Run 'vae-anomaly run ingest' first."
        )
    return LakeView(lake, contract, PinnedReadings(lake, version), config.detector.readings)


def parse_time(text: str, *, setting: str) -> int | None:
    """Return an ISO 8601 time as microseconds since 1970, None where it is empty.

    Args:
        text: The time.
        setting: Where it stands, for the message.

    Raises:
        ConfigError: It is not a time, or has no zone.

    Example:
        >>> parse_time("2026-01-05T01:00:00+01:00", setting="training.start")
        1767571200000000
    """
    if not text:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise ConfigError(
            f"Cannot use the setting '{setting}': expected a time in ISO 8601 with a zone, got "
            f"'{text}'. Write it like '2026-01-30T00:00:00Z'."
        )
    return (time - EPOCH) // timedelta(microseconds=1)


def read_scored(lake: Lake, *, model_name: str, model_version: str) -> pa.Table:
    """Read what a model version has scored, without what is heavy.

    Returns:
        asset, timestamp, score and state, sorted by asset and time.
    """
    schema = SCORES.empty_table().select([ASSET, TIMESTAMP, "score", "state"]).schema
    uri = lake.uri("scores")
    if not delta.has_table(uri):
        return schema.empty_table()
    selection = Selection(model_name=model_name, model_version=model_version)
    table = delta.read_table(uri, columns=schema.names, selection=selection)
    return table.sort_by([(ASSET, "ascending"), (TIMESTAMP, "ascending")])


def to_microseconds(table: pa.Table) -> IntArray:
    """Return the column `timestamp` as microseconds since 1970. Shape `(rows,)`."""
    times: IntArray = table[TIMESTAMP].cast(pa.int64()).to_numpy()
    return times


def name_as_raw(table: pa.Table, contract: Contract, *, asset: str) -> pa.Table:
    """Name the columns of lake readings as the raw files of a contract do.

    A contract without an asset column gets one only where there are several assets.

    Args:
        table: Readings of the lake.
        contract: The contract.
        asset: Name of the asset column where the contract has none.
    """
    if contract.asset is None and len(pc.unique(table[ASSET])) <= 1:
        return table.drop_columns([ASSET]).rename_columns(
            [contract.timestamp, *table.column_names[2:]]
        )
    return table.rename_columns(
        [contract.asset or asset, contract.timestamp, *table.column_names[2:]]
    )


def name_as_lake(scores: pa.Table, readings: pa.Table, contract: Contract) -> pa.Table:
    """Name asset and time of scores as the lake does.

    Args:
        scores: What a detector says of `readings`, row by row.
        readings: Readings of the lake.
        contract: The contract of the detector.

    Returns:
        asset, timestamp and what else the detector says.
    """
    own = scores.column_names[scores.column_names.index("nll") :]
    names = [ASSET, TIMESTAMP, *own]
    columns = [readings[ASSET], scores[contract.timestamp], *(scores[name] for name in own)]
    return pa.table(columns, names=names)
