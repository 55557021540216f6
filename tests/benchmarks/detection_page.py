"""Tables and picture of docs/science/benchmarks.md, from what the benchmark command prints.

Run with `python -m tests.benchmarks.detection_page RESULT.json ...`, each the output of
`vae-anomaly benchmark ... --json`. Writes docs/science/benchmarks.json and
docs/images/benchmarks.png, and prints the tables in Markdown.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from vae_anomaly.evaluation.methods import ALL_METHODS
from vae_anomaly.evaluation.suites import ALL_SUITES

ROOT = Path(__file__).parents[2] / "docs"
HEADLINES = {
    "tsb_ad_m": "VUS-PR",
    "gecco2018": "VUS-PR",
    "nab": "VUS-PR",
    "tep": "FDR",
    "skab": "F1",
    "3w": "F1 (micro)",
}
"""The figure of each suite that others publish."""

HIDDEN = ("FDR of", "provisional", "realised, provisional")
"""Figures that tables leave out, or show in the column of another."""

PROVISIONAL = "*"
"""Behind a realised share whose limit its method calls provisional."""

MAX_SPREAD_SHOWN = 0.0005
"""A spread that rounds to nothing is left out."""

Summaries = dict[tuple[str, str, str], dict[str, Any]]


def read_results(files: list[str]) -> Summaries:
    """Read the summaries of all files; where two say the same, the later file counts."""
    found: Summaries = {}
    for file in files:
        for item in json.loads(Path(file).read_text(encoding="utf-8"))["summaries"]:
            suite, method, figure = item["suite"], item["method"], item["figure"]
            found[suite, method, figure] = item
            shown = figure.replace("realised, provisional", "realised")
            found.setdefault((suite, method, shown), item)
    return found


def print_tables(found: Summaries) -> None:
    """Print one Markdown table per suite: methods down, figures across."""
    for suite in ALL_SUITES:
        figures = [
            name
            for name in dict.fromkeys(key[2] for key in found if key[0] == suite.name)
            if not name.startswith(HIDDEN)
        ]
        if not figures:
            continue
        print(f"\n## {suite.name}\n\n| Method | {' | '.join(figures)} |")
        print("|---" * (len(figures) + 1) + "|")
        for method in ALL_METHODS:
            cells = [_cell(found.get((suite.name, method.name, name))) for name in figures]
            if any(cells):
                print(f"| {method.name} | {' | '.join(cells)} |")
        for known in sorted({one.method for one in suite.published}):
            values = {one.figure: one.value for one in suite.published if one.method == known}
            cells = [f"{values[name]:.3f}" if name in values else "" for name in figures]
            print(f"| {known}, published | {' | '.join(cells)} |")


def draw(found: Summaries, file: Path) -> None:
    """Draw the headline figure of every suite, one bar per method."""
    from matplotlib.figure import Figure

    suites = [one for one in ALL_SUITES if any(key[0] == one.name for key in found)]
    figure = Figure(figsize=(12, 6.5), layout="constrained")
    for axes, suite in zip(figure.subplots(2, 3, squeeze=False).flat, suites, strict=False):
        name = HEADLINES[suite.name]
        items = [(one.name, found.get((suite.name, one.name, name))) for one in ALL_METHODS]
        bars = [(label, item["mean"], item["spread"], "C0") for label, item in items if item]
        bars += [
            (f"{one.method}, published", one.value, 0.0, "C7")
            for one in suite.published
            if one.figure == name
        ]
        labels, values, spreads, colours = zip(*reversed(bars), strict=True)
        axes.barh(labels, values, xerr=spreads, color=colours)
        axes.set(title=f"{suite.name}: {name}", xlim=(0, 1))
        axes.tick_params(labelsize=7)
    figure.savefig(file, dpi=110)


def _cell(item: dict[str, Any] | None) -> str:
    if item is None:
        return ""
    spread = f" ± {item['spread']:.3f}" if item["spread"] >= MAX_SPREAD_SHOWN else ""
    mark = PROVISIONAL if item["figure"].startswith("realised, provisional") else ""
    return f"{item['mean']:.3f}{mark}{spread}"


def main() -> None:
    """Write figures and picture, and print the tables."""
    found = read_results(sys.argv[1:])
    kept = [
        {key: item[key] for key in ("suite", "method", "figure", "values", "mean", "spread")}
        for key, item in sorted(found.items())
        if key[2] == item["figure"]
    ]
    (ROOT / "science" / "benchmarks.json").write_text(json.dumps(kept, indent=1) + "\n")
    draw(found, ROOT / "images" / "benchmarks.png")
    print_tables(found)


if __name__ == "__main__":
    main()
