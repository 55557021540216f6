"""Commands on files alone, without lake, MLflow or Prefect: check, fit, score, evaluate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from vae_anomaly.cli.output import (
    format_iso_time,
    print_json,
    print_lines,
    print_notes,
    show_progress,
)
from vae_anomaly.errors import EvaluationError
from vae_anomaly.wording import format_plural

if TYPE_CHECKING:
    import pyarrow as pa

    from vae_anomaly.detector.detector import Detector
    from vae_anomaly.domain import AlertEvent, CheckedReadings
    from vae_anomaly.operations.registry import ModelVersion

DEFAULT_CONFIG = Path("pipeline.toml")

Json = Annotated[bool, Parameter(name="--json")]
Paths = Annotated[tuple[str, ...], Parameter(name="PATH")]
Sentinels = Annotated[tuple[float, ...], Parameter(name="--sentinel")]


def check(
    path: Paths,
    /,
    *,
    config: Path | None = None,
    timestamp: str = "",
    asset: str = "",
    sensors: tuple[str, ...] = (),
    sentinel: Sentinels = (),
    json: Json = False,
) -> None:
    """Show what is in raw Parquet and what is wrong with it; nothing is written.

    Args:
        path: Parquet files, folders, globs or URIs.
        config: A pipeline.toml that says how to understand the readings.
        timestamp: Column of the times, where it is not called timestamp.
        asset: Column that says which asset a row is of, where it is not called asset.
        sensors: Columns to use, separated by commas; without it every column of numbers.
        sentinel: A value that means "missing", such as -9999; may be given several times.
        json: Print the result for machines.
    """
    from vae_anomaly.cli.inputs import list_readings_options, make_detector_config
    from vae_anomaly.readings.check import check_readings

    options = list_readings_options(timestamp, asset, sensors, sentinel)
    settings = make_detector_config(config, readings=options)
    checked = check_readings(path, config=settings.readings, ranges=settings.rules.ranges)
    if json:
        print_json({"contract": checked.contract, "quality": checked.quality})
        return
    from vae_anomaly.cli.sensor_tables import print_assets, print_ignored, print_quality

    print_quality(checked.quality)
    print_assets(checked.quality)
    print_ignored(checked.contract.ignored)


def fit(
    path: Paths,
    /,
    *,
    out: Path,
    config: Path | None = None,
    budget: float | None = None,
    calibration: tuple[str, ...] = (),
    timestamp: str = "",
    asset: str = "",
    sensors: tuple[str, ...] = (),
    sentinel: Sentinels = (),
    preset: Literal["default", "question", "question-squared-error"] | None = None,
    seed: int | None = None,
    provisional: bool = False,
    json: Json = False,
) -> None:
    """Fit a detector to normal readings and save it to a folder.

    Args:
        path: Parquet files, folders, globs or URIs with normal readings, in raw units.
        out: Folder of the detector; an older detector there is replaced.
        config: A pipeline.toml with the settings; the options below go before it.
        budget: Alert events to allow per asset and week, instead of a share of steps.
        calibration: Other normal readings to set the threshold on, instead of the last ones.
        timestamp: Column of the times, where it is not called timestamp.
        asset: Column that says which asset a row is of, where it is not called asset.
        sensors: Columns to use, separated by commas; without it every column of numbers.
        sentinel: A value that means "missing", such as -9999; may be given several times.
        preset: Which network to fit; "question" is a small all-dense one, with a likelihood or, to
            compare, with a squared error.
        seed: Seed of the fit; same readings, settings and seed, same detector. [default: 0]
        provisional: Accept a threshold that the readings are too few to prove.
        json: Print the result for machines.
    """
    from vae_anomaly.cli import inputs
    from vae_anomaly.detector.detector import Detector
    from vae_anomaly.detector.fitting import read_normal

    inputs.require_budget(budget)
    chosen_seed = inputs.choose_seed(seed, config)
    settings = inputs.make_detector_config(
        config,
        readings=inputs.list_readings_options(timestamp, asset, sensors, sentinel),
        threshold={"alert_budget_per_week": budget, "provisional": provisional},
        preset=preset,
    )
    inputs.require_replaceable(out)
    with show_progress("Reading"):
        readings = read_normal(path, calibration or None, config=settings)
        suspects = _note_suspects(readings)
    if suspects and not json:  # before minutes of training that they may spoil
        print_lines(*(f"note: {note}" for note in suspects), "")
    with (
        show_progress("Training, in steps", waiting="Starting Keras") as progress,
        inputs.name_provisional_option(),
    ):
        detector = Detector.fit_checked(
            *readings, config=settings, seed=chosen_seed, progress=progress
        )
    detector.save(out)
    notes = _note_settings(detector)
    if json:
        print_json({**_describe_fit(detector, out), "notes": (*suspects, *notes)})
        return
    _print_fit(detector, out, notes=notes)


def score(
    path: Paths,
    /,
    *,
    detector: str,
    out: Path,
    config: Path = DEFAULT_CONFIG,
    json: Json = False,
) -> None:
    """Score readings: one row out for each row in, in the same order, or for each tick.

    There is one for each tick where the detector aligns readings. The file also has the label_*
    columns of the input.

    Args:
        path: Parquet files, folders, globs or URIs with readings, in raw units.
        detector: Folder of a detector, or a registered one such as models:/NAME@champion.
        out: Parquet file to write the scores to; an older one is replaced.
        config: The pipeline.toml that says where the registry is, for a registered detector.
        json: Print the result for machines.
    """
    from vae_anomaly.cli import inputs
    from vae_anomaly.cli.doubts import note_doubts

    inputs.require_writable(out, inputs=path)
    loaded, version = inputs.load_detector(detector, config=config)
    with show_progress("Scoring"):
        examination = loaded.examine(path, with_expected=False, **_name_model(version))
        scores = inputs.append_labels(
            examination.scores, path, detector=loaded, ticks=examination.checked.ticks
        )
        inputs.write_scores(scores, out, inputs=path)
    result: dict[str, Any] = {
        "detector": detector if version is None else version.uri,
        "out": out,
        "num_rows": scores.num_rows,
        "states": _count_states(scores),
        "reasons": _count_reasons(scores),
        "events": [describe_event(event) for event in examination.events],
        "notes": (
            *examination.checked.notes,
            *_note_new_assets(loaded, scores),
            *note_doubts(loaded.record),
        ),
    }
    if json:
        print_json(result)
        return
    from vae_anomaly.cli import tables

    tables.print_states(result["states"], result["reasons"])
    tables.print_events(examination.events)
    print_notes(result["notes"])
    print_lines("", f"{format_plural(scores.num_rows, 'row')} written to {out}")


def evaluate(
    path: Paths,
    /,
    *,
    detector: str | None = None,
    label: str = "label_anomaly",
    config: Path = DEFAULT_CONFIG,
    json: Json = False,
) -> None:
    """Measure scores and alerts against labels: how much is found, how late, how many false.

    Labels are 1 for anomalous, 0 for normal, -1 or null for rows that nobody has labelled.

    Args:
        path: A scores file of labelled readings; or the readings themselves, with --detector.
        detector: Folder of a detector, or a registered one such as models:/NAME@champion.
        label: Column with the labels.
        config: The pipeline.toml that says where the registry is, for a registered detector.
        json: Print the result for machines.
    """
    from vae_anomaly.cli import inputs
    from vae_anomaly.evaluation.evaluate import evaluate as measure

    loaded = None if detector is None else inputs.load_detector(detector, config=config)[0]
    scores, events = _score_labelled(path, loaded, label=label)
    result = measure(scores, label=label, events=events)
    if json:
        num_events = None if events is None else len(events)
        print_json({**result.to_dict(), "num_events": num_events})
        return
    from vae_anomaly.cli.tables import print_evaluation

    runs = "runs of flagged rows; give --detector to count alert events"
    print_evaluation(result, counted="alert events" if events is not None else runs)


def _score_labelled(
    paths: Sequence[str], detector: Detector | None, *, label: str
) -> tuple[pa.Table, tuple[AlertEvent, ...] | None]:
    """Give labelled scores, and alert events where there is a detector to find them."""
    from vae_anomaly.cli import inputs
    from vae_anomaly.readings.contract import list_names

    contract = None if detector is None else detector.contract
    columns = inputs.list_columns(paths)
    is_scored = set(columns) >= inputs.SCORE_COLUMNS
    if not is_scored and detector is None:
        raise EvaluationError(
            f"Cannot evaluate '{paths[0]}': expected a scores file with the columns 'score' and "
            f"'state', got columns {list_names(columns)}. Give --detector to score them, if they "
            "are raw readings."
        )
    inputs.require_label(paths, label)
    if is_scored or detector is None:
        scores = inputs.read_files(paths)
        events = None if detector is None else detector.find_events(scores)
    else:
        examination = detector.examine(paths, with_expected=False)
        scores = inputs.append_labels(
            examination.scores, paths, detector=detector, ticks=examination.checked.ticks
        )
        events = examination.events
    return inputs.use_standard_names(scores, contract), events


def _name_model(version: ModelVersion | None) -> dict[str, str]:
    """Give alerts of a registered model the identity that the pipeline gives them."""
    return {} if version is None else {"model_name": version.model_name}


def _note_suspects(readings: Sequence[CheckedReadings | None]) -> tuple[str, ...]:
    """Note values that may spoil a fit to these readings."""
    from vae_anomaly.cli.sensor_tables import note_sentinels

    checked = [one for one in readings if one is not None]
    return note_sentinels([profile for one in checked for profile in one.quality.sensors])


def _describe_fit(detector: Detector, out: Path) -> dict[str, Any]:
    from vae_anomaly.cli.sensor_tables import count_kinds

    record = detector.record
    return {
        "detector": out,
        "num_rows": record.facts.num_rows,
        "num_held_out": record.facts.num_held_out,
        "seed": record.facts.seed,
        "sensors": count_kinds(record.profiles),
        "likelihoods": record.likelihoods,
        "flat_line_steps": {name: steps or None for name, steps in record.flat_steps.items()},
        "calibrations": record.calibrations,
        "is_provisional": any(item.provisional for item in record.calibrations.values()),
        "health": record.health,
        "baseline": record.baseline,
    }


def _note_settings(detector: Detector) -> tuple[str, ...]:
    """Note names in the settings of the readings that its fit had no use for."""
    from vae_anomaly.readings.contract import note_unknown_names

    return note_unknown_names(detector.record.config.readings, (), detector.contract)


def _print_fit(detector: Detector, out: Path, *, notes: tuple[str, ...]) -> None:
    from vae_anomaly.cli import sensor_tables, tables

    record, facts = detector.record, detector.record.facts
    print_lines(
        f"Fitted on {format_plural(facts.num_rows, 'row')}; threshold set on "
        f"{format_plural(facts.num_held_out, 'row')} by a fit that had left them out.",
        f"Sensors: {sensor_tables.describe_kinds(record.profiles)}",
        f"Likelihoods: {sensor_tables.describe_likelihoods(record.likelihoods)}",
        f"Flat lines: {sensor_tables.describe_flat_lines(record.flat_steps)}",
        f"Held-out NLL: {tables.describe_baseline(record.baseline)}",
    )
    tables.print_thresholds(record.calibrations)
    tables.print_health(record.health, record.profiles)
    print_notes(notes)
    print_lines("", f"Detector saved to {out}")


def _note_new_assets(detector: Detector, scores: pa.Table) -> tuple[str, ...]:
    """Note assets without a threshold of their own."""
    column, record = detector.contract.asset, detector.record
    if column is None or column not in scores.column_names:
        return ()
    new = set(scores[column].unique().to_pylist()) - {None, *record.calibrations}
    if not new:
        return ()
    return (
        f"assets without a threshold of their own have the lowest, that of '{record.fallback}': "
        + ", ".join(sorted(new)[:5]),
    )


def _count_states(scores: pa.Table) -> dict[str, int]:
    from vae_anomaly.domain import State

    found = _count_values(scores["state"])
    return {state.value: found.get(state.value, 0) for state in State}


def _count_reasons(scores: pa.Table) -> dict[str, int]:
    import pyarrow.compute as pc

    from vae_anomaly.domain import State

    unscorable = scores.filter(pc.equal(scores["state"], State.UNSCORABLE.value))
    found = _count_values(unscorable["reason"])
    return {reason: count for reason, count in sorted(found.items()) if reason}


def _count_values(column: pa.ChunkedArray) -> dict[str, int]:
    return {item["values"]: item["counts"] for item in column.value_counts().to_pylist()}


def describe_event(event: AlertEvent) -> dict[str, Any]:
    """Give an alert event to machines: times as ISO 8601, shares by name of the sensor."""
    return {
        "alert_id": event.alert_id,
        "asset": event.asset,
        "start": format_iso_time(event.start_us),
        "end": format_iso_time(event.end_us),
        "peak": format_iso_time(event.peak_us),
        "peak_score": event.peak_score,
        "threshold": event.threshold,
        "num_steps": event.num_steps,
        "severity": event.severity,
        "top_sensors": dict(zip(event.top_sensors, event.top_shares, strict=True)),
        "reasons": event.reasons,
    }
