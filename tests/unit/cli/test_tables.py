import math
from dataclasses import replace

import pytest

from vae_anomaly.cli import sensor_tables, tables
from vae_anomaly.domain import (
    AlertEvent,
    Calibration,
    HealthCheck,
    Quality,
    SensorKind,
    SensorProfile,
    SensorQuality,
)
from vae_anomaly.evaluation.evaluate import Evaluation
from vae_anomaly.operations.registry import DECISION_TAG, ModelVersion

HOUR_US = 3_600_000_000


@pytest.fixture(autouse=True)
def _width(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def printed(capsys):
    def read() -> str:
        out = capsys.readouterr().out
        assert max(map(len, out.splitlines()), default=0) <= 80
        return out

    return read


def make_event(
    start_h=0, *, asset="pump", sensors=("flow", "level"), shares=(0.9, 0.05), reasons=()
):
    return AlertEvent(
        alert_id="a", asset=asset, start_us=start_h * HOUR_US, end_us=(start_h + 2) * HOUR_US,
        peak_us=start_h * HOUR_US, peak_score=30.0, threshold=10.0, num_steps=5,
        top_sensors=sensors, top_shares=shares, severity="medium",
        reasons=reasons,
    )  # fmt: skip


def make_calibration(*, budget=2.0, provisional=False):
    return Calibration(
        method="m", threshold=3.25, budget_per_week=budget,
        false_alarm_rate=None if budget else 0.01, expected_rate=1.5 if budget else 0.01,
        rate_low=0.5 if budget else 0.005, rate_high=3.5 if budget else 0.02, num_steps=100,
        effective_steps=50.0, duration_s=86_400.0, provisional=provisional,
    )  # fmt: skip


def make_profile(name="flow", kind=SensorKind.CONTINUOUS, **changes):
    fields = {
        "unit": None, "missing_share": 0.0, "num_infinite": 0, "num_sentinel": 0,
        "minimum": 0.0, "median": 1.0, "maximum": 2.0, "step": 0.0, "longest_flat_steps": 1,
    }  # fmt: skip
    return SensorProfile(name=name, kind=kind, **{**fields, **changes})


def make_quality(**changes):
    fields = {
        "num_rows": 10, "num_usable": 8, "num_duplicates": 1, "num_quarantined": 1,
        "problems": {}, "num_out_of_order": 0, "num_gaps": 0, "longest_gap_s": math.nan,
        "period_s": 60.0, "irregular_share": 0.0, "first_us": 0, "last_us": 86_400_000_000,
        "num_assets": 1, "sensors": (make_profile(),), "notes": (),
    }  # fmt: skip
    return Quality(**{**fields, **changes})


def test_events_name_the_sensors_to_blame_with_shares_worth_a_line(printed):
    tables.print_events((make_event(),))
    out = printed()
    assert "1970-01-01 00:00" in out
    assert "2 h" in out
    assert "3.0 x" in out
    assert "flow 90%" in out
    assert "level" not in out
    assert "pump" not in out


def test_events_of_several_assets_name_them(printed):
    tables.print_events((make_event(), make_event(5, asset="fan")))
    assert "fan" in printed()


def test_events_without_sensors_to_blame_show_a_dash(printed):
    tables.print_events((make_event(sensors=(), shares=()),))
    assert "\N{EN DASH}" in printed()


def test_events_show_why_they_are_where_one_sensor_is_flagged_alone(printed):
    tables.print_events((make_event(),))
    assert "reason" not in printed()
    reasons = ("flat_line: motor_temperature", "shift: level")
    tables.print_events((make_event(reasons=reasons), make_event(5)))
    out = printed()
    assert "flat_line: motor_temperature" in out
    assert "shift: level" in out
    assert "the reason, where that sensor alone is flagged" in out


def test_planted_faults_stand_beside_the_events(printed):
    tables.print_events((make_event(),), planted=("cavitation",))
    out = printed()
    assert "cavitation" in out
    assert "3.0 x" not in out


def test_no_event_is_said_in_words(printed):
    tables.print_events(())
    assert "No alert event." in printed()


def test_very_many_events_are_cut(printed):
    tables.print_events([make_event(hour) for hour in range(40)])
    assert "... and 10 more" in printed()


def test_of_very_many_events_of_a_pipeline_the_latest_are_shown(printed):
    tables.print_latest_events([make_event(24 * day) for day in range(40)])
    out = printed()
    assert "40 alert events, the latest 30" in out
    assert "1970-02-09" in out
    assert "1970-01-10" not in out
    tables.print_latest_events([make_event()])
    assert "latest" not in printed()


def test_names_with_line_breaks_and_markup_stay_harmless(printed):
    tables.print_events((make_event(sensors=("a\n[red]b", "c"), shares=(0.5, 0.5)),))
    assert "a\\n[red]b 50%" in printed()


def test_thresholds_say_what_was_asked_for_and_what_to_expect(printed):
    tables.print_thresholds({"pump": make_calibration(), "fan": make_calibration(budget=None)})
    out = " ".join(printed().split())
    assert "2 a week for each" in out
    assert "1.5 a week" in out
    assert "0.5 to 3.5" in out
    assert "1 % of normal" in out
    assert "PROVISIONAL" not in out


def test_provisional_thresholds_are_shouted(printed):
    tables.print_thresholds({"pump": make_calibration(provisional=True)})
    out = " ".join(printed().split())
    assert "PROVISIONAL: 1 d of held-out readings of asset 'pump' are too little" in out


def test_a_provisional_threshold_says_how_much_would_do(printed):
    by_steps = make_calibration(budget=None, provisional=True)  # 50 of 100 steps in a day
    tables.print_thresholds({"pump": by_steps})
    assert "About 2 d of them would do" in " ".join(printed().split())
    tables.print_thresholds({"pump": make_calibration(budget=0.5, provisional=True)})
    assert "About 14 d of them would do" in " ".join(printed().split())


def test_starts_have_seconds_where_they_matter(printed):
    on_the_minute, later = make_event(0), replace(make_event(1), start_us=HOUR_US + 7_000_000)
    tables.print_events((on_the_minute,))
    assert "00:00 " in printed()
    tables.print_events((on_the_minute, later))
    assert "01:00:07" in printed()


def test_thresholds_of_very_many_assets_are_cut(printed):
    tables.print_thresholds({f"pump-{i:03}": make_calibration() for i in range(30)})
    assert "... and 10 more assets" in printed()


def test_failed_health_stands_out(printed):
    checks = (
        HealthCheck("active_units", 0.0, "at least 1", passed=False, meaning="Collapse."),
        HealthCheck("two_sigma_coverage", 0.95, "at least 0.8", passed=True, meaning="Fine."),
        HealthCheck("median_r_squared", math.nan, "", passed=True, meaning="For information."),
        HealthCheck("gain_over_pca_nats", 1.0, "above 0", passed=True, meaning="Fine."),
    )
    tables.print_health(checks)
    out = printed()
    assert "FAILED" in out
    assert "passed" in out
    assert "Limit: at least 1." in out
    assert "gain over PCA, nats" in out
    assert "median R²" in out


@pytest.mark.parametrize(
    ("vae", "pca", "words"),
    [(1.0, 3.0, "2 nats better"), (3.0, 1.0, "2 nats worse"), (math.nan, 1.0, "no complete")],
)
def test_the_vae_is_compared_with_pca_in_words(vae, pca, words):
    assert words in tables.describe_baseline({"vae_nll_nats": vae, "pca_nll_nats": pca})


def test_states_without_any_row_have_no_share(printed):
    tables.print_states({"ok": 0}, {})
    assert "\N{EN DASH}" in printed()


def test_reasons_are_explained(printed):
    tables.print_states({"ok": 9, "unscorable": 1}, {"too_few_sensors": 1})
    assert "too few of its sensors have a value" in printed()


def test_evaluation_shows_what_is_not_defined_as_a_dash(printed):
    names = [name for name, _, _ in tables.MEASURES]
    values = dict.fromkeys(names) | {"missed_alarm_rate": None, "median_delay_s": 90.0}
    evaluation = Evaluation(
        num_rows=5, num_unlabelled_rows=1, num_anomalous_rows=0, num_unscorable=0,
        num_anomalies=0, notes=("No row.",), **values,
    )  # fmt: skip
    tables.print_evaluation(evaluation, counted="alert events")
    out = printed()
    assert "0 labelled anomalies, 0 of 4 labelled rows" in out
    assert "1 min 30 s" in out
    assert "note: No row." in out


def test_versions_show_aliases_and_the_decision(printed):
    version = ModelVersion(
        "vae-anomaly", "3", "run", ("champion",), 0, "models:/vae-anomaly/3",
        {DECISION_TAG: "Better than version 2."},
    )  # fmt: skip
    tables.print_versions((version,))
    out = printed()
    assert "champion" in out
    assert "Better than version 2." in out


def test_quality_shows_rows_gaps_and_problems(printed):
    quality = make_quality(
        problems={"duplicate": 1, "no_timestamp": 1}, num_gaps=2, longest_gap_s=7200.0,
        irregular_share=0.25, notes=("times without a zone were taken as UTC",),
    )  # fmt: skip
    sensor_tables.print_quality(quality)
    out = printed()
    assert "10, of them 8 usable, 1 duplicate, 1 to quarantine" in out
    assert "2, the longest 2 h" in out
    assert "25 % of steps irregular" in out
    assert "no time" in out
    assert "note: times without a zone were taken as UTC" in out


def test_sensors_show_what_is_remarkable(printed):
    odd = make_profile(
        kind=SensorKind.QUANTISED, unit="Pa", step=0.5, num_infinite=2, num_sentinel=3,
        suggested_sentinels=(-9999.0,),
    )  # fmt: skip
    sensor_tables.print_quality(make_quality(sensors=(odd, make_profile("x" * 60))))
    out = " ".join(printed().split())
    for words in ("in Pa", "2", "infinite", "3", "sentinels", "sentinel?", "-9,999", "0.5"):
        assert words in out


def make_found(asset: str, sensor: str, **found: object) -> SensorQuality:
    usual = {
        "first_us": 0, "last_us": 9, "num_rows": 1_000, "num_missing": 0, "num_infinite": 0,
        "num_sentinel": 0, "num_out_of_range": 0, "num_spikes": 0, "longest_flat_steps": 1,
        "last_flat_steps": 1, "minimum": 0.0, "maximum": 1.0, "copy_of": "",
    }  # fmt: skip
    return SensorQuality(asset=asset, sensor=sensor, **{**usual, **found})


def test_faults_of_a_sensor_stand_in_its_remarks(printed):
    sensors = (make_profile("flow"), make_profile("level"), make_profile("slow", period_s=300.0))
    by_asset = (
        make_found("p", "flow", num_spikes=1, num_out_of_range=2_000),
        make_found("p", "level", copy_of="flow", last_flat_steps=90, longest_flat_steps=90),
        make_found("p", "slow", last_flat_steps=90, longest_flat_steps=900),
    )
    sensor_tables.print_quality(make_quality(sensors=sensors, by_asset=by_asset, period_s=60.0))
    out = printed()
    remarks = " ".join(" ".join(line[60:] for line in out.splitlines()).split())
    for words in ("2,000 out", "of range;", "1 spike", "same values as", "a value every 300 s"):
        assert all(word in out for word in words.split())
    assert remarks.count("dead?") == 1


def test_of_several_assets_those_with_faults_come_first(printed):
    names = [f"pump-{k:02d}" for k in range(40)]
    by_asset = [make_found(name, "flow") for name in names]
    by_asset[7] = make_found("pump-07", "flow", num_missing=1_000)
    by_asset[9] = make_found("pump-09", "flow", num_missing=500, num_spikes=3)
    quality = make_quality(sensors=(make_profile("flow"),), by_asset=tuple(by_asset))
    sensor_tables.print_assets(quality)
    out = printed()
    assert "Assets, 30 of 40" in out
    lines = [line for line in out.splitlines() if "pump-" in line]
    assert len(lines) == 30
    assert "pump-07" in lines[0]
    assert "100 %" in lines[0]
    assert "flow: no value" in lines[0]
    assert "50 %" in lines[1]
    assert "flow: 3 spikes" in lines[1]


def test_one_asset_has_no_table_of_assets(printed):
    quality = make_quality(sensors=(make_profile("flow"),), by_asset=(make_found("p", "flow"),))
    sensor_tables.print_assets(quality)
    assert printed() == ""


def test_columns_left_out_are_listed_only_where_there_are_any(printed):
    sensor_tables.print_ignored({})
    assert printed() == ""
    sensor_tables.print_ignored({"name": "text"})
    assert "text" in printed()


def test_kinds_name_the_sensors_that_never_move():
    profiles = (
        make_profile("a"),
        make_profile("b"),
        make_profile("c", SensorKind.CONSTANT),
        make_profile("d", SensorKind.EMPTY),
    )
    assert sensor_tables.describe_kinds(profiles) == ("2 continuous, 1 constant (c), 1 empty (d)")
    assert sensor_tables.count_kinds(profiles) == {"continuous": 2, "constant": 1, "empty": 1}


def test_suspected_sentinels_come_with_the_option_that_declares_them():
    odd = {"suggested_sentinels": (-9999.0,)}
    profiles = (make_profile(), make_profile("level", **odd), make_profile("speed", **odd))
    (note,) = sensor_tables.note_sentinels(profiles)
    assert "-9999 looks like a sentinel, in level, speed." in note
    assert "--sentinel -9999" in note


def test_a_sensor_of_several_profiles_is_named_once():
    odd = make_profile("level", suggested_sentinels=(-999.9, 99999999.0))
    found = sensor_tables.find_sentinels((odd, odd))
    assert found == (("-999.9", ["level"]), ("99999999", ["level"]))


@pytest.mark.parametrize(
    ("flat_steps", "words"),
    [
        ({"flow": 20, "level": 44}, "looked for in 2 of 2 sensors"),
        (
            {"flow": 20, "valve": 0, "spare": 0},
            "looked for in 1 of 3 sensors (not in valve, spare)",
        ),
        ({"flow": 20} | {f"state {i}": 0 for i in range(6)}, "looked for in 1 of 7 sensors"),
        ({"flow": 0}, "looked for in no sensor"),
        ({}, "looked for in no sensor"),
    ],
)
def test_sensors_without_a_flat_line_rule_are_named_where_they_are_few(flat_steps, words):
    assert sensor_tables.describe_flat_lines(flat_steps) == words


def test_likelihoods_are_counted_and_the_unusual_ones_named():
    likelihoods = {"flow": "gaussian", "valve": "bernoulli", "level": "gaussian"}
    assert sensor_tables.describe_likelihoods(likelihoods) == "2 gaussian, 1 bernoulli (valve)"
