"""The pages of the documentation and the code blocks in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
OTHERS = ("sample/README.md", "benchmarks/README.md", "tests/replay/README.md")
NEEDS = {
    "apptainer": "Apptainer, and an image that takes minutes to build",
    "checkout": "a checkout of its own: it installs, builds or tests for minutes",
    "dali": "the tarball of DaliLite.v5, or a build of it",
    "dpam": "dpam and its databases",
    "docker": "a Docker engine",
    "root": "root, on a machine that may be changed",
    "site": "a cluster's own files, modules or queues",
    "nextflow": "Nextflow",
    "snakemake": "Snakemake",
    "sqlite3": "the shell of SQLite",
}
"""What a block may name after ``needs=``, where it is not run but only parsed; and why."""
COMMAND = re.compile(r"^\s*(?:\$ )?(?:\w+=\S* )*dpam-hpc .*$", re.MULTILINE)
PROMPT = re.compile(r"^\s*\$ ")


@dataclass(frozen=True)
class Block:
    """A code block; ``hidden`` is one in a comment, which readers do not see."""

    page: Path
    line: int
    language: str
    words: dict[str, str]
    text: str
    hidden: bool = False

    @property
    def place(self) -> str:
        """Where it stands, as editors like it."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def is_shell(self) -> bool:
        """Whether it is a block of commands."""
        return self.language == "sh"

    @property
    def is_run(self) -> bool:
        """Whether it is tried, not only parsed."""
        return self.is_shell and "needs" not in self.words

    @property
    def commands(self) -> list[str]:
        """The lines that call dpam-hpc, of a block that is none of commands."""
        return [PROMPT.sub("", line).strip() for line in COMMAND.findall(self.text)]


def pages() -> list[Path]:
    """Every page of the documentation."""
    first = [ROOT / "README.md", *(ROOT / name for name in OTHERS)]
    return first + sorted((ROOT / "docs").rglob("*.md"))


def name(page: Path) -> str:
    """A page's name in the output of tests."""
    return str(page.relative_to(ROOT))


@cache
def tokens(page: Path) -> list[Token]:
    """A page as the parser of CommonMark, with GitHub's tables, has it."""
    return MarkdownIt("commonmark").enable("table").parse(page.read_text())


@cache
def blocks(page: Path) -> list[Block]:
    """The code blocks of a page, in their order."""
    found = []
    for token in tokens(page):
        if not token.map:
            continue
        line = token.map[0] + 1
        if token.type in ("fence", "code_block"):
            language, *words = token.info.split() or [""]
            pairs = dict(word.split("=", 1) for word in words)
            found.append(Block(page, line, language, pairs, token.content))
        elif token.type == "html_block" and token.content.startswith("<!-- sh\n"):
            text = token.content.removeprefix("<!-- sh\n").rpartition("-->")[0]
            found.append(Block(page, line, "sh", {}, text, hidden=True))
    return found
