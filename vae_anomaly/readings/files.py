"""Finding Parquet files: paths, folders, globs and URIs, local or in an object store."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from urllib.parse import quote

import pyarrow as pa
import pyarrow.fs as pa_fs

from vae_anomaly.errors import ReadingsError

PARQUET_SUFFIX = ".parquet"
ADDRESS_CHARACTERS = "%/:?#[]@!$&'()*+,;=~"
"""Characters that an address may have as they are, beside letters and digits."""

GLOB_CHARACTERS = frozenset("*?[")

Location = str | os.PathLike[str]


@dataclass(frozen=True)
class RawFile:
    """One file that was found; nothing of it has been read.

    Attributes:
        path: Full path or URI, for messages.
        name: Path below the folder that was asked for; the file's own name where it was asked
            for by name. Tables keep this one, so that a moved folder stays the same source.
        key: What the filesystem calls it.
        filesystem: Where it lies.
        size: Bytes.
        modified_us: Last change, microseconds since 1970, or None where the store keeps none.
    """

    path: str
    name: str
    key: str
    filesystem: pa_fs.FileSystem
    size: int
    modified_us: int | None


def list_files(source: Location | Sequence[Location]) -> tuple[RawFile, ...]:
    """Find the Parquet files behind a path, folder, glob or URI, or a list of those.

    Inside folders and globs, whatever lies below a name that starts with "." or "_" is left out.
    A folder gives its `*.parquet` files, at any depth; so does a folder that matches a glob. Of
    the files that match a glob, only `*.parquet` ones are taken where there are any.

    Args:
        source: Local path, or `file://`, `s3://` or `gs://` URI; `*`, `?`, `[]` and `**` work
            in all of them.

    Returns:
        The files, in the order of the list and sorted by path inside one entry.

    Raises:
        ReadingsError: Nothing is there, or the store cannot be reached.
    """
    locations = [source] if isinstance(source, (str, os.PathLike)) else list(source)
    if not locations:
        raise ReadingsError("Cannot read readings: expected at least one path, got an empty list.")
    files = [file for location in locations for file in _list_location(os.fspath(location))]
    paths_of: dict[str, set[str]] = {}
    for file in files:
        paths_of.setdefault(file.name, set()).add(file.path)
    return tuple(
        replace(file, name=file.path) if len(paths_of[file.name]) > 1 else file for file in files
    )


@contextmanager
def explain_file_errors(path: str) -> Iterator[None]:
    """Turn whatever reading a file raises into a `ReadingsError` that names the file."""
    try:
        yield
    except FileNotFoundError:
        raise ReadingsError(
            f"Cannot read '{path}': no such file or folder. Check the path."
        ) from None
    except PermissionError as error:
        raise ReadingsError(
            f"Cannot read '{path}': permission denied. Make it readable for this user."
        ) from error
    except (pa.ArrowException, OSError) as error:
        raise ReadingsError(f"Cannot read '{path}': {_one_line(error)}.") from error


VALUE_ERRORS = (pa.ArrowException, UnicodeError, OverflowError)
"""What Arrow raises where values are not what it can read."""


def explain_value_error(path: str, error: Exception) -> ReadingsError:
    """Return what to say where values of a file cannot be read, whatever that raised."""
    return ReadingsError(
        f"Cannot read '{path}': expected values that Arrow can read, got some that it cannot: "
        f"{_one_line(error)}. Write the file again, or ignore the column."
    )


def open_filesystem(address: str) -> tuple[pa_fs.FileSystem, str]:
    """Return the filesystem of a path or address, and what it calls the place.

    Keys, region and endpoint of an object store come from the environment, under the names that
    delta-rs reads too: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`,
    `AWS_REGION`, `AWS_ENDPOINT_URL`. Spaces and other characters that no address may have are
    percent-encoded here; "%", "?" and "#" of a name have to be so already.

    Args:
        address: A local path, or a `file://`, `s3://` or `gs://` address.

    Raises:
        ReadingsError: There is no such kind of address, or the store cannot be reached.
    """
    if "://" not in address:
        return pa_fs.LocalFileSystem(), Path(address).expanduser().as_posix()
    scheme, rest = address.split("://", 1)
    written = address if scheme == "file" else f"{scheme}://{quote(rest, safe=ADDRESS_CHARACTERS)}"
    try:
        filesystem, root = pa_fs.FileSystem.from_uri(written)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ReadingsError(
            f"Cannot read '{address}': expected a path or a file://, s3:// or gs:// address "
            f"({_one_line(error)})."
        ) from error
    return filesystem, root


def _list_location(location: str) -> list[RawFile]:
    filesystem, root, prefix = _resolve(location)
    with explain_file_errors(location):
        info = filesystem.get_file_info(root)
        if info.type == pa_fs.FileType.File:
            return [_raw_file(info, filesystem, prefix, name=PurePosixPath(root).name)]
        if info.type == pa_fs.FileType.Directory:
            return _list_folder(location, filesystem, root, prefix)
        if GLOB_CHARACTERS & set(root):
            return _list_glob(location, filesystem, root, prefix)
        raise FileNotFoundError(location)


def _resolve(location: str) -> tuple[pa_fs.FileSystem, str, str]:
    """Return the filesystem, the path on it, and what to put before a path in messages."""
    if "://" not in location:
        return pa_fs.LocalFileSystem(), Path(location).expanduser().as_posix(), ""
    scheme = location.split("://", 1)[0]
    bare = re.split(r"[*?\[]", location, maxsplit=1)[0]
    base = bare if bare == location else bare.rsplit("/", 1)[0]
    filesystem, root = open_filesystem(base)
    root += location[len(base) :]
    return filesystem, root, "" if scheme == "file" else f"{scheme}://"


def _list_folder(
    location: str, filesystem: pa_fs.FileSystem, root: str, prefix: str
) -> list[RawFile]:
    found = [
        (name, info)
        for name, info in _walk(filesystem, root)
        if name.lower().endswith(PARQUET_SUFFIX)
    ]
    if not found:
        raise ReadingsError(
            f"Cannot read folder '{location}': expected at least one *.parquet file, got none. "
            "Hidden files and names that start with '_' are left out."
        )
    return [_raw_file(info, filesystem, prefix, name=name) for name, info in sorted(found)]


def _list_glob(
    location: str, filesystem: pa_fs.FileSystem, pattern: str, prefix: str
) -> list[RawFile]:
    segments = pattern.split("/")
    depth = next(i for i, segment in enumerate(segments) if GLOB_CHARACTERS & set(segment))
    root = "/".join(segments[:depth]) or ("/" if pattern.startswith("/") else ".")
    matches = [
        (name, info)
        for name, info in _walk(filesystem, root)
        if _matches_or_lies_below(name.split("/"), segments[depth:])
    ]
    found = [match for match in matches if match[0].lower().endswith(PARQUET_SUFFIX)] or matches
    if not found:
        raise ReadingsError(
            f"Cannot read '{location}': expected files that match it, got none. "
            "Check the pattern; '**' matches any number of folders."
        )
    return [_raw_file(info, filesystem, prefix, name=name) for name, info in sorted(found)]


def _walk(filesystem: pa_fs.FileSystem, root: str) -> Iterator[tuple[str, pa_fs.FileInfo]]:
    """Yield every visible file below `root` with its path relative to it."""
    selector = pa_fs.FileSelector(root, recursive=True, allow_not_found=True)
    start = 0 if root == "." else len(root.rstrip("/")) + 1
    for info in filesystem.get_file_info(selector):
        name = info.path[start:].removeprefix("./")
        hidden = any(segment.startswith((".", "_")) for segment in name.split("/"))
        if info.type == pa_fs.FileType.File and not hidden:
            yield name, info


def _matches_or_lies_below(names: Sequence[str], pattern: Sequence[str]) -> bool:
    if _matches(names, pattern):
        return True
    is_parquet = names[-1].lower().endswith(PARQUET_SUFFIX)
    return is_parquet and any(_matches(names[:i], pattern) for i in range(1, len(names)))


def _matches(names: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not names
    if pattern[0] == "**":
        return any(_matches(names[i:], pattern[1:]) for i in range(len(names) + 1))
    return (
        bool(names)
        and fnmatch.fnmatchcase(names[0], pattern[0])
        and _matches(names[1:], pattern[1:])
    )


def _raw_file(
    info: pa_fs.FileInfo, filesystem: pa_fs.FileSystem, prefix: str, *, name: str
) -> RawFile:
    return RawFile(
        path=prefix + info.path,
        name=name,
        key=info.path,
        filesystem=filesystem,
        size=info.size,
        modified_us=None if info.mtime_ns is None else info.mtime_ns // 1000,
    )


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()).rstrip(".")
