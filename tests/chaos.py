"""Chaos: kill the pipeline at every commit and at random moments, and compare every table.

Every kill is a real SIGKILL of a process of its own. `tests/integration/test_chaos.py` runs it.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import resource
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.table import TableMerger

from tests.pipelines import write_pipeline
from vae_anomaly.config import read_pipeline_config
from vae_anomaly.errors import VaeAnomalyError
from vae_anomaly.operations import pipeline
from vae_anomaly.readings import delta
from vae_anomaly.readings.tables import Lake

TABLES = ("readings", "quarantine", "superseded", "quality", "ledger", "scores", "alerts")
NOBODY = 65_534
DIFFERENT = ("first_seen", "modified")
"""Times of change of raw files, which differ between copies."""

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.chaos", "mlflow", "onnxruntime"])


@dataclass
class Stage:
    """One step of the story: what there is before it, and what must be after it."""

    name: str
    before: Path
    expected: dict[str, pa.Table]
    seconds: float


@dataclass
class Tally:
    """What was tried, and how it ended."""

    kills: int = 0
    finished: int = 0
    refused: int = 0
    differing_rows: int = 0

    def __str__(self) -> str:
        return (
            f"{self.kills} kills, {self.refused} failed writes, {self.finished} runs that ended "
            f"before their kill: {self.differing_rows} differing rows"
        )


def make_stages(folder: Path) -> list[Stage]:
    """Run the story undisturbed, and keep what there is before and after each step."""
    config_path, later = write_pipeline(folder / "home", num_files=4)
    home, raw = config_path.parent, folder / "home" / "raw"
    pipeline.ingest_source(read_pipeline_config(config_path))
    pipeline.train_detector(read_pipeline_config(config_path))
    shutil.rmtree(home / "lake")
    stages = []
    for name, prepare in (
        ("ingest", lambda: _make_dirty(sorted(raw.iterdir())[0])),
        ("ingest", lambda: _overlap(later[1].rename(raw / later[1].name))),
        ("score", lambda: None),
        ("ingest", lambda: (later[0].rename(raw / later[0].name), _correct(raw / later[1].name))),
        ("score", lambda: None),
    ):
        prepare()
        before = folder / f"{len(stages)}-{name}"
        _copy(home, before)
        began = time.perf_counter()
        run_step(name, str(config_path))
        seconds = time.perf_counter() - began
        stages.append(Stage(name, before, read_tables(home / "lake"), seconds))
    return stages


def run_step(name: str, config_path: str) -> None:
    """Run one step of the pipeline in this process."""
    config = read_pipeline_config(config_path)
    {"ingest": pipeline.ingest_source, "score": pipeline.score_readings}[name](config)


def kill_at_commits(stage: Stage, folder: Path, tally: Tally) -> None:
    """Kill before and after each commit in turn, until a run ends without being killed."""
    for when in ("before", "after"):
        number = 0
        while _disturb(stage, folder, tally, _run_killed_at, number, when) == -signal.SIGKILL:
            number += 1
        assert number, f"{stage.name} made no commit to be killed at"


def kill_at_moments(stage: Stage, folder: Path, tally: Tally, moments: list[float]) -> None:
    """Kill after each of these shares of the time that the step takes."""
    for share in moments:
        _disturb(stage, folder, tally, _run_step, kill_after_s=share * stage.seconds)


def fill_the_disk(stage: Stage, folder: Path, tally: Tally, limits: list[int]) -> None:
    """Let every file that grows beyond so many bytes fail, as on a full disk."""
    for limit in limits:
        _disturb(stage, folder, tally, _run_limited, limit)


def forbid_writing(stage: Stage, folder: Path, tally: Tally) -> None:
    """Run where nothing of the lake can be written."""
    _disturb(stage, folder, tally, _run_read_only)


def read_tables(lake: Path) -> dict[str, pa.Table]:
    """Read every table, each sorted by all that it has."""
    tables = {}
    for name in TABLES:
        if not DeltaTable.is_deltatable(str(lake / name)):
            continue
        table = delta.read_table(str(lake / name))
        table = table.drop_columns([c for c in DIFFERENT if c in table.column_names])
        plain = [c for c in table.column_names if not pa.types.is_nested(table[c].type)]
        tables[name] = table.sort_by([(column, "ascending") for column in plain])
    return tables


def count_differing(found: dict[str, pa.Table], expected: dict[str, pa.Table]) -> int:
    """Count rows that are in one and not in the other, table by table."""
    differing = 0
    for name in TABLES:
        one, other = found.get(name), expected.get(name)
        if one is None or other is None:
            differing += sum(table.num_rows for table in (one, other) if table is not None)
        elif not one.equals(other.select(one.column_names)):
            left = [str(row) for row in one.to_pylist()]
            right = [str(row) for row in other.select(one.column_names).to_pylist()]
            differing += len(set(left) ^ set(right)) + abs(len(left) - len(right))
    return differing


def _disturb(
    stage: Stage,
    folder: Path,
    tally: Tally,
    target: Callable[..., None],
    *args: object,
    kill_after_s: float | None = None,
) -> int:
    """Run a step disturbed, then undisturbed; compare; return how the disturbed one ended."""
    home = folder / "home"
    shutil.rmtree(home / "lake", ignore_errors=True)
    shutil.rmtree(home / "raw", ignore_errors=True)
    _copy(stage.before, home)
    config_path = str(home / "pipeline.toml")
    process = CONTEXT.Process(target=target, args=(stage.name, config_path, *args))
    process.start()
    if kill_after_s is not None:
        time.sleep(kill_after_s)
        process.kill()
    process.join()
    code = process.exitcode or 0
    tally.kills += code == -signal.SIGKILL
    tally.finished += code == 0
    tally.refused += code > 0
    again = CONTEXT.Process(target=_run_step, args=(stage.name, config_path))
    again.start()
    again.join()
    assert again.exitcode == 0, f"{stage.name} could not be run again"
    tally.differing_rows += count_differing(read_tables(home / "lake"), stage.expected)
    return code


def _run_step(name: str, config_path: str) -> None:
    run_step(name, config_path)


def _run_killed_at(name: str, config_path: str, number: int, when: str) -> None:
    """Kill this process before or after its commit of this number."""
    count = 0

    def wrap(function: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            nonlocal count
            mine, count = count, count + 1
            if mine == number and when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            result = function(*args, **kwargs)
            if mine == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call

    delta.write_deltalake = wrap(delta.write_deltalake)  # type: ignore[assignment]
    for owner, attribute in (
        (DeltaTable, "create_write_transaction"),
        (DeltaTable, "create"),
        (TableMerger, "execute"),
        (Lake, "write_contract"),
    ):
        setattr(owner, attribute, wrap(getattr(owner, attribute)))
    run_step(name, config_path)


def _run_limited(name: str, config_path: str, limit: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    _run_refused(name, config_path)


def _run_read_only(name: str, config_path: str) -> None:
    lake = Path(config_path).parent / "lake"
    lake.mkdir(exist_ok=True)
    folders = [lake, *(path for path in lake.rglob("*") if path.is_dir())]
    try:
        for path in folders:
            path.chmod(0o555)
        if os.geteuid() == 0:
            os.seteuid(NOBODY)
        _run_refused(name, config_path, quits=False)
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        for path in folders:
            path.chmod(0o755)
    os._exit(1)


def _run_refused(name: str, config_path: str, *, quits: bool = True) -> None:
    """Run a step that may fail, but only as we say it fails."""
    try:
        run_step(name, config_path)
    except VaeAnomalyError:
        if quits:
            os._exit(1)


def _make_dirty(file: Path) -> None:
    """Give a file duplicates, a contradiction and rows without a time."""
    table = pq.read_table(file)
    k = table.column_names.index("timestamp")
    lost = table.slice(10, 5).set_column(k, "timestamp", pa.nulls(5, table["timestamp"].type))
    j = table.column_names.index("flow")
    wrong = table.slice(20, 5)
    wrong = wrong.set_column(j, "flow", pc.add(wrong["flow"], 1.0))
    pq.write_table(pa.concat_tables([table, lost, wrong, table.slice(30, 5)]), file)


def _overlap(file: Path) -> None:
    """Write some rows of a file into another one, too, of which a correction changes some."""
    pq.write_table(pq.read_table(file).slice(150, 100), file.with_name("overlap.parquet"))


def _correct(file: Path) -> None:
    """Give a file other values in some rows, and leave some out."""
    table = pq.read_table(file)
    changed = table.slice(200, 10)
    j = table.column_names.index("flow")
    changed = changed.set_column(j, "flow", pc.multiply(changed["flow"], 1.1))
    pq.write_table(pa.concat_tables([table.slice(0, 200), changed, table.slice(220)]), file)


def _copy(home: Path, to: Path) -> None:
    """Copy raw files and lake, not the registry: its addresses are absolute."""
    to.mkdir(exist_ok=True)
    for name in ("raw", "lake"):
        if (home / name).exists():
            shutil.copytree(home / name, to / name, dirs_exist_ok=True)


def run_chaos(
    folder: Path, *, num_random: int, num_training: int, seed: int = 0
) -> Iterator[tuple[str, Tally]]:
    """Disturb every step of the story in every way; yield what came of each.

    Args:
        folder: Where to work.
        num_random: Random moments to kill ingest and scoring at.
        num_training: Random moments to kill training at.
        seed: Seed of the moments.
    """
    rng = random.Random(seed)  # noqa: S311 - moments, not secrets
    stages = make_stages(folder)
    for number, stage in enumerate(stages):
        share = num_random // len(stages) + (number < num_random % len(stages))
        tally = Tally()
        kill_at_commits(stage, folder, tally)
        kill_at_moments(stage, folder, tally, [rng.random() for _ in range(share)])
        fill_the_disk(stage, folder, tally, [1, 400, 5_000, 20_000])
        forbid_writing(stage, folder, tally)
        yield f"{number + 1}. {stage.name}", tally
    tally = Tally()
    kill_training(folder / "training", tally, [rng.random() for _ in range(num_training)])
    yield "train", tally


def kill_training(folder: Path, tally: Tally, moments: list[float]) -> None:
    """Kill training after shares of its time; it must register one version, the same one."""
    config_path, _ = write_pipeline(folder)
    config = read_pipeline_config(config_path)
    pipeline.ingest_source(config)
    shutil.copytree(folder / "lake", folder / "ingested")
    seconds, expected = 0.0, {}
    for moment in (None, *moments):
        for name in ("lake", "mlflow"):
            shutil.rmtree(folder / name, ignore_errors=True)
        shutil.copytree(folder / "ingested", folder / "lake")
        if moment is not None:
            killed = CONTEXT.Process(target=_train, args=(str(config_path),))
            killed.start()
            time.sleep(moment * seconds)
            killed.kill()
            killed.join()
            tally.kills += killed.exitcode == -signal.SIGKILL
            tally.finished += killed.exitcode == 0
        began = time.perf_counter()
        again = CONTEXT.Process(target=_train, args=(str(config_path),))
        again.start()
        again.join()
        seconds = seconds or time.perf_counter() - began
        assert again.exitcode == 0, "training could not be run again"
        scoring = CONTEXT.Process(target=_run_step, args=("score", str(config_path)))
        scoring.start()
        scoring.join()
        assert scoring.exitcode == 0, "what was trained could not score"
        found = read_tables(folder / "lake")
        expected = expected or found
        tally.differing_rows += count_differing(found, expected)


def _train(config_path: str) -> None:
    pipeline.train_detector(read_pipeline_config(config_path))
