"""Which model version speaks for which time of the readings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pyarrow as pa

from vae_anomaly.operations.model_versions import ModelVersion
from vae_anomaly.operations.pipeline_scored import PinnedScores
from vae_anomaly.readings import delta
from vae_anomaly.readings.layout import LIVE_VERSIONS
from vae_anomaly.readings.rows import EARLIEST_US, LATEST_US
from vae_anomaly.readings.selection import Selection
from vae_anomaly.readings.tables import Lake

TABLE = "live_versions"


@dataclass(frozen=True)
class LivePeriod:
    """Readings of `[start_us, end_us)` are scored by this model version.

    Attributes:
        model_version: The version.
        start_us: First time, microseconds since 1970; None for where scoring begins.
        end_us: Time after the last; None where it is still live.
    """

    model_version: str
    start_us: int | None
    end_us: int | None = None

    @property
    def bounds(self) -> tuple[int, int]:
        """Start and end as numbers, microseconds since 1970."""
        return (
            EARLIEST_US if self.start_us is None else self.start_us,
            LATEST_US if self.end_us is None else self.end_us,
        )


def read_live_periods(lake: Lake, *, model_name: str) -> tuple[LivePeriod, ...]:
    """Read which version spoke when.

    Args:
        lake: The lake.
        model_name: Registered model.

    Returns:
        Periods that follow one another, in order of time; none before the first scoring.

    Raises:
        TableError: The table cannot be read.
    """
    table = _read_rows(lake, model_name)
    starts = table["start"].cast(pa.int64()).to_pylist()
    return join_periods(map(LivePeriod, table["model_version"].to_pylist(), starts))


def join_periods(noted: Iterable[LivePeriod]) -> tuple[LivePeriod, ...]:
    """Put periods in the order in which they were noted: each ends what was before at its start.

    Example:
        >>> late, early = 1_767_000_000_000_000, 1_766_000_000_000_000
        >>> noted = [LivePeriod("1", None), LivePeriod("2", late), LivePeriod("3", early)]
        >>> [(period.model_version, period.end_us) for period in join_periods(noted)]
        [('1', 1766000000000000), ('3', None)]
    """
    periods: list[LivePeriod] = []
    for period in noted:
        start_us = period.bounds[0]
        while periods and periods[-1].bounds[0] >= start_us:
            periods.pop()
        if periods:
            periods[-1] = replace(periods[-1], end_us=start_us)
        periods.append(period)
    return tuple(periods)


def follow_champion(lake: Lake, champion: ModelVersion) -> tuple[LivePeriod, ...]:
    """Let the champion speak from where the version before it has scored to.

    Args:
        lake: The lake.
        champion: The version that the alias points to.

    Returns:
        The periods; the last one is the champion's.

    Raises:
        TableError: A table cannot be read or written.
    """
    periods = read_live_periods(lake, model_name=champion.model_name)
    if periods and periods[-1].model_version == champion.version:
        return periods
    start_us = _find_end_of_scores(lake, champion.model_name, periods[-1]) if periods else None
    return note_live(lake, champion, start_us=start_us)


def note_live(
    lake: Lake, version: ModelVersion, *, start_us: int | None
) -> tuple[LivePeriod, ...]:
    """Write down that a version speaks from a time on.

    Args:
        lake: The lake.
        version: The version.
        start_us: The time, microseconds since 1970; None for where scoring begins.

    Returns:
        The periods afterwards.

    Raises:
        TableError: The table cannot be written.
    """
    number = _read_rows(lake, version.model_name).num_rows
    row = {
        "number": number,
        "model_name": version.model_name,
        "model_version": version.version,
        "start": start_us,
        "noted": datetime.now(UTC),
    }
    table = pa.Table.from_pylist([row], schema=LIVE_VERSIONS)
    commit_id = f"live:{version.model_name}:{number}"
    delta.append_once(lake.uri(TABLE), table, commit_id=commit_id)
    return read_live_periods(lake, model_name=version.model_name)


def _read_rows(lake: Lake, model_name: str) -> pa.Table:
    uri = lake.uri(TABLE)
    if not delta.has_table(uri):
        return LIVE_VERSIONS.empty_table()
    mine = Selection(model_name=model_name)
    return delta.read_table(uri, columns=LIVE_VERSIONS.names, selection=mine).sort_by("number")


def _find_end_of_scores(lake: Lake, model_name: str, period: LivePeriod) -> int | None:
    """Find the time after the newest score of a period; its start where there is none."""
    scores = PinnedScores(
        lake,
        model_name=model_name,
        model_version=period.model_version,
        between=period.bounds,
    )
    files = [
        (file.last_us, file.first_us, asset)
        for asset in scores.assets
        for file in scores.files_of(asset)
    ]
    end_us = period.start_us
    for last_us, first_us, asset in sorted(files, reverse=True):
        if end_us is not None and last_us < end_us:
            break
        times = scores.read_times(asset, start_us=first_us, end_us=last_us + 1)
        if times.size:
            end_us = max(int(times[-1]) + 1, end_us or 0)
    return end_us
