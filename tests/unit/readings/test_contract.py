import json
import math

import pytest

from vae_anomaly.config import ReadingsConfig
from vae_anomaly.domain import Contract, Sensor
from vae_anomaly.errors import ContractError
from vae_anomaly.readings.columns import ColumnKind, RawColumn
from vae_anomaly.readings.contract import (
    check_contract,
    contract_from_dict,
    contract_to_dict,
    infer_contract,
    list_names,
    note_unknown_columns,
    note_unknown_names,
)

CONTRACT = Contract(
    sensors=(Sensor("flow", "l/min"), Sensor("pressure (Pa)")),
    period_s=60.0,
    timestamp="timestamp",
    asset="asset",
    ignored={"note": "text"},
)


def columns(**kinds: ColumnKind | RawColumn) -> dict[str, RawColumn]:
    types = {ColumnKind.NUMBER: "double", ColumnKind.TEXT: "string", ColumnKind.OTHER: "list"}
    return {
        name: kind
        if isinstance(kind, RawColumn)
        else RawColumn(name, kind, types.get(kind, "?"), "'a.parquet'")
        for name, kind in {"timestamp": ColumnKind.TIME, **kinds}.items()
    }


def infer(found: dict[str, RawColumn], **wanted) -> Contract:
    return infer_contract(found, **{"timestamp": "timestamp", "asset": "asset", **wanted})


def test_columns_of_numbers_are_sensors_and_the_rest_is_ignored_with_a_reason() -> None:
    contract = infer(
        columns(
            asset=ColumnKind.TEXT,
            flow=ColumnKind.NUMBER,
            label_fault=ColumnKind.NUMBER,
            note=ColumnKind.TEXT,
            spare=ColumnKind.NUMBER,
            nothing=ColumnKind.EMPTY,
            spectrum=ColumnKind.OTHER,
            _batch=ColumnKind.NUMBER,
        ),
        ignore=["spare"],
        units={"flow": "l/min"},
    )
    assert contract.sensors == (Sensor("flow", "l/min"),)
    assert contract.asset == "asset"
    assert math.isnan(contract.period_s)
    assert contract.ignored == {
        "label_fault": "label",
        "note": "text",
        "spare": "ignored by the settings",
        "nothing": "no values and no type",
        "spectrum": "type list",
        "_batch": "name starts with '_'",
    }


def test_sensors_asked_for_keep_their_order() -> None:
    found = columns(a=ColumnKind.NUMBER, b=ColumnKind.EMPTY, c=ColumnKind.NUMBER)
    contract = infer(found, sensors=("b", "a"))
    assert contract.sensor_names == ("b", "a")
    assert contract.asset is None
    assert contract.ignored == {"c": "not among the sensors asked for"}


def test_missing_time_column_lists_what_there_is() -> None:
    with pytest.raises(ContractError, match=r"expected a time column 'time', got columns \('fl"):
        infer({"flow": columns(flow=ColumnKind.NUMBER)["flow"]}, timestamp="time")
    with pytest.raises(ContractError, match="'timestamp' holds times: set timestamp = 'timestamp"):
        infer(columns(flow=ColumnKind.NUMBER), timestamp="time")


def test_no_column_of_numbers_is_refused() -> None:
    with pytest.raises(ContractError, match=r"expected at least one column of numbers beside"):
        infer(columns(note=ColumnKind.TEXT, label_x=ColumnKind.NUMBER))


def test_input_without_any_of_the_sensors_is_told_what_it_has() -> None:
    with pytest.raises(
        ContractError, match=r"got none of them, but columns \('timestamp', 'score'\)\. Add them"
    ):
        infer(columns(score=ColumnKind.NUMBER), sensors=("flow", "level"))


def test_missing_sensor_is_named() -> None:
    with pytest.raises(
        ContractError,
        match=r"Cannot read readings: expected sensors \('flow', 'level'\), got \('flow',\); "
        r"missing \('level',\)\. Add them, null where nothing was measured, or ask",
    ):
        infer(columns(flow=ColumnKind.NUMBER), sensors=("flow", "level"))


