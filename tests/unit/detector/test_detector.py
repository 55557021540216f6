from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from tests.conftest import make_plant
from vae_anomaly import CalibrationError, ContractError, Detector
from vae_anomaly.config import (
    AlertConfig,
    DetectorConfig,
    ModelConfig,
    ReadingsConfig,
    RulesConfig,
    ThresholdConfig,
)
from vae_anomaly.detector import stretches
from vae_anomaly.detector.smoothing import list_spans, memory_steps
from vae_anomaly.domain import Reach, SensorKind

SHORT = {"min_training_steps": 20, "max_training_steps": 20}
STEP_US = 60_000_000


def set_column(table: pa.Table, name: str, values) -> pa.Table:
    column = values if isinstance(values, pa.Array) else pa.array(values)
    return table.set_column(table.column_names.index(name), name, column)


def change(table: pa.Table, name: str, rows, factor: float) -> pa.Table:
    values = table[name].to_numpy().copy()
    values[rows] *= factor
    return set_column(table, name, values)


def names_of(table: pa.Table) -> list[str]:
    return [name for name in table.column_names if name.startswith("sensor")]


def states(scores: pa.Table) -> np.ndarray:
    return np.array(scores["state"].to_pylist())


def make_asset(asset: str, num_rows: int, *, seed: int) -> pa.Table:
    """One asset of a fleet: five sensors, a fixed and a dead one, and a label."""
    table = make_plant(num_rows, seed=seed)
    table = table.append_column("fixed", pa.array(np.full(num_rows, 4.0)))
    table = table.append_column("dead", pa.nulls(num_rows, pa.float64()))
    return table.append_column("asset", pa.array([asset] * num_rows))


@pytest.fixture(scope="module")
def fleet_detector() -> Detector:
    """Windows of 3 steps; trained on pump-1 and pump-2, calibrated on pump-2 and pump-3."""
    training = [make_asset("pump-1", 400, seed=1), make_asset("pump-2", 400, seed=2)]
    wild = change(make_asset("pump-3", 300, seed=4), "sensor 1 (unit)", slice(None), 1.5)
    return Detector.fit(
        pa.concat_tables(training),
        calibration=pa.concat_tables([wild, make_asset("pump-2", 300, seed=3)]),
        config=DetectorConfig(
            model=ModelConfig(window=3, **SHORT),
            threshold=ThresholdConfig(
                smoothing_steps=2, shift_steps=2, adaptation_steps=20, latency=4
            ),
            alerts=AlertConfig(merge_steps=0, min_steps=1),
        ),
    )


# --- windows of several steps, several assets ---


def test_a_fleet_has_one_model_and_a_threshold_per_calibrated_asset(fleet_detector):
    record = fleet_detector.record
    assert set(record.calibrations) == {"pump-2", "pump-3"}
    assert record.limits["pump-3"].energy > record.limits["pump-2"].energy
    assert record.fallback == "pump-2"
    assert record.facts.num_rows == 800
    assert record.facts.num_held_out == 600
    assert [record.profiles[i].kind for i in (5, 6)] == [SensorKind.CONSTANT, SensorKind.EMPTY]


def test_an_asset_that_was_not_calibrated_gets_the_lowest_threshold(fleet_detector):
    table = pa.concat_tables(
        [make_asset(asset, 5, seed=5) for asset in ("anywhere", "pump-2", "pump-3", "elsewhere")]
    )
    scores = fleet_detector.score(table)
    low, high = (fleet_detector.record.calibrations[f"pump-{i}"].threshold for i in (2, 3))
    assert scores["threshold"].to_pylist() == [low] * 10 + [high] * 5 + [low] * 5
    np.testing.assert_array_equal(scores["score"].to_numpy()[:5], scores["score"].to_numpy()[-5:])


def test_a_detector_of_windows_survives_its_folder(fleet_detector, tmp_path):
    loaded = Detector.load(fleet_detector.save(tmp_path / "detector"))
    table = make_asset("pump-1", 300, seed=6)
    assert loaded.score(table).equals(fleet_detector.score(table))
    assert loaded.score(table).equals(loaded.score(table))
    assert repr(loaded.record.curves) == repr(fleet_detector.record.curves)


