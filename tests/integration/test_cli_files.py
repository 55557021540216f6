"""The commands on files, run as a person runs them: check, fit, score, evaluate, report."""

import contextlib
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import make_plant
from vae_anomaly.cli import main
from vae_anomaly.cli.template import make_template
from vae_anomaly.config import PipelineConfig
from vae_anomaly.errors import TrainingError

pytestmark = pytest.mark.integration

FAULT = slice(300, 340)


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def content(self):
        return json.loads(self.out)


def run(*arguments) -> Outcome:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(argument) for argument in arguments])
    return Outcome(code, out.getvalue(), err.getvalue())


def label(table: pa.Table) -> pa.Table:
    anomalous = np.zeros(table.num_rows, dtype=np.int64)
    anomalous[FAULT] = 1
    kinds = pa.array(np.where(anomalous, "step", "")).dictionary_encode()
    table = table.append_column("label_anomaly", pa.array(anomalous))
    return table.append_column("label_kind", kinds)


def break_sensor(table: pa.Table) -> pa.Table:
    name = "sensor 3 (unit)"
    values = table[name].to_numpy().copy()
    values[FAULT] += 20 * values.std()
    return table.set_column(table.column_names.index(name), name, pa.array(values))


@pytest.fixture(scope="session")
def work(tmp_path_factory, quick_config) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    pq.write_table(make_plant(), folder / "normal.parquet")
    labelled = label(break_sensor(make_plant(600, seed=1)))
    pq.write_table(labelled, folder / "labelled.parquet")
    settings = make_template(PipelineConfig(detector=quick_config, seed=3))
    (folder / "pipeline.toml").write_text(settings)
    return folder


