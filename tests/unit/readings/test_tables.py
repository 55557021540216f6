from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.lakes import append_readings
from vae_anomaly.domain import AlertEvent, Contract, Readings, Sensor
from vae_anomaly.errors import ContractError, TableError
from vae_anomaly.readings import delta
from vae_anomaly.readings.layout import (
    ALERTS,
    LEDGER,
    QUARANTINE,
    SCORES,
    alerts_to_table,
    name_columns,
)
from vae_anomaly.readings.tables import Lake, TableCounts

START_US = 1_714_564_800_000_000
DAY_US = 86_400_000_000
SENSORS = (
    "Volume Flow Rate (l/min)",
    "p.TPT:1",
    "flow",
    "Flow",
    "date",
    "q'uo\"te;{}=`,\n",
    "温度",
)
CONTRACT = Contract(
    sensors=tuple(Sensor(name) for name in SENSORS),
    period_s=1.0,
    asset="asset",
    ignored={"x": "y"},
)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(tmp_path / "the lake")
    lake.write_contract(CONTRACT)
    return lake


def make_readings(
    offsets_us: list[int], *, assets: tuple[str, ...] = ("a",), seed: int = 0
) -> Readings:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(len(offsets_us), len(SENSORS)))
    values[0, 0] = np.nan
    return Readings(
        timestamps=START_US + np.array(offsets_us, dtype=np.int64),
        asset_codes=np.arange(len(offsets_us)) % len(assets),
        asset_names=assets,
        values=values,
        sensors=SENSORS,
    )


def append(lake: Lake, readings: Readings, commit_id: str = "one") -> bool:
    return append_readings(
        lake, readings, source="f.parquet", batch=f"b-{commit_id}", commit_id=commit_id
    )


def make_scores(offsets: list[int], nll: float, sensors: tuple[str, ...] = SENSORS) -> pa.Table:
    num_rows = len(offsets)
    parts = [pa.array(np.full(num_rows, nll + k)) for k in range(len(sensors))]
    return pa.table(
        {
            "timestamp": pa.array([START_US + o for o in offsets], pa.timestamp("us", "UTC")),
            "nll": [nll] * num_rows,
            "score": [nll] * num_rows,
            "threshold": [5.0] * num_rows,
            "state": ["ok"] * num_rows,
            "reason": [""] * num_rows,
            "kl": [0.5] * num_rows,
            "contribution": pa.StructArray.from_arrays(parts, names=list(sensors)),
        }
    )


def make_event(
    alert_id: str = "1", peak_score: float = 9.0, start_us: int = START_US
) -> AlertEvent:
    return AlertEvent(
        alert_id=alert_id,
        asset="a",
        start_us=start_us,
        end_us=start_us + 10,
        peak_us=start_us + 5,
        peak_score=peak_score,
        threshold=5.0,
        num_steps=10,
        top_sensors=("flow", "p.TPT:1"),
        top_shares=(0.75, 0.25),
        severity="low",
        reasons=("shift: flow",),
    )


def test_readings_come_back_as_they_were_whatever_the_names(lake: Lake) -> None:
    readings = make_readings([5, 3 * DAY_US, 0, DAY_US], assets=("b/ä 1='x'", "a%2F[1]"))
    assert append(lake, readings)
    table = lake.read_readings()
    assert table.column_names == ["asset", "timestamp", *SENSORS]
    assert table["asset"].to_pylist() == ["a%2F[1]", "a%2F[1]", "b/ä 1='x'", "b/ä 1='x'"]
    order = [3, 1, 2, 0]
    assert table["timestamp"].cast(pa.int64()).to_pylist() == readings.timestamps[order].tolist()
    values = np.column_stack([table[name].to_numpy() for name in SENSORS])
    np.testing.assert_array_equal(values, readings.values[order])
    assert lake.counts() == TableCounts(readings=4, quarantine=0, ledger=0, scores=0, alerts=0)


def test_partitions_are_asset_and_date(lake: Lake) -> None:
    append(lake, make_readings([0, DAY_US], assets=("a",)))
    folder = Path(lake.uri("readings"))
    assert sorted(path.name for path in folder.glob("asset=a/*")) == [
        "date=2024-05-01",
        "date=2024-05-02",
    ]


def test_commit_of_the_same_name_is_made_once(lake: Lake) -> None:
    assert lake.readings_version() is None
    assert append(lake, make_readings([0, 1]))
    assert not append(lake, make_readings([0, 1]))
    assert lake.readings_version() == 1
    assert append(lake, make_readings([2]), commit_id="two")
    assert lake.read_readings(version=1).num_rows == 2
    assert lake.read_readings().num_rows == 3


def test_nothing_to_append_is_no_commit(lake: Lake) -> None:
    assert not append(lake, make_readings([0]).take(np.array([], dtype=np.int64)))
    assert not lake.has_readings()