@pytest.fixture(scope="module")
def wide_detector() -> Detector:
    """More sensors than NumPy adds up in one order whatever their layout."""
    settings = DetectorConfig(
        model=ModelConfig(**SHORT),
        threshold=ThresholdConfig(adaptation_steps=20, provisional=True),
    )
    return Detector.fit(make_plant(400, num_sensors=11), config=settings)


def test_a_row_alone_has_the_score_it_has_among_others(wide_detector):
    table = make_plant(300, num_sensors=11, seed=8)
    scores = wide_detector.score(table)
    for num_rows in (1, 2, 7):
        assert wide_detector.score(table.slice(0, num_rows)).equals(scores.slice(0, num_rows))


@pytest.mark.parametrize("num_cores", [1, 2])
@pytest.mark.parametrize("which", ["fleet_detector", "wide_detector"])
def test_scores_are_the_same_wherever_the_work_is_cut(request, monkeypatch, which, num_cores):
    detector = request.getfixturevalue(which)
    table = make_plant(300, num_sensors=11, seed=8)
    if which == "fleet_detector":
        assets = ("pump-1", "pump-2", "pump-3")
        table = pa.concat_tables(
            [
                make_asset(asset, num, seed=8)
                for asset, num in zip(assets, (300, 1, 30), strict=True)
            ]
        )
    whole = detector.examine(table)
    monkeypatch.setattr(stretches, "STRETCH_VALUES", 1)
    monkeypatch.setattr(stretches, "MIN_MEMORIES", 1)
    monkeypatch.setattr(stretches, "_count_cores", lambda: num_cores)
    cut = detector.examine(table)
    assert cut.scores.equals(whole.scores)
    np.testing.assert_array_equal(cut.mean, whole.mean)
    np.testing.assert_array_equal(cut.sigma, whole.sigma)


def test_a_score_depends_on_its_lookback_and_its_lookahead_and_no_more(fleet_detector):
    back, ahead = fleet_detector.lookback_steps, fleet_detector.lookahead_steps
    longest = memory_steps(list_spans(2)[-1])
    assert (back, ahead) == (longest + (20 + 1) + 3 - 2, 4)
    assert fleet_detector.reach == Reach(
        longest + 3 - 2, 4, (21 + (memory_steps(2) - 1) * 5) * STEP_US
    )
    table = make_asset("pump-1", 120, seed=7)
    whole = fleet_detector.score(table)
    part = fleet_detector.score(table.slice(70 - back, back + 20 + ahead))
    assert part.slice(back, 20).equals(whole.slice(70, 20))
    one_more = fleet_detector.score(table.slice(70 - back, back + 20 + ahead + 1))
    assert not one_more.slice(back + 20).equals(whole.slice(90, ahead + 1))  # the last ones waited


@pytest.mark.parametrize("at", range(120, 190, 7))
def test_the_reach_goes_far_enough_where_steps_are_wide_apart(fleet_detector, at):
    table, reach = make_asset("pump-1", 200, seed=7), fleet_detector.reach
    apart = np.repeat([3, 1], [100, 100])  # minutes; five are a gap
    times = table["timestamp"][0].value + np.cumsum(apart) * STEP_US
    table = set_column(table, "timestamp", pa.array(times).cast(pa.timestamp("us", "UTC")))
    first = int(np.searchsorted(times, times[at - reach.window_steps] - reach.level_us))
    assert first > 0
    part, whole = fleet_detector.score(table.slice(first)), fleet_detector.score(table)
    assert part.slice(at - first).equals(whole.slice(at))


def test_windows_do_not_cross_a_gap(fleet_detector):
    table = make_asset("pump-1", 20, seed=7)
    times = table["timestamp"].cast("int64").to_numpy().copy()
    times[10:] += 100 * STEP_US
    apart = set_column(table, "timestamp", pa.array(times).cast(pa.timestamp("us", "UTC")))
    alone = fleet_detector.score(table.slice(10))
    after = fleet_detector.score(apart).slice(10)
    assert after.drop_columns(["timestamp"]).equals(alone.drop_columns(["timestamp"]))


def test_the_asset_column_is_part_of_the_contract(fleet_detector):
    table = make_asset("pump-1", 5, seed=5).drop_columns(["asset"])
    with pytest.raises(ContractError) as caught:
        fleet_detector.score(table)
    assert str(caught.value).startswith("Cannot score: expected the asset column 'asset', got ")


