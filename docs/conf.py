"""The site that ``make docs`` builds of these pages, which GitHub shows as they are.

Sphinx with MyST: the pages stay plain Markdown, links and their anchors are checked, and a warning
is an error. Furo brings its own fonts and scripts: a built page fetches nothing from elsewhere.
"""

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
