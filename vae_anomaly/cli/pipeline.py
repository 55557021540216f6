"""Commands on a pipeline, as `pipeline.toml` describes it: init, run, serve, deploy, report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import CycloptsError, Parameter

from vae_anomaly.cli.files import DEFAULT_CONFIG, Json, describe_event
from vae_anomaly.cli.output import print_json, print_lines, print_notes, show_progress
from vae_anomaly.errors import ConfigError
from vae_anomaly.wording import format_plural

if TYPE_CHECKING:
    from vae_anomaly.operations.pipeline_results import ScoreResult

DEFAULT_POOL = "vae-anomaly"
"""Work pool of the deployments."""

NOT_REGISTERED = "(not registered)"
"""Stands for the version of a detector that lies in a folder."""


def init(path: Path = DEFAULT_CONFIG, /, *, force: bool = False) -> None:
    """Write a pipeline.toml with every setting, its meaning and its default.

    Args:
        path: The file, or the folder to write pipeline.toml to.
        force: Replace a file that is there.
    """
    from vae_anomaly.cli.template import make_template

    file = path / DEFAULT_CONFIG.name if path.is_dir() else path
    if file.exists() and not force:
        raise ConfigError(
            f"Cannot write settings to '{file}': the file is there already. "
            "Give --force to replace it, or another path."
        )
    write_settings(file, make_template())
    print_lines(
        f"Settings written to {file}.",
        "Set source and training.end in it, then run 'vae-anomaly run ingest',",
        "'vae-anomaly run train' and 'vae-anomaly run score'. What else is worth a thought:",
        "docs/getting-started.md.",
    )


def write_settings(file: Path, text: str) -> None:
    """Write a settings file and the folder it lies in.

    Raises:
        ConfigError: It cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"Cannot write settings to '{file}': {error.strerror or error}. "
            "Choose a folder that can be written."
        ) from error


def run(
    step: Literal["ingest", "train", "promote", "score", "notify", "monitor"],
    /,
    *,
    config: Path = DEFAULT_CONFIG,
    json: Json = False,
) -> None:
    """Run one flow of the pipeline, now; what is done already is not done again.

    Args:
        step: Take in new raw files, train and register a detector, compare it with the champion,
            score new readings, send the notifications that are due, or compare readings and
            scores with the calibration.
        config: The settings of the pipeline.
        json: Print the result for machines.
    """
    from vae_anomaly.cli import flows, steps
    from vae_anomaly.operations.pipeline_results import ScoreResult

    with show_progress(steps.TITLES[step], waiting="Starting Prefect") as progress:
        result = flows.run_flow(step, config, progress=progress)
    if isinstance(result, ScoreResult):
        _show_scoring(result, config, json=json)
    elif json:
        print_json(result)
    else:
        steps.print_step(result)
    steps.require_success(result)


def _show_scoring(result: ScoreResult, config: Path, *, json: bool) -> None:
    """Print what was scored, the alert events there are, and what speaks against the detector."""
    from vae_anomaly.cli import steps, tables
    from vae_anomaly.cli.doubts import note_doubts
    from vae_anomaly.config import read_pipeline_config
    from vae_anomaly.operations.pipeline import list_alerts
    from vae_anomaly.operations.registry import open_registry

    settings = read_pipeline_config(config)
    events = [alert.event for alert in list_alerts(settings)]
    notes = note_doubts(open_registry(settings.registry).load_record(result.model_version))
    if json:
        described = [describe_event(event) for event in events]
        print_json({**vars(result), "events": described, "notes": notes})
        return
    steps.print_step(result)
    tables.print_latest_events(events)
    print_notes(notes)
    if Path(settings.report).exists():
        print_lines("", f"Report: {settings.report}")


def serve(*, config: Path = DEFAULT_CONFIG) -> None:
    """Run the flows on their schedules until stopped with Ctrl-C.

    Args:
        config: The settings of the pipeline; [schedule] says how often.
    """
    from vae_anomaly.cli import flows

    flows.serve_flows(config)