def test_text_in_a_sensor_column_is_refused() -> None:
    with pytest.raises(
        ContractError,
        match=r"expected numbers in sensor column 'flow', got text .string. in",
    ):
        infer(columns(flow=ColumnKind.TEXT), sensors=("flow",))
    with pytest.raises(ContractError, match=r"got list in 'a.parquet'"):
        infer(columns(flow=ColumnKind.OTHER), sensors=("flow",))


@pytest.mark.parametrize("first", [ColumnKind.NUMBER, ColumnKind.TEXT])
def test_numbers_in_one_file_and_text_in_another_name_both(first: ColumnKind) -> None:
    number = RawColumn("flow", ColumnKind.NUMBER, "double", "'a.parquet'")
    text = RawColumn("flow", ColumnKind.TEXT, "string", "'b.parquet'")
    pair = (number, text) if first is ColumnKind.NUMBER else (text, number)
    clashing = RawColumn(pair[0].name, pair[0].kind, pair[0].type, pair[0].part, (), pair[1])
    with pytest.raises(
        ContractError, match=r"text .string. in 'b.parquet' and double in 'a.parquet'"
    ):
        infer(columns(flow=clashing))


@pytest.mark.parametrize(
    ("sensor", "reason"),
    [
        ("timestamp", "the time column"),
        ("asset", "the asset column"),
        ("label_x", "a label"),
        ("spare", "ignored"),
        ("flow", "named twice"),
    ],
)
def test_column_with_another_role_is_no_sensor(sensor: str, reason: str) -> None:
    found = columns(flow=ColumnKind.NUMBER, spare=ColumnKind.NUMBER, label_x=ColumnKind.NUMBER)
    with pytest.raises(
        ContractError, match=f"'{sensor}' as a sensor: .* got one that is {reason}"
    ):
        infer(found, sensors=("flow", sensor), ignore=("spare",))


def test_input_that_keeps_the_contract_passes() -> None:
    found = columns(
        **{
            "asset": ColumnKind.TEXT,
            "pressure (Pa)": ColumnKind.EMPTY,
            "flow": ColumnKind.NUMBER,
            "note": ColumnKind.TEXT,
            "label_x": ColumnKind.NUMBER,
            "_source": ColumnKind.TEXT,
        }
    )
    check_contract(found, CONTRACT, purpose="score")
    assert note_unknown_columns(found, CONTRACT) == ()


def test_extra_columns_are_noted() -> None:
    found = columns(flow=ColumnKind.NUMBER, extra=ColumnKind.NUMBER)
    assert note_unknown_columns(found, CONTRACT) == (
        "columns the contract does not know are left out: ('extra',)",
    )


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (columns(flow=ColumnKind.NUMBER), r"expected the asset column 'asset', got columns"),
        (
            columns(asset=ColumnKind.TEXT, flow=ColumnKind.NUMBER),
            r"expected sensors \('flow', 'pressure \(Pa\)'\), got \('flow',\); missing \('pressu",
        ),
        (
            columns(asset=ColumnKind.TEXT, flow=ColumnKind.TEXT)
            | {"pressure (Pa)": RawColumn("pressure (Pa)", ColumnKind.NUMBER, "double", "'a'")},
            r"expected numbers in sensor column 'flow', got text",
        ),
        ({}, r"expected a time column 'timestamp', got columns none\. Name it in the settings"),
    ],
    ids=["asset", "sensor", "text", "time"],
)
def test_broken_contract_says_what_cannot_be_done(
    found: dict[str, RawColumn], message: str
) -> None:
    with pytest.raises(ContractError, match="Cannot score with model version 12: " + message):
        check_contract(found, CONTRACT, purpose="score with model version 12")


