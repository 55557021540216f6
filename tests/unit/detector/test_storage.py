import hashlib
import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.unit.detector.plain_density import make_table
from vae_anomaly import Detector, DetectorError
from vae_anomaly.detector.record import FORMAT
from vae_anomaly.detector.storage import make_golden, may_replace
from vae_anomaly.readings.check import check_readings


@pytest.fixture(scope="module")
def saved(detector, tmp_path_factory) -> Path:
    return detector.save(tmp_path_factory.mktemp("storage") / "detector")


@pytest.fixture
def folder(saved, tmp_path) -> Path:
    return shutil.copytree(saved, tmp_path / "copy")


def change_record(folder: Path, **changes) -> None:
    file = folder / "detector.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def put(folder: Path, name: str, content: bytes) -> None:
    """Put a file in place of another and correct its hash, as somebody who means it would."""
    (folder / name).write_bytes(content)
    files = json.loads((folder / "detector.json").read_text())["files"]
    change_record(folder, files=files | {name: hashlib.sha256(content).hexdigest()})


def refused(folder: Path, match: str) -> str:
    with pytest.raises(DetectorError, match=match) as caught:
        Detector.load(folder)
    return str(caught.value)


# --- writing ---


def test_a_folder_holds_four_files_and_leaves_nothing_beside_it(saved):
    assert sorted(file.name for file in saved.iterdir()) == [
        "detector.json",
        "golden.parquet",
        "score.onnx",
        "vae.keras",
    ]
    assert [file.name for file in saved.parent.iterdir()] == ["detector"]
    assert saved.stat().st_mode & 0o777 == 0o755


def test_an_older_detector_is_replaced(detector, folder):
    (folder / "vae.keras").write_bytes(b"old")
    detector.save(folder)
    assert Detector.load(folder).record.facts == detector.record.facts


def test_an_empty_folder_and_missing_parents_are_filled(detector, tmp_path):
    (tmp_path / "empty").mkdir()
    assert detector.save(tmp_path / "empty") == tmp_path / "empty"
    assert (detector.save(str(tmp_path / "a" / "b")) / "detector.json").is_file()


def test_a_folder_with_other_things_is_left_alone(detector, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DetectorError) as caught:
        detector.save(tmp_path)
    assert str(caught.value) == (
        f"Cannot save the detector to '{tmp_path}': expected a new folder or an older detector, "
        "got something else. Choose another folder."
    )
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_detector_beside_other_things_is_left_alone(detector, folder):
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(DetectorError, match="got something else"):
        detector.save(folder)
    assert (folder / "notes.txt").read_text() == "mine"
    assert not may_replace(folder)


def test_a_file_is_no_folder_to_save_to(detector, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DetectorError, match="got something else"):
        detector.save(tmp_path / "file")
    with pytest.raises(DetectorError, match="Choose a folder that can be written"):
        detector.save(tmp_path / "file" / "below")


def test_what_cannot_be_written_leaves_no_half_detector(detector, folder, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(DetectorError, match="No space left on device"):
        detector.save(folder)
    monkeypatch.undo()
    assert [file.name for file in folder.parent.iterdir()] == [folder.name]
    Detector.load(folder)


def test_an_older_detector_stays_where_the_new_one_cannot_take_its_place(
    detector, folder, monkeypatch
):
    rename, targets = Path.rename, []

    def fail_once_it_is_aside(self, target):
        targets.append(target)
        if len(targets) == 2:
            raise OSError(13, "Permission denied")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_once_it_is_aside)
    with pytest.raises(DetectorError, match="Permission denied"):
        detector.save(folder)
    monkeypatch.undo()
    assert [file.name for file in folder.parent.iterdir()] == [folder.name]
    Detector.load(folder)


# --- reading ---


def test_a_folder_without_a_detector_is_refused(tmp_path):
    text = refused(tmp_path, "Cannot load a detector")
    assert text == (
        f"Cannot load a detector from '{tmp_path}': expected a folder with 'detector.json', got "
        "none. Give the folder that 'vae-anomaly fit --out' wrote."
    )
    assert "expected a folder" in refused(tmp_path / "nowhere", "Cannot load a detector")


def test_a_file_of_the_detector_is_no_detector(saved):
    refused(saved / "vae.keras", "expected a folder with 'detector.json'")


