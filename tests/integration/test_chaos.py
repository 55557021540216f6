"""G4: killed anywhere and run again, the tables are those of an undisturbed run.

`make chaos` runs the long form.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.chaos import Tally, run_chaos

NUM_RANDOM = int(os.environ.get("CHAOS_KILLS", "5"))
NUM_TRAINING = max(NUM_RANDOM // 5, 1)


def test_g4_no_row_differs_after_kills_full_disks_and_read_only_storage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    total = Tally()
    for name, tally in run_chaos(tmp_path, num_random=NUM_RANDOM, num_training=NUM_TRAINING):
        with capsys.disabled():
            print(f"\n{name}: {tally}", end="", flush=True)  # noqa: T201 - kills are shown
        total.kills += tally.kills
        total.refused += tally.refused
        total.differing_rows += tally.differing_rows
    with capsys.disabled():
        print(f"\n{total.kills} kills, {total.differing_rows} differing rows")  # noqa: T201
    assert total.kills > 40
    assert total.refused > 10
    assert total.differing_rows == 0
