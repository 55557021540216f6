from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from vae_anomaly.errors import ConfigError
from vae_anomaly.readings.simulator import (
    SENTINEL,
    FaultKind,
    Simulation,
    simulate_fleet,
    simulate_pumping_station,
    write_sample,
)
from vae_anomaly.readings.simulator.__main__ import main
from vae_anomaly.readings.simulator.faults import ALL_FAULTS
from vae_anomaly.readings.simulator.instruments import INSTRUMENTS
from vae_anomaly.readings.simulator.plant import BACKWASH_M3

DATA = Path(__file__).resolve().parents[3] / "data"
SENSORS = [instrument.name for instrument in INSTRUMENTS]
HOUR_US = 3_600_000_000
STEPS_PER_DAY = 720


@pytest.fixture(scope="module")
def clean() -> Simulation:
    return simulate_pumping_station(dirt=False)


@pytest.fixture(scope="module")
def dirty() -> Simulation:
    return simulate_pumping_station()


def column(simulation: Simulation, name: str) -> np.ndarray:
    return simulation.table[name].to_numpy()


def times(table: pa.Table) -> np.ndarray:
    return table["timestamp"].cast(pa.int64()).to_numpy()


def test_the_table_has_the_promised_columns(dirty: Simulation) -> None:
    schema = dirty.table.schema
    assert schema.names == ["timestamp", *SENSORS, "label_anomaly", "label_kind"]
    assert schema.field("timestamp").type == pa.timestamp("us", tz="UTC")
    assert all(schema.field(name).type == pa.float64() for name in SENSORS)
    assert schema.field("label_anomaly").type == pa.int8()
    assert list(dirty.units) == SENSORS
    assert len(SENSORS) >= 10


def test_the_same_seed_gives_the_same_values_and_another_seed_others(dirty: Simulation) -> None:
    assert simulate_pumping_station().table.equals(dirty.table)
    assert not simulate_pumping_station(seed=1).table.equals(dirty.table)


def test_steps_are_evenly_spaced_without_dirt(clean: Simulation) -> None:
    assert clean.table.num_rows == 45 * STEPS_PER_DAY
    assert set(np.diff(times(clean.table))) == {120_000_000}
    assert clean.table["timestamp"][0].as_py() == datetime(2026, 1, 5, tzinfo=UTC)


@pytest.mark.parametrize("instrument", INSTRUMENTS, ids=lambda instrument: instrument.name)
def test_every_sensor_shows_multiples_of_its_resolution(clean: Simulation, instrument) -> None:
    values = column(clean, instrument.name)
    counts = values / instrument.resolution
    assert np.all(np.isfinite(values))
    assert np.all(values >= 0)
    np.testing.assert_allclose(counts, np.round(counts), atol=1e-6)


def test_there_are_a_dead_a_binary_a_quantised_and_a_counting_sensor(clean: Simulation) -> None:
    assert set(column(clean, "spare_input")) == {4.0}
    assert set(column(clean, "inlet_valve")) == {0.0, 1.0}
    assert len(set(column(clean, "tank_level"))) < 50
    volume = column(clean, "filter_volume")
    assert volume.max() <= BACKWASH_M3
    assert np.mean(np.diff(volume) >= 0) > 0.98


def test_the_pump_stops_every_night_and_delivers_nothing_then(clean: Simulation) -> None:
    stopped = column(clean, "inlet_valve") == 0
    nightly = stopped.reshape(45, STEPS_PER_DAY)[:, : 6 * 30]
    assert np.all(nightly.sum(axis=1) >= 50)
    normal = column(clean, "label_anomaly") == 0
    assert np.all(column(clean, "flow")[stopped & normal][5:] < 0.03)
    assert np.median(column(clean, "flow")[stopped]) == 0.0
    assert 0.7 < np.mean(~stopped) < 0.95


