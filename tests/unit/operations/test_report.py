"""The report page: what it says, what it draws, and that nothing in the data can harm it."""

import base64
import hashlib
import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import plotly.graph_objects as go
import pyarrow as pa
import pytest

from tests.unit.operations.report_inputs import (
    EVIL,
    STEP_US,
    make_calibration,
    make_report_input,
    make_scores,
    rename_sensors,
)
from vae_anomaly.domain import NO_TIME, HealthCheck, TrainingCurves
from vae_anomaly.errors import ReportError
from vae_anomaly.operations import report_data, report_page
from vae_anomaly.operations.report import ReportInput, make_report, write_report


@pytest.fixture(scope="module")
def report() -> ReportInput:
    return make_report_input()


@pytest.fixture(scope="module")
def page(report) -> str:
    return make_report(report)


class _Tags(HTMLParser):
    """Collects start tags with their attributes, and the text outside scripts and styles."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text = [], ""
        self._is_code = False
        self.feed(page.split("\n<script>")[0])

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._is_code = tag in ("script", "style")

    def handle_endtag(self, tag):
        self._is_code &= tag not in ("script", "style")

    def handle_data(self, data):
        self.text += "" if self._is_code else " ".join(data.split()) + " "


def read_figures(page):
    found = re.findall(r'<script type="application/json" id="([^"]+)">(.*?)</script>', page)
    return {key.removesuffix("-figure"): json.loads(figure) for key, figure in found}


def unpack(array):
    return np.frombuffer(base64.b64decode(array["bdata"]), dtype=array["dtype"])


def without_events(report):
    return replace(report, events=())


def take(report, rows):
    return replace(
        report,
        readings=report.readings.take(rows),
        scores=report.scores.take(pa.array(rows)),
        mean=report.mean[rows],
        sigma=report.sigma[rows],
    )


def with_state(report, state):
    states = pa.array([state] * report.scores.num_rows)
    place = report.scores.column_names.index("state")
    return replace(report, scores=report.scores.set_column(place, "state", states))


def test_the_page_has_its_sections_in_order(page):
    sections = [attrs.get("id") for tag, attrs in _Tags(page).tags if tag == "section"]
    assert sections == [
        "headline",
        "scores",
        "events",
        "sensors",
        "training",
        "quality",
        "health",
        "calibration",
        "reading",
    ]


def test_the_page_says_what_was_scored(page):
    said = _Tags(page).text
    for words in (
        "2 alert events in 2 d 22 h, 1 of high severity.",
        "Budget: 1 a week for each asset, so about 0.39 in this period.",
        "4,000",
        "168 rows labelled as anomaly.",
        "2024-03-01 00:00:00",
        "4,031 raw rows = 4,000 usable + 24 duplicates + 7 set aside.",
        "40 rows unscorable: too few sensors present",
        "1 check failed.",
        "0.1 to 2.3",
        "carried by the data",
        "perhaps -999",
    ):
        assert words in said, words
    assert "PROVISIONAL" not in said


def test_events_have_their_peak_as_a_multiple_and_the_reason_where_there_is_one(report, page):
    said, (first, *others) = _Tags(page).text, report.events
    assert f"{first.peak_score / first.threshold:.1f} x the threshold of " in said
    assert "Peak, multiple of the threshold Top sensors" in said
    hit = replace(first, reasons=("flat_line: a<b", "shift: flow"))
    said = _Tags(make_report(replace(report, events=(hit, *others)))).text
    assert "Peak, multiple of the threshold Reason Top sensors" in said
    assert "Reason: flat_line: a<b, shift: flow." in said


def test_the_same_input_gives_the_same_page(page):
    assert make_report(make_report_input()) == page


def test_every_figure_is_one_that_plotly_accepts(page):
    figures = read_figures(page)
    # the dead sensor has no values to draw, and is a lane of the chart of data quality
    assert len(figures) == 1 + 2 * 2 + 7 + 4 + 1
    for figure in figures.values():
        painted = json.loads(re.sub(r'"@[a-z]+"', '"red"', json.dumps(figure)))
        # plotly.js knows it, the Python package does not
        painted["layout"]["xaxis"].get("rangeslider", {}).pop("yaxis3", None)
        go.Figure(painted)


def test_the_score_chart_shows_peaks_threshold_events_and_labels(report, page):
    traces = {trace["name"]: trace for trace in read_figures(page)["score-1"]["data"]}
    assert set(traces) == {"score", "threshold", "alert event", "labelled anomaly", "not scored"}
    drawn = unpack(traces["score"]["customdata"])
    assert np.nanmax(drawn) == pytest.approx(report.scores["score"].to_pandas().max())
    assert unpack(traces["threshold"]["y"]).size == 2
    assert unpack(traces["alert event"]["x"])[0] == report.events[0].start_us / 1000


def test_an_event_names_the_sensors_that_added_most(page):
    figure = read_figures(page)["event-1-blame"]
    assert figure["layout"]["yaxis"]["ticktext"][-2:] == ["discharge_pressure", "flow"]
    assert unpack(figure["data"][0]["x"])[-1] > 30


def test_the_size_does_not_grow_with_the_rows(page):
    many = make_report(make_report_input(num_rows=150_000))
    assert len(many) < len(page) + 300_000
    for key, figure in read_figures(many).items():
        for trace in figure["data"]:
            if trace["type"] == "scatter" and trace.get("fill") is None:
                assert unpack(trace["x"]).size <= report_data.MAX_POINTS, key


def test_names_are_shown_and_harmless(report):
    page = make_report(rename_sensors(make_report_input(assets=EVIL[:3]), EVIL))
    found = _Tags(page)
    assert {tag for tag, _ in found.tags if tag in ("img", "b", "i", "u")} == set()
    assert all(attrs.get("type") == "application/json" for t, attrs in found.tags if t == "script")
    assert not any(name.startswith("on") for _, attrs in found.tags for name in attrs)
    for name in EVIL[:-2]:
        assert name in found.text
    assert "49" not in re.findall(r"\{\{.*?\}\}|49", found.text)
    labels = read_figures(page)["event-1-blame"]["layout"]["yaxis"]["ticktext"]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in labels
    assert "%{x}&#36;x^2&#36;" in labels


def test_the_page_allows_itself_two_scripts_and_no_network(page):
    policy = next(a["content"] for t, a in _Tags(page).tags if t == "meta" and "content" in a)
    assert policy.startswith("default-src 'none'")
    scripts = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    assert len(scripts) == 2
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    links = [
        a.get("href") or a.get("src") for _, a in _Tags(page).tags if "href" in a or "src" in a
    ]
    assert all(link.startswith(("#", "data:")) for link in links)


def test_a_provisional_threshold_is_shouted(report):
    calibration = make_calibration(
        provisional=True,
        budget_per_week=None,
        false_alarm_rate=0.01,
        expected_rate=0.01,
        rate_low=0.004,
        rate_high=0.02,
    )
    said = _Tags(make_report(replace(report, calibrations={"pump-07": calibration}))).text
    assert "PROVISIONAL THRESHOLD." in said
    assert "Asked for 1 % of normal steps above the threshold; 4.4 % are." in said
    assert "0.4 % to 2 %" in said


def test_several_assets_have_a_block_each():
    said = _Tags(make_report(make_report_input(num_rows=400, assets=("north", "south"))))
    keys = [attrs["id"] for tag, attrs in said.tags if attrs.get("class") == "plot"]
    assert {"score-1", "score-2", "sensor-1-1", "sensor-2-1"} <= set(keys)
    assert len(keys) == len(set(keys))
    assert "Event 1 on north" in said.text


def test_many_assets_and_events_are_cut_and_the_page_says_so():
    few = make_report_input(num_rows=60, assets=tuple(f"pump-{n:02d}" for n in range(14)))
    events = tuple(
        replace(event, start_us=event.start_us + n * STEP_US, severity="low")
        for n in range(10)
        for event in few.events
    )
    found = _Tags(make_report(replace(few, events=events)))
    assert "Drawn: 12 of 14 assets" in found.text
    assert "The 200 gravest of 280 alert events. The 20 gravest have charts below." in found.text
    assert sum(attrs.get("class") == "card event" for _, attrs in found.tags) == 20


def test_many_sensors_are_cut_and_the_page_says_so(report, monkeypatch):
    monkeypatch.setattr(report_page, "MAX_SENSORS", 3)
    assert "Drawn: the first 3 of 8 sensors." in _Tags(make_report(report)).text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without_events, "No alert event in this period."),
        (lambda r: replace(r, calibrations={}), "No calibration was recorded."),
        (lambda r: replace(r, health=(), baseline={}), "No health checks were recorded."),
        (lambda r: replace(r, health=r.health[:1]), "All checks passed."),
        (
            lambda r: replace(r, curves=TrainingCurves((), (), (), (), ())),
            "No training curves were recorded.",
        ),
        (lambda r: with_state(r, "unscorable"), "No row of this asset could be scored."),
        (lambda r: take(r, np.arange(0)), "No row has both a time and an asset."),
        (lambda r: take(without_events(r), np.arange(1)), "No alert event in 0 s."),
    ],
)
def test_what_is_not_there_is_said(report, change, words):
    assert words in _Tags(make_report(change(report))).text


def test_health_is_named_as_on_the_command_line(report):
    check = HealthCheck("gain_over_pca_nats", 1.0, "above 0", True, "A figure.")
    page = make_report(replace(report, health=(check,)))
    assert '<th scope="row">gain over PCA, nats</th>' in page


def test_rows_without_a_time_or_an_asset_are_not_drawn(report):
    times, codes = report.readings.timestamps.copy(), report.readings.asset_codes.copy()
    times[:5], codes[5:9] = NO_TIME, -1
    readings = replace(report.readings, timestamps=times, asset_codes=codes)
    (asset,) = report_data.split_assets(readings, report.scores)
    assert asset.rows[0] == 9
    assert "2024-03-01 00:05:00" in make_report(replace(report, readings=readings))


def test_an_event_of_an_unknown_asset_or_time_or_sensor_is_listed(report):
    first = report.events[0]
    strangers = (
        replace(first, asset="elsewhere"),
        replace(first, start_us=0, end_us=STEP_US),
        replace(first, top_sensors=("gone",), severity="unheard of"),
        replace(first, top_sensors=(), top_shares=()),
    )
    found = _Tags(make_report(replace(report, events=strangers)))
    assert sum(attrs.get("class") == "card event" for _, attrs in found.tags) == 3
    assert "elsewhere" in found.text


def test_the_page_is_written_whole_and_nothing_else(report, page, tmp_path):
    file = write_report(report, tmp_path / "new" / "report.html")
    assert file.read_bytes().decode("utf-8") == page
    write_report(report, file)
    assert [entry.name for entry in file.parent.iterdir()] == ["report.html"]


def test_a_file_that_cannot_be_written_is_a_clear_error(report, tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(ReportError, match=r"Cannot write the report to '.*folder': .*\. Choose"):
        write_report(report, tmp_path / "folder")
    (tmp_path / "file").touch()
    with pytest.raises(ReportError, match="Cannot write the report"):
        write_report(report, tmp_path / "file" / "report.html")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "folder"]


def test_parts_that_do_not_fit_together_are_a_clear_error(report):
    with pytest.raises(
        ReportError, match=r"expected as many scores .* got 7 scores of 4,000 rows"
    ):
        make_report(replace(report, scores=report.scores.slice(0, 7)))
    with pytest.raises(ReportError, match=r"expected sigma of shape \(4000, 8\), got \(4000, 1\)"):
        make_report(replace(report, sigma=report.sigma[:, :1]))


def test_scores_may_lack_contributions_and_an_asset_column(report):
    scores = make_scores(report.readings, np.zeros((4000, 8)), kl=np.ones(4000)).drop_columns(
        ["asset", "label_anomaly"]
    )
    empty = pa.array([{}] * 4000, pa.struct([]))
    scores = scores.set_column(scores.column_names.index("contribution"), "contribution", empty)
    assert "event-1-blame" not in read_figures(make_report(replace(report, scores=scores)))


def test_importing_the_report_loads_neither_plotly_nor_jinja():
    code = (
        "import sys, vae_anomaly.operations.report; "
        "print({'plotly', 'jinja2', 'mlflow', 'keras', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
