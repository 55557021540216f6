"""What the doctor looks at on this machine: secrets, versions, room on the disk."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from vae_anomaly.config import PipelineConfig
from vae_anomaly.operations.monitoring.finding import FAILED, OK, WARNING, Finding
from vae_anomaly.wording import format_plural

PACKAGE = "vae-anomaly"
VARIABLE_SUFFIX = "_env"
"""Settings that name an environment variable end so."""

GIBIBYTE = 1 << 30
MIN_FREE_BYTES, FEW_FREE_BYTES = 1 * GIBIBYTE, 5 * GIBIBYTE


def check_secrets(config: PipelineConfig) -> Iterator[Finding]:
    """Look whether the environment has the variables that settings name; values are not shown."""
    named = sorted(set(_list_variables(config.model_dump())))
    missing = [name for name in named if not os.environ.get(name)]
    for name in missing:
        message = f"The environment lacks {name}, which the settings name."
        yield Finding("secrets", FAILED, message, "Set it where the flows run.")
    if not missing:
        found = format_plural(len(named), "variable")
        yield Finding("secrets", OK, f"The environment has all of {found} that settings name.")


def check_versions(config: PipelineConfig) -> Iterator[Finding]:  # noqa: ARG001
    """Compare Python and the packages with what this version was tested with."""
    yield from compare_versions(
        python=metadata.metadata(PACKAGE)["Requires-Python"],
        requirements=metadata.requires(PACKAGE) or [],
    )


def compare_versions(*, python: str, requirements: list[str]) -> Iterator[Finding]:
    """Compare Python and packages with bounds.

    Args:
        python: Bounds of Python, such as ">=3.11,<3.14".
        requirements: Bounds of packages; those of extras do not count.
    """
    wrong = []
    if not SpecifierSet(python).contains(platform.python_version(), prereleases=True):
        wrong.append(f"Python {platform.python_version()} is not in {python}")
    needed = [Requirement(text) for text in requirements]
    needed = [one for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]
    for one in needed:
        try:
            version = metadata.version(one.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{one.name} is not installed")
            continue
        if not one.specifier.contains(version, prereleases=True):
            wrong.append(f"{one.name} {version} is not in {one.specifier}")
    for message in wrong:
        advice = f"Install {PACKAGE} again, with its bounds."
        yield Finding("versions", FAILED, f"{message}.", advice)
    if not wrong:
        message = f"Python {platform.python_version()} and {len(needed)} packages are as tested."
        yield Finding("versions", OK, message)


def check_disk(config: PipelineConfig) -> Iterator[Finding]:
    """Look how much room there is where the lake lies."""
    root = config.lake.root.removeprefix("file://")
    if "://" in root:
        yield Finding("disk", OK, "The lake is in an object store.")
        return
    folder = Path(root)
    while not folder.exists():
        folder = folder.parent
    yield judge_room(shutil.disk_usage(folder).free, where=str(folder))


def judge_room(num_bytes: int, *, where: str) -> Finding:
    """Judge the free bytes of a disk."""
    message = f"{num_bytes / GIBIBYTE:,.1f} GiB are free at '{where}'."
    if num_bytes >= FEW_FREE_BYTES:
        return Finding("disk", OK, message)
    status = WARNING if num_bytes >= MIN_FREE_BYTES else FAILED
    return Finding("disk", status, message, "Make room, such as with 'vae-anomaly lake --vacuum'.")


def _list_variables(settings: Any) -> Iterator[str]:
    if isinstance(settings, dict):
        for name, value in settings.items():
            if str(name).endswith(VARIABLE_SUFFIX) and isinstance(value, str) and value:
                yield value
            else:
                yield from _list_variables(value)
