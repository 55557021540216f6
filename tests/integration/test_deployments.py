"""Flows on a real Prefect server with a real worker: schedules, events, missed flow runs."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.deployments import CLOSER
from flows.schedules import DRIFT_EVENT
from tests.conftest import PROJECT
from tests.pipelines import write_pipeline
from tests.services import Site, now, wait_until
from vae_anomaly.readings.tables import Lake

pytestmark = pytest.mark.integration

FLOWS = ("ingest", "train", "score")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a clone has, with a pipeline in it and shorter intervals."""
    folder = tmp_path_factory.mktemp("clone")
    write_pipeline(folder)
    shutil.copytree(PROJECT / "flows", folder / "flows")
    shutil.copy(PROJECT / "prefect.toml", folder)
    text = (PROJECT / "prefect.yaml").read_text(encoding="utf-8")
    assert text.count("interval: 300") == 2
    (folder / "prefect.yaml").write_text(
        text.replace("interval: 300", "interval: 15"), encoding="utf-8"
    )
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("site"), {})
    try:
        site.start_server()
        yield site
    finally:
        site.close()


def emit_drift(site: Site) -> None:
    code = (
        "from prefect.events import emit_event\n"
        f"emit_event({DRIFT_EVENT!r}, resource={{'prefect.resource.id': 'vae-anomaly.lake'}})\n"
    )
    site.run("python", "-c", code)


def set_intervals(config: Path, **every_s: float) -> None:
    text = config.read_text(encoding="utf-8").partition("\n[schedule]")[0]
    lines = [f"{name}_every_s = {seconds}" for name, seconds in every_s.items()]
    config.write_text("\n".join([text, "[schedule]", *lines, ""]), encoding="utf-8")


def test_flows_of_prefect_yaml_run_when_due_and_on_drift(clone: Path, site: Site) -> None:
    site.run("prefect", "work-pool", "create", "vae-anomaly", "--type", "process")
    site.run("prefect", "--no-prompt", "deploy", "--all", cwd=clone)
    deployments = site.ask("deployments/filter", {})
    assert {item["name"] for item in deployments} == set(FLOWS)
    assert {item["concurrency_options"]["collision_strategy"] for item in deployments} == {
        "CANCEL_NEW"
    }
    site.start_worker()
    site.wait_for_run("ingest")
    assert site.list_runs("train") == []
    emit_drift(site)
    site.wait_for_run("train")
    site.wait_for_run("score")
    assert Lake(clone / "lake").read_scores().num_rows > 500
    (trained,) = site.list_runs("train")
    assert trained["created_by"]["type"] == "AUTOMATION"
    pause(site, is_paused=True)


def test_deploy_replaces_schedules_and_keeps_one_automation(clone: Path, site: Site) -> None:
    config = clone / "pipeline.toml"
    set_intervals(config, ingest=1, train=0, score=0)
    for _ in range(2):
        printed = site.run("vae-anomaly", "deploy", "--config", config)
    assert printed.splitlines()[:3] == [
        "ingest/ingest: every 1 s",
        "train/train: never",
        "score/score: never",
    ]
    schedules = {
        item["name"]: [one["schedule"]["interval"] for one in item["schedules"]]
        for item in site.ask("deployments/filter", {})
    }
    assert schedules == {"ingest": [1.0], "train": [], "score": []}
    names = [item["name"] for item in site.ask("automations/filter", {})]
    assert sorted(names) == sorted([CLOSER, f"train on {DRIFT_EVENT}"])


def test_what_was_missed_is_caught_up_once(clone: Path, site: Site) -> None:
    """While the pool is paused no worker takes a flow run, as if there were none."""
    down = len(site.list_runs("ingest"))
    wait_until(lambda: len(site.list_runs("ingest", state_type="SCHEDULED")) >= 15)
    up = now()
    pause(site, is_paused=False)
    wait_until(lambda: any(run["expected_start_time"] > up for run in list_done(site)))
    missed = [run for run in site.list_runs("ingest")[:-down] if run["expected_start_time"] <= up]
    states = Counter(run["state_name"] for run in missed)
    assert states == {"Completed": 1, "Cancelled": len(missed) - 1}, site.tell_states("ingest")
    assert len(missed) >= 15


def list_done(site: Site) -> list[dict[str, Any]]:
    return site.list_runs("ingest", state_type="COMPLETED")


def pause(site: Site, *, is_paused: bool) -> None:
    """Let the work pool hand out nothing and wait until nothing runs; or let it go on."""
    site.ask("work_pools/vae-anomaly", {"is_paused": is_paused}, method="PATCH")
    if is_paused:
        wait_until(lambda: not any(count_unfinished(site, name) for name in FLOWS))


def count_unfinished(site: Site, name: str) -> int:
    return sum(run["state_type"] in {"PENDING", "RUNNING"} for run in site.list_runs(name))
