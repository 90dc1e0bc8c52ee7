"""The site that ``make docs`` builds of these pages, which GitHub shows as they are.

Sphinx with MyST: the pages stay plain Markdown, links and their anchors are checked, and a warning
is an error. Furo brings its own fonts and scripts: a built page fetches nothing from elsewhere.
"""

from __future__ import annotations

import re
from pathlib import Path

from sphinx.application import Sphinx

project = "dpam-hpc"
author = "the authors of dpam-hpc"
extensions = ["myst_parser", "sphinx_external_toc"]
external_toc_path = "_toc.yml"
html_theme = "furo"
html_title = "dpam-hpc"
html_copy_source = False
myst_heading_anchors = 4  # as GitHub makes them
nitpicky = True
highlight_language = "none"  # blocks that name no language are what a program prints

PAGES = Path(__file__).parent
LINK = re.compile(r"\[([^\]]+)\]\((\.\./[^)\s]+)\)")


def leave_out_links_to_the_repository(app: Sphinx, page: str, source: list[str]) -> None:
    """The site has pages alone: a file of the repository beside them is named, not linked."""

    def shown(link: re.Match[str]) -> str:
        target = (PAGES / page).parent.joinpath(link[2].partition("#")[0]).resolve()
        return link[0] if PAGES in target.parents else link[1]

    source[0] = LINK.sub(shown, source[0])


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", leave_out_links_to_the_repository)
