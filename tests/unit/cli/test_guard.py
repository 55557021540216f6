import logging
import os
import subprocess
import sys
import warnings

import pytest
from cyclopts import CycloptsError

from vae_anomaly.cli.guard import quieten_libraries, run_guarded
from vae_anomaly.errors import ReadingsError


def raise_it(error):
    def command():
        raise error

    return command


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (1, 1)])
def test_a_command_that_returns_gives_its_code(returned, code):
    assert run_guarded(lambda: returned, debug=False) == code


def test_our_errors_are_one_message_and_exit_with_one(capsys):
    error = ReadingsError("Cannot read 'a[/red].parquet': gone.\x1b[2J")
    assert run_guarded(raise_it(error), debug=False) == 1
    captured = capsys.readouterr()
    assert captured.err == "error: Cannot read 'a[/red].parquet': gone.\\x1b[2J\n"
    assert captured.out == ""


def test_long_messages_are_not_cut_into_lines(capsys):
    run_guarded(raise_it(ReadingsError("word " * 100)), debug=False)
    assert capsys.readouterr().err.count("\n") == 1


def test_surprises_say_how_to_see_more(capsys):
    assert run_guarded(raise_it(ZeroDivisionError("oh\nno")), debug=False) == 1
    err = capsys.readouterr().err
    assert "ZeroDivisionError: oh" in err
    assert "--debug" in err
    assert "Traceback" not in err


def test_debug_adds_the_traceback(capsys):
    assert run_guarded(raise_it(ZeroDivisionError("oh")), debug=True) == 1
    assert "Traceback" in capsys.readouterr().err


def test_wrong_usage_exits_with_two(capsys):
    assert run_guarded(raise_it(CycloptsError(msg="Give PATH.")), debug=False) == 2
    assert "See 'vae-anomaly --help'." in capsys.readouterr().err


def test_ctrl_c_exits_with_130_and_without_a_traceback(capsys):
    assert run_guarded(raise_it(KeyboardInterrupt()), debug=False) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_a_closed_pipe_is_no_failure_to_talk_about(tmp_path):
    program = (
        "import sys\n"
        "from vae_anomaly.cli.guard import run_guarded\n"
        "sys.exit(run_guarded(lambda: [print('x' * 1000) for _ in range(1000)] and None, "
        "debug=False))"
    )
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run(
        [sys.executable, "-c", program],
        stdout=writer, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    os.close(writer)
    assert result.returncode == 1
    assert result.stderr == ""


@pytest.fixture
def process_settings(monkeypatch):
    """Put back what `quieten_libraries` changes."""
    own, saved = logging.getLogger("vae_anomaly"), dict(os.environ)
    handlers, level = own.handlers[:], own.level
    with warnings.catch_warnings():
        yield own
    own.handlers, own.level = handlers, level
    os.environ.clear()
    os.environ.update(saved)


def test_a_process_of_our_own_is_quiet(process_settings, monkeypatch):
    monkeypatch.setattr(sys, "warnoptions", [])
    monkeypatch.delenv("MLFLOW_LOGGING_LEVEL", raising=False)
    quieten_libraries(debug=False)
    warnings.warn("not shown, and no error", stacklevel=1)
    assert os.environ["MLFLOW_LOGGING_LEVEL"] == "ERROR"
    assert process_settings.getEffectiveLevel() == logging.ERROR


def test_debug_leaves_warnings_on_and_logs(process_settings):
    quieten_libraries(debug=True)
    assert process_settings.getEffectiveLevel() == logging.DEBUG
    with pytest.raises(UserWarning, match="shown"):
        warnings.warn("shown", stacklevel=1)
