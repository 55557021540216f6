import json
import math
from dataclasses import dataclass
from pathlib import Path

from vae_anomaly.cli.output import (
    add_row,
    clean_text,
    make_table,
    print_json,
    print_lines,
    print_notes,
    print_table,
    show_progress,
)


@dataclass(frozen=True)
class Figure:
    value: float
    names: tuple[str, ...]


def test_json_of_dataclasses_paths_and_numbers_that_are_not_finite(capsys):
    print_json({"figure": Figure(math.nan, ("a", "b")), "path": Path("x"), 3: math.inf})
    assert json.loads(capsys.readouterr().out) == {
        "figure": {"value": None, "names": ["a", "b"]},
        "path": "x",
        "3": None,
    }


def test_markup_and_control_characters_of_names_are_shown_not_obeyed(capsys):
    table = make_table("[bold]title[/bold]", ("sensor",))
    add_row(table, "[red]flow[/red]\x1b[2J")
    print_table(table)
    print_lines("[link=x]y[/link]\x1b]0;z\x07")
    out = capsys.readouterr().out
    assert "[red]flow[/red]\\x1b[2J" in out
    assert "[link=x]y[/link]\\x1b]0;z\\x07" in out
    assert "\x1b" not in out


def test_letters_of_other_alphabets_stay():
    assert clean_text("Größe °C 温度") == "Größe °C 温度"


def test_line_breaks_stay_only_where_asked_for():
    assert clean_text("a\nb") == "a\\nb"
    assert clean_text("a\nb", keep_lines=True) == "a\nb"


def test_no_notes_print_nothing(capsys):
    print_notes(())
    assert capsys.readouterr().out == ""


def test_whole_columns_stay_unbroken_at_80_characters(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    table = make_table("t", ("name", "text"), whole=("name",))
    add_row(table, "bearing_temperature", "word " * 40)
    print_table(table)
    lines = capsys.readouterr().out.splitlines()
    assert any("bearing_temperature" in line for line in lines)
    assert max(map(len, lines)) <= 80


def test_progress_writes_nothing_where_stderr_is_no_terminal(capsys):
    with show_progress("Working", waiting="Starting") as progress:
        progress(1, 2)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_progress_on_a_terminal_shows_what_is_done(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    with show_progress("Working", waiting="Starting") as progress:
        progress(1_500, 3_000)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Working" in captured.err
    assert "1,500/3,000" in captured.err