def test_a_record_that_cannot_be_opened_is_refused(tmp_path):
    (tmp_path / "detector.json").mkdir()
    refused(tmp_path, "Is a directory.* Make its files readable")


def test_a_record_that_is_not_even_text_is_refused(folder):
    (folder / "detector.json").write_bytes(b"\xff\xfe\x00binary")
    refused(folder, "detector.json is damaged")


def test_another_format_is_refused(folder):
    change_record(folder, format=99)
    refused(folder, f"expected format {FORMAT}, got 99. Fit it again with this version")


@pytest.mark.parametrize("name", ["vae.keras", "score.onnx", "golden.parquet"])
def test_a_missing_file_is_refused(folder, name):
    (folder / name).unlink()
    assert refused(folder, "is missing") == (
        f"Cannot load the detector from '{folder}': '{name}' is missing. Fit it again or fetch "
        "it anew from the registry."
    )


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "..", ".", "", "a/../../secret"])
def test_names_that_lead_out_of_the_folder_are_refused(folder, name):
    (folder.parent / "secret").write_text("secret")
    content = json.loads((folder / "detector.json").read_text())
    digest = hashlib.sha256(b"secret").hexdigest()
    change_record(folder, files=content["files"] | {name: digest})
    refused(folder, "is missing")


@pytest.mark.parametrize("name", ["vae.keras", "golden.parquet"])
def test_a_record_that_does_not_name_its_files_is_refused(folder, name):
    files = json.loads((folder / "detector.json").read_text())["files"]
    del files[name]
    change_record(folder, files=files)
    refused(folder, r"expected \['golden.parquet', 'score.onnx', 'vae.keras'\], got")


@pytest.mark.parametrize("name", ["score.onnx", "golden.parquet"])
@pytest.mark.parametrize("content", [b"", b"junk" * 100])
def test_junk_under_a_right_hash_is_refused(folder, name, content):
    put(folder, name, content)
    refused(folder, r"its files do not fit together \(.*\)\. Fit it again or fetch")


def test_golden_rows_without_scores_are_refused(folder):
    golden = pq.read_table(folder / "golden.parquet")
    bare = pa.BufferOutputStream()
    pq.write_table(golden.drop_columns(["golden_state"]), bare)
    put(folder, "golden.parquet", bare.getvalue().to_pybytes())
    refused(folder, "expected golden columns")


def test_a_network_of_other_sensors_is_refused(folder):
    content = json.loads((folder / "detector.json").read_text())
    sensors = content["contract"]["sensors"]
    roles = content["roles"] | {
        "modelled": content["roles"]["modelled"][:-1],
        "likelihoods": content["roles"]["likelihoods"][:-1],
        "empty": [len(sensors) - 1],
    }
    shift = content["shift_model"] | {"spread": content["shift_model"]["spread"][:-1]}
    change_record(folder, roles=roles, shift_model=shift)
    refused(folder, "its files do not fit together")


def test_likelihoods_that_do_not_fit_are_refused(folder):
    roles = json.loads((folder / "detector.json").read_text())["roles"]
    chosen = roles["likelihoods"]
    change_record(folder, roles=roles | {"likelihoods": chosen[:-1]})
    refused(folder, "expected 5 likelihoods, got 4")
    change_record(folder, roles=roles | {"likelihoods": [chosen[0] | {"name": "x"}, *chosen[1:]]})
    refused(folder, "expected known likelihoods, got")


# --- golden rows ---


def score_nothing(readings: pa.Table) -> pa.Table:
    ones = [1.0] * readings.num_rows
    return pa.table({"nll": ones, "score": ones, "kl": ones, "state": ["ok"] * len(ones)})


def test_golden_rows_are_the_last_ones_of_the_first_asset_that_has_any():
    table = make_table(
        [9.0, 1.0, 2.0, 3.0, 4.0],
        ticks=[None, 0, 1, 0, 1],
        assets=["a", "b", "b", "c", "c"],
    )
    golden = make_golden(check_readings(table), score_nothing)
    assert golden["asset"].to_pylist() == ["b", "b"]
    assert golden["flow"].to_pylist() == [1.0, 2.0]


def test_at_most_sixty_four_golden_rows_are_kept(detector):
    golden = detector.golden_readings
    assert golden.num_rows == 64
    assert golden.column_names[0] == "timestamp"
    assert not [name for name in golden.column_names if name.startswith("golden_")]
