"""The site, as `make docs` builds it: no warning, and no page fetches a thing from elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

FETCHED = {
    "img": "src", "script": "src", "iframe": "src", "source": "src", "audio": "src", "video": "src",
    "embed": "src", "object": "data",
}  # fmt: skip
LED_TO = ("canonical", "search", "next", "prev", "index", "genindex")
IN_STYLE = re.compile(r"""(?:url\(\s*['"]?|@import\s+['"]?)((?:https?:)?//[^'")\s]+)""")


class Fetches(HTMLParser):
    """What a browser gets for a page without being asked."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag in FETCHED and FETCHED[tag] in values:
            self.found.append(values[FETCHED[tag]])
        if tag == "link" and values.get("rel") not in (
            "canonical",
            "search",
            "next",
            "prev",
            "index",
        ):
            self.found.append(values.get("href", ""))
        self.found += IN_STYLE.findall(values.get("style", ""))


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as `make docs` builds it."""
    pytest.importorskip("sphinx", reason="pip install --group docs")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", *options(), "docs", str(folder / "html")]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert built.returncode == 0, built.stderr
    return folder / "html"


def options() -> list[str]:
    """Those of the Makefile."""
    line = re.search(r"-m sphinx (.*) docs build/docs$", (ROOT / "Makefile").read_text(), re.M)
    assert line
    return line[1].split()


def outside(site: Path) -> Iterator[str]:
    for path in sorted(site.rglob("*")):
        if path.suffix == ".html":
            parser = Fetches()
            parser.feed(path.read_text())
            found = parser.found
        elif path.suffix in (".css", ".svg"):
            found = IN_STYLE.findall(path.read_text())
        else:
            continue
        for url in found:
            if re.match(r"(?:https?:)?//", url):
                yield f"{path.relative_to(site)}: {url}"


def test_every_page_is_built_without_a_warning(site: Path) -> None:
    pages = {
        p.relative_to(ROOT / "docs").with_suffix(".html") for p in (ROOT / "docs").rglob("*.md")
    }
    assert pages <= {p.relative_to(site) for p in site.rglob("*.html")}


def test_pages_fetch_nothing_from_elsewhere(site: Path) -> None:
    assert list(outside(site)) == []


def test_what_would_be_fetched_is_found(tmp_path: Path) -> None:
    (tmp_path / "x.html").write_text(
        '<script src="https://a/x.js"></script><a href="https://b/">b</a><img src="c.png">'
        '<link rel="stylesheet" href="//d/x.css"><p style="background: url(\'http://e/x.png\')">'
    )
    (tmp_path / "x.css").write_text("@import 'https://f/x.css'; p {background: url(g.png)}")
    assert [line.split("//")[1] for line in outside(tmp_path)] == [
        "f/x.css",
        "a/x.js",
        "d/x.css",
        "e/x.png",
    ]


def test_a_broken_link_is_an_error(tmp_path: Path) -> None:
    pytest.importorskip("sphinx", reason="pip install --group docs")
    (tmp_path / "conf.py").write_text((ROOT / "docs" / "conf.py").read_text())
    (tmp_path / "_toc.yml").write_text("root: index\n")
    (tmp_path / "index.md").write_text("# X\n\n[a](nowhere.md) [b](#nothing)\n")
    command = [sys.executable, "-m", "sphinx", *options(), str(tmp_path), str(tmp_path / "html")]
    built = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert built.returncode != 0
    assert "nowhere" in built.stderr
    assert "nothing" in built.stderr
