"""What the file commands read and write: settings with options on top, labels, scores files."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from vae_anomaly.domain import LABEL_PREFIX, Contract, IntArray
from vae_anomaly.errors import (
    CalibrationError,
    ConfigError,
    DetectorError,
    EvaluationError,
    ReadingsError,
    TableError,
)
from vae_anomaly.wording import ask_nearest

if TYPE_CHECKING:
    import pyarrow as pa

    from vae_anomaly.config import DetectorConfig, RegistryConfig
    from vae_anomaly.detector.detector import Detector
    from vae_anomaly.operations.registry import ModelVersion
    from vae_anomaly.readings.source import RawPart

REGISTRY_PREFIX = "models:/"
SCORE_COLUMNS = frozenset({"score", "state"})


def make_detector_config(
    file: Path | None,
    *,
    readings: dict[str, Any] | None = None,
    threshold: dict[str, Any] | None = None,
    preset: str | None = None,
) -> DetectorConfig:
    """Read the settings of a detector and put options of the command line on top.

    Args:
        file: A `pipeline.toml`, or None for the defaults.
        readings: Options of the readings; empty ones change nothing.
        threshold: Options of the threshold; empty ones change nothing.
        preset: The network, None to leave it.

    Returns:
        The settings.

    Raises:
        ConfigError: The file or an option is wrong.
    """
    from vae_anomaly.config import DetectorConfig, make_config, read_pipeline_config

    base = DetectorConfig() if file is None else read_pipeline_config(file).detector
    content = base.model_dump()
    content["readings"] |= {name: value for name, value in (readings or {}).items() if value}
    content["threshold"] |= {
        name: value
        for name, value in (threshold or {}).items()
        if value is not None and value is not False
    }
    content["preset"] = preset or content["preset"]
    return make_config(DetectorConfig, content, origin="the command line")


def list_readings_options(
    timestamp: str, asset: str, sensors: Sequence[str], sentinels: Sequence[float]
) -> dict[str, Any]:
    """Name the options of the readings as the settings name them; empty ones change nothing."""
    return {
        "timestamp": timestamp,
        "asset": asset,
        "sensors": split_names(sensors),
        "sentinels": tuple(sentinels),
    }


def choose_seed(seed: int | None, file: Path | None) -> int:
    """Take the seed of the command line, else that of the settings, else 0.

    Raises:
        ConfigError: It is negative, or the settings are wrong.
    """
    from vae_anomaly.config import read_pipeline_config

    if seed is not None and seed < 0:
        raise ConfigError(f"Cannot use --seed {seed}: expected 0 or more, got {seed}.")
    if seed is not None or file is None:
        return seed or 0
    return read_pipeline_config(file).seed


def require_budget(budget: float | None) -> None:
    """Refuse an alert budget that no threshold can keep.

    Raises:
        ConfigError: It is not above 0.
    """
    if budget is not None and not budget > 0:
        raise ConfigError(
            f"Cannot use --budget {budget:g}: expected alert events per asset and week, a number "
            f"above 0, got {budget:g}. Give 0.5 for one in two weeks, or leave it out to set the "
            "threshold on a share of steps."
        )


@contextlib.contextmanager
def name_provisional_option() -> Iterator[None]:
    """Name `--provisional` in refusals that only know of the setting.

    Raises:
        CalibrationError: As it was raised, with the option in its message.
    """
    from vae_anomaly.detector.calibration import ACCEPT_UNPROVEN

    try:
        yield
    except CalibrationError as error:
        text = str(error).replace(ACCEPT_UNPROVEN, f"--provisional, or {ACCEPT_UNPROVEN}")
        raise CalibrationError(text) from error


def split_names(names: Sequence[str]) -> tuple[str, ...]:
    """Split comma-separated names.

    Example:
        >>> split_names(["flow, pressure", "level"])
        ('flow', 'pressure', 'level')
    """
    parts = (part.strip() for text in names for part in text.split(","))
    return tuple(part for part in parts if part)


def require_replaceable(folder: Path) -> None:
    """Refuse, before minutes of training, a folder that a detector may not be saved to.

    Raises:
        DetectorError: There is something else than a detector or an empty folder.
    """
    from vae_anomaly.detector.storage import may_replace

    if folder.exists() and not may_replace(folder):
        raise DetectorError(
            f"Cannot save the detector to '{folder}': expected a new folder or an older "
            "detector, got something else. Choose another folder."
        )


def load_detector(reference: str, *, config: Path) -> tuple[Detector, ModelVersion | None]:
    """Load a detector from a folder, or from the registry that the settings name.

    Args:
        reference: A folder, or `models:/NAME@alias` or `models:/NAME/3`.
        config: A `pipeline.toml`, read for a registered detector only.

    Returns:
        The detector, and its version where it is a registered one.

    Raises:
        DetectorError: The folder holds no detector.
        RegistryError: The registry does not hold it.
    """
    from vae_anomaly.config import read_pipeline_config
    from vae_anomaly.operations import registry

    if not reference.startswith(REGISTRY_PREFIX):
        from vae_anomaly.detector.detector import Detector

        return Detector.load(reference), None
    settings: RegistryConfig = read_pipeline_config(config).registry
    return registry.load_detector(reference, config=settings)


def list_columns(paths: Sequence[str]) -> tuple[str, ...]:
    """Name the columns that every file has; with `SCORE_COLUMNS` they hold scores.

    Raises:
        ReadingsError: There is no such file, or it is not Parquet.
    """
    from vae_anomaly.readings.source import open_source

    first, *others = [part.schema.names for part in open_source(paths)]
    return tuple(name for name in first if all(name in names for names in others))


def require_label(paths: Sequence[str], label: str) -> None:
    """Refuse to evaluate against a column of labels that no file has.

    Args:
        paths: A scores file, or readings to score first, of which labels alone are kept.
        label: Name of the column.

    Raises:
        EvaluationError: There is no such column, or scoring would not keep it.
        ReadingsError: There is no such file, or it is not Parquet.
    """
    from vae_anomaly.readings.contract import list_names
    from vae_anomaly.readings.source import open_source

    columns = dict.fromkeys(name for part in open_source(paths) for name in part.schema.names)
    is_scored = set(columns) >= SCORE_COLUMNS
    kept = [name for name in columns if is_scored or name.startswith(LABEL_PREFIX)]
    if label in kept:
        return
    if label in columns:
        advice = f"Rename it to '{LABEL_PREFIX}{label}': so columns of labels are known."
    else:
        advice = "Name the column with --label" + (ask_nearest(label, kept) or ".")
    raise EvaluationError(
        f"Cannot evaluate '{paths[0]}': expected a column of labels '{label}', got columns "
        f"{list_names(kept or columns)}. {advice}"
    )


def read_files(paths: Sequence[str]) -> pa.Table:
    """Read Parquet files whole, as one table.

    Raises:
        ReadingsError: They cannot be read, or do not fit together.
    """
    from vae_anomaly.readings.source import open_source

    return _concat([_read_part(part, part.schema.names) for part in open_source(paths)])


def append_labels(
    scores: pa.Table,
    paths: Sequence[str],
    *,
    detector: Detector | None = None,
    ticks: IntArray | None = None,
) -> pa.Table:
    """Append the `label_*` columns of the input, row by row.

    Args:
        scores: One row per row of the input, in its order; or one per tick.
        paths: The input.
        detector: What scored it, which knows the shape of the input; without it the input is
            taken as it came.
        ticks: Row of `scores` that each row of the input became part of, -1 where none. A tick
            has the largest label of its rows: it is anomalous where one of them is.

    Returns:
        The scores with the labels; null where a file has no such column.

    Raises:
        ReadingsError: The labels of two files do not fit together.
    """
    from vae_anomaly.readings.aligned_tables import align_labels
    from vae_anomaly.readings.source import open_source

    settings = None if detector is None else detector.record.config.readings
    contract = None if detector is None else detector.contract
    parts = open_source(paths, config=settings, contract=contract)
    names = {name for part in parts for name in part.schema.names}
    if not any(name.startswith(LABEL_PREFIX) for name in names):
        return scores
    labels = _concat([_read_labels(part) for part in parts])
    if ticks is not None:
        labels = align_labels(labels, ticks)
    for name in labels.column_names:
        if name.startswith(LABEL_PREFIX):
            scores = scores.append_column(name, labels[name])
    return scores


def use_standard_names(scores: pa.Table, contract: Contract | None) -> pa.Table:
    """Rename the columns of time and asset to what evaluation and report expect.

    Args:
        scores: A scores table.
        contract: What the columns are called; without it the only column of times is taken.

    Returns:
        The table with `timestamp` and, where there is one, `asset`.

    Raises:
        EvaluationError: There is no contract, and not one column of times.
    """
    import pyarrow as pa

    if contract is not None:
        names = {contract.timestamp: "timestamp", contract.asset: "asset"}
    else:
        times = [field.name for field in scores.schema if pa.types.is_timestamp(field.type)]
        if len(times) != 1 and "timestamp" not in times:
            raise EvaluationError(
                "Cannot evaluate scores: expected one column of times, got "
                f"{', '.join(map(repr, times)) or 'none'}. Give --detector, which knows its name."
            )
        names = {times[0]: "timestamp"} if len(times) == 1 else {}
    return scores.rename_columns([names.get(name, name) for name in scores.column_names])


def write_scores(scores: pa.Table, file: Path, *, inputs: Sequence[str]) -> None:
    """Write a scores file, whole or not at all.

    Args:
        scores: The table.
        file: Where to; an older file there is replaced.
        inputs: The raw readings, which are never overwritten.

    Raises:
        TableError: The file cannot be written, or is one of the inputs.
    """
    import pyarrow.parquet as pq

    require_writable(file, inputs=inputs)
    draft = file.with_name(f".{file.name}.{uuid4().hex}.tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(scores, draft, compression="zstd")
        os.replace(draft, file)  # noqa: PTH105 - the atomic one
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise TableError(
            f"Cannot write scores to '{file}': {error.strerror or error}. "
            "Choose a file in a folder that can be written."
        ) from error


def require_writable(file: Path, *, inputs: Sequence[str]) -> None:
    """Refuse a file that scores may not be written to.

    Raises:
        TableError: It is a folder or one of the inputs.
    """
    from vae_anomaly.readings.files import list_files

    if file.is_dir():
        raise TableError(
            f"Cannot write scores to '{file}': expected a file, got a folder. "
            f"Name a file in it, such as '{file / 'scores.parquet'}'."
        )
    if file.exists() and any(
        Path(raw.path).resolve() == file.resolve() for raw in list_files(inputs)
    ):
        raise TableError(
            f"Cannot write scores to '{file}': it is one of the files to score, and raw "
            "readings are never changed. Choose another file."
        )


def _read_labels(part: RawPart) -> pa.Table:
    import pyarrow as pa

    names = [name for name in part.schema.names if name.startswith(LABEL_PREFIX)]
    table = _read_part(part, names)
    # a column of its own keeps the rows of a part without labels when tables are put together
    return table.append_column("_row", pa.nulls(table.num_rows, pa.int8()))


def _read_part(part: RawPart, names: Sequence[str]) -> pa.Table:
    import pyarrow as pa

    schema = pa.schema([part.schema.field(name) for name in names])
    table = pa.Table.from_batches(part.batches(names), schema=schema)
    for position, field in enumerate(schema):
        if pa.types.is_dictionary(field.type):
            column = table.column(position).cast(field.type.value_type)
            table = table.set_column(position, field.name, column)
    return table


def _concat(tables: Sequence[pa.Table]) -> pa.Table:
    import pyarrow as pa

    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise ReadingsError(
            f"Cannot read the files together: {error}. Give files whose columns have one type."
        ) from error
