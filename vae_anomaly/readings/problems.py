"""What is wrong with single rows, what an adaptor found while it read them included."""

from __future__ import annotations

import numpy as np

from vae_anomaly.domain import CodeArray, Readings
from vae_anomaly.readings.rows import find_problems


def judge_each_row(readings: Readings) -> CodeArray:
    """Say of each row why it cannot be used by itself.

    Args:
        readings: Rows in any order.

    Returns:
        Position in `PROBLEMS` of each row's problem: the one found on reading, where there is
        one, else what its time and asset say. Shape `(rows,)`.
    """
    codes = find_problems(readings)
    if readings.problems is None:
        return codes
    judged: CodeArray = np.where(readings.problems != 0, readings.problems, codes)
    return judged