def test_sensors_follow_each_other_while_the_pump_runs(clean: Simulation) -> None:
    chosen = (column(clean, "inlet_valve") == 1) & (column(clean, "label_anomaly") == 0)

    def correlation(first: str, second: str) -> float:
        return np.corrcoef(column(clean, first)[chosen], column(clean, second)[chosen])[0, 1]

    assert correlation("speed_setpoint", "flow") > 0.8
    assert correlation("flow", "motor_current") > 0.8
    assert correlation("flow", "discharge_pressure") > 0.6
    assert correlation("tank_level", "suction_pressure") > 0.8
    assert correlation("motor_temperature", "bearing_temperature") > 0.8
    assert correlation("speed_setpoint", "vibration") > 0.3  # bent by the resonance


def test_noise_grows_with_the_load(clean: Simulation) -> None:
    normal = column(clean, "label_anomaly") == 0
    jumps = np.abs(np.diff(column(clean, "discharge_pressure"), n=2))[normal[2:]]
    flow = column(clean, "flow")[2:][normal[2:]]
    low = np.median(jumps[flow == 0])
    high = np.median(jumps[flow > 0.05])
    assert high > 2 * low


def test_weeks_of_normal_readings_look_alike(clean: Simulation) -> None:
    values = np.column_stack([column(clean, name) for name in SENSORS[:-1]])
    first, later = values[: 14 * STEPS_PER_DAY], values[14 * STEPS_PER_DAY : 35 * STEPS_PER_DAY]
    shift = np.abs(later.mean(axis=0) - first.mean(axis=0)) / first.std(axis=0)
    assert shift.max() < 0.25
    ratio = later.std(axis=0) / first.std(axis=0)
    assert np.all((ratio > 0.8) & (ratio < 1.25))


def test_all_six_kinds_are_planted_after_the_normal_days_and_hours_apart(
    clean: Simulation,
) -> None:
    faults = clean.faults
    assert len(faults) >= 7
    assert {fault.kind for fault in faults} == set(FaultKind)
    first_us = times(clean.table)[0]
    starts = np.array([fault.start_us for fault in faults])
    ends = np.array([fault.end_us for fault in faults])
    assert starts[0] >= first_us + 35 * 24 * HOUR_US
    assert ends[-1] <= first_us + 45 * 24 * HOUR_US
    assert np.all((ends - starts >= HOUR_US) & (ends - starts <= 8 * HOUR_US))
    assert np.all(starts[1:] - ends[:-1] >= 4 * HOUR_US)


def test_labels_mark_exactly_the_faults(clean: Simulation) -> None:
    now, kinds = times(clean.table), column(clean, "label_kind")
    marked = np.full(now.size, "", dtype=object)
    for fault in clean.faults:
        marked[(now >= fault.start_us) & (now < fault.end_us)] = fault.kind.value
    assert np.array_equal(kinds, marked)
    assert np.array_equal(column(clean, "label_anomaly") == 1, marked != "")


def test_faults_change_only_their_own_sensors_and_hours(clean: Simulation) -> None:
    healthy = simulate_pumping_station(normal_days=45.0, dirt=False)
    assert healthy.faults == ()
    now = times(clean.table)
    for name in SENSORS:
        differs = column(clean, name) != column(healthy, name)
        allowed = np.zeros(now.size, dtype=bool)
        for fault in clean.faults:
            if name in fault.sensors:
                allowed |= (now >= fault.start_us) & (now < fault.end_us)
        assert not np.any(differs & ~allowed), name


@pytest.mark.parametrize("number", range(len(ALL_FAULTS)))
def test_each_fault_is_large_but_not_absurd(clean: Simulation, number: int) -> None:
    healthy = simulate_pumping_station(normal_days=45.0, dirt=False)
    fault, now = clean.faults[number], times(clean.table)
    inside = (now >= fault.start_us) & (now < fault.end_us)
    assert fault.kind is ALL_FAULTS[number].kind
    for name in fault.sensors:
        usual = column(healthy, name)
        change = np.abs(column(clean, name) - usual)[inside]
        assert 0.2 < change.max() / usual.std() < 8, name


def test_a_stuck_sensor_keeps_one_value_while_the_speed_moves(clean: Simulation) -> None:
    stuck = pc.equal(clean.table["label_kind"], "stuck")
    rows = clean.table.filter(stuck)
    assert pc.count_distinct(rows["flow"]).as_py() == 1
    assert pc.count_distinct(rows["speed_setpoint"]).as_py() > 10
    assert pc.min(rows["inlet_valve"]).as_py() == 1


