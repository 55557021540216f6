"""Benchmark: what ingest costs in time and memory, against pyarrow reading and rewriting.

Run `python -m tests.benchmarks.ingest_cost [MILLION_ROWS ...]`; each size runs in processes of
its own, and prints the ratio of times and the peak of resident memory.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vae_anomaly.config import ReadingsConfig
from vae_anomaly.readings.ingest import ingest
from vae_anomaly.readings.tables import Lake

NUM_SENSORS = 8
FILE_ROWS = 5_000_000
GROUP_ROWS = 250_000
START_US = 1_704_067_200_000_000
REPEATS = 3


def make_files(folder: Path, num_rows: int) -> None:
    """Write a day-and-night stream of one second per row, in files of five million rows."""
    rng = np.random.default_rng(0)
    names = [f"sensor_{k}" for k in range(NUM_SENSORS)]
    schema = pa.schema(
        [("timestamp", pa.timestamp("us", "UTC")), *((n, pa.float64()) for n in names)]
    )
    for first in range(0, num_rows, FILE_ROWS):
        with pq.ParquetWriter(folder / f"{first:012d}.parquet", schema, compression="zstd") as out:
            for start in range(first, min(first + FILE_ROWS, num_rows), GROUP_ROWS):
                steps = np.arange(start, start + GROUP_ROWS)
                wave = np.sin(steps / 86_400)
                values = [
                    np.round(10.0 * k + wave + rng.normal(0, 0.1, GROUP_ROWS), 3)
                    for k in range(NUM_SENSORS)
                ]
                times = pa.array(START_US + steps * 1_000_000, pa.timestamp("us", "UTC"))
                out.write_table(
                    pa.Table.from_arrays([times, *map(pa.array, values)], schema=schema)
                )


def rewrite(raw: Path, out: Path) -> None:
    """Read each file and write it again, as pyarrow does it by itself, batch by batch."""
    for file in sorted(raw.glob("*.parquet")):
        with pq.ParquetFile(file) as parquet:
            writer = pq.ParquetWriter(out / file.name, parquet.schema_arrow, compression="zstd")
            with writer:
                for batch in parquet.iter_batches(batch_size=1_000_000):
                    writer.write_batch(batch)


def take_in(raw: Path, out: Path) -> None:
    """Ingest the files into a new lake."""
    result = ingest(raw, Lake(out / "lake"), config=ReadingsConfig())
    if result.num_kept != result.num_rows:
        raise SystemExit(f"expected every row kept, got {result}")


def measure(job: str, raw: Path) -> None:
    """Do one job in this process; print seconds and mebibytes."""
    out = Path(tempfile.mkdtemp(dir=raw.parent))
    began = time.perf_counter()
    {"rewrite": rewrite, "ingest": take_in}[job](raw, out)
    seconds = time.perf_counter() - began
    shutil.rmtree(out)
    print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def run(job: str, raw: Path) -> tuple[float, float]:
    """Do one job in a process of its own; return seconds and mebibytes."""
    command = [sys.executable, "-m", "tests.benchmarks.ingest_cost", job, str(raw)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds, peak = done.stdout.split()
    return float(seconds), float(peak)


def main(sizes: list[float]) -> None:
    """Print one line per size, in millions of rows."""
    print("million rows | pyarrow s | ingest s | ratio | peak MiB pyarrow, ingest")
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            raw = Path(folder) / "raw"
            raw.mkdir()
            make_files(raw, round(size * 1e6))
            repeats = REPEATS if size <= 10 else 1
            runs = [(run("rewrite", raw), run("ingest", raw)) for _ in range(repeats)]
        floor = min(one[0][0] for one in runs)
        ours = min(one[1][0] for one in runs)
        peaks = [max(one[j][1] for one in runs) for j in (0, 1)]
        print(
            f"{size:g} | {floor:.2f} | {ours:.2f} | {ours / floor:.2f} | "
            f"{peaks[0]:.0f}, {peaks[1]:.0f}",
            flush=True,
        )


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] in ("rewrite", "ingest"):
        measure(sys.argv[1], Path(sys.argv[2]))
    else:
        main([float(text) for text in sys.argv[1:]] or [1.0, 10.0])
