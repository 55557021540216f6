import io
import json
import logging

import pytest

from vae_anomaly.errors import ConfigError
from vae_anomaly.operations.monitoring.logs import (
    VARIABLE,
    choose_format,
    find_format,
    log_context,
    make_formatter,
)


@pytest.fixture
def lines(monkeypatch):
    """A logger that writes JSON, and what it wrote."""
    monkeypatch.setenv(VARIABLE, "json")
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(make_formatter("%(message)s"))
    logger = logging.getLogger("vae_anomaly.test_logs")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield logger, lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logger.removeHandler(handler)


def test_a_record_is_one_object_with_what_it_is_about(lines):
    logger, read = lines
    with log_context(flow="score", flow_run_id="r-1"):
        with log_context(model_version="3"):
            logger.info("scored %d readings\nof one asset", 12, extra={"asset": "pump-1"})
        logger.warning("done")
    logger.info("after")
    first, second, third = read()
    assert first["message"] == "scored 12 readings\nof one asset"
    assert (first["level"], first["logger"]) == ("INFO", "vae_anomaly.test_logs")
    assert first["timestamp"].endswith("+00:00")
    about = {"flow": "score", "flow_run_id": "r-1", "model_version": "3", "asset": "pump-1"}
    assert about.items() <= first.items()
    assert "model_version" not in second
    assert second["flow"] == "score"
    assert "flow" not in third


def test_a_traceback_stays_inside_of_its_object(lines):
    logger, read = lines
    try:
        int("broken")
    except ValueError:
        logger.exception("it went wrong")
    (record,) = read()
    assert "ValueError: invalid literal" in record["exc_info"]


def test_text_is_text(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    record = logging.LogRecord("x", logging.INFO, "", 0, "%s there", ("hello",), None)
    assert make_formatter("%(levelname)s %(message)s").format(record) == "INFO hello there"


def test_the_environment_goes_before_the_setting(monkeypatch):
    monkeypatch.setenv(VARIABLE, "text")
    choose_format("json")
    assert find_format() == "text"
    monkeypatch.setenv(VARIABLE, "")
    choose_format("json")
    assert find_format() == "json"


def test_another_format_is_refused(monkeypatch):
    monkeypatch.setenv(VARIABLE, "xml")
    with pytest.raises(ConfigError, match="expected VAE_ANOMALY_LOGS to be one of text, json"):
        find_format()