def test_a_broken_coupling_stays_in_range_and_fits_badly(clean: Simulation) -> None:
    broken = column(clean, "label_kind") == "broken_coupling"
    normal = column(clean, "label_kind") == ""
    running = column(clean, "inlet_valve") == 1
    current, flow = column(clean, "motor_current"), column(clean, "flow")
    low, high = np.quantile(current[normal & running], [0.0, 1.0])
    assert np.all((current[broken] >= low) & (current[broken] <= high))
    line = np.polyfit(flow[normal & running], current[normal & running], 1)
    residual = np.abs(current - np.polyval(line, flow))
    assert residual[broken].mean() > 2 * residual[normal & running].mean()


def test_cavitation_oscillates_while_suction_falls(clean: Simulation) -> None:
    healthy = simulate_pumping_station(normal_days=45.0, dirt=False)
    inside = column(clean, "label_kind") == "cavitation"
    suction = (column(clean, "suction_pressure") - column(healthy, "suction_pressure"))[inside]
    assert suction[0] == 0.0
    assert suction[-1] < -10_000
    vibration = column(clean, "vibration")
    assert vibration[inside].mean() > 1.5 * np.median(column(healthy, "vibration"))
    flow = (column(clean, "flow") - column(healthy, "flow"))[inside][25:]
    assert np.mean(np.diff(np.sign(np.diff(flow))) != 0) > 0.3


def test_dirt_is_there_and_is_not_labelled(clean: Simulation, dirty: Simulation) -> None:
    now, values = times(dirty.table), np.column_stack([column(dirty, name) for name in SENSORS])
    lost_clock = now < times(clean.table)[0]
    assert np.array_equal(now[lost_clock], 120_000_000 * np.arange(20))
    assert np.sum(values == SENTINEL) > 20
    assert np.sum(np.isinf(values)) == 2
    assert sum(dirty.table[name].null_count for name in SENSORS) > 5
    assert not any(pc.any(pc.is_nan(dirty.table[name])).as_py() for name in SENSORS)
    assert np.sum(np.diff(now[~lost_clock]) < 0) >= 5  # late rows and a block sent twice
    steps = np.diff(np.unique(now[~lost_clock]))
    assert np.sum(steps > 5 * 60_000_000) >= 8
    assert steps.max() >= 4 * HOUR_US
    faulty = np.unique(now[column(dirty, "label_anomaly") == 1])
    assert np.array_equal(faulty, times(clean.table)[column(clean, "label_anomaly") == 1])


def test_copies_are_exact_but_for_a_few_conflicts(dirty: Simulation) -> None:
    table = dirty.table
    rows = table.num_rows
    distinct = table.group_by(table.column_names, use_threads=False).aggregate([]).num_rows
    distinct_times = pc.count_distinct(table["timestamp"]).as_py()
    assert rows - distinct == 30 + 12
    assert distinct - distinct_times == 4


def test_dirty_readings_are_the_clean_ones_but_for_the_dirt(
    clean: Simulation, dirty: Simulation
) -> None:
    kept = dirty.table.group_by("timestamp", use_threads=False).aggregate(
        [(name, "first") for name in SENSORS]
    )
    joined = clean.table.join(kept, "timestamp", join_type="inner")
    for name in SENSORS:
        differs = pc.sum(pc.not_equal(joined[name], joined[f"{name}_first"])).as_py()
        assert differs < 250, name
    assert joined.num_rows > 0.98 * clean.table.num_rows


def test_the_period_the_start_and_the_length_can_be_chosen() -> None:
    station = simulate_pumping_station(
        days=2.5, normal_days=0.0, period_s=60.0, start="2026-06-01T12:00:00+02:00", dirt=False
    )
    now = times(station.table)
    assert station.table.num_rows == 3600
    assert station.table["timestamp"][0].as_py() == datetime(2026, 6, 1, 10, tzinfo=UTC)
    assert set(np.diff(now)) == {60_000_000}
    assert [fault.kind for fault in station.faults] == [FaultKind.STEP, FaultKind.DRIFT]


