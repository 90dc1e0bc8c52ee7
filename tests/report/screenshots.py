"""Pictures of pages, to be looked at: ``python -m tests.report.screenshots DIR``.

Into DIR go wide, narrow, dark and printed pages of a simulated run and of the sample's; ``--docs``
writes the few of docs/report.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from dpam_hpc.report import choosing, gather, page, target_page
from tests import replay
from tests.conftest import COMMAND, environment, lay_out
from tests.report.browser import NARROW, Browser, chromium
from tests.report.simulated import BEGIN, Simulation
from tests.report.test_gather import done, end, plain, start

ROOT = Path(__file__).parents[2]
SAMPLE = ("A0A0K2WPR7", "O05011", "r1bd2X")


def sample(folder: Path) -> Path:
    """The sample, run by TM-align, with one target that fails and one without hits."""
    work = lay_out(folder / "sample", SAMPLE).root
    (work / "P00000_hits4Dali").write_text((work / "O05011_hits4Dali").read_text())
    (work / "P00001_hits4Dali").write_text("")
    command = [*COMMAND, "run", str(work), "--data-dir", str(replay.DATA), "--aligner", "tmalign",
               "--min-free-gb", "0.01"]  # fmt: skip
    subprocess.run(command, check=False, timeout=300, env=environment())
    return work


def pages(folder: Path) -> dict[str, Path]:
    """Pages by name."""
    large, waiting, small = folder / "work", folder / "waiting", folder / "small"
    for each in (large, waiting, small):
        each.mkdir()
    Simulation(large).write()
    Simulation(waiting, 200).write(until=0.0)
    going_on = folder / "going-on"
    going_on.mkdir()
    Simulation(going_on, 4000).write(until=BEGIN + 2400)
    work = sample(folder)
    aligned = gather.gather(work, None)
    texts = {
        "run": page.of_run(gather.gather(large, choosing.chosen(large))),
        "waiting": page.of_run(gather.gather(waiting, choosing.chosen(waiting))),
        "going-on": page.of_run(
            gather.gather(going_on, choosing.chosen(going_on), now=BEGIN + 2400)
        ),
        "small": page.of_run(plain(small, start(BEGIN), done("P1", BEGIN + 9), end(BEGIN + 20))),
        "sample": page.of_run(aligned),
    }
    for target in ("r1bd2X", "P00000", "P00001"):
        texts[f"target-{target}"] = target_page.of_target(aligned, target)
    made = {}
    for name, text in texts.items():
        made[name] = folder / f"{name}.html"
        made[name].write_text(text)
    return made


def all_of_them(browser: Browser, made: dict[str, Path], into: Path) -> None:
    """Each page in each way."""
    ways = {"wide": {}, "narrow": {"width": NARROW}, "dark": {"dark": True},
            "print": {"media": "print", "width": 794}, "plain": {"scripts": False}}  # fmt: skip
    for name, path in made.items():
        for way, options in ways.items():
            browser.open(path, **options)  # type: ignore[arg-type]
            browser.picture(into / f"{name}-{way}.png", whole=True)


def of_docs(browser: Browser, made: dict[str, Path]) -> None:
    """The pictures of docs/report.md, with as few colours as will do."""
    from PIL import Image

    into = ROOT / "docs" / "report"
    into.mkdir(exist_ok=True)
    for name, path, options, top in (
        ("run", made["run"], {"height": 1500}, "time"),
        ("target", made["target-r1bd2X"], {"height": 1500, "dark": True}, "coverage"),
    ):
        browser.open(path, width=1000, **options)  # type: ignore[arg-type]
        browser.driver.execute_script(f"document.getElementById('{top}').scrollIntoView()")
        browser.picture(into / f"{name}.png")
        image = Image.open(into / f"{name}.png").convert("RGB").quantize(255)
        image.save(into / f"{name}.png", optimize=True)


def main() -> None:
    """Write the pictures."""
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        made = pages(Path(folder))
        if "--docs" in sys.argv:
            of_docs(browser, made)
        else:
            into = Path(sys.argv[1])
            into.mkdir(parents=True, exist_ok=True)
            all_of_them(browser, made, into)


if __name__ == "__main__":
    main()
