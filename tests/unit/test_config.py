import math
from pathlib import Path

import pytest
from pydantic import ValidationError

from vae_anomaly import ConfigError, DetectorConfig
from vae_anomaly.config import (
    AlertConfig,
    ModelConfig,
    PipelineConfig,
    ReadingsConfig,
    ThresholdConfig,
    make_config,
    parse_record,
    read_pipeline_config,
)
from vae_anomaly.domain import Contract, Sensor, SensorKind, SensorProfile

VARIABLES = ("SOURCE", "LAKE_ROOT", "TRACKING_URI")


@pytest.fixture(autouse=True)
def no_addresses_in_the_environment(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(f"VAE_ANOMALY_{name}", raising=False)


def write(folder: Path, text: str) -> Path:
    file = folder / "pipeline.toml"
    file.write_text(text, encoding="utf-8")
    return file


def refused(file: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        read_pipeline_config(file)
    return str(caught.value)


def test_an_empty_file_gives_the_defaults_below_its_own_folder(tmp_path):
    config = read_pipeline_config(write(tmp_path, ""))
    assert config.detector == DetectorConfig()
    assert config.source == str(tmp_path / "data/raw")
    assert config.report == str(tmp_path / "data/report.html")
    assert config.lake.root == str(tmp_path / "data/lake")
    assert config.registry.folder == str(tmp_path / "data/mlflow")
    assert config.registry.tracking_uri == ""
    assert config.seed == 0


def test_every_section_can_be_set(tmp_path):
    file = write(
        tmp_path,
        """
        source = "s3://bucket/raw/*.parquet"
        report = "/var/report.html"
        seed = 7
        [detector]
        preset = "question"
        [detector.readings]
        sensors = ["flow", "pressure (Pa)"]
        units = { flow = "l/min" }
        sentinels = [-999.0]
        [detector.model]
        learning_rate = 1e-3
        [detector.threshold]
        alert_budget_per_week = 2
        provisional = true
        [detector.alerts]
        min_steps = 5
        [lake]
        root = "s3://bucket/lake"
        [registry]
        tracking_uri = "http://mlflow:5000"
        [training]
        end = "2026-01-30T00:00:00Z"
        [schedule]
        train_every_s = 0
        """,
    )
    config = read_pipeline_config(str(file))
    assert config.source == "s3://bucket/raw/*.parquet"
    assert config.report == "/var/report.html"
    assert config.lake.root == "s3://bucket/lake"
    assert config.registry.tracking_uri == "http://mlflow:5000"
    assert config.detector.preset == "question"
    assert config.detector.readings.sensors == ("flow", "pressure (Pa)")
    assert config.detector.model.learning_rate == 1e-3
    assert config.detector.threshold.alert_budget_per_week == 2.0
    assert config.schedule.train_every_s == 0


def test_the_environment_sets_addresses_and_nothing_else(tmp_path, monkeypatch):
    file = write(tmp_path, 'source = "raw"\n[lake]\nroot = "lake"\n')
    monkeypatch.setenv("VAE_ANOMALY_SOURCE", "elsewhere")
    monkeypatch.setenv("VAE_ANOMALY_LAKE_ROOT", "/tables")
    monkeypatch.setenv("VAE_ANOMALY_TRACKING_URI", "http://mlflow:5000")
    monkeypatch.setenv("VAE_ANOMALY_SEED", "9")
    config = read_pipeline_config(file)
    assert config.source == str(tmp_path / "elsewhere")
    assert config.lake.root == "/tables"
    assert config.registry.tracking_uri == "http://mlflow:5000"
    assert config.seed == 0


def test_an_empty_variable_is_as_good_as_none(tmp_path, monkeypatch):
    monkeypatch.setenv("VAE_ANOMALY_SOURCE", "")
    assert read_pipeline_config(write(tmp_path, 'source = "raw"')).source.endswith("raw")


def test_a_section_that_is_no_table_is_refused_even_with_a_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("VAE_ANOMALY_LAKE_ROOT", "/tables")
    assert "'lake': expected a valid dictionary" in refused(write(tmp_path, 'lake = "x"'))


def test_a_missing_file_is_refused_with_the_command_that_writes_one(tmp_path):
    file = tmp_path / "pipeline.toml"
    assert refused(file) == (
        f"Cannot read settings from '{file}': no such file. Write one with 'vae-anomaly init'."
    )


@pytest.mark.parametrize("content", [b"source =", b"\xff\xfe", b"a = 1\na = 2"])
def test_what_is_not_toml_is_refused(tmp_path, content):
    file = tmp_path / "pipeline.toml"
    file.write_bytes(content)
    assert refused(file).startswith(f"Cannot read settings from '{file}': ")


def test_a_folder_is_no_settings_file(tmp_path):
    assert refused(tmp_path).startswith(f"Cannot read settings from '{tmp_path}': ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[detector.model]\nhiden = 3",
            "'detector.model.hiden': no such setting; did you mean 'detector.model.hidden'?",
        ),
        (
            "sentinel = 3",
            "'sentinel': no such setting; did you mean 'detector.readings.sentinels'?",
        ),
        ("xyzzy = 3", "'xyzzy': no such setting."),
    ],
)
def test_unknown_settings_are_refused_with_the_nearest_there_is(tmp_path, text, message):
    assert message in refused(write(tmp_path, text + "\n"))