def deploy(*, config: Path = DEFAULT_CONFIG, pool: str = DEFAULT_POOL, json: Json = False) -> None:
    """Schedule the flows on a Prefect server, for workers; again after a change of settings.

    Args:
        config: The settings of the pipeline; [schedule] says how often.
        pool: Work pool that the workers take flow runs from; made where it is missing.
        json: Print the deployments for machines.
    """
    from vae_anomaly.cli import flows

    deployed = flows.deploy_flows(config, pool=pool)
    if json:
        print_json({"pool": pool, "deployments": deployed})
        return
    print_lines(
        *(f"{item['name']}: {item['due']}" for item in deployed),
        f"Start a worker: prefect worker start --pool {pool}",
        "For the first detector, once there are readings: prefect deployment run train/train",
    )


def report(
    path: Annotated[tuple[str, ...], Parameter(name="PATH")] = (),
    /,
    *,
    detector: str | None = None,
    out: Path | None = None,
    config: Path = DEFAULT_CONFIG,
    json: Json = False,
) -> None:
    """Write the report page: of the pipeline, or of files with --detector.

    Args:
        path: Parquet files, folders, globs or URIs; without it, what the pipeline scored.
        detector: For files: folder of a detector, or models:/NAME@champion.
        out: HTML file to write; for the pipeline its own setting, else report.html.
        config: The settings of the pipeline.
        json: Print the result for machines.
    """
    if bool(path) != (detector is not None):
        got = "PATH" if path else "--detector"
        raise CycloptsError(msg=f"Give PATH and --detector, or neither of them; got only {got}.")
    with show_progress("Writing the report"):
        if detector is None:
            result = _report_pipeline(config, out)
        else:
            result = _report_files(path, detector, out or Path("report.html"), config=config)
    if json:
        print_json(result)
        return
    print_lines(
        f"Report of {format_plural(result['num_rows'], 'row')} and "
        f"{format_plural(result['num_events'], 'alert event')}:",
        str(result["report"]),
    )


def _report_pipeline(config: Path, out: Path | None) -> dict[str, Any]:
    from vae_anomaly.config import read_pipeline_config
    from vae_anomaly.operations.pipeline import make_pipeline_report

    settings = read_pipeline_config(config)
    if out is not None:
        settings = settings.model_copy(update={"report": str(out)})
    result = make_pipeline_report(settings)
    return {
        "report": result.path,
        "detector": f"models:/{result.model_name}/{result.model_version}",
        "num_rows": result.num_rows,
        "num_events": result.num_events,
    }


def _report_files(
    paths: tuple[str, ...], reference: str, out: Path, *, config: Path
) -> dict[str, Any]:
    from vae_anomaly.cli import inputs
    from vae_anomaly.detector.detector import DEFAULT_MODEL_NAME
    from vae_anomaly.operations.report import ReportInput, write_report

    detector, version = inputs.load_detector(reference, config=config)
    name = Path(reference).resolve().name if version is None else version.model_name
    seen = detector.examine(
        paths, model_name=DEFAULT_MODEL_NAME if version is None else version.model_name
    )
    record = detector.record
    page = ReportInput(
        title=", ".join(Path(path).name for path in paths),
        model_name=name,
        model_version=NOT_REGISTERED if version is None else version.version,
        contract=seen.checked.contract,
        readings=seen.checked.readings,
        scores=inputs.append_labels(seen.scores, paths, detector=detector),
        mean=seen.mean,
        sigma=seen.sigma,
        events=seen.events,
        calibrations=record.calibrations,
        curves=record.curves,
        health=record.health,
        quality=seen.checked.quality,
        baseline=record.baseline,
        likelihoods=record.likelihoods,
    )
    return {
        "report": write_report(page, out),
        "detector": reference if version is None else version.uri,
        "num_rows": seen.scores.num_rows,
        "num_events": len(seen.events),
    }
