"""The pages in a real browser: sorted, searched, by keyboard, wide, narrow, dark, printed."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from dpam_hpc.report import page, target_page
from tests.conftest import lay_out
from tests.report import browser
from tests.report.browser import NARROW, WIDE, Browser
from tests.report.simulated import Simulation
from tests.report.test_gather import seen
from tests.report.test_report_command import Ran, ran

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(bool(browser.why_none()), reason=browser.why_none()),
]

__all__ = ["ran"]
AXE = Path(__file__).parent / "axe/node_modules/axe-core/axe.min.js"
TARGETS = 600
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser.chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, ran: Ran) -> dict[str, Path]:
    """Pages by what they show."""
    folder = tmp_path_factory.mktemp("pages")
    work = folder / "work"
    work.mkdir()
    Simulation(work, TARGETS).write()
    waiting = lay_out(folder / "waiting", ())
    Simulation(waiting.root, 20).write(until=0.0)
    aligned = seen(ran.root)
    with_hits = next(target.id for target in aligned.targets if target.hits)
    failed = next(target.id for target in aligned.targets if target.state == "failed")
    texts = {
        "run": page.of_run(seen(work)),
        "waiting": page.of_run(seen(waiting.root)),
        "target": target_page.of_target(aligned, with_hits),
        "failed": target_page.of_target(aligned, failed),
    }
    made = {name: folder / f"{name}.html" for name in texts}
    for name, path in made.items():
        path.write_text(texts[name])
    return made


ALL = ("run", "waiting", "target", "failed")


@pytest.mark.parametrize("name", ALL)
def test_nothing_is_said_on_the_console(
    chromium: Browser, pages: dict[str, Path], name: str
) -> None:
    for dark in (False, True):
        chromium.open(pages[name], dark=dark)
        # How the browser draws without a graphics card is no matter of the page's.
        said = [line for line in chromium.console() if "GPU stall due to ReadPixels" not in line]
        assert said == []


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_no_page_is_wider_than_its_window(
    chromium: Browser, pages: dict[str, Path], name: str, width: int
) -> None:
    for scripts in (True, False):
        chromium.open(pages[name], width=width, scripts=scripts)
        assert chromium.ask("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_everybody_can_read_it(
    chromium: Browser, pages: dict[str, Path], name: str, dark: bool, width: int
) -> None:
    if not AXE.exists():
        pytest.skip(f"no axe-core here: npm ci --prefix {AXE.parents[2]} --ignore-scripts")
    chromium.open(pages[name], dark=dark, width=width)
    chromium.driver.execute_script(AXE.read_text())
    found = chromium.driver.execute_async_script(
        "const [options, tell] = arguments; axe.run(options).then(tell)",
        {"runOnly": {"type": "tag", "values": RULES}},
    )
    assert found["passes"], "it looked at something"
    told = [
        (violation["id"], node["html"][:200], node.get("failureSummary"))
        for violation in found["violations"]
        for node in violation["nodes"][:5]
    ]
    assert told == []


def rows(chromium: Browser) -> list[list[str]]:
    """The list of all targets as it is seen."""
    cells = "[...document.querySelectorAll('#targets-app tbody tr')].map(r => [...r.cells].map("
    return list(chromium.ask(cells + "c => c.textContent))"))


def head(chromium: Browser, name: str) -> Any:
    """The button in a head of the list of all targets."""
    path = f"//div[@id='targets-app']//th/button[text()='{name}']"
    return chromium.driver.find_element("xpath", path)


def test_the_list_of_targets_is_searched(chromium: Browser, pages: dict[str, Path]) -> None:
    chromium.open(pages["run"])
    listed = rows(chromium)
    assert len(listed) == 100
    search = chromium.driver.find_element("id", "search")
    search.send_keys(listed[7][0].lower())
    assert [row[0] for row in rows(chromium)] == [listed[7][0]]
    assert "1 to 1 of 1 targets that match" in chromium.driver.find_element("id", "where").text
    search.clear()
    search.send_keys("no such target")
    assert rows(chromium) == []
    search.clear()
    search.send_keys(" ")
    state = chromium.driver.find_element("id", "state")
    state.send_keys("failed")
    assert {row[1] for row in rows(chromium)} == {"failed"}


def test_the_list_of_targets_has_pages(chromium: Browser, pages: dict[str, Path]) -> None:
    chromium.open(pages["run"])
    first = rows(chromium)
    before, after = chromium.driver.find_elements("css selector", ".controls button")
    assert not before.is_enabled()
    after.click()
    assert rows(chromium)[0] != first[0]
    assert f"101 to 200 of {TARGETS} targets" in chromium.driver.find_element("id", "where").text
    before.click()
    assert rows(chromium) == first


def test_the_list_of_targets_is_sorted_by_mouse_and_keyboard(
    chromium: Browser, pages: dict[str, Path]
) -> None:
    chromium.open(pages["run"])
    button = head(chromium, "CPU s")
    chromium.driver.execute_script("arguments[0].scrollIntoView()", button)
    button.click()
    spent = [float(row[7]) for row in rows(chromium)]
    assert spent == sorted(spent, reverse=True) and spent[0] > spent[-1]
    cell = button.find_element("xpath", "..")
    assert cell.get_attribute("aria-sort") == "descending"
    button.send_keys("\ue007")  # Enter
    assert cell.get_attribute("aria-sort") == "ascending"
    spent = [float(row[7]) for row in rows(chromium)]
    assert spent == sorted(spent)
    head(chromium, "target").send_keys(" ")
    assert cell.get_attribute("aria-sort") is None, "one column at a time"
    names = [row[0] for row in rows(chromium)]
    assert names == sorted(names, key=_natural)


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def test_other_tables_are_sorted_by_what_they_mean(
    chromium: Browser, pages: dict[str, Path]
) -> None:
    chromium.open(pages["run"])
    table = "//caption[text()='Targets with most CPU time']/.."
    button = chromium.driver.find_element("xpath", f"{table}//button[text()='CPU time']")
    keys = (
        "[...document.evaluate(arguments[0], document, null, 9).singleNodeValue.tBodies[0].rows]"
        ".map(r => Number(r.cells[6].dataset.sort))"
    )
    button.send_keys("\ue007")
    found = chromium.ask(keys, table)
    assert found == sorted(found, reverse=True)
    button.send_keys("\ue007")
    assert chromium.ask(keys, table) == sorted(found) != found


@pytest.mark.parametrize("name", ["run", "target"])
def test_by_keyboard_alone(chromium: Browser, pages: dict[str, Path], name: str) -> None:
    chromium.open(pages[name])
    body = chromium.driver.find_element("tag name", "body")
    places: list[float] = []
    seen_by_hand: list[str] = []
    for _ in range(40):
        chromium.driver.switch_to.active_element.send_keys("\ue004")  # Tab
        focused = chromium.driver.switch_to.active_element
        if focused == body:
            break
        outline = focused.value_of_css_property("outline-style")
        assert outline not in ("none", "auto"), focused.get_attribute("outerHTML")[:200]
        places.append(chromium.ask("arguments[0].getBoundingClientRect().top + scrollY", focused))
        seen_by_hand.append(focused.tag_name)
    assert seen_by_hand[0] == "a", "first the way to the content"
    assert len(places) > 10 and {"a", "button"} <= set(seen_by_hand)
    # A head's button is a little under the box that scrolls.
    assert all(b > a - 40 for a, b in pairwise(places[1:])), places


def test_boxes_that_scroll_are_stops_and_no_others(
    chromium: Browser, pages: dict[str, Path]
) -> None:
    chromium.open(pages["run"], width=NARROW)
    boxes = chromium.ask(
        "[...document.querySelectorAll('.scroll:not([hidden])')].map(b => [b.tabIndex === 0,"
        " b.scrollWidth > b.clientWidth || b.scrollHeight > b.clientHeight])"
    )
    assert all(stop == scrolls for stop, scrolls in boxes) and any(stop for stop, _ in boxes)


def test_without_javascript_all_is_there(chromium: Browser, pages: dict[str, Path]) -> None:
    chromium.open(pages["run"], scripts=False)
    text = chromium.driver.find_element("id", "targets-text")
    assert text.is_displayed()
    assert len(text.get_attribute("textContent").splitlines()) == TARGETS + 1
    assert not chromium.driver.find_element("id", "targets-app").is_displayed()
    for caption in ("Failures by reason", "Tasks", "Settings", "Versions and checksums"):
        assert chromium.driver.find_element(
            "xpath", f"//caption[text()='{caption}']"
        ).is_displayed()
    assert chromium.driver.find_elements("css selector", "th button") == []


def test_it_is_printed_on_some_pages(chromium: Browser, pages: dict[str, Path]) -> None:
    chromium.open(pages["run"], dark=True, media="print")
    for hidden in ("nav", "#targets-text", "#targets-app"):
        assert not chromium.driver.find_element("css selector", hidden).is_displayed(), hidden
    assert chromium.ask("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert chromium.driver.find_element("css selector", ".print-only").is_displayed()
    sheets = len(re.findall(rb"/Type\s*/Page\b", chromium.pdf()))
    assert 3 <= sheets <= 15


def colours(chromium: Browser) -> dict[tuple[int, ...], int]:
    """Colours of the picture in three dimensions, and how often each is there."""
    from PIL import Image

    box = chromium.driver.find_element("id", "viewer")
    chromium.driver.execute_script("arguments[0].scrollIntoView()", box)
    image = Image.open(io.BytesIO(box.screenshot_as_png)).convert("RGB")
    found = image.getcolors(image.width * image.height)
    assert found is not None
    return {colour: count for count, colour in found}  # type: ignore[misc]


def test_templates_lie_over_the_query_in_three_dimensions(
    chromium: Browser, pages: dict[str, Path]
) -> None:
    chromium.open(pages["target"])
    whole = colours(chromium)
    assert len(whole) > 50, "it is no empty box"
    for box in chromium.driver.find_elements("css selector", "input[data-template]"):
        box.send_keys(" ")
    query = colours(chromium)
    background = max(query, key=lambda colour: query[colour])
    assert query[background] > whole[background], "without templates there is less to see"
    assert len(query) > 20, "the query stays"
    turn = chromium.driver.find_element("css selector", "button[data-turn]")
    turn.send_keys("\ue007")
    assert colours(chromium) != query


def test_a_target_without_hits_has_no_empty_frames(
    chromium: Browser, pages: dict[str, Path]
) -> None:
    chromium.open(pages["failed"])
    assert chromium.driver.find_elements("css selector", "figure, #viewer") == []
    assert "Failed: missing" in chromium.driver.find_element("tag name", "header").text
