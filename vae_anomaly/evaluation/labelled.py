"""Labelled series, what a method says of them, and what makes a suite of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vae_anomaly.domain import BoolArray, FloatArray, IntArray
from vae_anomaly.errors import ReadingsError

TIMESTAMP = "timestamp"
LABEL = "label_anomaly"

Figures = dict[str, float]


@dataclass(frozen=True)
class Series:
    """Labelled readings of one asset.

    Attributes:
        name: Name of the file.
        table: Time and sensors, no labels.
        labels: 1 anomalous, 0 normal, -1 unlabelled. Shape `(rows,)`.
    """

    name: str
    table: pa.Table
    labels: IntArray

    @property
    def values(self) -> FloatArray:
        """Raw values, NaN where missing. Shape `(rows, sensors)`."""
        columns = [self.table[name].to_numpy() for name in self.table.column_names[1:]]
        return np.stack(columns, axis=1).astype(np.float64)

    @property
    def num_rows(self) -> int:
        """Rows."""
        return len(self.labels)

    def take(self, rows: slice | IntArray) -> Series:
        """Return some of the rows."""
        chosen = np.arange(self.num_rows)[rows]
        return Series(self.name, self.table.take(chosen), self.labels[chosen])


@dataclass(frozen=True)
class Scored:
    """What a method says of a series.

    Attributes:
        score: Higher is stranger, NaN where unscorable. Shape `(rows,)`.
        flagged: Whether the method's own limit is exceeded. Shape `(rows,)`.
        is_provisional: The method says that its data cannot carry the limit.
    """

    score: FloatArray
    flagged: BoolArray
    is_provisional: bool = False

    @property
    def ranking(self) -> FloatArray:
        """The score with unscorable rows in the middle: neither normal nor strange."""
        return np.nan_to_num(self.score, nan=float(np.nanmedian(self.score)))


def no_score(series: Series) -> Scored:
    """Return what a method says that could not be fitted: the same of every row."""
    return Scored(np.zeros(series.num_rows), np.zeros(series.num_rows, dtype=bool))


@dataclass(frozen=True)
class Case:
    """One fit, and the series that it is judged on."""

    name: str
    training: Series
    tests: tuple[Series, ...]


@dataclass(frozen=True)
class Result:
    """A case with what one method said of its series."""

    case: Case
    scored: tuple[Scored, ...]


@dataclass(frozen=True)
class Published:
    """A figure that others have published under the protocol of a suite.

    Attributes:
        figure: What is measured, as the suite names it.
        method: What it was measured of.
        value: The figure.
    """

    figure: str
    method: str
    value: float


@dataclass(frozen=True)
class Suite:
    """A labelled suite.

    Attributes:
        name: Name of its folder.
        protocol: What trains, what is scored and what is measured, in a sentence.
        read_cases: Cases of a folder.
        measure: Figures of the results of some or all cases, of one method and one seed.
        published: What others have measured.
    """

    name: str
    protocol: str
    read_cases: Callable[[Path], Iterator[Case]]
    measure: Callable[[Sequence[Result]], Figures]
    published: tuple[Published, ...] = ()


def read_series(file: Path, *, label: str = LABEL, drop_nulls: bool = False) -> Series:
    """Read a labelled file.

    Args:
        file: Parquet with `timestamp`, sensors and `label_*` columns.
        label: The label to read.
        drop_nulls: Leave out rows in which a sensor is missing.

    Returns:
        The series.

    Raises:
        ReadingsError: There is no such file.
    """
    if not file.is_file():
        raise ReadingsError(
            f"Cannot run a benchmark: expected '{file}', got no such file. "
            "Give the folder of the labelled data with --data."
        )
    table = pq.read_table(file)
    sensors = [
        name for name in table.column_names if name != TIMESTAMP and not name.startswith("label_")
    ]
    labels = table[label].to_numpy().astype(np.int64)
    series = Series(file.stem, table.select([TIMESTAMP, *sensors]), labels)
    if not drop_nulls:
        return series
    return series.take(np.flatnonzero(~np.isnan(series.values).any(axis=1)))


def list_files(folder: Path, pattern: str) -> list[Path]:
    """Return the files of a suite in order of their names.

    Raises:
        ReadingsError: There are none.
    """
    files = sorted(folder.glob(pattern))
    if not files:
        raise ReadingsError(
            f"Cannot run a benchmark: expected files '{pattern}' in '{folder}', got none. "
            "Give the folder of the labelled data with --data."
        )
    return files


def average(figures: Sequence[Figures]) -> Figures:
    """Average each figure over those that have it."""
    names = list(dict.fromkeys(name for one in figures for name in one))
    return {name: float(np.mean([one[name] for one in figures if name in one])) for name in names}
