"""Readings and scores of the lake as a detector wants them, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vae_anomaly.config import AlignmentRule, PipelineConfig, ReadingsConfig
from vae_anomaly.domain import Contract, IntArray
from vae_anomaly.errors import ConfigError, ContractError, TableError
from vae_anomaly.readings import delta
from vae_anomaly.readings.aligned_tables import align_table, widen_to_ticks
from vae_anomaly.readings.alignment import find_ticks, list_rules
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

    Attributes:
        lake: The lake.
        contract: Contract of its readings.
        version: Version of its readings.
        settings: Say how readings are aligned to ticks.
    """

    lake: Lake
    contract: Contract
    version: int
    settings: ReadingsConfig

    @property
    def rules(self) -> dict[str, AlignmentRule]:
        """Rule of each sensor; empty where readings are not aligned."""
        return list_rules(self.settings, self.contract.sensor_names)

    def read(
        self,
        *,
        assets: Sequence[str] | None = None,
        start_us: int | None = None,
        end_us: int | None = None,
    ) -> pa.Table:
        """Read the steps of `[start_us, end_us)`, sorted by asset and time."""
        table = self.read_raw(assets=assets, start_us=start_us, end_us=end_us)
        return align_table(table, self.contract, self.settings)

    def read_raw(
        self,
        *,
        assets: Sequence[str] | None = None,
        start_us: int | None = None,
        end_us: int | None = None,
    ) -> pa.Table:
        """Read the readings that the steps of `[start_us, end_us)` are made of, as they came."""
        if self.rules:
            start_us, end_us = widen_to_ticks(start_us, end_us, period_s=self.contract.period_s)
        return self.lake.read_readings(
            assets=assets, start_us=start_us, end_us=end_us, version=self.version
        )

    def read_steps(self) -> dict[str, IntArray]:
        """Read the times of all steps: microseconds since 1970 per asset, ascending."""
        times = split_times(self.lake.read_readings(version=self.version, columns=()))
        if not self.rules:
            return times
        period_s = self.contract.period_s
        return {
            asset: np.unique(find_ticks(mine, period_s=period_s)) for asset, mine in times.items()
        }

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
    return LakeView(lake, contract, version, config.detector.readings)


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


def read_scored(
    lake: Lake, *, model_name: str, model_version: str, assets: Sequence[str] | None = None
) -> pa.Table:
    """Read what a model version has scored, without what is heavy.

    Returns:
        asset, timestamp, score and state, sorted by asset and time.
    """
    schema = {ASSET: pa.string(), TIMESTAMP: pa.timestamp("us", "UTC")}
    schema |= {"score": pa.float64(), "state": pa.string()}
    uri = lake.uri("scores")
    if not delta.has_table(uri):
        return pa.schema(schema).empty_table()
    selection = Selection(assets, model_name=model_name, model_version=model_version)
    table = delta.read_table(uri, columns=list(schema), selection=selection)
    return table.sort_by([(ASSET, "ascending"), (TIMESTAMP, "ascending")])


def split_times(table: pa.Table) -> dict[str, IntArray]:
    """Return the times of each asset, ascending.

    Args:
        table: Has asset and timestamp and is sorted by them.

    Returns:
        Microseconds since 1970 per asset. Shape `(steps,)` each.
    """
    if table.num_rows == 0:
        return {}
    encoded = table[ASSET].combine_chunks().dictionary_encode()
    codes, times = encoded.indices.to_numpy(), to_microseconds(table)
    firsts = np.flatnonzero(np.diff(codes, prepend=-1))
    parts = np.split(times, firsts[1:])
    return dict(zip(encoded.dictionary.to_pylist(), parts, strict=True))


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
