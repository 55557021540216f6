"""When each flow succeeded last: a small file per flow beside the tables, written in one step."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow.fs as pa_fs

from vae_anomaly.readings import delta
from vae_anomaly.readings.files import open_filesystem
from vae_anomaly.readings.tables import Lake

FOLDER = "_flows"
SUFFIX = ".json"


@dataclass(frozen=True)
class FlowMark:
    """The last success of a flow.

    Attributes:
        flow: Its name.
        ended_us: When it ended, microseconds since 1970.
        duration_s: Seconds that it took.
        figures: Numbers of its result by name.
    """

    flow: str
    ended_us: int
    duration_s: float
    figures: dict[str, float]


def write_flow_mark(lake: Lake, mark: FlowMark) -> None:
    """Write down that a flow succeeded, in place of its success before.

    Raises:
        TableError: The lake cannot be written.
    """
    uri = lake.uri(FOLDER)
    content = {"ended_us": mark.ended_us, "duration_s": mark.duration_s, "figures": mark.figures}
    with delta.explain_table_errors("write", uri):
        filesystem, folder = open_filesystem(uri)
        if isinstance(filesystem, pa_fs.LocalFileSystem):
            filesystem.create_dir(folder, recursive=True)
        path = f"{folder}/{mark.flow}{SUFFIX}"
        with filesystem.open_output_stream(path + ".tmp") as stream:
            stream.write(json.dumps(content).encode())
        filesystem.move(path + ".tmp", path)


def read_flow_marks(lake: Lake) -> Mapping[str, FlowMark]:
    """Read the last success of each flow, by its name; none before the first.

    Raises:
        TableError: The lake cannot be read.
    """
    uri = lake.uri(FOLDER)
    with delta.explain_table_errors("read", uri):
        filesystem, folder = open_filesystem(uri)
        found = filesystem.get_file_info(pa_fs.FileSelector(folder, allow_not_found=True))
        marks = {}
        for info in sorted(found, key=lambda info: info.base_name):
            if info.base_name.endswith(SUFFIX):
                flow = info.base_name.removesuffix(SUFFIX)
                with filesystem.open_input_stream(info.path) as stream:
                    marks[flow] = FlowMark(flow, **json.loads(stream.read()))
    return marks
