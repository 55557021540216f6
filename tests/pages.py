"""Fenced blocks of README and documentation, with the output that a page shows for them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from tests.conftest import PROJECT

RUNNABLE = "<!-- runnable -->"
"""Marks a block that runs in well under a second and prints what is shown."""

RUNNABLE_SLOWLY = "<!-- runnable: slow -->"
"""Marks a block that fits a detector; how it runs is for tests/e2e."""

FENCE = re.compile(
    r"^(?:(?P<mark><!-- runnable[^>]*-->)\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    page: Path
    mark: str
    language: str
    text: str
    output: str

    def __str__(self) -> str:
        first = self.text.strip().splitlines()[0]
        return f"{self.page.relative_to(PROJECT)}: {first}"


def read_blocks(page: Path) -> list[Block]:
    """Take the fenced blocks of a page; the output of a block is a text block right behind it."""
    content = page.read_text(encoding="utf-8")
    found = list(FENCE.finditer(content))
    blocks = []
    for match, after in zip_longest(found, found[1:]):
        is_next = after is not None and not content[match.end() : after.start()].strip()
        output = after["text"] if is_next and after["language"] == "text" else ""
        blocks.append(Block(page, match["mark"] or "", match["language"], match["text"], output))
    return blocks


def read_commands(text: str) -> list[list[str]]:
    """Return the shell commands of a block as words, without comments and set variables."""
    commands = []
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words.pop(0)
        if words:
            commands.append(words)
    return commands