@pytest.fixture(scope="session")
def fitted(work) -> Outcome:
    outcome = run(
        "fit", work / "normal.parquet", "--out", work / "detector", "--config",
        work / "pipeline.toml",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    return outcome


@pytest.fixture(scope="session")
def scored(work, fitted) -> Outcome:
    outcome = run(
        "score", work / "labelled.parquet", "--detector", work / "detector",
        "--out", work / "scores.parquet",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    return outcome


def test_check_shows_rows_problems_and_sensors(work, tmp_path):
    table = make_plant(50)
    table = pa.concat_tables([table, table.slice(0, 1)])
    pq.write_table(table, tmp_path / "twice.parquet")
    outcome = run("check", tmp_path / "twice.parquet")
    assert outcome.code == 0
    assert "51, of them 50 usable, 1 duplicate, 0 to quarantine" in outcome.out
    assert "same asset and time as a row that is kept" in " ".join(outcome.out.split())
    assert "sensor 0 (unit)" in outcome.out
    assert max(map(len, outcome.out.splitlines())) <= 80
    assert outcome.err == ""


def test_check_prints_only_json_when_asked(work):
    outcome = run("check", work / "labelled.parquet", "--json", "--sensors", "sensor 0 (unit)")
    assert outcome.content["quality"]["num_rows"] == 600
    assert [sensor["name"] for sensor in outcome.content["contract"]["sensors"]] == [
        "sensor 0 (unit)"
    ]
    assert outcome.content["contract"]["ignored"]["label_kind"] == "label"


def test_check_takes_sentinels_from_the_command_line(tmp_path):
    table = make_plant(50)
    values = table.column(1).to_numpy().copy()
    values[10:13] = -9999
    table = table.set_column(1, table.column_names[1], pa.array(values))
    pq.write_table(table, tmp_path / "a.parquet")
    outcome = run("check", tmp_path / "a.parquet", "--sentinel", "-9999", "--json")
    assert outcome.content["quality"]["sensors"][0]["num_sentinel"] == 3


def test_check_of_two_files_reads_both(work, tmp_path):
    outcome = run("check", work / "normal.parquet", work / "labelled.parquet", "--json")
    assert outcome.content["quality"]["num_rows"] == 1800


def test_fit_sums_up_what_was_fitted(fitted, work):
    assert "Fitted on 1,200 rows; threshold set on 360 rows by a fit that had left" in fitted.out
    assert "5 continuous" in fitted.out
    assert "Flat lines: looked for in 5 of 5 sensors" in fitted.out
    assert "VAE" in fitted.out
    assert "PCA" in fitted.out
    assert "1 % of normal steps" in fitted.out
    assert "active units" in fitted.out
    assert fitted.err == ""
    assert (work / "detector" / "detector.json").is_file()


def test_fit_takes_the_seed_of_the_settings(fitted, work):
    record = json.loads((work / "detector" / "detector.json").read_text())
    assert record["facts"]["seed"] == 3


def test_fit_shouts_when_the_threshold_is_provisional(work, tmp_path):
    outcome = run(
        "fit", work / "normal.parquet", "--out", tmp_path / "detector", "--config",
        work / "pipeline.toml", "--budget", "1", "--provisional", "--seed", "0",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "PROVISIONAL" in outcome.out
    assert "1 a week for each asset" in outcome.out


def test_fit_notes_a_suspected_sentinel_before_it_trains(work, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise TrainingError("Cannot train a detector: that is for another test.")

    monkeypatch.setattr("vae_anomaly.detector.detector.Detector.fit_checked", refuse)
    name, table = "sensor 3 (unit)", make_plant()
    values = table[name].to_numpy().copy()
    values[::40] = -9_999_999
    table = table.set_column(table.column_names.index(name), name, pa.array(values))
    pq.write_table(table, tmp_path / "normal.parquet")
    command = ("fit", tmp_path / "normal.parquet", "--out", tmp_path / "detector")
    outcome = run(*command)
    assert outcome.code == 1
    assert outcome.out.startswith(f"note: -9999999 looks like a sentinel, in {name}.")
    assert run(*command, "--json").out == ""


def test_fit_prints_only_json_when_asked(work, tmp_path):
    outcome = run(
        "fit", work / "normal.parquet", "--out", tmp_path / "detector", "--config",
        work / "pipeline.toml", "--calibration", work / "labelled.parquet", "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert outcome.content["num_rows"] == 1200
    assert outcome.content["num_held_out"] == 600
    assert outcome.content["is_provisional"] in (True, False)
    assert outcome.content["sensors"] == {"continuous": 5}
    assert outcome.content["notes"] == []
    assert set(outcome.content["flat_line_steps"].values()) == {20}


def test_score_gives_one_row_for_each_row_with_its_labels(scored, work):
    scores, raw = pq.read_table(work / "scores.parquet"), pq.read_table(work / "labelled.parquet")
    assert scores.num_rows == raw.num_rows
    assert scores["timestamp"].cast("int64").equals(raw["timestamp"].cast("int64"))
    assert scores["label_anomaly"].equals(raw["label_anomaly"])
    assert set(scores["label_kind"].to_pylist()) == {"", "step"}
    assert set(scores["state"].to_pylist()) <= {"ok", "anomalous", "unscorable"}
    metadata = pq.ParquetFile(work / "scores.parquet").metadata
    assert metadata.row_group(0).column(0).compression == "ZSTD"


def test_score_prints_states_and_alert_events(scored):
    assert "anomalous" in scored.out
    assert "sensor 3 (unit)" in scored.out
    assert "600 rows written to" in scored.out
    assert scored.err == ""


def test_score_leaves_no_draft_behind(scored, work):
    assert [file for file in work.iterdir() if file.suffix == ".tmp"] == []


def test_score_notes_columns_that_the_detector_does_not_know(fitted, work, tmp_path):
    table = make_plant(60).append_column("brand [red]new[/red]", pa.array(range(60)))
    pq.write_table(table, tmp_path / "more.parquet")
    outcome = run(
        "score", tmp_path / "more.parquet", "--detector", work / "detector", "--out",
        tmp_path / "scores.parquet",
    )  # fmt: skip
    assert "columns the contract does not know are left out" in outcome.out
    assert "[red]new[/red]" in outcome.out


def test_several_assets_in_one_are_refused_with_the_option_to_give(tmp_path):
    pumps = [make_plant(200, seed=seed) for seed in (0, 1)]
    both = pa.concat_tables(
        [one.append_column("pump", pa.array([f"P-{i}"] * 200)) for i, one in enumerate(pumps)]
    )
    pq.write_table(both, tmp_path / "both.parquet")
    refused = run("check", tmp_path / "both.parquet")
    assert refused.code == 1
    assert "one of ('pump',)? Then name it: --asset" in " ".join(refused.err.split())
    assert "got 50 % of the rows" in " ".join(refused.err.split())
    misspelt = run("check", tmp_path / "both.parquet", "--asset", "pmp")
    assert misspelt.code == 1
    assert "did you mean 'pump'?" in " ".join(misspelt.err.split())
    told = run("check", tmp_path / "both.parquet", "--asset", "pump", "--json")
    assert told.content["quality"]["num_assets"] == 2
    assert told.content["quality"]["num_usable"] == 400


def test_fit_takes_the_names_of_time_and_asset(work, tmp_path):
    table = make_plant(400).append_column("pump", pa.array(["P-1"] * 400))
    names = ["when" if name == "timestamp" else name for name in table.column_names]
    pq.write_table(table.rename_columns(names), tmp_path / "fit.parquet")
    other = table.set_column(table.column_names.index("pump"), "pump", pa.array(["P-2"] * 400))
    pq.write_table(other.rename_columns(names), tmp_path / "other.parquet")
    fitted = run(
        "fit", tmp_path / "fit.parquet", "--out", tmp_path / "d", "--timestamp", "when",
        "--asset", "pump", "--config", work / "pipeline.toml",
    )  # fmt: skip
    assert fitted.code == 0, fitted.err
    scored = run(
        "score", tmp_path / "other.parquet", "--detector", tmp_path / "d", "--out",
        tmp_path / "s.parquet",
    )  # fmt: skip
    note = "assets without a threshold of their own have the lowest, that of 'P-1': P-2"
    assert note in " ".join(scored.out.split())


def test_fit_notes_names_in_the_settings_without_a_column(work, tmp_path):
    settings = (work / "pipeline.toml").read_text()
    typo = settings.replace("#units = {}", 'units = { "Tmp" = "°F" }')
    assert typo != settings
    (tmp_path / "pipeline.toml").write_text(typo, encoding="utf-8")
    outcome = run(
        "fit", work / "normal.parquet", "--out", tmp_path / "d", "--config",
        tmp_path / "pipeline.toml",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    note = "note: units in the settings of the readings names 'Tmp', which is no column"
    assert note in " ".join(outcome.out.split())


def test_score_prints_only_json_when_asked(fitted, work, tmp_path):
    outcome = run(
        "score", work / "labelled.parquet", "--detector", work / "detector", "--out",
        tmp_path / "scores.parquet", "--json",
    )  # fmt: skip
    assert sum(outcome.content["states"].values()) == outcome.content["num_rows"] == 600
    event = outcome.content["events"][0]
    assert event["start"].endswith("Z")
    assert outcome.err == ""


def test_score_fills_labels_of_files_without_them_with_null(fitted, work, tmp_path):
    pq.write_table(make_plant(60), tmp_path / "a.parquet")
    pq.write_table(label(make_plant(400)).slice(60), tmp_path / "b.parquet")
    out = tmp_path / "scores.parquet"
    outcome = run(
        "score", tmp_path / "a.parquet", tmp_path / "b.parquet", "--detector",
        work / "detector", "--out", out,
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    labels = pq.read_table(out)["label_anomaly"]
    assert labels.null_count == 60
    assert len(labels) == 400


def test_score_never_overwrites_its_input(fitted, work):
    outcome = run(
        "score", work / "labelled.parquet", "--detector", work / "detector", "--out",
        work / "labelled.parquet",
    )  # fmt: skip
    assert outcome.code == 1
    assert "raw readings are never changed" in outcome.err


def test_score_into_a_folder_says_to_name_a_file(fitted, work, tmp_path):
    outcome = run(
        "score", work / "labelled.parquet", "--detector", work / "detector", "--out", tmp_path
    )
    assert outcome.code == 1
    assert "expected a file, got a folder" in outcome.err


def test_score_says_where_it_cannot_write(fitted, work):
    outcome = run(
        "score", work / "labelled.parquet", "--detector", work / "detector", "--out",
        work / "normal.parquet" / "scores.parquet",
    )  # fmt: skip
    assert outcome.code == 1
    assert "Choose a file in a folder that can be written" in outcome.err


def test_labels_of_different_types_are_refused(fitted, work, tmp_path):
    table = make_plant(60)
    for name, labels in (("a", [1] * 60), ("b", ["x"] * 60)):
        pq.write_table(
            table.append_column("label_x", pa.array(labels)), tmp_path / f"{name}.parquet"
        )
    outcome = run(
        "score", tmp_path / "a.parquet", tmp_path / "b.parquet", "--detector",
        work / "detector", "--out", tmp_path / "scores.parquet",
    )  # fmt: skip
    assert outcome.code == 1
    assert "Give files whose columns have one type" in outcome.err


def test_evaluate_reads_a_scores_file(scored, work):
    outcome = run("evaluate", work / "scores.parquet")
    assert outcome.code == 0, outcome.err
    assert "1 labelled anomaly, 40 of 600 labelled rows" in outcome.out
    assert "VUS-PR" in outcome.out
    assert "runs of flagged rows" in outcome.out


def test_evaluate_of_scores_and_of_readings_agree(scored, work):
    detector = ("--detector", work / "detector", "--json")
    of_scores = run("evaluate", work / "scores.parquet", *detector).content
    of_readings = run("evaluate", work / "labelled.parquet", *detector).content
    assert of_scores == of_readings
    assert of_scores["event_recall"] == 1.0
    assert of_scores["pr_auc"] > 0.9


def test_evaluate_takes_other_names_of_time_and_asset(fitted, work, tmp_path):
    names = {"timestamp": "when"}
    table = pq.read_table(work / "scores.parquet")
    table = table.rename_columns([names.get(name, name) for name in table.column_names])
    pq.write_table(table, tmp_path / "scores.parquet")
    outcome = run("evaluate", tmp_path / "scores.parquet", "--json")
    assert outcome.content["event_recall"] == 1.0


@pytest.mark.parametrize(
    ("source", "label", "message"),
    [
        ("scores.parquet", "label_anomly", "--label; did you mean 'label_anomaly'?"),
        ("scores.parquet", "xyz", "Name the column with --label."),
        ("labelled.parquet", "xyz", "('label_anomaly', 'label_kind'). Name the column with --la"),
        ("labelled.parquet", "sensor 1 (unit)", "Rename it to 'label_sensor 1 (unit)'"),
    ],
)
def test_evaluate_names_its_option_where_the_labels_are_missing(
    scored, work, tmp_path, source, label, message
):
    table = pq.read_table(work / source)
    if source == "scores.parquet":
        names = ["when" if name == "timestamp" else name for name in table.column_names]
        table = table.rename_columns(names)
    pq.write_table(table, tmp_path / source)
    detector = () if source == "scores.parquet" else ("--detector", work / "detector")
    outcome = run("evaluate", tmp_path / source, *detector, "--label", label)
    assert outcome.code == 1
    err = " ".join(outcome.err.split())
    assert f"expected a column of labels '{label}', got columns" in err
    assert message in err
    assert "'timestamp'" not in err
    assert "labels=" not in err


def test_evaluate_asks_for_a_detector_where_two_columns_hold_times(scored, work, tmp_path):
    table = pq.read_table(work / "scores.parquet")
    table = table.rename_columns(
        ["when" if name == "timestamp" else name for name in table.column_names]
    )
    pq.write_table(table.append_column("taken", table["when"]), tmp_path / "scores.parquet")
    outcome = run("evaluate", tmp_path / "scores.parquet")
    assert outcome.code == 1
    assert "expected one column of times, got 'when', 'taken'. Give --detector" in outcome.err


def test_evaluate_of_raw_readings_asks_for_a_detector(work):
    outcome = run("evaluate", work / "labelled.parquet")
    assert outcome.code == 1
    assert "got columns ('timestamp', 'sensor 0 (unit)', " in outcome.err
    assert "Give --detector to score them" in outcome.err


def test_evaluate_of_half_a_scores_file_says_what_is_missing(scored, work, tmp_path):
    table = pq.read_table(work / "scores.parquet")
    pq.write_table(table.drop_columns(["reason"]), tmp_path / "part.parquet")
    outcome = run("evaluate", tmp_path / "part.parquet", "--detector", work / "detector")
    assert outcome.code == 1
    assert "expected the scores of this detector, got columns ('timestamp', " in outcome.err
    assert "; missing ('reason',). Give the whole table" in outcome.err
    assert run("evaluate", tmp_path / "part.parquet").code == 0


def test_evaluate_without_labels_says_so(fitted, work):
    outcome = run("evaluate", work / "normal.parquet", "--detector", work / "detector")
    assert outcome.code == 1
    assert "expected a column of labels 'label_anomaly'" in outcome.err


def test_report_of_files_is_one_page(fitted, work, tmp_path):
    out = tmp_path / "report.html"
    outcome = run(
        "report", work / "labelled.parquet", "--detector", work / "detector", "--out", out
    )
    assert outcome.code == 0, outcome.err
    assert "Report of 600 rows" in outcome.out
    page = out.read_text(encoding="utf-8")
    assert "labelled.parquet" in page
    assert "(not registered)" in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("check", "{work}/nothing.parquet"), "nothing.parquet"),
        (("check", "{work}/pipeline.toml"), "expected a Parquet file"),
        (("check", "{work}/normal.parquet", "--sensors", "nope"), "none of them, but col"),
        (("check", "{work}/normal.parquet", "--config", "{work}/no.toml"), "vae-anomaly init"),
        (("fit", "{work}/no.parquet", "--out", "{work}/d2"), "no.parquet"),
        (("fit", "{work}/normal.parquet", "--out", "{work}"), "Choose another folder"),
        (
            ("fit", "{work}/normal.parquet", "--out", "{work}/d2", "--budget", "-1"),
            "a number above 0, got -1",
        ),
        (("fit", "{work}/normal.parquet", "--out", "{work}/d2", "--seed", "-1"), "0 or more, got"),
        (
            ("fit", "{work}/normal.parquet", "--out", "{work}/d2", "--budget", "1"),
            "with --provisional, or provisional = true in the settings.",
        ),
        (
            ("score", "{work}/normal.parquet", "--detector", "{work}", "--out", "{work}/s"),
            "expected a folder with 'detector.json'",
        ),
        (("models", "--config", "{work}/no.toml"), "vae-anomaly init"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_message(work, arguments, message):
    outcome = run(*(text.format(work=work) for text in arguments))
    assert outcome.code == 1
    assert outcome.err.startswith("error: Cannot ")
    assert message in outcome.err
    assert "Traceback" not in outcome.err
    assert outcome.out == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nope",), 'Unknown command "nope"'),
        (("fit",), "vae-anomaly fit --help"),
        (("fit", "a", "--out", "b", "--preset", "large"), "Choose from"),
        (("check", "a", "--colour"), "Unknown option"),
        (("report", "a.parquet"), "Give PATH and --detector"),
        (("run", "dance"), "dance"),
    ],
)
def test_wrong_usage_exits_with_two(arguments, message):
    outcome = run(*arguments)
    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.out == ""


def test_debug_shows_where_a_failure_came_from(work):
    outcome = run("check", work / "nothing.parquet", "--debug")
    assert outcome.code == 1
    assert "Traceback" in outcome.err


def test_the_installed_command_prints_json_and_nothing_else(work):
    environment = {**os.environ, "COLUMNS": "80"}
    command = [Path(sys.executable).with_name("vae-anomaly"), "check", "--json"]
    result = subprocess.run(
        [*command, work / "normal.parquet"],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert result.returncode == 0
    assert result.stderr == ""
    assert json.loads(result.stdout)["quality"]["num_rows"] == 1200


def test_the_installed_command_fits_without_a_word_on_stderr(work, tmp_path):
    command = [Path(sys.executable).with_name("vae-anomaly"), "fit", work / "normal.parquet"]
    result = subprocess.run(
        [*command, "--config", work / "pipeline.toml", "--out", tmp_path / "d"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