def test_every_wrong_setting_is_named_at_once(tmp_path):
    text = refused(write(tmp_path, '[detector.model]\nwindow = 0\nlatent = "many"\n'))
    assert "'detector.model.window': expected a number greater than or equal to 1, got 0;" in text
    assert "'detector.model.latent': expected a valid integer" in text


def test_a_wrong_choice_is_refused_with_the_nearest_there_is(tmp_path):
    text = refused(write(tmp_path, '[detector.model.likelihoods]\nflow = "laplce"\n'))
    assert "'detector.model.likelihoods.flow': expected 'gaussian', 'student_t', " in text
    assert text.endswith("or 'categorical', got 'laplce'; did you mean 'laplace'?")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '[detector.model]\ncontext = "Fm_setpoint"',
            """model.context': expected a list, as in ["Fm_setpoint"], got 'Fm_setpoint'""",
        ),
        ('[detector.readings]\nsensors = "größe"', """expected a list, as in ["größe"], got"""),
        ('[detector.readings]\nignore = "a"', """expected a list, as in ["a"], got 'a'"""),
        ("[detector.readings]\nsentinels = -9999", "expected a list, as in [-9999], got -9999"),
        ("[detector.readings]\nignore = {}", "'detector.readings.ignore': expected a list."),
        (
            "[detector.rules.ranges]\npH = 7",
            "'detector.rules.ranges.pH': expected a list of two limits, as in [0.0, 14.0], got 7",
        ),
    ],
)
def test_what_is_no_list_is_refused_with_the_list_that_was_meant(tmp_path, text, message):
    assert message in refused(write(tmp_path, text + "\n"))


def test_limits_out_of_order_are_refused_with_what_was_given(tmp_path):
    text = refused(write(tmp_path, "[detector.rules.ranges]\npH = [9.0, 5.5]\n"))
    assert text.endswith(
        "'detector.rules': expected the lower limit of 'pH' before the upper one, got [9, 5.5]; "
        "write it first, as in [0.0, 14.0], with -inf or inf where there is no limit."
    )


def test_step_limits_out_of_order_are_refused(tmp_path):
    file = write(tmp_path, "[detector.model]\nmin_training_steps = 5\nmax_training_steps = 4\n")
    text = refused(file)
    assert "'detector.model': " in text
    assert "expected min_training_steps <= max_training_steps" in text


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (ReadingsConfig, {"period_s": 0}),
        (ReadingsConfig, {"period_s": math.inf}),
        (ReadingsConfig, {"gap_steps": 0}),
        (ModelConfig, {"learning_rate": math.nan}),
        (ModelConfig, {"window": 513}),
        (ModelConfig, {"floor_fraction": 0}),
        (ModelConfig, {"explained_variance": 1}),
        (ThresholdConfig, {"alert_budget_per_week": 0}),
        (ThresholdConfig, {"false_alarm_rate": 0.5}),
        (ThresholdConfig, {"calibration_share": 1}),
        (AlertConfig, {"release_fraction": 1.1}),
        (AlertConfig, {"top_sensors": 0}),
        (PipelineConfig, {"seed": -1}),
        (DetectorConfig, {"preset": "other"}),
    ],
)
def test_settings_out_of_range_are_refused(kind, content):
    with pytest.raises(ConfigError, match=r"^Cannot use the settings of 'test': '\w+': "):
        make_config(kind, content, origin="test")


def test_settings_that_are_no_table_are_refused():
    with pytest.raises(ConfigError, match="'settings': "):
        make_config(ModelConfig, 3, origin="test")  # type: ignore[arg-type]


def test_settings_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        ModelConfig().window = 3  # type: ignore[misc]


