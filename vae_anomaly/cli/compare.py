"""The command that shows what another version would change, before it goes live."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vae_anomaly.cli.files import DEFAULT_CONFIG, Json, describe_event
from vae_anomaly.cli.output import (
    add_row,
    format_iso_time,
    make_table,
    print_json,
    print_lines,
    print_table,
    show_progress,
)
from vae_anomaly.wording import format_plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vae_anomaly.domain import AlertEvent
    from vae_anomaly.operations.promotion.shadow import ShadowResult

MAX_EVENTS = 30
"""Latest alert events of each kind that are printed; --json has all."""


def compare(
    version: str = "challenger",
    /,
    *,
    start: str = "",
    end: str = "",
    config: Path = DEFAULT_CONFIG,
    json: Json = False,
) -> None:
    """Score a period with another version beside the champion, and show what would change.

    Nobody is called: scores are kept by version, alert events of the pipeline stay as they are.

    Args:
        version: Its number, or an alias.
        start: First time, in ISO 8601 with a zone; the end of the training period where not given.
        end: Time after the last; the last reading where not given.
        config: The settings of the pipeline.
        json: Print the result for machines.
    """
    from vae_anomaly.config import read_pipeline_config
    from vae_anomaly.operations.pipeline import compare_scores
    from vae_anomaly.operations.pipeline_tables import parse_time

    with show_progress("Scoring with both versions"):
        result = compare_scores(
            read_pipeline_config(config),
            version,
            start_us=parse_time(start, setting="--start"),
            end_us=parse_time(end, setting="--end"),
        )
    if json:
        print_json(_describe(result))
        return
    _print(result)


def _describe(result: ShadowResult) -> dict[str, Any]:
    return {
        "model_name": result.model_name,
        "champion": result.champion,
        "version": result.version,
        "start": format_iso_time(result.start_us),
        "end": format_iso_time(result.end_us),
        "num_steps": result.num_steps,
        "agreement": result.agreement,
        "states": result.states,
        "num_events": {
            "champion": result.num_champion,
            "version": result.num_version,
            "both": len(result.both),
            "only_champion": len(result.only_champion),
            "only_version": len(result.only_version),
        },
        "events_per_asset_and_week": {
            "champion": result.find_rate(result.num_champion),
            "version": result.find_rate(result.num_version),
        },
        "both": [describe_event(event) for event in result.both],
        "only_champion": [describe_event(event) for event in result.only_champion],
        "only_version": [describe_event(event) for event in result.only_version],
    }


def _print(result: ShadowResult) -> None:
    print_lines(
        f"{result.model_name} version {result.version} beside the champion, version "
        f"{result.champion}: {format_plural(result.num_steps, 'step')} from "
        f"{format_iso_time(result.start_us)} to {format_iso_time(result.end_us)}, "
        f"{result.agreement:.2%} of them with the same state."
    )
    table = make_table("Alert events", ("", "champion", "version"), right=("champion", "version"))
    counts = (result.num_champion, result.num_version)
    shared = result.num_champion - len(result.only_champion)
    add_row(table, "all", *map(str, counts))
    add_row(table, "per asset and week", *(f"{result.find_rate(num):.3g}" for num in counts))
    add_row(table, "of both", str(shared), str(result.num_version - len(result.only_version)))
    add_row(table, "of one only", str(len(result.only_champion)), str(len(result.only_version)))
    print_table(table)
    _print_events(f"Gone with version {result.version}", result.only_champion)
    _print_events(f"New with version {result.version}", result.only_version)


def _print_events(title: str, events: Sequence[AlertEvent]) -> None:
    if not events:
        return
    latest = sorted(events, key=lambda event: event.start_us)[-MAX_EVENTS:]
    shown = title if len(latest) == len(events) else f"{title}, the latest {MAX_EVENTS}"
    table = make_table(shown, ("asset", "start (UTC)", "severity", "sensors"))
    for event in latest:
        add_row(
            table,
            event.asset,
            format_iso_time(event.start_us),
            event.severity,
            ", ".join(event.top_sensors),
        )
    print_table(table)