def test_a_dead_sensor_has_no_share_and_a_fixed_one_only_when_it_moves(fleet_detector):
    table = change(make_asset("pump-2", 30, seed=8), "fixed", 20, 1.001)
    scores = fleet_detector.score(set_column(table, "dead", np.full(30, 1e6)))
    shares = scores["contribution"].to_pylist()
    assert all(share["dead"] == 0 for share in shares)
    assert [i for i, share in enumerate(shares) if share["fixed"] != 0] == [20]
    assert states(scores)[20] == "anomalous"


def test_alert_events_name_asset_and_sensors(fleet_detector):
    calm = make_asset("pump-2", 200, seed=3)
    faulty = change(calm, "sensor 2 (unit)", slice(50, 60), 4.0)
    table = pa.concat_tables([faulty, set_column(calm, "asset", pa.array(["pump-3"] * 200))])
    found = fleet_detector.examine(table, model_name="fleet")
    longest = max(found.events, key=lambda event: event.peak_score)
    assert longest.asset == "pump-2"
    assert longest.top_sensors[0] == "sensor 2 (unit)"
    assert longest.threshold == fleet_detector.record.calibrations["pump-2"].threshold
    assert longest.severity == "high"
    start = table["timestamp"][50].value
    waited_us = 4 * STEP_US  # the score is averaged over the steps it waits for
    assert start - waited_us <= longest.start_us <= start
    # ten of the twenty steps of the adaptation were faulty, so it lets go a little late
    assert start + 9 * STEP_US < longest.end_us <= start + 26 * STEP_US
    order = [(event.asset, event.start_us) for event in found.events]
    assert order == sorted(order)
    assert found.events == fleet_detector.find_events(found.scores, model_name="fleet")


def test_an_examination_lies_beside_its_rows(fleet_detector):
    table = make_asset("pump-2", 50, seed=9)
    found = fleet_detector.examine(table)
    assert found.scores.equals(fleet_detector.score(table))
    assert found.mean.shape == found.sigma.shape == (50, 7)
    assert found.checked.readings.num_rows == 50
    assert np.isnan(found.mean[:, 6]).all()
    assert (found.sigma[:, :5] > 0).all()


# --- one detector, many forms of the same readings ---


def faulty_plant(num_rows: int = 300) -> pa.Table:
    return change(make_plant(num_rows, seed=1), "sensor 2 (unit)", slice(100, 110), 3.0)


def as_pandas(table, folder):
    return table.to_pandas()


def as_indexed_pandas(table, folder):
    return table.to_pandas().set_index("timestamp")


def as_record_batch(table, folder):
    return table.combine_chunks().to_batches()[0]


def as_dataset(table, folder):
    return ds.dataset(table)


def as_path(table, folder):
    pq.write_table(table, folder / "all.parquet")
    return folder / "all.parquet"


def as_paths(table, folder):
    pq.write_table(table.slice(0, 120), folder / "b.parquet")
    pq.write_table(table.slice(120), folder / "a.parquet")
    return [str(folder / "b.parquet"), str(folder / "a.parquet")]


def as_folder(table, folder):
    pq.write_table(table.slice(0, 120), folder / "a.parquet")
    pq.write_table(table.slice(120), folder / "b.parquet")
    return folder


FORMS = [
    as_pandas,
    as_indexed_pandas,
    as_record_batch,
    as_dataset,
    as_path,
    as_paths,
    as_folder,
]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_every_form_of_the_readings_gives_the_same_scores(detector, tmp_path, form):
    table = faulty_plant()
    scores = detector.score(form(table, tmp_path))
    assert scores.equals(detector.score(table))
    assert {"ok", "anomalous"} <= set(states(scores))


