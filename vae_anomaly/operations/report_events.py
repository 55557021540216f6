"""Alert events on the report page: which are shown, which sensors are to blame, their charts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vae_anomaly.domain import MICROSECONDS_PER_S, AlertEvent, FloatArray, IntArray
from vae_anomaly.operations.report_data import AssetRows
from vae_anomaly.operations.report_figures import make_contribution_figure, make_sensor_figure
from vae_anomaly.operations.report_input import ReportInput, find_unit
from vae_anomaly.operations.report_plotly import Chart, Figure

MAX_LISTED_EVENTS = 200
"""Alert events in the table, the gravest."""

MAX_DETAILED_EVENTS = 20
"""Alert events with charts, the gravest."""

SEVERITIES = ("low", "medium", "high")

_MAX_PANELS = 3
_PANEL_POINTS = 1500
_PAD_STEPS = 60
_MAX_SAMPLE = 20_000


@dataclass(frozen=True)
class EventBlock:
    """An alert event with its place in the page.

    Attributes:
        number: Counted from 1 in the order of time.
        event: The alert event.
        sensors: Sensors to blame with their shares.
        is_gravest: Whether it is the one to look at first.
        blame: Chart of the contributions, None without details.
        panels: Chart of the readings around it, None without details.
    """

    number: int
    event: AlertEvent
    sensors: tuple[tuple[str, float], ...]
    is_gravest: bool
    blame: Chart | None = None
    panels: Chart | None = None

    @property
    def duration_s(self) -> float:
        """Seconds from the first flagged step to the end of the last."""
        return (self.event.end_us - self.event.start_us) / MICROSECONDS_PER_S


def rank_events(events: tuple[AlertEvent, ...]) -> tuple[AlertEvent, ...]:
    """Sort alert events, the gravest first."""

    def gravity(event: AlertEvent) -> tuple[int, float, int]:
        rank = SEVERITIES.index(event.severity) if event.severity in SEVERITIES else -1
        return -rank, event.threshold - event.peak_score, event.start_us

    return tuple(sorted(events, key=gravity))


def make_event_blocks(
    report: ReportInput, assets: tuple[AssetRows, ...]
) -> tuple[EventBlock, ...]:
    """List the gravest alert events by time, the very gravest of them with charts."""
    gravest = rank_events(report.events)[:MAX_LISTED_EVENTS]
    detailed = {id(event) for event in gravest[:MAX_DETAILED_EVENTS]}
    by_name = {asset.name: asset for asset in assets}
    blocks = []
    ordered = sorted(gravest, key=lambda event: (event.start_us, event.asset))
    for number, event in enumerate(ordered, start=1):
        sensors = tuple(zip(event.top_sensors, event.top_shares, strict=False))
        block = EventBlock(number, event, sensors, is_gravest=event is gravest[0])
        if id(event) in detailed and event.asset in by_name:
            block = _detail(report, by_name[event.asset], block)
        blocks.append(block)
    return tuple(blocks)


def find_blame(
    scores: pa.Table, asset: AssetRows, event: AlertEvent
) -> tuple[tuple[str, ...], FloatArray, FloatArray]:
    """Find what each sensor added to the NLL during an event, against what it usually adds.

    Args:
        scores: The scores table.
        asset: The scored rows of the event's asset.
        event: The alert event.

    Returns:
        Names of the sensors; excess over the usual contribution, nats a step, NaN where not
        known; usual contribution, the median over the steps that are `ok`. Shape `(sensors,)`.
    """
    inside = (asset.timestamps >= event.start_us) & (asset.timestamps < event.end_us)
    flagged = inside & asset.anomalous
    usual_rows = asset.rows[~asset.anomalous & ~asset.unscorable]
    names, during = read_contributions(scores, asset.rows[flagged if flagged.any() else inside])
    _, normally = read_contributions(scores, usual_rows)
    usual = np.array([np.median(known) if known.size else 0.0 for known in _known(normally)])
    mean = np.array([known.mean() if known.size else np.nan for known in _known(during)])
    return names, mean - usual, usual


def read_contributions(scores: pa.Table, rows: IntArray) -> tuple[tuple[str, ...], FloatArray]:
    """Read the contributions of some rows; of many, an evenly spread sample.

    Args:
        scores: The scores table.
        rows: Positions of rows.

    Returns:
        Names of the sensors, and their contributions in nats. Shape `(rows, sensors)`.
    """
    every = -(-rows.shape[0] // _MAX_SAMPLE) or 1
    column = scores.select(["contribution"]).take(pa.array(rows[::every]))["contribution"]
    fields = [column.type.field(place) for place in range(column.type.num_fields)]
    values = [
        pc.struct_field(column, [place]).cast(pa.float64()).to_numpy()
        for place in range(len(fields))
    ]
    matrix = np.stack(values, axis=1) if values else np.empty((rows[::every].shape[0], 0))
    return tuple(field.name for field in fields), matrix


def _detail(report: ReportInput, asset: AssetRows, block: EventBlock) -> EventBlock:
    event, key = block.event, f"event-{block.number}"
    names, excess, usual = find_blame(report.scores, asset, event)
    blame = Chart(
        key=f"{key}-blame",
        label=f"Contribution of each sensor to alert event {block.number}, above the usual",
        figure=make_contribution_figure(names, excess, usual)
        if np.isfinite(excess).any()
        else None,
        height=60 + 26 * min(12, max(1, len(names))),
        caption="NLL by sensor, nats above usual",
    )
    sensors = tuple(name for name in event.top_sensors if name in report.readings.sensors)
    columns = np.array(
        [report.readings.sensors.index(name) for name in sensors[:_MAX_PANELS]], dtype=np.int64
    )
    panels = Chart(
        key=f"{key}-sensors",
        label=f"Readings of the top sensors around alert event {block.number}",
        figure=_draw_around(report, asset, event, columns),
        height=60 + 150 * max(1, columns.size),
        caption="Its top sensors against what the model expects",
    )
    return replace(block, blame=blame, panels=panels)


def _draw_around(
    report: ReportInput, asset: AssetRows, event: AlertEvent, columns: IntArray
) -> Figure | None:
    """Draw sensors from somewhat before an alert event to somewhat after it."""
    period_s = report.contract.period_s
    pad_us = max(
        round(_PAD_STEPS * period_s * MICROSECONDS_PER_S), (event.end_us - event.start_us) // 2
    )
    first, last = np.searchsorted(
        asset.timestamps, [event.start_us - pad_us, event.end_us + pad_us]
    )
    if columns.size == 0 or first == last:
        return None
    around = np.ix_(asset.rows[first:last], columns)
    return make_sensor_figure(
        tuple(_name_with_unit(report, report.readings.sensors[column]) for column in columns),
        asset.timestamps[first:last],
        (report.readings.values[around], report.mean[around], report.sigma[around]),
        period_s=period_s,
        max_points=_PANEL_POINTS,
        event=event,
    )


def _name_with_unit(report: ReportInput, name: str) -> str:
    unit = find_unit(report, name)
    return f"{name} ({unit})" if unit else name


def _known(matrix: FloatArray) -> list[FloatArray]:
    return [column[np.isfinite(column)] for column in matrix.T]
