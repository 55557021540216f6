"""What `make demo` promises, on its own settings and the committed sample."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = str(Path(sys.executable).with_name("vae-anomaly"))
SECONDS_PER_WEEK = 7 * 86_400
TIMEOUT_S = 900

pytestmark = pytest.mark.e2e


def run_demo(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, "demo", "--folder", str(folder), *options],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=True,
    )


def test_the_demo_finds_five_kinds_within_its_budget_and_then_has_nothing_to_do(tmp_path):
    # a demo that was run by this very checkout a moment ago need not be run again
    folder = Path(os.environ.get("VAE_ANOMALY_FRESH_DEMO") or tmp_path / "demo").resolve()
    outcome = json.loads(run_demo(folder, "--json").stdout)
    assert len(outcome["planted_kinds"]) == 6
    found = [kind["kind"] for kind in outcome["planted_kinds"] if kind["num_found"]]
    assert len(found) >= 5, found
    allowed = outcome["budget_per_week"] * outcome["duration_s"] / SECONDS_PER_WEEK
    assert outcome["num_false"] <= allowed
    assert Path(outcome["report"]).stat().st_size > 1_000_000
    again = run_demo(folder)
    assert "Nothing to do" in again.stdout
    assert again.stderr == ""