def test_records_are_built_from_plain_values():
    content = {
        "sensors": [{"name": "flow", "unit": None}],
        "period_s": 60,
        "timestamp": "t",
        "asset": None,
        "ignored": {"note": "text"},
    }
    assert parse_record(Contract, content) == Contract(
        (Sensor("flow"),), 60.0, "t", None, {"note": "text"}
    )


def test_text_stands_for_numbers_that_json_does_not_have():
    content = {
        "name": "flow",
        "kind": "empty",
        "unit": None,
        "missing_share": 1.0,
        "num_infinite": 0,
        "num_sentinel": 0,
        "minimum": "nan",
        "median": "-inf",
        "maximum": "inf",
        "step": 0.0,
        "longest_flat_steps": 0,
    }
    profile = parse_record(SensorProfile, content)
    assert profile.kind is SensorKind.EMPTY
    assert math.isnan(profile.minimum)
    assert (profile.median, profile.maximum) == (-math.inf, math.inf)


def test_records_with_missing_fields_are_refused():
    with pytest.raises(ValueError, match="period_s"):
        parse_record(Contract, {"sensors": []})


def test_a_latency_is_a_number_of_steps_over_which_the_score_is_smoothed():
    assert ThresholdConfig().latency_steps == 0
    assert ThresholdConfig(latency=20).latency_steps == 20
    with pytest.raises(ValueError, match="smoothing_steps of at least 2 with a latency"):
        ThresholdConfig(latency=20, smoothing_steps=1)


def test_rules_are_declared_per_sensor(tmp_path):
    text = """
        [detector.rules]
        flat_lines = false

        [detector.rules.ranges]
        flow = [0.0, 0.2]
        "tank level" = [-inf, 5]

        [detector.rules.max_changes]
        flow = 0.05
        """
    rules = read_pipeline_config(write(tmp_path, text)).detector.rules
    assert not rules.flat_lines
    assert rules.ranges == {"flow": (0.0, 0.2), "tank level": (-math.inf, 5.0)}
    assert rules.max_changes == {"flow": 0.05}


@pytest.mark.parametrize(
    "text",
    [
        "ranges = { flow = [2.0, 1.0] }",
        "ranges = { flow = [1.0, 1.0] }",
        "ranges = { flow = [nan, 1.0] }",
        "ranges = { flow = [1.0] }",
        "max_changes = { flow = 0.0 }",
        "max_changes = { flow = inf }",
    ],
)
def test_rules_that_make_no_sense_are_refused(tmp_path, text):
    assert "'detector.rules" in refused(write(tmp_path, f"[detector.rules]\n{text}"))


def test_a_likelihood_that_there_is_not_is_refused():
    settings = {"likelihoods": {"flow": "normal"}}
    with pytest.raises(ConfigError, match=r"'likelihoods\.flow': expected 'gaussian', 'stu"):
        make_config(ModelConfig, settings, origin="test")


WEBHOOK = """
[notify.channels.duty]
kind = "webhook"
url = "https://h.example/hook"
secret_env = "HOOK_SECRET"
"""


def read_channel(folder, *changes: tuple[str, str]):
    text = WEBHOOK
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return read_pipeline_config(write(folder, text)).notify.channels


def test_channels_are_read_by_name(tmp_path):
    (channel,) = read_channel(tmp_path).values()
    assert (channel.kind, channel.secret_env) == ("webhook", "HOOK_SECRET")
    assert PipelineConfig().notify.channels == {}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (('secret_env = "HOOK_SECRET"', ""), "expected secret_env: a webhook is always signed"),
        (('"HOOK_SECRET"', '"hunter2-pass"'), "name of an environment variable in secret_env"),
        (('url = "https://h.example/hook"', ""), "expected one of url and url_env"),
        (("https://h.example", "ftp://hunter2.example"), "an address that begins with https://"),
        (("https://h.example", "https://[hunter2"), "an address that begins with https://"),
        (("https://", "https://me:hunter2@"), "no user and password"),
        (('"webhook"', '"apprise"'), "expected url_env, and no url"),
        (("channels.duty", "channels.'a b'"), "letters, digits, - and _ in the name"),
        (('kind = "webhook"', 'kind = "webhook"\nwhat = ["resolved"]'), "'opened' in what"),
        (('kind = "webhook"', 'kind = "webhook"\nsecret = "hunter2"'), "no such setting"),
    ],
)
def test_channels_that_make_no_sense_are_refused_and_nothing_secret_is_shown(
    tmp_path, change, expected
):
    with pytest.raises(ConfigError) as caught:
        read_channel(tmp_path, change)
    assert expected in str(caught.value)
    assert "hunter2" not in f"{caught.value} {caught.value.__cause__}"
