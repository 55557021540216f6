import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from vae_anomaly.errors import ContractError, ReadingsError
from vae_anomaly.readings.files import explain_file_errors, list_files
from vae_anomaly.readings.source import open_source

TABLE = pa.table({"timestamp": pa.array([0, 1], pa.timestamp("s")), "flow": [1.0, 2.0]})


def write(path: Path, table: pa.Table = TABLE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


def read_all(source) -> list[float]:
    parts = open_source(source)
    return [v for part in parts for b in part.batches(["flow"]) for v in b["flow"].to_pylist()]


def names(source) -> list[str]:
    return [file.name for file in list_files(source)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "raw"
    for name in ("b.parquet", "a.parquet", "deep/er/c.PARQUET", "d [1].parquet"):
        write(root / name)
    for name in (".hidden.parquet", "_tmp/e.parquet", "deep/_delta.parquet"):
        write(root / name)
    (root / "README.md").write_text("not data")
    return root


def test_one_file_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "x.pq")
    assert read_all(path) == read_all(str(path)) == [1.0, 2.0]
    assert names(path) == ["x.pq"]


def test_folder_gives_its_visible_parquet_files_in_order(folder: Path) -> None:
    expected = ["a.parquet", "b.parquet", "d [1].parquet", "deep/er/c.PARQUET"]
    assert names(folder) == names(f"{folder}/") == expected
    assert len(read_all(folder)) == 8


def test_folder_named_like_a_file_is_a_folder(tmp_path: Path) -> None:
    write(tmp_path / "x.parquet" / "part-0.parquet")
    assert names(tmp_path / "x.parquet") == ["part-0.parquet"]
    assert names(tmp_path) == ["x.parquet/part-0.parquet"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.parquet", ["a.parquet", "b.parquet", "d [1].parquet"]),
        ("[ab].parquet", ["a.parquet", "b.parquet"]),
        ("?.parquet", ["a.parquet", "b.parquet"]),
        ("*", ["a.parquet", "b.parquet", "d [1].parquet", "deep/er/c.PARQUET"]),
        ("**/*.PARQUET", ["deep/er/c.PARQUET"]),
        ("**", ["a.parquet", "b.parquet", "d [1].parquet", "deep/er/c.PARQUET"]),
        ("de*", ["deep/er/c.PARQUET"]),
        ("deep/*/c.*", ["er/c.PARQUET"]),
        ("*.md", ["README.md"]),
    ],
)
def test_glob_finds_files(folder: Path, pattern: str, expected: list[str]) -> None:
    found = names(str(folder / pattern))
    assert found == expected or found == [f"deep/{name}" for name in expected]


def test_glob_works_from_the_working_directory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    assert names("?.parquet") == ["a.parquet", "b.parquet"]
    assert names(".") == names(folder)
    assert names("deep") == ["er/c.PARQUET"]


def test_path_with_glob_characters_in_it_is_read_as_it_is(folder: Path) -> None:
    assert names(folder / "d [1].parquet") == ["d [1].parquet"]


def test_file_uri_is_read_with_and_without_glob(folder: Path) -> None:
    assert names(f"file://{folder}") == names(folder)
    assert names(f"file://{folder}/?.parquet") == ["a.parquet", "b.parquet"]
    assert len(read_all(f"file://{folder}/a.parquet")) == 2


def test_list_keeps_its_order_and_tells_equal_names_apart(tmp_path: Path) -> None:
    paths = [write(tmp_path / name / "x.parquet") for name in ("b", "a")]
    assert names(paths) == [str(path) for path in paths]
    assert names([paths[0], paths[0]]) == ["x.parquet", "x.parquet"]


def test_file_knows_its_size_and_last_change(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet")
    os.utime(path, ns=(0, 1_700_000_000_123_456_000))
    (file,) = list_files(path)
    assert file.size == path.stat().st_size
    assert file.modified_us == 1_700_000_000_123_456


@pytest.mark.parametrize("location", ["nowhere.parquet", "nowhere/", "no/where"])
def test_missing_file_is_named(tmp_path: Path, location: str) -> None:
    with pytest.raises(ReadingsError, match=r"Cannot read '.*no.*': no such file or folder"):
        open_source(str(tmp_path / location))


def test_glob_without_match_says_so(tmp_path: Path) -> None:
    with pytest.raises(ReadingsError, match="expected files that match it, got none"):
        open_source(str(tmp_path / "*.parquet"))
    with pytest.raises(ReadingsError, match="expected files that match it, got none"):
        open_source(str(tmp_path / "gone" / "*.parquet"))


def test_folder_without_parquet_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("timestamp,flow")
    with pytest.raises(ReadingsError, match=r"expected at least one \*.parquet file, got none"):
        open_source(tmp_path)


def test_empty_list_is_refused() -> None:
    with pytest.raises(ReadingsError, match="expected at least one path, got an empty list"):
        open_source([])


@pytest.mark.parametrize("uri", ["http://host/x.parquet", "nonsense://x"])
def test_unknown_address_is_refused(uri: str) -> None:
    with pytest.raises(ReadingsError, match=r"expected a path or a file://, s3:// or gs:// addr"):
        open_source(uri)


def test_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").touch()
    with pytest.raises(ReadingsError, match=r"x.parquet'.* got an empty file \(0 bytes\)"):
        open_source(tmp_path)


@pytest.mark.parametrize("content", [b"timestamp,flow\n0,1\n", b"P"])
def test_file_that_is_not_parquet_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.parquet").write_bytes(content)
    with pytest.raises(ReadingsError, match="expected a Parquet file, got one that starts with"):
        open_source(tmp_path / "x.parquet")


def test_encrypted_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet")
    path.write_bytes(b"PARE" + path.read_bytes()[4:-4] + b"PARE")
    with pytest.raises(ReadingsError, match=r"not encrypted, got an encrypted one"):
        open_source(path)


@pytest.mark.parametrize("keep", [4, 8, 50, -1])
def test_truncated_file_is_refused(tmp_path: Path, keep: int) -> None:
    path = write(tmp_path / "x.parquet")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ReadingsError, match=r"complete Parquet file, got a truncated one"):
        open_source(path)


