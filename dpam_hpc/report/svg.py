"""A matplotlib figure as SVG that is part of a page: its colours and letters are the page's own.

A page's style may change with the viewer's (dark, print), and its security policy forbids style
attributes: colours become CSS variables, styles become attributes.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = {
    "ink": "#010101", "muted": "#020202", "grid": "#030303", "paper": "#040404",
    "done": "#050505", "warn": "#060606", "bad": "#070707", "wait": "#080808", "more": "#090909",
}  # fmt: skip
"""Names of the page's CSS variables, and what matplotlib is told in their place."""
VARIABLES = {code: f"var(--{name})" for name, code in COLOURS.items()}
SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
DROPPED = {"font", "font-family", "font-style", "font-variant", "font-weight", "font-stretch"}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none", "svg.hashsalt": "dpam-hpc", "text.parse_math": False, "font.size": 9,
    "axes.titlesize": 9,
    "axes.titlelocation": "left", "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "axes.axisbelow": True, "figure.constrained_layout.use": True,
    "text.color": COLOURS["ink"], "axes.labelcolor": COLOURS["ink"],
    "axes.edgecolor": COLOURS["muted"], "xtick.color": COLOURS["muted"],
    "ytick.color": COLOURS["muted"], "xtick.labelcolor": COLOURS["ink"],
    "ytick.labelcolor": COLOURS["ink"], "grid.color": COLOURS["grid"], "grid.linewidth": 0.6,
    "figure.facecolor": "none", "axes.facecolor": "none", "legend.frameon": False,
    "legend.labelcolor": COLOURS["ink"],
}  # fmt: skip
"""Of all figures of a page."""


def of_page(figure: Figure, name: str, label: str) -> str:
    """The figure as an ``svg`` element; ``name`` is the figure's alone in its page.

    ``label`` says in words what it shows.
    """
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    root = ElementTree.fromstring(text.getvalue())  # noqa: S314 - matplotlib's own
    used = set(re.findall(r"(?:url\(#|href=\"#)([^\")]+)", text.getvalue()))
    for parent in root.iter():
        for child in list(parent):
            if child.tag in (f"{{{SVG}}}metadata", f"{{{SVG}}}style"):
                parent.remove(child)
    for element in root.iter():
        _plain(element, name, used)
    for dropped in ("width", "height", "version"):
        root.attrib.pop(dropped, None)
    root.set("role", "img")
    root.set("aria-label", label)
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    return ElementTree.tostring(root, encoding="unicode")


def _plain(element: ElementTree.Element, name: str, used: set[str]) -> None:
    """Styles as attributes, colours as variables, ids of this figure alone."""
    for rule in element.attrib.pop("style", "").split(";"):
        key, _, value = (part.strip() for part in rule.partition(":"))
        if key == "font" and (size := re.search(r"([\d.]+)px", value)):
            element.set("font-size", size[1])
        if key and key not in DROPPED:
            element.set(key, value.removesuffix("px"))
    for key, value in list(element.attrib.items()):
        if key == "id":
            if value in used:
                element.set(key, f"{name}-{value}")
            else:
                del element.attrib[key]
        elif value.startswith("#") and key.endswith("href"):
            element.set(key, f"#{name}-{value[1:]}")
        elif value.startswith("url(#"):
            element.set(key, f"url(#{name}-{value[5:]}")
        elif value in VARIABLES:
            element.set(key, VARIABLES[value])
    if element.tag == f"{{{SVG}}}text" and "fill" not in element.attrib:
        element.set("fill", VARIABLES[COLOURS["ink"]])
