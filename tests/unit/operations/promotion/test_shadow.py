"""A period scored by another version beside the champion."""

import pyarrow.compute as pc
import pytest

from tests.pipelines import END
from tests.promotions import CHAMPION_VERSION, FAULTY, GOOD, LOUD
from vae_anomaly.errors import TableError
from vae_anomaly.operations import pipeline
from vae_anomaly.operations.promotion.shadow import compare_scores
from vae_anomaly.readings.tables import Lake

DAY_US = 86_400_000_000
END_US = int(END.timestamp() * 1e6)


def count_readings(config, start_us, end_us=None):
    return Lake(config.lake.root).read_readings(start_us=start_us, end_us=end_us).num_rows


def count_scores(config):
    scores = Lake(config.lake.root).read_scores()
    return {
        version: pc.sum(pc.equal(scores["model_version"], version)).as_py() or 0
        for version in (CHAMPION_VERSION, GOOD, LOUD, FAULTY)
    }


def test_what_would_change_is_counted_and_nobody_is_called(line):
    result = compare_scores(line, LOUD)
    assert (result.champion, result.version) == (CHAMPION_VERSION, LOUD)
    num_steps = count_readings(line, END_US)
    assert result.num_steps == num_steps > 1000
    assert sum(sum(row.values()) for row in result.states.values()) == num_steps
    assert result.num_champion == len(result.both) + len(result.only_champion)
    assert result.num_version > result.num_champion >= 1
    assert result.only_version
    assert 0 < result.agreement < 1
    assert result.find_rate(result.num_version) == pytest.approx(
        result.num_version / (num_steps * 120 / 604_800)
    )
    assert Lake(line.lake.root).read_alerts().num_rows == 0
    scored = count_scores(line)
    assert (scored[CHAMPION_VERSION], scored[LOUD], scored[GOOD]) == (num_steps, num_steps, 0)


def test_the_alert_events_of_the_champion_stay_as_they_are(line):
    pipeline.score_readings(line)
    lake = Lake(line.lake.root)
    before = lake.read_alerts()
    version = lake.read_scores()
    result = compare_scores(line, FAULTY)
    assert lake.read_alerts().equals(before)
    assert result.num_champion == before.num_rows
    assert len(result.only_champion) == before.num_rows
    kept = lake.read_scores(model_version=CHAMPION_VERSION)
    assert kept.equals(version)


def test_a_version_beside_itself_changes_nothing(line):
    result = compare_scores(line, CHAMPION_VERSION)
    assert result.agreement == 1.0
    assert not result.only_champion
    assert not result.only_version
    assert len(result.both) == result.num_champion == result.num_version


def test_a_chosen_period_is_scored_and_no_more(line):
    start_us = END_US + DAY_US
    end_us = start_us + DAY_US // 2
    result = compare_scores(line, GOOD, start_us=start_us, end_us=end_us)
    num_steps = count_readings(line, start_us, end_us)
    assert result.num_steps == num_steps > 300
    assert start_us <= result.start_us < result.end_us < end_us
    assert count_scores(line)[GOOD] == num_steps
    # scoring it all the same later on ends as if nothing had been there
    pipeline.score_readings(line, reference=GOOD)
    assert count_scores(line)[GOOD] == count_readings(line, END_US)


def test_the_period_begins_where_scoring_does(line):
    assert compare_scores(line, GOOD, start_us=END_US - 3 * DAY_US).start_us == END_US


def test_a_period_without_readings_is_refused(line):
    with pytest.raises(TableError, match=r"expected readings in the period.* --start and --end"):
        compare_scores(line, GOOD, start_us=END_US + 90 * DAY_US)
