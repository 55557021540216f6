"""The benchmark command, on a plant laid out like TEP and baselines that fit in a moment."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vae_anomaly.cli import main


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.delenv("VAE_ANOMALY_BENCHMARK_DATA", raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    for name, fault in (("d00_train", 0), ("d00_test", 0), ("d01_test", 1)):
        rng = np.random.default_rng(len(name) + fault)
        load = rng.normal(size=300)
        flow = load + 0.1 * rng.normal(size=300)
        labels = np.where(np.arange(300) >= 160, fault, 0)
        times = pa.array(np.arange(300) * 180_000_000, pa.int64()).cast(pa.timestamp("us", "UTC"))
        (tmp_path / "tep").mkdir(exist_ok=True)
        pq.write_table(
            pa.table(
                {"timestamp": times, "a": load, "b": flow + 3 * labels, "label_anomaly": labels}
            ),
            tmp_path / "tep" / f"{name}.parquet",
        )
    return tmp_path


def test_it_prints_every_method_beside_what_is_published(data, capsys):
    assert main(["benchmark", "tep", "--data", str(data), "--method", "PCA", "--seeds", "1"]) == 0
    out = capsys.readouterr().out
    assert "FDR, own limit" in out
    assert "PCA" in out
    assert "vae-anomaly" not in out
    assert "d00_train trains" in out


def test_json_holds_every_fit(data, capsys, monkeypatch):
    monkeypatch.setenv("VAE_ANOMALY_BENCHMARK_DATA", str(data))
    assert (
        main(["benchmark", "tep", "--method", "PCA", "--method", "iso", "--seeds", "2", "--json"])
        == 0
    )
    found = json.loads(capsys.readouterr().out)
    fits = [(fit["method"], fit["seed"]) for fit in found["fits"]]
    assert fits == [("PCA", 0), ("PCA", 1), ("isolation forest", 0), ("isolation forest", 1)]
    rate = next(item for item in found["summaries"] if item["figure"] == "FDR")
    assert rate["values"] == [rate["mean"]] * 2
    assert rate["mean"] > 0.9
    assert rate["spread"] == 0.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tepp"], "There is no suite 'tepp'; choose of tsb_ad_m, gecco2018, tep, skab, 3w, nab."),
        (["tep", "--method", "pca"], "There is no method 'pca'; choose of 'vae-anomaly', "),
        (["tep", "--seeds", "0"], "Give at least one seed; got 0."),
        (["tep"], "Give the folder of the labelled data with --data"),
    ],
)
def test_wrong_usage_says_what_there_is(arguments, message, data, capsys):
    assert main(["benchmark", *arguments]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_folder_without_the_suite_is_refused(data, capsys):
    assert main(["benchmark", "skab", "--data", str(data)]) == 1
    assert "expected files '*_*.parquet'" in " ".join(capsys.readouterr().err.split())
