import math
import re
import tomllib

import pytest

from vae_anomaly.cli.template import NO_DEFAULT, make_template
from vae_anomaly.config import (
    ChannelConfig,
    DetectorConfig,
    LakeConfig,
    NotifyConfig,
    PipelineConfig,
    ReadingsConfig,
    RulesConfig,
    ThresholdConfig,
    TrainingPeriod,
    make_config,
)


def parse(text):
    return make_config(PipelineConfig, tomllib.loads(text), origin="the test")


def test_what_is_written_parses_to_the_defaults():
    assert parse(make_template()) == PipelineConfig()


def test_it_ends_with_the_end_of_a_line():
    text = make_template()
    assert text.endswith("\n")
    assert not text.endswith("\n\n")


def test_every_setting_stands_in_it_with_its_default():
    uncommented = re.sub(r"^#(?=\w)", "", make_template(), flags=re.MULTILINE)
    lines = [line for line in uncommented.splitlines() if not line.endswith(NO_DEFAULT)]
    content = tomllib.loads("\n".join(lines))
    expected = PipelineConfig().model_dump(mode="json", exclude_none=True)
    assert content == expected


def test_settings_without_a_default_are_named():
    text = make_template()
    for name in ("period_s", "latent", "alert_budget_per_week"):
        assert re.search(rf"^#{name} = ", text, flags=re.MULTILINE)


def test_every_line_has_its_meaning_before_it():
    text = make_template()
    assert "# Seconds between ticks; inferred (median step) where not given.\n#period_s" in text
    assert max(map(len, text.splitlines())) < 100


@pytest.mark.parametrize("name", ['Größe "°C"', "a\\b", "[x]\n#"])
def test_chosen_settings_read_back_whatever_their_names(name):
    config = PipelineConfig(
        source="raw",
        seed=7,
        detector=DetectorConfig(
            preset="question",
            readings=ReadingsConfig(sentinels=(-9999.0,), units={name: "m3/s"}, period_s=0.5),
            threshold=ThresholdConfig(alert_budget_per_week=2.0, provisional=True),
            rules=RulesConfig(ranges={name: (-math.inf, 5.0)}, max_changes={name: 0.5}),
        ),
        lake=LakeConfig(root="lake"),
        training=TrainingPeriod(end="2026-01-30T00:00:00Z"),
    )
    assert parse(make_template(config)) == config


def test_channels_read_back():
    channel = ChannelConfig(kind="apprise", url_env="A", template="'\"x\n", assets=("a b",))
    config = PipelineConfig(notify=NotifyConfig(channels={"duty": channel}))
    assert parse(make_template(config)) == config
