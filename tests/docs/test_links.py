"""Links between the pages, also from those that the site does not have: files and anchors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from markdown_it.token import Token

from tests.docs import pages

ROOT = pages.ROOT
PAGES = list(dict.fromkeys([*pages.pages(), ROOT / "README.md", ROOT / "CHANGELOG.md"]))
NAMED_IN_CODE = re.compile(r"docs/[\w/-]+\.md")


def links(tokens: list[Token]) -> Iterator[str]:
    """Where the links and pictures of a page lead."""
    for token in tokens:
        target = token.attrs.get("href") or token.attrs.get("src")
        if target:
            yield str(target)
        yield from links(token.children or [])


@cache
def anchors(page: Path) -> set[str]:
    """The names that GitHub gives to a page's headings."""
    found: set[str] = set()
    for token, text in pairwise(pages.tokens(page)):
        if token.type == "heading_open":
            words = "".join(child.content for child in text.children or [])
            name = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
            number = 1
            while name in found:
                name, number = f"{name.removesuffix(f'-{number - 1}')}-{number}", number + 1
            found.add(name)
    return found


@pytest.mark.parametrize("page", PAGES, ids=pages.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    wrong = []
    for link in links(pages.tokens(page)):
        where = urlsplit(link)
        if where.scheme:
            continue
        target = (page.parent / unquote(where.path)).resolve() if where.path else page
        if not target.exists() or ROOT not in target.parents:
            wrong.append(f"{link}: there is no such file")
        elif where.fragment and where.fragment not in anchors(target):
            wrong.append(f"{link}: {target.name} has no such heading")
    assert not wrong, "\n".join(wrong)


def test_pages_that_the_code_names_are_there() -> None:
    wrong = []
    for path in sorted((ROOT / "dpam_hpc").rglob("*")):
        if path.suffix in (".py", ".toml"):
            text = re.sub(r"https?://\S+", "", path.read_text())
            named = set(NAMED_IN_CODE.findall(text))
            wrong += [f"{path.name}: {name}" for name in named if not (ROOT / name).exists()]
    assert not wrong, "\n".join(wrong)


def test_anchors_are_those_of_github(tmp_path: Path) -> None:
    page = tmp_path / "x.md"
    page.write_text("# What is `--json`, and why?\n\n## Größe a_b\n\n## Twice\n\n## Twice\n")
    assert anchors(page) == {"what-is---json-and-why", "größe-a_b", "twice", "twice-1"}
