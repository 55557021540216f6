"""The command that measures the default detector on labelled suites, beside baselines."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import CycloptsError

from vae_anomaly.cli.files import Json
from vae_anomaly.cli.output import (
    add_row,
    make_table,
    print_json,
    print_lines,
    print_table,
    show_progress,
)

if TYPE_CHECKING:
    from vae_anomaly.evaluation.benchmark import Benchmark
    from vae_anomaly.evaluation.labelled import Suite
    from vae_anomaly.evaluation.methods import Method

DATA_VARIABLE = "VAE_ANOMALY_BENCHMARK_DATA"


def benchmark(
    suite: tuple[str, ...] = (),
    /,
    *,
    data: Path | None = None,
    method: tuple[str, ...] = (),
    seeds: int = 5,
    json: Json = False,
) -> None:
    """Measure detection on labelled suites, beside baselines fitted to the same rows.

    Every suite is run under its published protocol with one configuration; nothing is
    point-adjusted, and no label reaches a fit. See docs/science/benchmarks.md for what it found.

    Args:
        suite: tsb_ad_m, gecco2018, tep, skab, 3w or nab; all of them where none is given.
        data: Folder with one folder per suite; by default VAE_ANOMALY_BENCHMARK_DATA.
        method: Only the methods whose names begin so; may be given several times.
        seeds: How many seeds to fit with.
        json: Print every figure of every fit, for machines.
    """
    from vae_anomaly.evaluation.benchmark import run_benchmark
    from vae_anomaly.evaluation.methods import ALL_METHODS
    from vae_anomaly.evaluation.suites import ALL_SUITES

    suites = _choose_suites(suite, ALL_SUITES)
    methods = _choose_methods(method, ALL_METHODS)
    if seeds < 1:
        raise CycloptsError(msg=f"Give at least one seed; got {seeds}.")
    folder = _find_data(data)
    found: list[Benchmark] = []
    for one in suites:
        with show_progress(f"Fits of {one.name}") as progress:
            result = run_benchmark(
                one, folder / one.name, methods, seeds=range(seeds), progress=progress
            )
        found.append(result)
        if not json:
            _print_suite(one, result, methods)
    if json:
        print_json(
            {
                "summaries": [
                    {**vars(item), "mean": item.mean, "spread": item.spread}
                    for result in found
                    for item in result.summaries
                ],
                "fits": [vars(item) for result in found for item in result.cases],
            }
        )


def _choose_suites(names: tuple[str, ...], suites: tuple[Suite, ...]) -> tuple[Suite, ...]:
    known = {suite.name: suite for suite in suites}
    for name in names:
        if name not in known:
            raise CycloptsError(msg=f"There is no suite '{name}'; choose of {', '.join(known)}.")
    return tuple(known[name] for name in names) or suites


def _choose_methods(starts: tuple[str, ...], methods: tuple[Method, ...]) -> tuple[Method, ...]:
    for start in starts:
        if not any(method.name.startswith(start) for method in methods):
            names = ", ".join(f"'{method.name}'" for method in methods)
            raise CycloptsError(msg=f"There is no method '{start}'; choose of {names}.")
    return tuple(
        method
        for method in methods
        if not starts or any(method.name.startswith(start) for start in starts)
    )


def _find_data(given: Path | None) -> Path:
    folder = given or os.environ.get(DATA_VARIABLE)
    if folder is None:
        raise CycloptsError(
            msg=f"Give the folder of the labelled data with --data, or set {DATA_VARIABLE}."
        )
    return Path(folder)


def _print_suite(suite: Suite, result: Benchmark, methods: tuple[Method, ...]) -> None:
    figures = list(dict.fromkeys(item.figure for item in result.summaries))
    cells = {(item.method, item.figure): item for item in result.summaries}
    table = make_table(
        suite.name, ("figure", "method", "mean", "spread"), right=("mean", "spread")
    )
    for figure in figures:
        for method in methods:
            item = cells.get((method.name, figure))
            if item is not None:
                add_row(table, figure, method.name, f"{item.mean:.3f}", f"± {item.spread:.3f}")
        for known in suite.published:
            if known.figure == figure:
                add_row(table, figure, f"{known.method} (published)", f"{known.value:.3f}", "")
    print_table(table)
    print_lines(suite.protocol)