def test_a_detector_is_a_function_of_readings_settings_and_seed_alone(
    detector, plant, quick_config, tmp_path
):
    # other files, labels, text and order of columns; the same readings
    rng = np.random.default_rng(0)
    extended = plant.append_column("label_anomaly", pa.array(rng.integers(0, 2, plant.num_rows)))
    extended = extended.append_column("note", pa.array(["x"] * plant.num_rows))
    extended = extended.select(["note", *names_of(plant), "label_anomaly", "timestamp"])
    calls = []
    again = Detector.fit(
        as_paths(extended, tmp_path),
        config=quick_config,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert again.score(faulty_plant()).equals(detector.score(faulty_plant()))
    assert again.record.calibrations == detector.record.calibrations
    assert again.contract.ignored == {"note": "text", "label_anomaly": "label"}
    assert calls[-1] == (200, 200)  # with and without the held-out steps


def test_labels_are_never_inputs(detector):
    table = faulty_plant()
    before = detector.score(table)
    rng = np.random.default_rng(1)
    for values in (np.ones(300), rng.permutation(300), np.full(300, np.nan)):
        labelled = table.append_column("label_anomaly", pa.array(values))
        assert detector.score(labelled).equals(before)
    text = table.append_column("label_kind", pa.array(["leak"] * 300))
    assert detector.score(text).equals(before)


def test_columns_that_the_contract_does_not_know_are_left_out_with_a_note(detector):
    table = faulty_plant()
    found = detector.examine(table.append_column("new sensor", pa.array(np.full(300, np.inf))))
    assert found.scores.equals(detector.score(table))
    assert found.checked.quality.notes == (
        "columns the contract does not know are left out: ('new sensor',)",
    )


def test_narrow_numbers_are_read_as_what_they_say(detector):
    table = faulty_plant()
    for name in names_of(table)[3:]:
        whole = np.round(table[name].to_numpy()).astype(np.int64)
        assert detector.score(set_column(table, name, whole)).equals(
            detector.score(set_column(table, name, whole.astype(np.float64)))
        )
    single = table["sensor 2 (unit)"].to_numpy().astype(np.float32)
    assert detector.score(set_column(table, "sensor 2 (unit)", single)).equals(
        detector.score(set_column(table, "sensor 2 (unit)", single.astype(np.float64)))
    )


# --- what others got wrong ---


def test_the_threshold_is_never_taken_from_the_batch_being_scored(detector):
    threshold = detector.record.calibrations["asset"].threshold
    table = make_plant(100, seed=1)
    for name in names_of(table):
        table = change(table, name, slice(None), -3.0)
    scores = detector.score(table)
    assert set(scores["threshold"].to_pylist()) == {threshold}
    assert (states(scores) == "anomalous").all()  # a whole batch may be anomalous
    calm = detector.score(make_plant(100, seed=2))
    assert set(calm["threshold"].to_pylist()) == {threshold}


def test_scoring_changes_nothing_about_the_detector(detector, tmp_path):
    table = faulty_plant()
    first = detector.score(table)
    detector.score(change(table, "sensor 1 (unit)", slice(None), 100.0))
    assert detector.score(table).equals(first)
    assert Detector.load(detector.save(tmp_path / "d")).score(table).equals(first)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, -1.180116e42])
def test_a_row_without_a_usable_value_never_becomes_ok(detector, bad):
    table = faulty_plant(50)
    for name in names_of(table):
        values = table[name].to_numpy().copy()
        values[20:30] = bad
        table = set_column(table, name, values)
    scores = detector.score(table)
    assert scores.num_rows == 50
    assert (states(scores)[20:30] == "unscorable").all()
    assert (states(scores)[:20] != "unscorable").all()
    assert scores["nll"].null_count == scores["score"].null_count == 10


def test_the_kl_is_neither_zero_nor_clamped(detector):
    kl = detector.score(faulty_plant())["kl"].to_numpy()
    assert (kl > 0).all()
    assert kl.std() > 0.01


# --- an asset column that the training did not have ---


def test_assets_that_only_scoring_knows_are_kept_apart(detector):
    calm, faulty = make_plant(200, seed=2), faulty_plant(200)
    both = pa.concat_tables(
        [
            calm.append_column("asset", pa.array(["calm"] * 200)),
            faulty.append_column("asset", pa.array(["faulty"] * 200)),
        ]
    )
    found = detector.examine(both)
    alone = detector.examine(faulty)
    assert found.scores["score"].slice(200).equals(alone.scores["score"])
    spans = [(e.start_us, e.end_us, e.peak_score) for e in found.events if e.asset == "faulty"]
    assert spans == [(e.start_us, e.end_us, e.peak_score) for e in alone.events]
    assert len(spans) > 0


def test_scores_without_a_single_score_give_no_event(detector):
    table = make_plant(3)
    for name in names_of(table):
        table = set_column(table, name, np.full(3, np.nan))
    found = detector.examine(table)
    assert found.events == ()
    assert (states(found.scores) == "unscorable").all()


# --- presets and refusals that need a fit ---


