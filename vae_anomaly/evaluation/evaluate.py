"""Scores and alert events against labelled truth: the front door of this room."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from vae_anomaly.domain import AlertEvent, BoolArray
from vae_anomaly.evaluation.alert_counts import count_alerts
from vae_anomaly.evaluation.metrics import average_precision, measure_flags, roc_auc
from vae_anomaly.evaluation.rows import UNLABELLED, read_labels, read_rows
from vae_anomaly.evaluation.vus import DEFAULT_WINDOW_STEPS, vus_pr
from vae_anomaly.wording import format_plural

MAX_COVERED_SHARE = 0.5
"""Share of the labelled rows under alerts above which the number of alerts says little."""


@dataclass(frozen=True)
class Evaluation:
    """How scores and flags agree with labels; None where a measure is not defined.

    Attributes:
        num_rows: Rows of the table.
        num_unlabelled_rows: Rows left out because nobody has labelled them.
        num_anomalous_rows: Rows labelled anomalous.
        num_unscorable: Labelled rows without a score; left out of the first three measures,
            never flagged, and missed where they are anomalous.
        vus_pr: Volume under the precision-recall surface; 1 is perfect.
        pr_auc: Area under the precision-recall curve (average precision); 1 is perfect.
        roc_auc: How often an anomalous row scores above a normal one; 0.5 is chance.
        precision: Share of flagged rows that are anomalous.
        recall: Share of anomalous rows that are flagged.
        f1: Harmonic mean of the two.
        false_alarm_rate: Share of scorable normal rows that are flagged.
        missed_alarm_rate: Share of anomalous rows that are not flagged.
        num_anomalies: Labelled anomalies: runs of anomalous rows.
        event_recall: Share of anomalies with at least one alert on them.
        median_delay_s: Median seconds from the start of an anomaly to its first alert, over
            the anomalies found.
        false_alarms_per_day: Alerts on no anomaly, per day of scorable normal rows.
        notes: What could not be measured or was left out, in sentences.
    """

    num_rows: int
    num_unlabelled_rows: int
    num_anomalous_rows: int
    num_unscorable: int
    vus_pr: float | None
    pr_auc: float | None
    roc_auc: float | None
    precision: float | None
    recall: float | None
    f1: float | None
    false_alarm_rate: float | None
    missed_alarm_rate: float | None
    num_anomalies: int
    event_recall: float | None
    median_delay_s: float | None
    false_alarms_per_day: float | None
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values that JSON can hold, in order."""
        return {**dataclasses.asdict(self), "notes": list(self.notes)}


def evaluate(
    scores: pa.Table,
    labels: Any = None,
    *,
    label: str = "label_anomaly",
    events: Sequence[AlertEvent] | None = None,
    window_steps: int = DEFAULT_WINDOW_STEPS,
) -> Evaluation:
    """Measure scores, flags and alerts against labelled truth, without point adjustment.

    Scores of all assets are ranked together; buffers, anomalies and alerts never reach from
    one asset into another. Labels hold 1 for anomalous, 0 for normal, and -1 or null for rows
    that nobody has labelled, which are left out.

    Args:
        scores: Table that scoring returned, with columns timestamp, score, state and, for
            several assets, asset.
        labels: One label per row, in the table's order; None to take them from `label`.
        label: Column of the table that holds the labels.
        events: Alert events; anomalies found and false alarms are counted with these, or
            with runs of flagged rows where it is None.
        window_steps: Widest buffer of VUS-PR, best the period of the readings (`find_period`).

    Returns:
        The measures.

    Raises:
        EvaluationError: A column is missing, or the labels do not fit the rows.

    Example:
        >>> from datetime import datetime, timedelta, timezone
        >>> start = datetime(2024, 1, 1, tzinfo=timezone.utc)
        >>> scores = pa.table({
        ...     "timestamp": [start + timedelta(seconds=i) for i in range(4)],
        ...     "score": [0.1, 0.2, 3.0, 4.0],
        ...     "state": ["ok", "ok", "ok", "anomalous"],
        ... })
        >>> result = evaluate(scores, [0, 0, 1, 1], window_steps=0)
        >>> result.pr_auc, result.recall, result.event_recall, result.median_delay_s
        (1.0, 0.5, 1.0, 1.0)
    """
    rows = read_rows(scores)
    truth = read_labels(scores, labels, label=label)[rows.order]
    known, anomalous = truth != UNLABELLED, truth == 1
    ranked = known & rows.scorable
    ranked_scores, ranked_labels = rows.scores[ranked], anomalous[ranked]
    num_unscorable = int((known & ~rows.scorable).sum())
    flags = measure_flags(rows.flags[known], anomalous[known], scorable=rows.scorable[known])
    counts = count_alerts(rows, truth, events)
    return Evaluation(
        num_rows=scores.num_rows,
        num_unlabelled_rows=int((~known).sum()),
        num_anomalous_rows=int(anomalous.sum()),
        num_unscorable=num_unscorable,
        vus_pr=_defined(
            vus_pr(
                ranked_scores,
                ranked_labels,
                window_steps=window_steps,
                asset_codes=rows.asset_codes[ranked],
            )
        ),
        pr_auc=_defined(average_precision(ranked_scores, ranked_labels)),
        roc_auc=_defined(roc_auc(ranked_scores, ranked_labels)),
        precision=_defined(flags.precision),
        recall=_defined(flags.recall),
        f1=_defined(flags.f1),
        false_alarm_rate=_defined(flags.false_alarm_rate),
        missed_alarm_rate=_defined(flags.missed_alarm_rate),
        num_anomalies=int(counts.delays_s.size),
        event_recall=_defined(counts.event_recall),
        median_delay_s=_defined(counts.median_delay_s),
        false_alarms_per_day=_defined(counts.false_alarms_per_day),
        notes=_write_notes(
            known,
            ranked_labels,
            num_unscorable=num_unscorable,
            num_alerts_outside=0 if events is None else len(events) - counts.num_alerts,
            covered_share=counts.covered_share,
        ),
    )


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _write_notes(
    known: BoolArray,
    ranked_labels: BoolArray,
    *,
    num_unscorable: int,
    num_alerts_outside: int,
    covered_share: float,
) -> tuple[str, ...]:
    notes = []
    if not known.any():
        notes.append("No row is labelled, so nothing could be measured.")
    elif not ranked_labels.size:
        notes.append("No labelled row has a score, so scores could not be ranked.")
    elif ranked_labels.all() or not ranked_labels.any():
        which = "anomalous" if ranked_labels.all() else "normal"
        notes.append(
            f"All labelled rows with a score are {which}: VUS-PR, PR-AUC and ROC-AUC need both "
            "kinds."
        )
    if num_unscorable:
        rows = format_plural(num_unscorable, "unscorable row is", "unscorable rows are")
        notes.append(f"{rows} left out of VUS-PR, PR-AUC, ROC-AUC.")
    if num_alerts_outside:
        alerts = format_plural(num_alerts_outside, "alert event lies", "alert events lie")
        notes.append(f"{alerts} over no labelled row.")
    if covered_share > MAX_COVERED_SHARE:
        notes.append(
            f"Alerts cover {covered_share * 100:.0f} % of the labelled rows: false alarms a day "
            "and event recall count alerts however long they are, so the false-alarm rate says "
            "more."
        )
    return tuple(notes)
