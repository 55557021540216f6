"""`vae-anomaly demo`: the whole pipeline on the sample data."""

from __future__ import annotations

import hashlib
import json as json_format
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vae_anomaly import __version__
from vae_anomaly.cli.files import DEFAULT_CONFIG, Json
from vae_anomaly.cli.output import print_json, print_lines, show_progress
from vae_anomaly.cli.pipeline import write_settings
from vae_anomaly.errors import TableError

if TYPE_CHECKING:
    from vae_anomaly.config import PipelineConfig

DEFAULT_FOLDER = Path("data/demo")
SAMPLE = Path(__file__).parents[2] / "data" / "sample"
"""The committed sample files, in a checkout; an installed package simulates them anew."""

STEPS = ("ingest", "train", "score")
WAITING = {
    "ingest": "Starting Prefect",
    "train": "Reading, starting Keras",
    "score": "Looking for what is new",
}
"""What is shown until a step reports its own progress."""

FINISHED_FILE = "finished.json"
NORMAL_UNTIL = "2026-02-09T00:00:00Z"
"""The first 35 days of the sample are normal; see data/README.md."""

BUDGET_PER_WEEK = 2.0


def demo(*, folder: Path = DEFAULT_FOLDER, json: Json = False) -> None:
    """Run the whole pipeline on the sample data: ingest, train, score, report.

    Args:
        folder: Where everything is kept; delete it to start anew.
        json: Print the result for machines.
    """
    from vae_anomaly.config import read_pipeline_config

    settings = folder / DEFAULT_CONFIG.name
    put_files(folder)
    if not settings.exists():
        write_settings(settings, make_demo_settings())
    config = read_pipeline_config(settings)
    finished = folder / FINISHED_FILE
    model_version = read_finished(finished, make_state(settings, config))
    if model_version is None:
        model_version = _run_steps(settings, quiet=json)
        state = make_state(settings, config)
        content = {"model_version": model_version, "state": state}
        finished.write_text(json_format.dumps(content, indent=1), encoding="utf-8")
    elif not json:
        print_lines(
            f"Nothing to do: the sample is already ingested, trained on and scored in {folder}. "
            "Delete that folder to start anew."
        )
    from vae_anomaly.cli.demo_outcome import describe_outcome, find_outcome, print_outcome

    outcome = find_outcome(config, model_version=model_version)
    if json:
        print_json(describe_outcome(outcome))
        return
    print_outcome(outcome)


def make_demo_settings() -> str:
    """Write the settings of the demo, all paths inside its folder."""
    from vae_anomaly.cli.template import make_template
    from vae_anomaly.config import (
        DetectorConfig,
        LakeConfig,
        PipelineConfig,
        ReadingsConfig,
        RegistryConfig,
        ThresholdConfig,
        TrainingPeriod,
    )
    from vae_anomaly.readings.simulator import SENTINEL
    from vae_anomaly.readings.simulator.instruments import INSTRUMENTS

    units = {item.name: item.unit for item in INSTRUMENTS}
    return make_template(
        PipelineConfig(
            source="raw",
            report="report.html",
            detector=DetectorConfig(
                readings=ReadingsConfig(sentinels=(SENTINEL,), units=units),
                threshold=ThresholdConfig(alert_budget_per_week=BUDGET_PER_WEEK),
            ),
            lake=LakeConfig(root="lake"),
            registry=RegistryConfig(folder="mlflow"),
            training=TrainingPeriod(end=NORMAL_UNTIL),
        )
    )


def make_state(settings: Path, config: PipelineConfig) -> dict[str, Any]:
    """Describe everything that the outcome follows from, and what there is of it.

    Args:
        settings: The settings file.
        config: What it says.

    Returns:
        Plain values; equal ones mean that there is nothing to do.
    """
    from vae_anomaly.readings.files import list_files
    from vae_anomaly.readings.tables import Lake

    lake = Lake(config.lake.root)
    return {
        "version": __version__,
        "settings": hashlib.sha256(settings.read_bytes()).hexdigest(),
        "files": {raw.name: [raw.size, raw.modified_us] for raw in list_files(config.source)},
        "readings": lake.readings_version(),
        "rows": vars(lake.counts()),
        "has_registry": Path(config.registry.folder).is_dir(),
        "has_report": Path(config.report).is_file(),
    }


def put_files(folder: Path) -> None:
    """Put the sample files into the raw folder of the demo, where they are not there yet.

    Raises:
        TableError: They cannot be written, or others of the same name are there.
    """
    raw = folder / "raw"
    sample = sorted(SAMPLE.glob("*.parquet"))
    try:
        raw.mkdir(parents=True, exist_ok=True)
        if sample:
            for file in sample:
                _put_file(file, raw / file.name)
        elif not any(raw.iterdir()):
            from vae_anomaly.readings.simulator import write_sample

            write_sample(raw)
    except OSError as error:
        raise TableError(
            f"Cannot put the sample files into '{raw}': {error.strerror or error}. "
            "Give --folder a folder that can be written."
        ) from error


def _put_file(file: Path, target: Path) -> None:
    if not target.exists():
        shutil.copy2(file, target)
    elif target.read_bytes() != file.read_bytes():
        raise TableError(
            f"Cannot run the demo in '{target.parents[1]}': expected '{target.name}' of the "
            "sample, got another file of that name, as an older version leaves it. "
            "Delete the folder, or give --folder another one."
        )


def read_finished(file: Path, state: dict[str, Any]) -> str | None:
    """Return the model version of a demo that is finished and was not touched since."""
    try:
        content = json_format.loads(file.read_text(encoding="utf-8"))
        known = content["state"] == json_format.loads(json_format.dumps(state))
        return str(content["model_version"]) if known else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _run_steps(settings: Path, *, quiet: bool) -> str:
    """Run the flows one after the other; return the model version that scored."""
    from vae_anomaly.cli import flows, steps

    model_version = ""
    for step in STEPS:
        with show_progress(steps.TITLES[step], waiting=WAITING[step]) as progress:
            result = flows.run_flow(step, settings, progress=progress)
        if not quiet:
            print_lines(steps.describe_step(result))
        model_version = getattr(result, "model_version", model_version)
    return model_version