def test_a_long_simulation_goes_through_the_faults_again() -> None:
    station = simulate_pumping_station(days=40, normal_days=15, period_s=600.0, seed=3)
    kinds = [fault.kind for fault in station.faults]
    assert kinds == [plan.kind for plan in ALL_FAULTS + ALL_FAULTS[:4]] + kinds[12:]
    assert len(kinds) == 20


def test_a_fleet_has_one_column_more_and_its_members_differ() -> None:
    fleet = simulate_fleet(("pump-01", "pump-02"), days=3.0, normal_days=1.0, seed=5)
    assert list(fleet) == ["pump-01", "pump-02"]
    for asset, station in fleet.items():
        assert station.table.column_names[:2] == ["timestamp", "asset"]
        assert set(station.table["asset"].to_pylist()) == {asset}
    flows = [set(station.table["flow"].to_pylist()) for station in fleet.values()]
    assert flows[0] != flows[1]
    alone = simulate_pumping_station(days=3.0, normal_days=1.0, seed=5)
    assert fleet["pump-01"].table.drop_columns("asset").equals(alone.table)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"days": 0.1}, "expected at least 200 steps, got 0.1 days with a step every 120.0 s"),
        ({"days": -1.0}, "expected at least 200 steps"),
        ({"period_s": 0.0}, "expected at least 200 steps"),
        ({"start": "2026-01-05"}, "expected a start in ISO 8601 with a zone, got '2026-01-05'"),
        ({"start": "monday"}, "expected a start in ISO 8601 with a zone, got 'monday'"),
    ],
)
def test_impossible_settings_are_refused_with_a_way_out(settings, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        simulate_pumping_station(**settings)


def test_no_days_per_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected days_per_file above 0, got 0"):
        write_sample(tmp_path, days_per_file=0)


def test_files_hold_all_rows_in_the_order_of_arrival(tmp_path: Path) -> None:
    files = write_sample(tmp_path / "new", days=3.0, normal_days=1.0, seed=2, days_per_file=0.5)
    assert [file.name for file in files[:3]] == [
        "station_2026-01-05.parquet",
        "station_2026-01-05T1200.parquet",
        "station_2026-01-06.parquet",
    ]
    together = pa.concat_tables([pq.read_table(file) for file in files])
    assert together.equals(simulate_pumping_station(days=3.0, normal_days=1.0, seed=2).table)
    for number, file in enumerate(files):
        first = datetime(2026, 1, 5, tzinfo=UTC) + number * timedelta(days=0.5)
        now = pq.read_table(file)["timestamp"].to_pylist()
        late = [time for time in now if first > time > datetime(2000, 1, 1, tzinfo=UTC)]
        assert len(late) < 15
        assert max(now) < first + timedelta(days=0.5)


def test_the_command_writes_files_for_several_assets(tmp_path: Path) -> None:
    main([str(tmp_path), "--days", "2", "--normal-days", "1", "--assets", "pump-01", "pump-02"])
    files = sorted(tmp_path.glob("*.parquet"))
    assert [file.name for file in files] == ["station_2026-01-05.parquet"]
    assert set(pq.read_table(files[0])["asset"].to_pylist()) == {"pump-01", "pump-02"}


def test_the_committed_sample_is_what_the_simulator_makes(tmp_path: Path) -> None:
    committed = sorted((DATA / "sample").glob("*.parquet"))
    made = write_sample(tmp_path)
    assert [file.name for file in committed] == [file.name for file in made]
    for old, new in zip(committed, made, strict=True):
        assert pq.read_table(old).equals(pq.read_table(new)), old.name
    assert sum(file.stat().st_size for file in committed) < 800_000


def test_the_readme_of_the_data_lists_every_sensor_and_fault(clean: Simulation) -> None:
    text = (DATA / "README.md").read_text(encoding="utf-8")
    for instrument in INSTRUMENTS:
        assert f"| `{instrument.name}` | {instrument.unit} |" in text
    for fault in clean.faults:
        start, end = (
            datetime.fromtimestamp(edge / 1e6, UTC).strftime("%Y-%m-%d %H:%M")
            for edge in (fault.start_us, fault.end_us)
        )
        assert f"| `{fault.kind.value}` | {start} | {end} |" in text
