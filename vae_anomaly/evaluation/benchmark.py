"""Methods over suites and seeds: mean and spread of every figure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vae_anomaly.errors import TrainingError
from vae_anomaly.evaluation.labelled import Case, Figures, Result, Suite, no_score
from vae_anomaly.evaluation.methods import Method


@dataclass(frozen=True)
class Summary:
    """One figure of one method on one suite.

    Attributes:
        suite: Name of the suite.
        method: Name of the method.
        figure: What is measured.
        values: One value per seed.
    """

    suite: str
    method: str
    figure: str
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over the seeds."""
        return float(np.mean(self.values))

    @property
    def spread(self) -> float:
        """Standard deviation over the seeds; 0 for a single one."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else 0.0


@dataclass(frozen=True)
class CaseFigures:
    """The figures of one fit."""

    suite: str
    method: str
    case: str
    seed: int
    figures: Figures


@dataclass(frozen=True)
class Benchmark:
    """What a benchmark found.

    Attributes:
        summaries: Every figure of every method.
        cases: The same for every fit.
    """

    summaries: tuple[Summary, ...]
    cases: tuple[CaseFigures, ...]


def run_benchmark(
    suite: Suite,
    folder: Path,
    methods: Sequence[Method],
    *,
    seeds: Sequence[int],
    progress: Callable[[int, int], None] | None = None,
) -> Benchmark:
    """Fit and judge every method on every case of a suite, seed by seed.

    Args:
        suite: The suite.
        folder: Where its files lie.
        methods: What to fit.
        seeds: Seeds of the fits.
        progress: Called with fits done and in all.

    Returns:
        The figures.

    Raises:
        ReadingsError: The folder does not hold the files of the suite.
    """
    cases = list(suite.read_cases(folder))
    num_fits, done = len(cases) * len(methods) * len(seeds), 0
    results: dict[tuple[str, int], list[Result]] = {}
    figures: list[CaseFigures] = []
    for case in cases:
        for method in methods:
            # all seeds of a case in a row: a process keeps the compiled step of a shape
            for seed in seeds:
                result = _judge(case, method, seed)
                results.setdefault((method.name, seed), []).append(result)
                figures.append(
                    CaseFigures(suite.name, method.name, case.name, seed, suite.measure([result]))
                )
                done += 1
                if progress:
                    progress(done, num_fits)
    summaries = []
    for method in methods:
        by_seed = [suite.measure(results[method.name, seed]) for seed in seeds]
        for name in dict.fromkeys(name for one in by_seed for name in one):
            values = tuple(one[name] for one in by_seed if name in one)
            summaries.append(Summary(suite.name, method.name, name, values))
    return Benchmark(tuple(summaries), tuple(figures))


def _judge(case: Case, method: Method, seed: int) -> Result:
    try:
        score = method.fit(case.training, seed)
    except TrainingError:
        # a method that finds nothing to learn from flags nothing, and that counts
        return Result(case, tuple(no_score(series) for series in case.tests))
    return Result(case, tuple(score(series) for series in case.tests))
