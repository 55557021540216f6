"""README, changelog and documentation: links, commands, settings and code must be true."""

from __future__ import annotations

import ast
import contextlib
import importlib
import io
import re
import shlex
import tomllib
from pathlib import Path

import pytest

from tests.conftest import PROJECT
from tests.pages import FENCE, RUNNABLE, read_blocks, read_commands
from vae_anomaly import errors
from vae_anomaly.cli.app import make_app
from vae_anomaly.config import PipelineConfig, make_config
from vae_anomaly.domain import Problem

DOCS = PROJECT / "docs"
README = PROJECT / "README.md"
PAGES = (README, PROJECT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md")))

MAX_README_LINES = 150
FORBIDDEN = ("device", "feature", "outlier", "cutoff", "estimator", "incident", "dataframe")
"""Words that have another one in style and glossary; the glossary itself must name them."""

LINK = re.compile(r"!?\[[^\]]*\]\((?P<target>[^)\s]+)\)")
REFERENCE = re.compile(r"^::: (?P<name>[\w.]+)$", re.MULTILINE)


BLOCKS = [block for page in PAGES for block in read_blocks(page)]


def blocks_of(*languages: str) -> list:
    return [pytest.param(block, id=str(block)) for block in BLOCKS if block.language in languages]


def read_prose(page: Path) -> str:
    """Return a page without code, addresses and link targets."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return re.sub(r"`[^`]*`|\]\([^)]*\)", "", text)


def make_anchor(heading: str) -> str:
    plain = re.sub(r"[^\w\s-]", "", heading.replace("`", "")).strip().lower()
    return re.sub(r"[\s]+", "-", plain)


def name_page(page: Path) -> str:
    return str(page.relative_to(PROJECT))


pages = pytest.mark.parametrize("page", PAGES, ids=name_page)


def test_the_readme_is_short():
    assert len(README.read_text(encoding="utf-8").splitlines()) < MAX_README_LINES


@pages
def test_relative_links_lead_somewhere(page):
    for match in LINK.finditer(page.read_text(encoding="utf-8")):
        path, _, anchor = match["target"].partition("#")
        if "://" in path:
            continue
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name_page(page)} links to {match['target']}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in map(make_anchor, headings), f"no heading for {match['target']}"


@pytest.mark.parametrize("page", PAGES[2:], ids=name_page)
def test_links_of_the_documentation_stay_inside_it(page):
    for match in LINK.finditer(page.read_text(encoding="utf-8")):
        path = match["target"].partition("#")[0]
        if path and "://" not in path:
            assert (page.parent / path).resolve().is_relative_to(DOCS), match["target"]


def test_the_navigation_lists_every_page_once():
    listed = re.findall(r"([\w/-]+\.md)$", (PROJECT / "mkdocs.yml").read_text("utf-8"), re.M)
    there = [page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")]
    assert sorted(listed) == sorted(there)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name != "glossary.md"], ids=name_page
)
def test_words_are_those_of_the_glossary(page):
    words = set(re.findall(r"[a-z]+", read_prose(page).lower()))
    assert not words & {*FORBIDDEN, *(word + "s" for word in FORBIDDEN)}


@pages
def test_every_fence_is_closed(page):
    assert page.read_text(encoding="utf-8").count("```") % 2 == 0


@pytest.mark.parametrize("block", blocks_of("python"))
def test_python_parses_and_its_imports_exist(block):
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("vae_anomaly"):
            module = importlib.import_module(node.module or "")
            assert all(hasattr(module, alias.name) for alias in node.names), ast.unparse(node)


@pytest.mark.parametrize(
    "block", [item for item in blocks_of("python") if item.values[0].mark == RUNNABLE]
)
def test_runnable_python_prints_what_the_page_says(block):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(block.text, str(block), "exec"), {})  # noqa: S102 - our own pages
    assert out.getvalue() == block.output


@pytest.mark.parametrize("block", blocks_of("toml"))
def test_settings_are_accepted(block):
    make_config(PipelineConfig, tomllib.loads(block.text), origin=str(block))


@pytest.mark.parametrize("block", blocks_of("sh"))
def test_commands_exist_with_these_options(block):
    targets = re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text("utf-8"), re.M)
    for name, *arguments in read_commands(block.text):
        if Path(name).name == "vae-anomaly":
            check_arguments(arguments)
        elif name == "make":
            assert arguments[0] in targets


@pages
def test_commands_named_in_a_sentence_exist(page):
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for span in re.findall(r"`vae-anomaly ([^`]+)`", text):
        arguments = shlex.split(span)
        assert arguments[0] in {*list(make_app()), "COMMAND"}, span
        options = [name.partition("=")[0] for name in arguments if name.startswith("--")]
        assert set(options) <= {*list_options(arguments[0]), "--help", "--version"}, span


def test_the_reference_has_every_command_with_every_option():
    text = (DOCS / "reference/cli.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL))
    commands = {name for name in make_app() if not name.startswith("-")}
    assert set(sections) == commands
    for command, section in sections.items():
        documented = re.findall(r"^\| `(--[\w-]+)` \|", section, re.MULTILINE)
        assert sorted(documented) == sorted(list_options(command)), command


def test_every_error_is_in_the_reference():
    text = (DOCS / "reference/errors.md").read_text(encoding="utf-8")
    names = {name for name in vars(errors) if name.endswith("Error")}
    assert all(f"`{name}`" in text for name in names)
    assert all(f"`{problem.value}`" in text for problem in Problem if problem.value)


def test_the_python_reference_names_what_there_is():
    names = REFERENCE.findall((DOCS / "reference/python.md").read_text(encoding="utf-8"))
    assert names
    for name in names:
        module, _, member = name.rpartition(".")
        assert hasattr(importlib.import_module(module), member), name


def check_arguments(arguments: list[str]) -> None:
    """Parse a command line as the program does, without running it."""
    if "--version" in arguments or "--help" in arguments:
        return
    make_app().parse_args(arguments, exit_on_error=False, print_error=False)


def list_options(command: str) -> list[str]:
    if command not in list(make_app()) or command.startswith("-"):
        return []
    app = make_app()[command]
    apps = [app] if app.default_command else [app[name] for name in app if name[0] != "-"]
    arguments = [item for one in apps for item in one.assemble_argument_collection()]
    return sorted({item.names[0] for item in arguments if item.names[0].startswith("--")})


INPUTS = DOCS / "reference" / "inputs.md"
TEST = re.compile(r"`(?P<file>(unit|integration)/[\w/]+\.py)::(?P<name>\w+)`")


def test_every_shape_and_fault_names_a_test_that_there_is() -> None:
    rows = [line for line in INPUTS.read_text().splitlines() if line.startswith("| ")]
    rows = [line for line in rows if not line.startswith(("| Input", "| Fault"))]
    assert len(rows) >= 40
    for row in rows:
        found = TEST.search(row)
        if found is None:
            assert row.endswith("| the same |")
            continue
        text = (PROJECT / "tests" / found["file"]).read_text()
        assert f"\ndef {found['name']}(" in text, row