def test_part_of_the_readings_is_read(lake: Lake) -> None:
    append(lake, make_readings([0, 1, DAY_US, 2 * DAY_US, 2 * DAY_US], assets=("a", "b", "c")))
    some = lake.read_readings(
        assets=["a", "b", "none"],
        start_us=START_US + 1,
        end_us=START_US + 2 * DAY_US,
        columns=["flow", "_source", "_batch"],
    )
    assert some.select(["asset", "_source", "_batch"]).to_pylist() == [
        {"asset": "b", "_source": "f.parquet", "_batch": "b-one"}
    ]
    assert lake.read_readings(assets=[]).num_rows == 0
    assert lake.read_readings(start_us=-(2**62), end_us=2**62).num_rows == 5


def test_tables_that_were_never_written_are_empty(lake: Lake) -> None:
    assert lake.read_ledger().schema == LEDGER
    assert lake.read_quarantine().schema == QUARANTINE
    assert lake.read_scores().schema == SCORES
    assert lake.read_alerts().schema == ALERTS
    assert lake.counts().alerts == 0


def test_readings_that_were_never_written_cannot_be_read(lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"Cannot read table '.*readings': expected a table, got"):
        lake.read_readings()
    with pytest.raises(TableError, match=r"expected a contract in '.*contract.json', got none"):
        Lake(tmp_path / "other").read_readings()


def test_version_that_is_not_there_is_an_error(lake: Lake) -> None:
    append(lake, make_readings([0]))
    with pytest.raises(TableError, match="Cannot read table"):
        lake.read_readings(version=7)


def test_damaged_table_is_an_error(lake: Lake) -> None:
    append(lake, make_readings([0]))
    log = Path(lake.uri("readings")) / "_delta_log"
    (log / "00000000000000000000.json").write_text("{bad")
    for call in (lake.read_readings, lake.readings_version, lake.counts):
        with pytest.raises(TableError, match=r"Cannot \w+ table '.*readings'"):
            call()
    with pytest.raises(TableError, match="Cannot read table"):
        append(lake, make_readings([1]), commit_id="two")


def test_backtraces_of_delta_rs_are_cut_off() -> None:
    with (
        pytest.raises(TableError, match=r"Cannot read table 'x': it broke\. Check that the lake"),
        delta.explain_table_errors("read", "x"),
    ):
        raise OSError("it\n broke. 0: <unknown> 1: main")


def test_contract_is_kept(lake: Lake, tmp_path: Path) -> None:
    assert lake.read_contract() == CONTRACT
    assert Lake(tmp_path / "none").read_contract() is None
    assert sorted(path.name for path in Path(lake.root).iterdir()) == ["contract.json"]


def test_damaged_contract_is_an_error(lake: Lake) -> None:
    path = Path(lake.root) / "contract.json"
    path.write_text("{")
    with pytest.raises(TableError, match=r"Cannot read table '.*contract.json'"):
        lake.read_contract()
    path.write_text("{}")
    with pytest.raises(ContractError, match="Cannot read the contract"):
        lake.read_contract()


def test_lake_at_a_file_uri_is_the_same_lake(lake: Lake) -> None:
    append(lake, make_readings([0]))
    other = Lake(Path(lake.root).as_uri() + "/")
    assert other.read_contract() == CONTRACT
    assert other.read_readings().equals(lake.read_readings())


def test_unknown_address_is_an_error() -> None:
    with pytest.raises(TableError, match=r"Cannot open table 'nonsense://x/contract.json'"):
        Lake("nonsense://x").read_contract()


@pytest.mark.parametrize("root", ["a%20b", "a[1]", "a\nb", "a\\b"])
def test_root_that_delta_cannot_open_is_refused(root: str) -> None:
    with pytest.raises(TableError, match=r"Cannot keep tables in .* expected a path without any"):
        Lake(root)


def test_sensor_names_that_tables_confuse_get_a_number() -> None:
    names = name_columns(["Asset", "flow", "FLOW", "Flow", "flow~2", "_batch"])
    assert names == {
        "Asset": "Asset~2",
        "flow": "flow",
        "FLOW": "FLOW~2",
        "Flow": "Flow~3",
        "flow~2": "flow~2~2",
        "_batch": "_batch~2",
    }


def test_scores_are_replaced_by_asset_time_and_model_version(lake: Lake) -> None:
    def write(offsets: list[int], nll: float, version: str) -> None:
        lake.write_scores(make_scores(offsets, nll), model_name="m", model_version=version)

    write([0, 1, DAY_US], 1.0, "1")
    write([1, 2], 2.0, "1")
    write([3, 4], 2.5, "1")
    write([1], 3.0, "2")
    first = lake.read_scores(model_version="1")
    assert first["nll"].to_pylist() == [1.0, 2.0, 2.0, 2.5, 2.5, 1.0]
    assert first.column_names == [*SCORES.names, "contribution"]
    assert first["asset"].unique().to_pylist() == ["asset"]
    assert first["contribution"][1].as_py() == {name: 2.0 + k for k, name in enumerate(SENSORS)}
    some = lake.read_scores(assets=["asset"], start_us=START_US + 1, end_us=START_US + 2)
    assert some["model_version"].to_pylist() == ["1", "2"]
    assert lake.read_scores(assets=["b"]).num_rows == 0


