"""The section of the report page on decisions about the champion."""

from dataclasses import replace

import pyarrow as pa

from tests.unit.operations.report_inputs import make_report_input
from vae_anomaly.operations.report import make_report
from vae_anomaly.operations.report_promotions import MAX_PROMOTIONS, make_promotion_lines
from vae_anomaly.readings.promotions import FIGURES, PROMOTIONS


def make_row(number, **changes):
    row = dict.fromkeys(PROMOTIONS.names) | {
        "promotion_id": str(number), "time": number * 1_000_000, "model_name": "m",
        "challenger": str(number), "champion": "1", "decision": "refused", "forced": False,
        "by": "training", "reason": "finds <fewer> faults",
    }  # fmt: skip
    return row | changes


def make_lines(*rows):
    return make_promotion_lines(pa.Table.from_pylist(list(rows), schema=PROMOTIONS))


def test_the_latest_decisions_are_shown_the_newest_first():
    lines = make_lines(*(make_row(number) for number in range(1, 14)))
    assert [line.challenger for line in lines] == [str(n) for n in range(13, 3, -1)]
    assert len(lines) == MAX_PROMOTIONS
    assert lines[0].time_us == 13_000_000
    assert (lines[0].basis, lines[0].tone) == ("", "bad")


def test_what_was_compared_and_who_forced_it_is_said():
    figures = dict.fromkeys(FIGURES, 2.0) | {"num_normal_steps": 1000.0, "num_faults": 1.0}
    (line,) = make_lines(make_row(2, decision="promoted", forced=True, **figures))
    assert line.basis == "1,000 normal steps, 1 fault"
    assert (line.decision, line.tone) == ("promoted, forced", "good")


def test_the_page_has_the_section_only_where_there_is_something_to_show():
    report = make_report_input()
    assert 'id="promotion"' not in make_report(report)
    page = make_report(replace(report, promotions=make_lines(make_row(2))))
    assert "How this detector became champion" in page
    assert "finds &lt;fewer&gt; faults" in page
