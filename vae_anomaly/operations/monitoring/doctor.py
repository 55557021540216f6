"""The doctor: looks at all that a pipeline needs, and says what to do about what is wrong."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vae_anomaly.config import PipelineConfig, read_pipeline_config
from vae_anomaly.errors import ConfigError, VaeAnomalyError
from vae_anomaly.operations.monitoring import checks_of_lake, checks_of_machine, checks_of_services
from vae_anomaly.operations.monitoring.finding import FAILED, OK, WARNING, Finding

__all__ = ["FAILED", "OK", "WARNING", "Finding", "examine"]

Check = Callable[[PipelineConfig], Iterator[Finding]]


@dataclass(frozen=True)
class _Named:
    """A check with its name; what it raises is a finding, too."""

    name: str
    run: Check

    def find(self, config: PipelineConfig) -> Iterator[Finding]:
        try:
            yield from self.run(config)
        except (VaeAnomalyError, OSError) as error:
            yield Finding(self.name, FAILED, str(error))


def examine(path: str | Path, *, now_us: int | None = None) -> tuple[Finding, ...]:
    """Look at configuration, lake, registry, schedules, clock, versions and disk.

    Nothing is changed, but for a file that is written to the lake and deleted again.

    Args:
        path: A `pipeline.toml`.
        now_us: Microseconds since 1970; by default now.

    Returns:
        What was found, at least one finding per check; only the first where the configuration
        cannot be read.
    """
    now = time.time_ns() // 1000 if now_us is None else now_us
    try:
        config = read_pipeline_config(path)
    except ConfigError as error:
        return (Finding("configuration", FAILED, str(error)),)
    checks = (
        _Named("secrets", checks_of_machine.check_secrets),
        _Named("lake", checks_of_lake.check_lake),
        _Named("ledger", checks_of_lake.check_ledger),
        _Named("leftovers", checks_of_lake.check_leftovers),
        _Named("registry", checks_of_services.check_registry),
        _Named("server", checks_of_services.check_server),
        _Named("flows", lambda config: checks_of_services.check_flows(config, now_us=now)),
        _Named("clock", lambda config: checks_of_lake.check_clock(config, now_us=now)),
        _Named("versions", checks_of_machine.check_versions),
        _Named("disk", checks_of_machine.check_disk),
    )
    readable = Finding("configuration", OK, f"'{path}' is read, every setting is known.")
    return (readable, *(finding for check in checks for finding in check.find(config)))
