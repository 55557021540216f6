"""Raw readings, checked: cells cleaned, rows judged, sensors profiled, nothing dropped."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from vae_anomaly.config import ReadingsConfig
from vae_anomaly.domain import (
    MICROSECONDS_PER_S,
    NO_TIME,
    PROBLEMS,
    CheckedReadings,
    Contract,
    IntArray,
    Problem,
    Quality,
    Readings,
    SensorQuality,
    Texts,
)
from vae_anomaly.errors import ContractError, ReadingsError
from vae_anomaly.readings.alignment import (
    Rules,
    align_rows,
    find_own_periods,
    find_ticks,
    infer_own_period,
    list_rules,
    require_numbers_to_average,
)
from vae_anomaly.readings.clock_steps import find_clock_steps
from vae_anomaly.readings.columns import RawColumn, merge_columns
from vae_anomaly.readings.contract import (
    TEXT,
    check_contract,
    infer_contract,
    list_names,
    note_unknown_columns,
    note_unknown_names,
)
from vae_anomaly.readings.load import LoadedReadings, load_readings
from vae_anomaly.readings.merge import merge_rows
from vae_anomaly.readings.notes import note_parts, note_times
from vae_anomaly.readings.parts import RawPart, name_parts
from vae_anomaly.readings.problems import judge_each_row
from vae_anomaly.readings.quality import profile_sensors
from vae_anomaly.readings.rows import (
    count_out_of_order,
    find_steps,
    has_key,
    is_range,
    measure_steps,
    problem_code,
    sort_rows,
    take_rows,
)
from vae_anomaly.readings.series_quality import (
    Ranges,
    SeriesQuality,
    find_runs,
    join_series,
    measure_series,
)
from vae_anomaly.readings.source import RawSource, open_source

DEFAULT_CONFIG = ReadingsConfig()

MAX_CONFLICT_SHARE = 0.2
"""Share of rows with the time of another row and other values above which the rows of several
assets must have been taken for one."""


def check_readings(
    source: RawSource,
    *,
    config: ReadingsConfig = DEFAULT_CONFIG,
    contract: Contract | None = None,
    purpose: str = "read readings",
    ranges: Ranges | None = None,
) -> CheckedReadings:
    """Read raw readings and say what is wrong with them.

    Cells: infinities, declared sentinels and magnitudes of 1e30 or more become NaN and are
    counted. Rows: all stay, in the order they came; each has a `Problem` or is usable.

    Args:
        source: Parquet file, folder, glob or URI, a list of those, or an Arrow table, dataset
            or pandas frame; never changed.
        config: How to understand the input.
        contract: What the input must look like; inferred from the input where not given.
        purpose: What cannot be done if the contract is broken, such as "score with model
            version 12"; it stands in the message.
        ranges: Values that are allowed, by name of sensor; others stay, and are counted.

    Returns:
        The rows, the contract they were read under, a problem per row, and the counts.

    Raises:
        ReadingsError: The input cannot be read, holds no row, or its times are of no use.
        ContractError: A column is missing, of the wrong type, or there is none to use.

    Example:
        >>> import pyarrow as pa
        >>> times = ["2024-05-01T12:00:00Z", "2024-05-01T12:01:00Z", "2024-05-01T12:01:00Z"]
        >>> table = pa.table({"timestamp": times, "flow": [1.5, float("inf"), float("inf")]})
        >>> checked = check_readings(table)
        >>> checked.problems.tolist(), checked.contract.period_s
        (['', '', 'duplicate'], 60.0)
    """
    parts = open_source(source, config=config, contract=contract)
    return check_parts(
        parts,
        config=config,
        contract=contract,
        purpose=purpose,
        ranges=ranges,
        may_average_states=False,
    )


def check_parts(
    parts: Sequence[RawPart],
    *,
    config: ReadingsConfig,
    contract: Contract | None = None,
    purpose: str = "read readings",
    ranges: Ranges | None = None,
    may_average_states: bool = True,
) -> CheckedReadings:
    """Check parts that are open already; see `check_readings`.

    `may_average_states` tells whether settings are accepted that take the mean of a sensor of two
    states: a lake takes readings whatever training refuses to do with them.
    """
    columns = merge_columns(parts)
    if contract is None:
        layout = _infer(columns, config)
    else:
        layout = match_contract(columns, contract, config.asset, purpose=purpose)
    loaded = load_readings(parts, layout, sentinels=config.sentinels)
    problems = judge_rows(loaded.readings)
    conflicts = problems.equals(Problem.CONFLICTING_DUPLICATE.value)
    require_one_asset(float(np.mean(conflicts)), layout)
    rules = list_rules(config, layout.sensor_names)
    if contract is None:
        if not may_average_states:
            require_numbers_to_average(loaded.readings, rules)
        period_s = config.period_s or _infer_period(
            loaded, problems, parts, is_aligned=bool(rules)
        )
        layout = replace(layout, period_s=period_s)
    if rules and _is_at_ticks(loaded.readings, problems, layout.period_s):
        rules = {}
    notes = (
        *note_unknown_columns(columns, layout),
        *(note_unknown_names(config, columns, layout) if contract is None else ()),
        *loaded.notes,
        *note_parts(parts, columns, layout),
    )
    note = partial(_note, loaded.readings, problems, layout, notes=notes, rules=rules)
    counting = _Counting(loaded, problems, layout, config.gap_steps, ranges, note)
    if rules:
        return _align(loaded, problems, layout, rules=rules, counting=counting)
    return CheckedReadings(layout, loaded.readings, problems, note, counting.count)


def _is_at_ticks(readings: Readings, problems: Texts, period_s: float) -> bool:
    """Whether each row that can be used has the time of a tick: then none has to be moved."""
    times = readings.timestamps[problems.equals(Problem.NONE.value)]
    return bool(np.array_equal(find_ticks(times, period_s=period_s), times))


def _align(
    loaded: LoadedReadings,
    problems: Texts,
    contract: Contract,
    *,
    rules: Rules,
    counting: _Counting,
) -> CheckedReadings:
    """Put the usable rows at ticks; those with a problem are counted and go no further."""
    readings = loaded.readings
    usable = _find_usable(readings, problems)
    aligned = align_rows(_take(readings, usable), period_s=contract.period_s, rules=rules)
    ticks = np.full(readings.num_rows, -1, dtype=np.int64)
    ticks[usable] = aligned.rows
    steps = find_steps(aligned.readings, np.arange(aligned.readings.num_rows))
    return CheckedReadings(
        contract=contract,
        readings=aligned.readings,
        row_problems=Texts(
            np.zeros(aligned.readings.num_rows, dtype=problems.codes.dtype), problems.names
        ),
        note=counting.note,
        count=partial(counting.count, steps=steps),
        ticks=ticks,
    )


def judge_rows(readings: Readings) -> Texts:
    """Say of each row why it cannot be used; rows that share asset and time become one.

    The row that stands for them has their merged values from here on: see `merge_rows`.

    Args:
        readings: Rows in any order, of which the values may be written to.

    Returns:
        A `Problem` per row, the empty text where the row is usable.
    """
    codes = judge_each_row(readings)
    usable = np.flatnonzero(codes == problem_code(Problem.NONE))
    merge = merge_rows(readings, sort_rows(readings, usable))
    if merge.others.size:
        readings.values[merge.kept] = merge.values
        codes[merge.others] = problem_code(Problem.DUPLICATE)
        lost = np.intersect1d(merge.others, merge.losers)
        codes[lost] = problem_code(Problem.CONFLICTING_DUPLICATE)
    return Texts(codes, PROBLEMS)


def infer_period(steps: IntArray, *, where: str) -> float:
    """Return the median step in seconds.

    Args:
        steps: Microseconds between neighbours, all positive.
        where: Where they come from, for the message.

    Raises:
        ReadingsError: There is no step.
    """
    if steps.size == 0:
        raise ReadingsError(
            f"Cannot infer the period of {where}: expected at least two usable rows of one asset "
            "with different times, got none. Set period_s in the settings of the readings."
        )
    return float(np.median(steps)) / MICROSECONDS_PER_S


def _infer_period(
    loaded: LoadedReadings, problems: Texts, parts: Sequence[RawPart], *, is_aligned: bool
) -> float:
    usable = _find_usable(loaded.readings, problems)
    own_s = infer_own_period(loaded.readings, usable) if is_aligned else math.nan
    if own_s > 0:
        return own_s
    steps = find_steps(loaded.readings, usable)
    return infer_period(steps, where=name_parts(parts))


def _find_usable(readings: Readings, problems: Texts) -> IntArray:
    return sort_rows(readings, np.flatnonzero(problems.equals(Problem.NONE.value)))


def _infer(columns: Mapping[str, RawColumn], config: ReadingsConfig) -> Contract:
    return infer_contract(
        columns,
        timestamp=config.timestamp,
        asset=config.asset,
        sensors=config.sensors,
        ignore=config.ignore,
        units=config.units,
    )


def match_contract(
    columns: Mapping[str, RawColumn], contract: Contract, asset: str, *, purpose: str
) -> Contract:
    """Match the contract; an asset column it does not have yet still keeps assets apart."""
    check_contract(columns, contract, purpose=purpose)
    if contract.asset is None and asset in columns and asset not in contract.sensor_names:
        return replace(contract, asset=asset)
    return contract


def require_one_asset(share: float, contract: Contract) -> None:
    """Refuse readings of several assets, told apart by a column that nobody named.

    Args:
        share: Share of the rows with the time of another row and other values.
        contract: The contract they were read under.
    """
    texts = tuple(name for name, reason in contract.ignored.items() if reason == TEXT)
    if contract.asset is None and texts and share > MAX_CONFLICT_SHARE:
        shown = f"{share * 100:.0f} %"
        raise ContractError(
            f"Cannot read readings: expected one row per time, got {shown} of the rows "
            "with the time of another row and other values. Does a column say which asset a row "
            f"is of, one of {list_names(texts)}? Then name it: --asset, or asset in the settings "
            "of the readings. Is the input long, one row per value? Then say so with long in the "
            "settings. If neither, ignore those columns."
        )


def _note(
    readings: Readings,
    problems: Texts,
    contract: Contract,
    *,
    notes: tuple[str, ...],
    rules: Rules,
) -> tuple[str, ...]:
    """Return the notes so far, and those on times and on sensors without any value."""
    usable = _find_usable(readings, problems)
    values = take_rows(readings.values, usable)
    empty = [
        sensor
        for k, sensor in enumerate(contract.sensor_names)
        if len(values) == 0 or np.isnan(values[:, k]).all()
    ]
    keyed = np.flatnonzero(has_key(problems))
    found = (
        *notes,
        *note_times(readings, usable, contract.period_s, is_aligned=bool(rules)),
        *find_clock_steps(readings, keyed, contract.period_s).write_notes(),
    )
    return (*found, f"sensors without any value: {list_names(empty)}") if empty else found


@dataclass(frozen=True)
class _Counting:
    """What the counts of a `Quality` are made from, when they are asked for."""

    loaded: LoadedReadings
    problems: Texts
    contract: Contract
    gap_steps: int
    ranges: Ranges | None
    note: Callable[[], tuple[str, ...]]

    def count(self, steps: IntArray | None = None) -> Quality:
        """Count; `steps` are those between the ticks that rows became, if they did."""
        readings = self.loaded.readings
        usable = _find_usable(readings, self.problems)
        counts = _count_problems(self.problems)
        num_duplicates = counts.get(Problem.DUPLICATE.value, 0)
        figures = measure_steps(
            find_steps(readings, usable) if steps is None else steps,
            period_s=self.contract.period_s,
            gap_steps=self.gap_steps,
        )
        usable_readings = _take(readings, usable)
        sensors = profile_sensors(
            usable_readings.values,
            sensors=self.contract.sensors,
            asset_codes=usable_readings.asset_codes,
            num_infinite=self.loaded.num_infinite.sum(axis=0),
            num_sentinel=self.loaded.num_sentinel.sum(axis=0),
        )
        periods = find_own_periods(readings, usable)
        times = usable_readings.timestamps
        return Quality(
            num_rows=readings.num_rows,
            num_usable=int(usable.size),
            num_duplicates=num_duplicates,
            num_quarantined=readings.num_rows - int(usable.size) - num_duplicates,
            problems=counts,
            num_out_of_order=count_out_of_order(readings, np.flatnonzero(has_key(self.problems))),
            num_gaps=figures.num_gaps,
            longest_gap_s=figures.longest_gap_s,
            period_s=self.contract.period_s,
            irregular_share=figures.irregular_share,
            first_us=int(times.min()) if times.size else NO_TIME,
            last_us=int(times.max()) if times.size else NO_TIME,
            num_assets=int(np.count_nonzero(np.bincount(usable_readings.asset_codes))),
            sensors=tuple(
                replace(sensor, period_s=period_s)
                for sensor, period_s in zip(sensors, periods, strict=True)
            ),
            by_asset=_measure_assets(usable_readings, self.loaded, self.ranges),
            notes=self.note(),
        )


def _measure_assets(
    readings: Readings, loaded: LoadedReadings, ranges: Ranges | None
) -> tuple[SensorQuality, ...]:
    """Measure each asset of readings that are sorted by asset and time, day by day as ingest."""
    parts: dict[int, list[SeriesQuality]] = {}
    for first, end in find_runs(readings):
        rows = slice(first, end)
        measured = measure_series(
            readings.timestamps[rows], readings.values[rows], readings.sensors, ranges=ranges
        )
        parts.setdefault(int(readings.asset_codes[first]), []).append(measured)
    found: list[SensorQuality] = []
    for code, mine in parts.items():
        found += join_series(mine).list_sensors(
            readings.asset_names[code],
            readings.sensors,
            num_infinite=loaded.num_infinite[code],
            num_sentinel=loaded.num_sentinel[code],
        )
    return tuple(found)


def _count_problems(problems: Texts) -> dict[str, int]:
    counts = np.bincount(problems.codes, minlength=len(problems.names)).tolist()
    found = {name: count for name, count in zip(problems.names, counts, strict=True) if count}
    found.pop(Problem.NONE.value, None)
    return dict(sorted(found.items()))


def _take(readings: Readings, rows: IntArray) -> Readings:
    """Return the rows; readings that are all good and in order are not copied."""
    is_all = rows.size == readings.num_rows and is_range(rows)
    return readings if is_all else readings.take(rows)
