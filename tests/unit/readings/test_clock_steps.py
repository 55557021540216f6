"""Clocks that are set, wander, or follow daylight saving."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from vae_anomaly.config import ReadingsConfig
from vae_anomaly.domain import Readings
from vae_anomaly.readings.check import check_readings
from vae_anomaly.readings.clock_steps import ClockSteps, find_clock_steps

START_US = 1_714_564_800_000_000
MINUTE_US = 60_000_000


def notes_of(times: np.ndarray, *, asset: list[str] | None = None) -> tuple[str, ...]:
    columns = {
        "timestamp": pa.array(times, pa.timestamp("us")),
        "flow": np.arange(len(times), dtype=float),
    }
    if asset is not None:
        columns["asset"] = asset
    checked = check_readings(pa.table(columns), config=ReadingsConfig(period_s=60))
    return tuple(note for note in checked.notes if note.startswith("times "))[1:]


def minutes(first: str, number: int) -> np.ndarray:
    return np.datetime64(first, "us").astype(np.int64) + np.arange(number) * MINUTE_US


def test_a_clock_that_runs_has_no_notes():
    times = minutes("2024-05-01", 600)
    assert notes_of(times) == ()
    assert notes_of(np.delete(times, slice(100, 200))) == ()  # a gap is no step of the clock


def test_the_hour_that_is_skipped_or_repeated_on_a_sunday_is_daylight_saving():
    spring = np.append(minutes("2024-03-31", 120), minutes("2024-03-31 03:00", 120))
    (note,) = notes_of(spring)
    assert "1 time, first after 2024-03-31 01:59:00 UTC" in note
    assert "Set timezone" in note
    autumn = np.append(minutes("2024-10-27", 180), minutes("2024-10-27 02:00", 180))
    (note,) = notes_of(autumn)
    assert "1 time, first after 2024-10-27 02:59:00 UTC" in note


def test_an_hour_on_another_day_or_at_noon_is_a_gap():
    for first in ("2024-04-01", "2024-03-31 11:00"):
        begin = minutes(first, 60)
        assert notes_of(np.append(begin, begin + 2 * 60 * MINUTE_US)) == ()


def test_a_clock_that_is_set_moves_off_its_grid_or_back():
    times = minutes("2024-05-01", 600)
    (note,) = notes_of(np.append(times[:300], times[300:] + 17_000_000))
    assert "no whole number of periods 1 time, first after 2024-05-01 04:59:00 UTC" in note
    (note,) = notes_of(np.append(times[:300], times[300:] - 10 * MINUTE_US))
    assert "times step back 1 time, first after 2024-05-01 04:59:00 UTC" in note


def test_irregular_readings_have_no_clock_to_blame():
    rng = np.random.default_rng(0)
    times = START_US + np.cumsum(rng.integers(1, 120, 600)) * 1_000_000
    assert notes_of(times) == ()


def test_each_asset_has_a_clock_of_its_own():
    times = np.repeat(minutes("2024-05-01", 300), 2)
    times[1::2] += 17_000_000
    assert notes_of(times, asset=["a", "b"] * 300) == ()


def test_steps_of_parts_add_up():
    times = minutes("2024-05-01", 600)
    times[300:] -= 10 * MINUTE_US
    times[400:] += 17_000_000

    def find(first: int, end: int) -> ClockSteps:
        part = times[first:end]
        readings = Readings(
            part, np.zeros(part.size, dtype=np.int64), ("x",), np.zeros((part.size, 1)), ("s",)
        )
        return find_clock_steps(readings, np.arange(part.size), 60.0)

    joined = find(0, 200).join(find(200, 350)).join(find(350, 600))
    assert (joined.num_steps, joined.num_back, joined.num_off_grid) == (597, 1, 1)
    assert joined.back_us == int(times[299])
    assert joined.off_grid_us == int(times[399])
    assert len(joined.write_notes()) == 2
