import subprocess
import sys
from pathlib import Path

import pytest

from vae_anomaly import __version__
from vae_anomaly.cli import main

COMMANDS = (
    "demo", "init", "check", "fit", "score", "evaluate", "run", "serve", "report", "models",
    "promote", "rollback", "benchmark", "lake", "compare", "alerts", "maintenance", "mute",
)  # fmt: skip

HEAVY = ("keras", "tensorflow", "mlflow", "prefect", "pandas", "pyarrow", "numpy", "pydantic")


def modules_after(program: str) -> set[str]:
    code = f"{program}\nimport sys\nprint(chr(10) + ' '.join(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stderr == ""
    return {name.partition(".")[0] for name in result.stdout.splitlines()[-1].split()}


def test_help_names_every_command(capsys):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f" {command} " in out for command in COMMANDS)
    assert "Exit codes: 0 done, 1 refused or failed, 2 wrong usage." in out


def test_no_command_shows_the_help(capsys):
    assert main([]) == 0
    assert "Usage: vae-anomaly COMMAND" in capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_each_of_its_options(command, capsys):
    assert main([command, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"Usage: vae-anomaly {command}" in out
    assert max(map(len, out.splitlines())) <= 80


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"vae-anomaly {__version__}\n"


def test_help_loads_nothing_heavy():
    loaded = modules_after("from vae_anomaly.cli import main; main(['--help'])")
    assert loaded.isdisjoint(HEAVY)


def test_importing_the_package_loads_nothing_heavy():
    assert modules_after("import vae_anomaly").isdisjoint({*HEAVY, "cyclopts", "rich"})


def test_the_debug_option_is_taken_anywhere(capsys):
    assert main(["--debug", "check"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_init_writes_settings_once(tmp_path, capsys):
    file = tmp_path / "new" / "pipeline.toml"
    assert main(["init", str(file)]) == 0
    assert "vae-anomaly run ingest" in capsys.readouterr().out
    file.write_text("seed = 4\n")
    assert main(["init", str(file)]) == 1
    assert "--force" in capsys.readouterr().err
    assert file.read_text() == "seed = 4\n"
    assert main(["init", str(file), "--force"]) == 0
    assert "#seed = 0" in file.read_text()


def test_init_asks_for_the_settings_that_the_guides_ask_for(tmp_path, capsys):
    assert main(["init", str(tmp_path)]) == 0
    assert "Set source and training.end in it" in " ".join(capsys.readouterr().out.split())
    root = Path(__file__).parents[3]
    assert "set source and training.end" in (root / "README.md").read_text(encoding="utf-8")
    guide = (root / "docs" / "getting-started.md").read_text(encoding="utf-8")
    assert "Set `source` and `training.end`" in guide


def test_init_of_a_folder_writes_pipeline_toml_into_it(tmp_path):
    assert main(["init", str(tmp_path)]) == 0
    assert (tmp_path / "pipeline.toml").is_file()


def test_init_says_where_it_cannot_write(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["init", str(tmp_path / "file" / "pipeline.toml")]) == 1
    assert "Choose a folder that can be written" in capsys.readouterr().err


def test_the_installed_command_is_this_one():
    command = Path(sys.executable).with_name("vae-anomaly")
    result = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert result.stdout == f"vae-anomaly {__version__}\n"
    assert result.stderr == ""
