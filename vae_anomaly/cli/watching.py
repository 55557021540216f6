"""Commands that watch the pipeline: metrics for Prometheus, and the doctor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import CycloptsError

from vae_anomaly.cli.files import DEFAULT_CONFIG, Json
from vae_anomaly.cli.output import print_json, print_lines

if TYPE_CHECKING:
    from vae_anomaly.operations.monitoring.doctor import Finding

STYLES = {"ok": "green", "warning": "yellow", "failed": "bold red"}


def metrics(
    *,
    out: Path | None = None,
    serve: int | None = None,
    host: str = "127.0.0.1",
    config: Path = DEFAULT_CONFIG,
    json: Json = False,
) -> None:
    """Print figures of the pipeline for Prometheus, as OpenMetrics text.

    Args:
        out: File to write instead, as for the textfile collector of a node.
        serve: Port to serve them at instead, until stopped with Ctrl-C.
        host: Address to serve at; 0.0.0.0 for all.
        config: The settings of the pipeline.
        json: Print the figures as a list for other machines.
    """
    from vae_anomaly.config import read_pipeline_config
    from vae_anomaly.operations.monitoring import metrics as module

    if sum((out is not None, serve is not None, json)) > 1:
        raise CycloptsError(msg="Give one of --out, --serve and --json, or none of them.")
    settings = read_pipeline_config(config)
    if serve is not None:
        module.serve_metrics(
            settings,
            host=host,
            port=serve,
            on_start=lambda port: print_lines(f"Metrics at http://{host}:{port}/metrics"),
        )
    elif out is not None:
        module.write_metrics_file(settings, out)
    elif json:
        print_json(module.list_samples(settings))
    else:
        print(module.write_metrics(settings), end="")


def doctor(*, config: Path = DEFAULT_CONFIG, json: Json = False) -> int:
    """Check everything that the pipeline needs, and say what to do about what is wrong.

    Args:
        config: The settings of the pipeline.
        json: Print the findings for machines.
    """
    from vae_anomaly.operations.monitoring.doctor import FAILED, examine

    findings = examine(config)
    if json:
        print_json(findings)
    else:
        for finding in findings:
            _print_finding(finding)
    return int(any(finding.status == FAILED for finding in findings))


def _print_finding(finding: Finding) -> None:
    advice = f" {finding.advice}" if finding.advice else ""
    line = f"{finding.status:<8} {finding.check}: {finding.message}{advice}"
    print_lines(line, style=STYLES[finding.status])