def test_contract_survives_json() -> None:
    content = json.loads(json.dumps(contract_to_dict(CONTRACT)))
    assert contract_from_dict(content) == CONTRACT
    alone = Contract(sensors=(Sensor("a"),), period_s=1.0)
    assert contract_from_dict(contract_to_dict(alone)) == alone


@pytest.mark.parametrize(
    "content", [{}, {"sensors": 3}, contract_to_dict(CONTRACT) | {"ignored": None}, []]
)
def test_content_that_is_no_contract_is_refused(content) -> None:
    with pytest.raises(ContractError, match="Cannot read the contract"):
        contract_from_dict(content)


def test_long_lists_of_names_are_cut() -> None:
    assert list_names(map(str, range(12))).count(",") == 11
    assert list_names(map(str, range(14))).endswith("'11', and 2 more)")


def test_an_asset_column_that_was_asked_for_must_be_there() -> None:
    found = columns(plant=ColumnKind.TEXT, flow=ColumnKind.NUMBER)
    with pytest.raises(
        ContractError,
        match=r"expected the asset column 'plnt', got columns \('timestamp', 'plant', 'flow'\)\. "
        r"Name the column with --asset, .* of one asset; did you mean 'plant'\?$",
    ):
        infer(found, asset="plnt")
    with pytest.raises(ContractError, match=r"where all rows are of one asset\.$"):
        infer(columns(flow=ColumnKind.NUMBER), asset="xyz")
    assert infer(columns(flow=ColumnKind.NUMBER)).asset is None


def test_a_missing_asset_column_of_a_contract_is_told_with_the_nearest() -> None:
    with pytest.raises(ContractError, match=r"which asset it is from; did you mean 'Asset'\?$"):
        check_contract(columns(Asset=ColumnKind.TEXT), CONTRACT, purpose="score")


def test_units_and_ignored_names_of_no_column_are_noted() -> None:
    config = ReadingsConfig(units={"flow": "l/min", "Flw": "°F"}, ignore=("note", "nte", "extra"))
    assert note_unknown_names(config, ("extra",), CONTRACT) == (
        (
            "units in the settings of the readings names 'Flw', which is no column; "
            "did you mean 'flow'?"
        ),
        (
            "ignore in the settings of the readings names 'nte', which is no column; "
            "did you mean 'note'?"
        ),
    )


def test_advice_for_a_missing_sensor_fits_what_is_done() -> None:
    found = columns(asset=ColumnKind.TEXT, Flow=ColumnKind.NUMBER)
    with pytest.raises(
        ContractError,
        match=r"or rename the columns that are theirs; did you mean 'Flow' by 'flow'\?$",
    ):
        check_contract(found, CONTRACT, purpose="score")
    with pytest.raises(
        ContractError, match=r"or ask for other sensors; did you mean 'Flow' by 'flow'\?$"
    ):
        infer(found, sensors=("flow",))
    with pytest.raises(ContractError, match=r"or ask for other sensors\.$"):
        infer(found, sensors=("Flow", "xyz"))


def test_advice_for_text_in_a_sensor_column_fits_what_is_done() -> None:
    found = columns(asset=ColumnKind.TEXT, flow=ColumnKind.TEXT) | {
        "pressure (Pa)": RawColumn("pressure (Pa)", ColumnKind.NUMBER, "double", "'a'")
    }
    with pytest.raises(ContractError, match=r"Convert it to numbers\.$"):
        check_contract(found, CONTRACT, purpose="score")
    with pytest.raises(ContractError, match=r"numbers, or leave it out of the sensors in the s"):
        infer(found, sensors=("flow",))
    text = RawColumn("flow", ColumnKind.TEXT, "string", "'b.parquet'")
    number = RawColumn("flow", ColumnKind.NUMBER, "double", "'a.parquet'", (), text)
    with pytest.raises(ContractError, match=r"Convert it to numbers, or ignore it in the sett"):
        infer(columns(flow=number))
