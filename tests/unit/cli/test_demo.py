import json
import tomllib

import numpy as np
import pyarrow.parquet as pq
import pytest

from vae_anomaly.cli import demo
from vae_anomaly.cli.demo_outcome import DemoOutcome, describe_false_alarms, name_planted
from vae_anomaly.config import PipelineConfig, make_config, read_pipeline_config
from vae_anomaly.domain import AlertEvent
from vae_anomaly.errors import TableError

HOUR_US = 3_600_000_000


def test_the_settings_of_the_demo_keep_everything_in_its_folder(tmp_path):
    file = tmp_path / "pipeline.toml"
    file.write_text(demo.make_demo_settings())
    config = read_pipeline_config(file)
    for place in (config.source, config.report, config.lake.root, config.registry.folder):
        assert place.startswith(str(tmp_path))


def test_the_settings_of_the_demo_say_what_is_special_about_the_sample():
    content = tomllib.loads(demo.make_demo_settings())
    config = make_config(PipelineConfig, content, origin="the demo")
    assert config.detector.threshold.alert_budget_per_week == 2.0
    assert config.detector.readings.sentinels == (-9999.0,)
    assert config.detector.readings.units["flow"] == "m3/s"
    assert config.training.end == demo.NORMAL_UNTIL


def test_the_normal_period_of_the_sample_ends_where_its_faults_begin():
    tables = [pq.read_table(file) for file in sorted(demo.SAMPLE.glob("*.parquet"))]
    starts = [
        time.isoformat().replace("+00:00", "Z")
        for table in tables
        for time, label in zip(
            table["timestamp"].to_pylist(), table["label_anomaly"].to_pylist(), strict=True
        )
        if label
    ]
    assert min(starts) > demo.NORMAL_UNTIL


def test_sample_files_are_put_once(tmp_path):
    demo.put_files(tmp_path)
    files = sorted((tmp_path / "raw").iterdir())
    assert [file.name for file in files] == sorted(
        file.name for file in demo.SAMPLE.glob("*.parquet")
    )
    before = [file.stat().st_mtime_ns for file in files]
    demo.put_files(tmp_path)
    assert [file.stat().st_mtime_ns for file in files] == before


def test_the_demo_of_another_sample_is_not_mixed_with_this_one(tmp_path):
    demo.put_files(tmp_path)
    file = sorted((tmp_path / "raw").iterdir())[0]
    file.write_bytes(file.read_bytes() + b"older")
    with pytest.raises(TableError, match="Delete the folder, or give --folder another one"):
        demo.put_files(tmp_path)


def test_without_a_checkout_the_sample_is_simulated(tmp_path, monkeypatch):
    expected = sorted(file.name for file in demo.SAMPLE.glob("*.parquet"))
    monkeypatch.setattr(demo, "SAMPLE", tmp_path / "none")
    demo.put_files(tmp_path)
    demo.put_files(tmp_path)
    assert sorted(file.name for file in (tmp_path / "raw").iterdir()) == expected


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "demo").touch()
    with pytest.raises(TableError, match="Give --folder a folder that can be written"):
        demo.put_files(tmp_path / "demo")


def test_a_demo_that_was_touched_is_not_finished(tmp_path):
    file, state = tmp_path / "finished.json", {"readings": 3, "files": {"a": [1, 2]}}
    assert demo.read_finished(file, state) is None
    file.write_text("{")
    assert demo.read_finished(file, state) is None
    file.write_text(json.dumps({"model_version": "4", "state": state}))
    assert demo.read_finished(file, state) == "4"
    assert demo.read_finished(file, {**state, "readings": 4}) is None


@pytest.mark.parametrize(
    ("start_h", "words"), [(2, "drift, step"), (5, "step"), (8, "just after step")]
)
def test_an_event_is_told_what_was_planted_there_or_just_before(start_h, words):
    times = np.arange(12) * HOUR_US
    kinds = np.array([""] * 3 + ["drift"] + ["step"] * 4 + [""] * 4, dtype=object)
    event = AlertEvent(
        alert_id="a", asset="a", start_us=start_h * HOUR_US, end_us=(start_h + 3) * HOUR_US,
        peak_us=0, peak_score=2.0, threshold=1.0, num_steps=3, top_sensors=(), top_shares=(),
        severity="low",
    )  # fmt: skip
    assert name_planted(event, times, kinds, late_s=3600.0) == words


@pytest.mark.parametrize(
    ("budget", "words"),
    [(2.0, "2 in the 14.0 days scored; the budget of 2 a week allows about 4.0."), (None, "2 in")],
)
def test_false_alarms_are_held_against_the_budget(tmp_path, budget, words):
    outcome = DemoOutcome(
        events=(), planted=(), kinds=(), num_false=2, budget_per_week=budget, num_rows=10,
        duration_s=14 * 86_400.0, report=tmp_path,
    )  # fmt: skip
    assert words in describe_false_alarms(outcome)
