"""A small pipeline on simulated readings, for tests of the pipeline, the flows and schedules."""

from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vae_anomaly.config import PipelineConfig, read_pipeline_config
from vae_anomaly.operations import pipeline
from vae_anomaly.readings.simulator import write_sample
from vae_anomaly.readings.tables import Lake

DAYS = 6
NORMAL_DAYS = 4
NUM_TRAINING_FILES = 4
END = datetime.fromisoformat("2026-01-05T00:00:00Z") + timedelta(days=NORMAL_DAYS)

SETTINGS = f"""
source = "raw"
report = "report.html"

[lake]
root = "lake"

[training]
end = "{END.isoformat()}"

[detector.readings]
sentinels = [-9999]

[detector.model]
min_training_steps = 200
max_training_steps = 200

[detector.alerts]
merge_steps = 10
"""

THRESHOLD = """
[detector.threshold]
smoothing_steps = 5
shift_steps = 5
adaptation_steps = 40

[detector.rules]
flat_lines = false
"""


def write_pipeline(
    folder: Path, *, registry: Path | None = None, settings: str = "", num_files: int = DAYS
) -> tuple[Path, list[Path]]:
    """Write settings and raw files, one a day; files above `num_files` are held back.

    Args:
        folder: Where to.
        registry: Folder of a registry to share; its own where not given.
        settings: Further settings.
        num_files: Files to put into the source.

    Returns:
        The settings file, and the files held back.
    """
    files = write_sample(folder / "later", days=DAYS, normal_days=NORMAL_DAYS, days_per_file=1)
    (folder / "raw").mkdir()
    for file in files[:num_files]:
        file.rename(folder / "raw" / file.name)
    config = folder / "pipeline.toml"
    where = f'\n[registry]\nfolder = "{registry or "mlflow"}"\n'
    text = SETTINGS + where + settings
    if "[detector.threshold]" not in settings:
        text += THRESHOLD
    config.write_text(text, encoding="utf-8")
    return config, sorted((folder / "later").iterdir())


def read_config(folder: Path, **options: object) -> PipelineConfig:
    """Write a pipeline as `write_pipeline` does and read its settings."""
    return read_pipeline_config(write_pipeline(folder, **options)[0])  # type: ignore[arg-type]


def let_arrive(config: PipelineConfig, *days: int) -> None:
    """Move the files of days that were held back to the source, and ingest."""
    source = Path(config.source)
    for day in days:
        name = f"station_{END + timedelta(days=day - 4):%Y-%m-%d}.parquet"
        (source.parent / "later" / name).rename(source / name)
    pipeline.ingest_source(config)


def tables(config: PipelineConfig) -> tuple[pa.Table, pa.Table]:
    """Return the scores and the alert events."""
    lake = Lake(config.lake.root)
    return lake.read_scores(), lake.read_alerts()


def correct_file(config: PipelineConfig, day: int, num_changed: int, num_withdrawn: int) -> None:
    """Write the file of a day again, some rows of it with other values and some left out."""
    file = Path(config.source) / f"station_{END + timedelta(days=day - 4):%Y-%m-%d}.parquet"
    table = pq.read_table(file)
    first = table.slice(0, 200)
    changed = table.slice(200, num_changed)
    k = table.column_names.index("discharge_pressure")
    changed = changed.set_column(k, table.field(k), pc.multiply(changed[k], 1.2))
    rest = table.slice(200 + num_changed + num_withdrawn)
    pq.write_table(pa.concat_tables([first, changed, rest]), file)


def raise_interrupt(*_: object, **__: object) -> None:
    """End a run as Ctrl-C does."""
    raise KeyboardInterrupt
