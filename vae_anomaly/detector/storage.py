"""A detector as one folder, checked by hashes and golden rows when it is read."""

from __future__ import annotations

import hashlib
import io
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vae_anomaly.detector.record import DetectorRecord, read_record, write_record
from vae_anomaly.detector.table import make_asset_column, make_time_column
from vae_anomaly.domain import CheckedReadings, Contract, Readings
from vae_anomaly.errors import DetectorError
from vae_anomaly.model.density import Density
from vae_anomaly.model.engine import KERAS_FILE, ONNX_FILE, Engine, decode_windows

if TYPE_CHECKING:
    import pyarrow as pa

RECORD_FILE = "detector.json"
GOLDEN_FILE = "golden.parquet"
NEEDED_FILES = frozenset({GOLDEN_FILE, KERAS_FILE, ONNX_FILE})
OWN_FILES = NEEDED_FILES | {RECORD_FILE}
NUM_GOLDEN_ROWS = 64
GOLDEN_PREFIX = "golden_"
GOLDEN_NUMBERS = ("nll", "score", "kl")

MAX_CAUSE = 200
"""Characters kept of what a library says of a broken file."""

GOLDEN_RELATIVE = 1e-4
GOLDEN_ABSOLUTE = 1e-3
"""Agreement asked of golden rows, in nats; processors and backends differ by about 1e-5."""


@dataclass(frozen=True)
class Stored:
    """A detector's parts, as they lie in its folder."""

    density: Density
    record: DetectorRecord
    golden: pa.Table

    def golden_readings(self) -> pa.Table:
        """Return the golden rows without their scores."""
        inputs = [name for name in self.golden.column_names if not _is_golden(name)]
        return self.golden.select(inputs)

    def prove(self, scores: pa.Table) -> None:
        """Compare fresh scores of the golden rows with the stored ones.

        Raises:
            DetectorError: They differ.
        """
        states = self.golden[GOLDEN_PREFIX + "state"].to_pylist()
        same = scores["state"].to_pylist() == states
        for name in GOLDEN_NUMBERS:
            stored = self.golden[GOLDEN_PREFIX + name].to_numpy()
            same = same and np.allclose(
                scores[name].to_numpy(),
                stored,
                rtol=GOLDEN_RELATIVE,
                atol=GOLDEN_ABSOLUTE,
                equal_nan=True,
            )
        if not same:
            raise DetectorError(
                "Cannot load the detector: it scores its golden rows otherwise than when it was "
                "saved. Its files were changed, or this machine computes wrongly: fit it again "
                "or fetch it anew from the registry."
            )


def make_golden(source: CheckedReadings, score: Callable[[pa.Table], pa.Table]) -> pa.Table:
    """Take golden rows from readings and score them.

    Args:
        source: Readings with usable rows; the last ones in time of one asset are taken.
        score: Scores a table of readings.

    Returns:
        Readings columns, and scores under names that begin with `golden_`.
    """
    readings = source.readings
    usable = np.flatnonzero(source.usable)
    usable = usable[readings.asset_codes[usable] == readings.asset_codes[usable].min()]
    rows = usable[np.argsort(readings.timestamps[usable], kind="stable")][-NUM_GOLDEN_ROWS:]
    table = make_readings_table(readings.take(rows), source.contract)
    scores = score(table)
    for name in (*GOLDEN_NUMBERS, "state"):
        table = table.append_column(GOLDEN_PREFIX + name, scores[name])
    return table


def make_readings_table(readings: Readings, contract: Contract) -> pa.Table:
    """Return readings as the Arrow table that their contract describes."""
    import pyarrow as pa

    columns = {contract.timestamp: make_time_column(readings)}
    if contract.asset is not None:
        columns[contract.asset] = make_asset_column(readings)
    for position, name in enumerate(readings.sensors):
        values = readings.values[:, position]
        columns[name] = pa.array(values, pa.float64(), mask=np.isnan(values))
    return pa.table(columns)


def write_folder(folder: Path, stored: Stored) -> Path:
    """Write a detector's folder: all files into a new folder, then into place.

    Args:
        folder: Where to; an older detector there is replaced.
        stored: The parts.

    Returns:
        The folder.

    Raises:
        DetectorError: The folder holds something else, or cannot be written.
    """
    import pyarrow.parquet as pq

    if folder.exists() and not may_replace(folder):
        raise DetectorError(
            f"Cannot save the detector to '{folder}': expected a new folder or an older "
            "detector, got something else. Choose another folder."
        )
    buffer = io.BytesIO()
    pq.write_table(stored.golden, buffer, compression="zstd")
    files = stored.density.files | {GOLDEN_FILE: buffer.getvalue()}
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    record = write_record(replace(stored.record, files=hashes))
    try:
        _put_files(folder, files | {RECORD_FILE: record.encode()})
    except OSError as error:
        raise DetectorError(
            f"Cannot save the detector to '{folder}': {error}. "
            "Choose a folder that can be written."
        ) from error
    return folder