def test_the_preset_of_the_question_fits_scores_and_survives_its_folder(plant, tmp_path):
    config = DetectorConfig(
        preset="question",
        readings=ReadingsConfig(units={"sensor 0 (unit)": "mm"}),
        model=ModelConfig(**SHORT),
        threshold=ThresholdConfig(alert_budget_per_week=2.0, provisional=True),
    )
    detector = Detector.fit(plant, config=config)
    scores = detector.score(faulty_plant())
    assert Detector.load(detector.save(tmp_path / "question")).score(faulty_plant()).equals(scores)
    assert detector.record.facts.latent == 5
    assert detector.record.config.preset == "question"
    assert detector.contract.sensors[0].unit == "mm"
    calibration = detector.record.calibrations["asset"]
    assert calibration.provisional  # a quarter of a day cannot prove two events a week
    assert calibration.budget_per_week == 2.0
    assert states(scores)[105] == "anomalous"


def test_normal_readings_keep_about_the_rate_that_was_asked_for(detector):
    fresh = states(detector.score(make_plant(5000, seed=77)))
    calibration = detector.record.calibrations["asset"]
    assert np.mean(fresh == "anomalous") < 2 * calibration.rate_high
    assert replace(calibration).num_steps == 360


# --- rules beside the density ---


def test_a_sensor_that_is_stuck_at_its_mean_is_found_named_and_blamed(detector):
    name, stuck = "sensor 2 (unit)", slice(100, 160)
    values = make_plant(300, seed=9)[name].to_numpy().copy()
    values[stuck] = values.mean()
    table = set_column(make_plant(300, seed=9), name, values)
    found = detector.examine(table)
    limit = detector.record.rule_limits.flat_steps[2]
    flat = np.array(found.scores["reason"].to_pylist()) == f"flat_line: {name}"
    assert np.flatnonzero(flat).tolist() == list(range(stuck.start + limit, stuck.stop))
    assert (states(found.scores)[flat] == "anomalous").all()
    times = found.checked.readings.timestamps[flat]
    [event] = [one for one in found.events if one.start_us <= times[0] < one.end_us]
    assert event.end_us > times[-1]
    assert event.top_sensors[0] == name
    assert detector.reach.window_steps >= limit


def test_a_rule_for_an_unknown_sensor_is_refused_before_anything_is_trained(plant):
    config = DetectorConfig(rules=RulesConfig(max_changes={"sensor 9 (unit)": 1.0}))
    with pytest.raises(ContractError, match=r"did you mean 'sensor \d \(unit\)'\?"):
        Detector.fit(plant, config=config, progress=lambda *_: pytest.fail("it trained"))


@pytest.mark.parametrize("provisional", [False, True])
def test_a_range_that_no_normal_reading_keeps_is_refused_before_anything_is_trained(
    plant, provisional
):
    name = "sensor 2 (unit)"
    config = DetectorConfig(
        rules=RulesConfig(ranges={name: (1e9, 2e9)}),
        threshold=ThresholdConfig(provisional=provisional),
        model=ModelConfig(context=(name,)),
    )
    with pytest.raises(CalibrationError, match=r"out_of_range of sensor 'sensor 2 \(unit\)'"):
        Detector.fit(plant, config=config, progress=lambda *_: pytest.fail("it trained"))


def test_held_out_steps_that_a_rule_flags_count_as_flagged_and_set_no_limit(plant):
    name = "sensor 2 (unit)"
    top = float(plant[name].to_numpy().max())
    wild = change(make_plant(1000, seed=9), name, slice(0, 1000, 200), 100.0)
    fitted = Detector.fit(
        plant,
        calibration=wild,
        config=DetectorConfig(
            model=ModelConfig(**SHORT),
            threshold=ThresholdConfig(smoothing_steps=1, shift_steps=0, adaptation_steps=0),
            rules=RulesConfig(ranges={name: (-10 * top, 10 * top)}),
        ),
    )
    [calibration] = fitted.record.calibrations.values()
    [limits] = fitted.record.limits.values()
    assert limits.energy[0] * calibration.threshold < 100
    assert 5 / 1000 <= calibration.expected_rate <= 0.011
    reasons = np.array(fitted.score(wild)["reason"].to_pylist())
    assert np.flatnonzero(reasons == f"out_of_range: {name}").tolist() == [0, 200, 400, 600, 800]