def test_scores_of_other_sensors_live_in_the_same_table(lake: Lake) -> None:
    lake.write_scores(make_scores([0], 1.0), model_name="m", model_version="1")
    new = make_scores([0, 1], 2.0, ("flow", "new"))
    lake.write_scores(new, model_name="m", model_version="2")
    lake.write_scores(new, model_name="m", model_version="2")
    lake.write_scores(make_scores([1], 3.0, ("newer",)), model_name="m", model_version="2")
    rows = lake.read_scores(model_version="2")["contribution"].to_pylist()
    assert {k: v for k, v in rows[0].items() if v is not None} == {"flow": 2.0, "new": 3.0}
    assert {k: v for k, v in rows[1].items() if v is not None} == {"newer": 3.0}


def test_unscorable_rows_are_stored_with_nulls(lake: Lake) -> None:
    scores = make_scores([0], 1.0)
    empty = pa.array([None], scores.schema.field("contribution").type)
    scores = scores.set_column(7, "contribution", empty).set_column(1, "nll", pa.nulls(1))
    lake.write_scores(scores, model_name="m", model_version="1")
    (row,) = lake.read_scores().to_pylist()
    assert row["nll"] is None
    assert row["contribution"] is None


def test_scores_without_a_contract_keep_their_names(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    lake.write_scores(make_scores([0], 1.0, ("date", "flow")), model_name="m", model_version="1")
    assert lake.read_scores()["contribution"][0].as_py() == {"date": 1.0, "flow": 2.0}


def test_no_scores_are_no_commit(lake: Lake) -> None:
    lake.write_scores(make_scores([], 1.0), model_name="m", model_version="1")
    assert lake.counts().scores == 0


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (make_scores([0], 1.0).drop_columns(["nll", "contribution"]), "none named 'nll', 'contri"),
        (make_scores([0, 0], 1.0), "expected one row per asset and time, got several"),
        (
            make_scores([0], 1.0).set_column(
                0, "timestamp", pa.nulls(1, pa.timestamp("us", "UTC"))
            ),
            "expected a time in each row, got rows without",
        ),
    ],
    ids=["column", "key", "time"],
)
def test_scores_that_are_not_in_order_are_refused(
    lake: Lake, scores: pa.Table, message: str
) -> None:
    with pytest.raises(TableError, match=message):
        lake.write_scores(scores, model_name="m", model_version="1")


def test_alert_events_are_replaced_by_id_but_keep_their_status(lake: Lake) -> None:
    def write(*events: AlertEvent) -> int:
        return lake.write_alerts(events, model_name="m", model_version="1")

    assert write(make_event("1"), make_event("2", start_us=START_US - 1)) == 2
    assert write(make_event("1")) == 0
    assert write() == 0
    acknowledged = lake.read_alerts().to_pylist()[1] | {"status": "acknowledged"}
    table = pa.Table.from_pylist([acknowledged], schema=ALERTS)
    delta.upsert(lake.uri("alerts"), table, keys=("alert_id",))
    assert write(make_event("1", peak_score=11.0), make_event("3")) == 2
    rows = {row["alert_id"]: row for row in lake.read_alerts().to_pylist()}
    assert list(rows) == ["2", "1", "3"]
    assert (rows["1"]["peak_score"], rows["1"]["status"]) == (11.0, "acknowledged")
    assert rows["3"]["status"] == "open"
    assert rows["3"]["top_sensors"] == ["flow", "p.TPT:1"]
    assert rows["3"]["reasons"] == ["shift: flow"]


def test_a_table_of_alert_events_without_reasons_gets_them(lake: Lake) -> None:
    old = alerts_to_table([make_event("1"), make_event("2")], model_name="m", model_version="1")
    delta.append_once(lake.uri("alerts"), old.drop_columns(["reasons"]))
    assert lake.read_alerts()["reasons"].to_pylist() == [None, None]
    assert lake.write_alerts([make_event("1")], model_name="m", model_version="1") == 1
    assert lake.read_alerts()["reasons"].to_pylist() == [["shift: flow"], None]


def test_no_alert_events_make_no_table(lake: Lake) -> None:
    assert lake.write_alerts([], model_name="m", model_version="1") == 0
    assert lake.read_alerts().num_rows == 0


def test_quarantine_and_ledger_are_sorted(lake: Lake) -> None:
    rows = [
        {"source": name, "row": row, "reason": "r", "rule": "r", "first_seen": None, "content": ""}
        for name, row in (("b", 1), ("a", 2), ("a", 1))
    ]
    assert lake.append_quarantine(rows, commit_id="one")
    assert lake.append_quarantine(rows, commit_id="one") == 3
    found = lake.read_quarantine().to_pylist()
    assert [(row["source"], row["row"]) for row in found] == [("a", 1), ("a", 2), ("b", 1)]
    assert lake.append_ledger([{"source": "b", "num_rows": 3}], commit_id="one")
    assert lake.read_ledger()["num_rows"].to_pylist() == [3]
