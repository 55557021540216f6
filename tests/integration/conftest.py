"""One Prefect server and one run of the flows for all tests that need them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.pipelines import write_pipeline


@dataclass(frozen=True)
class Line:
    """The three flows run one after the other, twice.

    Attributes:
        config: Settings of the pipeline.
        first: Results of the first round by flow.
        second: Results of the second round by flow.
        report_times: When the report was written last, after each round.
        progress: What a listener was told in the first round.
    """

    config: Path
    first: dict[str, Any]
    second: dict[str, Any]
    report_times: tuple[float, float]
    progress: list[tuple[int, int]]


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture(scope="session")
def line(prefect_server, tmp_path_factory) -> Line:
    from flows.artifacts import listen
    from flows.ingest import ingest
    from flows.score import score
    from flows.train import train

    file, _ = write_pipeline(tmp_path_factory.mktemp("line"))
    config, report, progress = str(file), file.with_name("report.html"), []
    with listen(lambda *step: progress.append(step)):
        first = {
            "ingest": ingest(config),
            "train": train(config, only_without_champion=True),
            "score": score(config),
        }
    written = report.stat().st_mtime
    second = {"ingest": ingest(config), "train": train(config), "score": score(config)}
    return Line(file, first, second, (written, report.stat().st_mtime), progress)
