"""The figures of a run."""

from dataclasses import replace

from vae_anomaly.domain import Calibration
from vae_anomaly.operations.run_figures import (
    MAX_ASSETS,
    draw_calibration,
    draw_training,
    make_figure_page,
    make_run_figures,
)


def test_the_page_holds_every_figure_and_all_it_needs(detector):
    figures = make_run_figures(detector.record)
    page = make_figure_page(figures, title="Detector")
    assert page.count('class="plotly-graph-div"') == len(figures)
    assert "<script src" not in page
    assert "cdn.plot.ly" not in page.split("<body>")[1]


def test_a_plain_dict_is_a_figure_too():
    figure = {"data": [{"type": "bar", "x": [1], "y": [2]}], "layout": {}}
    assert "figure-0" in make_figure_page({"Mine": figure}, title="t")


def test_names_from_outside_are_escaped(detector):
    evil = "<script>alert(1)</script>"
    calibrations = {evil: next(iter(detector.record.calibrations.values()))}
    record = replace(detector.record, calibrations=calibrations)
    page = make_figure_page({evil: draw_calibration(record)}, title=evil)
    assert "alert(1)</script>" not in page


def test_training_without_held_out_rows_has_one_line_less(detector):
    record = detector.record
    bare = replace(record, curves=replace(record.curves, held_out_nll=()))
    assert len(draw_training(bare).data) == len(draw_training(record).data) - 1


def test_of_many_assets_those_with_the_highest_rates_are_drawn(detector):
    calibrations = {
        f"pump-{i}": Calibration("budget", 1.0, 1.0, None, i, i / 2, i * 2, 9, 9.0, 9.0, False)
        for i in range(MAX_ASSETS + 5)
    }
    figure = draw_calibration(replace(detector.record, calibrations=calibrations))
    assert len(figure.data[0].y) == MAX_ASSETS
    assert figure.data[0].y[0] == f"pump-{MAX_ASSETS + 4}"
    assert "alert events a week" in figure.layout.xaxis.title.text