def read_folder(folder: Path) -> Stored:
    """Read a detector's folder and check every file against its hash.

    Args:
        folder: The folder.

    Returns:
        The parts, not yet proven on the golden rows.

    Raises:
        DetectorError: The folder holds no detector, or a file is missing or was changed.
    """
    record = read_record_file(folder)
    files = {name: _read_checked(folder, name, digest) for name, digest in record.files.items()}
    if not files.keys() >= NEEDED_FILES:
        raise DetectorError(
            f"Cannot load the detector from '{folder}': expected {sorted(NEEDED_FILES)}, "
            f"got {sorted(files)}. Fit it again."
        )
    try:
        return _open_files(record, files)
    except Exception as error:  # ONNX Runtime and Arrow raise whatever they like
        raise DetectorError(
            f"Cannot load the detector from '{folder}': its files do not fit together "
            f"({' '.join(str(error).split())[:MAX_CAUSE]}). "
            "Fit it again or fetch it anew from the registry."
        ) from error


def read_record_file(folder: Path) -> DetectorRecord:
    """Read the record of a detector's folder, and nothing else of it.

    Args:
        folder: The folder.

    Returns:
        What the detector knows beside its network.

    Raises:
        DetectorError: The folder holds no detector.
    """
    try:
        content = (folder / RECORD_FILE).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise DetectorError(
            f"Cannot load a detector from '{folder}': expected a folder with '{RECORD_FILE}', "
            "got none. Give the folder that 'vae-anomaly fit --out' wrote."
        ) from None
    except OSError as error:
        raise DetectorError(
            f"Cannot load a detector from '{folder}': {error}. Make its files readable."
        ) from error
    return read_record(content.decode(errors="replace"), origin=str(folder))


def _open_files(record: DetectorRecord, files: dict[str, bytes]) -> Stored:
    import pyarrow.parquet as pq

    golden = pq.read_table(io.BytesIO(files.pop(GOLDEN_FILE)))
    names = {GOLDEN_PREFIX + name for name in (*GOLDEN_NUMBERS, "state")}
    if not names <= set(golden.column_names):
        raise ValueError(f"expected golden columns {sorted(names)}")
    window, num_channels = record.config.model.window, record.roles.channels.num_channels
    density = Density(record.roles, window, files, Engine(files[ONNX_FILE]))
    decode_windows(density.engine, np.zeros((1, window, num_channels)))  # or another's network
    return Stored(density, record, golden)


def _put_files(folder: Path, files: dict[str, bytes]) -> None:
    """Write the files into a new folder, then put it in the place of the old one."""
    folder = folder.resolve()  # "." cannot be renamed
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for name, content in files.items():
            (fresh / name).write_bytes(content)
        fresh.chmod(0o755)
        _swap(fresh, folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _swap(fresh: Path, folder: Path) -> None:
    """Put the fresh folder in the place of the old one, which stays if that fails."""
    if not folder.exists():
        fresh.rename(folder)
        return
    aside = fresh.with_name(f"{fresh.name}-old")
    folder.rename(aside)
    try:
        fresh.rename(folder)
    except OSError:
        aside.rename(folder)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _read_checked(folder: Path, name: str, digest: str) -> bytes:
    file = folder / name
    if Path(name).name != name or not file.is_file():
        raise DetectorError(
            f"Cannot load the detector from '{folder}': '{name}' is missing. "
            "Fit it again or fetch it anew from the registry."
        )
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != digest:
        raise DetectorError(
            f"Cannot load the detector from '{folder}': '{name}' was changed after it "
            "was saved. Fit it again or fetch it anew from the registry."
        )
    return content


def may_replace(folder: Path) -> bool:
    """Only an empty folder, or one with a detector and nothing else, is ours to delete."""
    if not folder.is_dir():
        return False
    names = {file.name for file in folder.iterdir()}
    return not names or (RECORD_FILE in names and names <= OWN_FILES)


def _is_golden(name: str) -> bool:
    return name in {GOLDEN_PREFIX + column for column in (*GOLDEN_NUMBERS, "state")}
