"""The README's own commands and code, run as a reader runs them, in a folder of their own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.conftest import PROJECT, QUICK
from tests.pages import RUNNABLE_SLOWLY, read_blocks
from vae_anomaly.cli.template import make_template
from vae_anomaly.config import DetectorConfig, PipelineConfig

pytestmark = pytest.mark.e2e

BLOCKS = read_blocks(PROJECT / "README.md")
LIMIT_S = 900.0
EVENT = re.compile(r"(?P<day>\d{4}-\d\d-\d\d) \d\d:\d\d +(?P<severity>\w+) +(?P<sensor>\w+)")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with the sample data and settings for a short training."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(PROJECT / "data/sample", folder / "data/sample")
    settings = make_template(PipelineConfig(detector=DetectorConfig(model=QUICK)))
    (folder / "quick.toml").write_text(settings, encoding="utf-8")
    return folder


def run(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        words,
        cwd=folder,
        env=os.environ | {"PATH": path, "COLUMNS": "100"},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def test_the_file_commands_work_one_after_the_other(folder):
    [block] = [block for block in BLOCKS if "vae-anomaly fit" in block.text]
    for command in block.text.splitlines():
        quick = " --config quick.toml" if " fit " in command else ""
        done = run(["bash", "-c", command + quick], folder)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        assert done.stderr == "", command
        assert done.stdout, command
    rows = sum(
        pq.read_metadata(file).num_rows
        for file in (folder / "data/sample").glob("station_2026-02-*.parquet")
    )
    scores = pq.read_table(folder / "data/scores.parquet")
    assert scores.num_rows == rows
    assert "label_anomaly" in scores.column_names
    assert (folder / "data/files.html").stat().st_size > 1_000_000


def test_the_python_example_finds_what_the_readme_says(folder):
    [block] = [block for block in BLOCKS if block.mark == RUNNABLE_SLOWLY]
    done = run([sys.executable, "-c", block.text], folder)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found = {(event["day"], event["sensor"]) for event in EVENT.finditer(done.stdout)}
    shown = list(EVENT.finditer(block.output))
    assert len(shown) == len(block.output.splitlines())
    # what only just crosses the threshold may differ between processors
    clear = {(event["day"], event["sensor"]) for event in shown if event["severity"] != "low"}
    assert clear
    assert clear <= found, f"README is out of date, it should show:\n{done.stdout}"
