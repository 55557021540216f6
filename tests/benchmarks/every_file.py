"""Fit and score every file of the labelled data: no crash, no warning, rows in = rows out.

Run with `python -m tests.benchmarks.every_file FOLDER [part of a path]`; one line per file.
Training is short: this shows that the path holds, not how well it detects.
"""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq

from vae_anomaly import Detector, DetectorConfig, evaluate
from vae_anomaly.config import ModelConfig

CONFIG = DetectorConfig(model=ModelConfig(min_training_steps=100, max_training_steps=200))
LABEL = "label_anomaly"
NORMAL_RUNS = {"skab": "anomaly-free.parquet", "tep": "d00_train.parquet"}
"""Folders in which one normal run trains the detector of all the others."""


def show(detector: Detector, file: Path) -> None:
    """Score and evaluate one file, and print its states."""
    scores = detector.score(file)
    num_rows = pq.read_metadata(file).num_rows
    states = Counter(scores["state"].to_pylist())
    if scores.num_rows != num_rows or sum(states.values()) != num_rows:
        raise SystemExit(f"{file}: {num_rows} rows in, {scores.num_rows} rows out, {states}")
    result = evaluate(scores, pq.read_table(file, columns=[LABEL])[LABEL]).to_dict()
    name = f"{file.parent.name}/{file.name}"
    print(f"{name}: {dict(states)}, VUS-PR {result['vus_pr']}", flush=True)


def main() -> None:
    """Go through all files of a folder."""
    warnings.simplefilter("error")
    # Keras saving a TensorFlow variable under NumPy 2.4
    warnings.filterwarnings("ignore", message="__array__ implementation")
    root, part = Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else ""
    shared: dict[str, Detector] = {}
    num_files = 0
    for file in sorted(root.rglob("*.parquet")):
        if part not in str(file):
            continue
        folder = file.parent.name
        if folder in NORMAL_RUNS:
            normal = file.parent / NORMAL_RUNS[folder]
            detector = shared.get(folder) or Detector.fit(normal, config=CONFIG)
            shared[folder] = detector
        else:
            detector = Detector.fit(file, config=CONFIG)
        show(detector, file)
        num_files += 1
    print(f"{num_files} files")


if __name__ == "__main__":
    main()