def test_damaged_footer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(b"PAR1" + b"\xff" * 200 + b"PAR1")
    with pytest.raises(ReadingsError, match=r"Cannot read '.*x.parquet': .*"):
        open_source(path)


def test_damaged_page_is_refused_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    values = np.random.default_rng(0).normal(size=1_000)
    pq.write_table(pa.table({"flow": values}), path, compression="zstd", use_dictionary=False)
    content = bytearray(path.read_bytes())
    content[1_000:3_000] = b"\x00" * 2_000
    path.write_bytes(content)
    with pytest.raises(ReadingsError, match=r"Cannot read '.*x.parquet'"):
        read_all(path)


def test_file_that_goes_away_before_it_is_read_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet")
    (part,) = open_source(path)
    path.unlink()
    with pytest.raises(ReadingsError, match="no such file or folder"):
        list(part.batches(["flow"]))


def test_file_that_may_not_be_read_is_named() -> None:
    with (
        pytest.raises(ReadingsError, match="'x': permission denied"),
        explain_file_errors("x"),
    ):
        raise PermissionError


def test_file_without_rows_is_refused_unless_another_has_some(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", TABLE[:0])
    with pytest.raises(ReadingsError, match="expected at least one row, got 0 rows"):
        open_source(tmp_path)
    write(tmp_path / "b.parquet")
    assert read_all(tmp_path) == [1.0, 2.0]
    with pytest.raises(ReadingsError, match=r"a.parquet' and 1 more: expected at least one row"):
        open_source([tmp_path / "a.parquet"] * 2)


def test_arrow_objects_are_read() -> None:
    assert read_all(TABLE) == [1.0, 2.0]
    assert read_all(TABLE.to_batches()[0]) == [1.0, 2.0]
    assert read_all(ds.dataset(TABLE)) == [1.0, 2.0]


def test_dataset_of_a_file_that_went_away_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet")
    dataset = ds.dataset(path)
    path.unlink()
    with pytest.raises(ReadingsError, match="Cannot read 'dataset'"):
        open_source(dataset)


def test_two_columns_of_one_name_are_refused() -> None:
    table = pa.Table.from_arrays([pa.array([1.0]), pa.array([2.0])], names=["a", "a"])
    with pytest.raises(ContractError, match="expected one column per name, got several named 'a'"):
        open_source(table)


@pytest.mark.parametrize("source", [None, 3, {"flow": [1.0]}])
def test_other_objects_are_refused(source) -> None:
    with pytest.raises(ReadingsError, match="expected a path, folder, glob, URI"):
        open_source(source)


def schema_of(frame: pd.DataFrame) -> pa.Schema:
    return open_source(frame)[0].schema


def test_index_of_times_becomes_the_time_column() -> None:
    index = pd.date_range("2024-05-01", periods=2, freq="s", tz="UTC")
    for name in (None, "timestamp", "when"):
        frame = pd.DataFrame({"flow": [1.0, 2.0]}, index=index.rename(name))
        assert schema_of(frame).names == ["timestamp", "flow"]
        assert frame.columns.tolist() == ["flow"]


def test_named_index_levels_become_columns() -> None:
    index = pd.MultiIndex.from_tuples(
        [("a", pd.Timestamp("2024-05-01"))], names=["asset", "timestamp"]
    )
    assert schema_of(pd.DataFrame({"flow": [1.0]}, index=index)).names == [
        "asset",
        "timestamp",
        "flow",
    ]


def test_index_is_left_alone_where_the_frame_has_the_time_column() -> None:
    frame = pd.DataFrame({"timestamp": [pd.Timestamp(0)], 7: [1.0]}, index=[5])
    assert schema_of(frame).names == ["timestamp", "7"]
    assert schema_of(pd.DataFrame({"flow": [1.0]})).names == ["flow"]


def test_column_of_mixed_objects_becomes_text() -> None:
    schema = schema_of(pd.DataFrame({"a": pd.Series([1.0, "x", None], dtype=object)}))
    assert schema.field("a").type == pa.string()


def test_objects_of_times_with_and_without_zone_are_refused() -> None:
    mixed = pd.Series([pd.Timestamp(0), pd.Timestamp(0, tz="UTC")], dtype=object)
    with pytest.raises(ReadingsError, match="mixed time zones"):
        open_source(pd.DataFrame({"timestamp": mixed}))


def test_objects_of_times_in_several_zones_are_instants() -> None:
    times = [pd.Timestamp("2024-05-01T12:00", tz=zone) for zone in ("UTC", "Europe/Berlin")]
    frame = pd.DataFrame({"timestamp": pd.Series(times, dtype=object), "flow": [1.0, 2.0]})
    (part,) = open_source(frame)
    (batch,) = part.batches(["timestamp"])
    assert batch["timestamp"].cast(pa.timestamp("s", "UTC")).cast(pa.int64()).to_pylist() == [
        1_714_564_800,
        1_714_557_600,
    ]
