import json
from dataclasses import replace

import pytest

from tests.unit.detector.plain_density import make_record
from vae_anomaly.detector.record import FORMAT, read_record, write_record
from vae_anomaly.errors import DetectorError


def refuse_constants(name: str):
    raise AssertionError(f"{name} is no JSON")


def changed(**changes) -> str:
    return json.dumps(json.loads(write_record(make_record())) | changes)


def test_a_record_survives_json_with_all_its_numbers():
    record = make_record({"pumpe-süd": 3.25, "b": 1e-9}, asset="asset")
    text = write_record(record)
    again = read_record(text, origin="here")
    assert repr(again) == repr(record)  # NaN is not equal to itself
    assert write_record(again) == text
    assert again.calibrations == record.calibrations
    assert again.config == record.config


def test_the_json_is_strict_and_keeps_names_readable():
    text = write_record(make_record({"pumpe-süd": 3.25}))
    content = json.loads(text, parse_constant=refuse_constants)
    assert content["normal_contribution"] == [0.9, "nan"]
    assert content["baseline"]["vae_nll_nats"] == "-inf"
    assert "pumpe-süd" in text


def test_an_asset_that_was_not_calibrated_gets_the_fallback():
    record = make_record({"a": 3.0, "b": 1.0})
    assert record.calibration_of("a").threshold == 3.0
    assert record.calibration_of("elsewhere").threshold == 1.0


@pytest.mark.parametrize("text", ["", "no json", '{"format": 1', "\ufffd\ufffd"])
def test_what_is_no_json_is_refused(text):
    with pytest.raises(DetectorError, match=r"from 'here': detector.json is damaged \(.*Fit it"):
        read_record(text, origin="here")


@pytest.mark.parametrize(
    ("text", "found"),
    [("[1]", "None"), ("{}", "None"), (changed(format=FORMAT - 1), str(FORMAT - 1))],
)
def test_another_format_is_refused(text, found):
    with pytest.raises(DetectorError) as caught:
        read_record(text, origin="here")
    assert str(caught.value) == (
        f"Cannot load the detector from 'here': expected format {FORMAT}, got {found}. "
        "Fit it again with this version."
    )


@pytest.mark.parametrize(
    "text",
    [
        changed(contract=None),
        changed(normal_level="high"),
        changed(config={"unknown": 1}),
        changed(profiles=[{"name": "flow"}]),
    ],
)
def test_missing_and_wrong_fields_are_refused(text):
    with pytest.raises(DetectorError, match=r"from 'here': detector.json is damaged: "):
        read_record(text, origin="here")


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"fallback": "nobody"}, "expected a calibration of fallback 'nobody', got none"),
        ({"calibrations": {}}, "expected a calibration of fallback 'asset', got none"),
        ({"limits": {}}, "expected limits for each calibrated asset, got others"),
        ({"normal_contribution": [1.0]}, "expected 2 normal contributions, got 1"),
    ],
)
def test_fields_that_do_not_fit_together_are_refused(changes, cause):
    with pytest.raises(DetectorError, match=cause):
        read_record(changed(**changes), origin="here")


@pytest.mark.parametrize(
    "roles",
    [
        {"modelled": (0,)},
        {"modelled": (0, 1, 7)},
        {"modelled": (0, 1), "constant": (1,), "constant_values": (1.0,)},
        {"modelled": (0,), "constant": (1,), "constant_values": ()},
    ],
)
def test_roles_that_do_not_cover_the_sensors_are_refused(roles):
    record = make_record()
    broken = replace(record, roles=replace(record.roles, **roles))
    with pytest.raises(DetectorError, match="expected one role for each of 2 sensors"):
        read_record(write_record(broken), origin="here")
