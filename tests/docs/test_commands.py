"""Every command of the documentation: run, or where that cannot be, parsed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.docs import pages, parsing
from tests.docs.home import Home
from tests.docs.pages import NEEDS, Block

AT_ONCE = 2
REAL_DALI = os.environ.get("DALI_HOME", "")
BLOCKS = [block for page in pages.pages() for block in pages.blocks(page)]
RUN = [
    p for p in pages.pages() if any(b.is_shell and "needs" not in b.words for b in pages.blocks(p))
]


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory, dali_home: Path) -> Path:
    """The bundle of all templates, which takes its time."""
    home = Home.make(tmp_path_factory.mktemp("bundle") / "home", dali_home)
    built = home.run("dpam-hpc bundle build DATA/ECOD70 -o ecod70.bundle")
    assert built.returncode == 0, built.stdout
    return home.folder / "ecod70.bundle"


@pytest.fixture(scope="session")
def dali_home(stand_in: Path) -> Path:
    """The real one where there is one."""
    return Path(REAL_DALI) if REAL_DALI else stand_in


@pytest.fixture(scope="session")
def tried(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    dali_home: Path,
    bundle: Path,
) -> Iterator[dict[Path, Future[str]]]:
    """What is wrong with each page that is to be tried, two of them at a time."""

    def try_page(page: Path) -> str:
        home = Home.make(tmp_path_factory.mktemp("page") / "home", dali_home)
        shutil.copy(bundle, home.folder)
        return home.try_page(pages.blocks(page))

    items = [item for item in request.session.items if isinstance(item, pytest.Function)]
    mine = [item for item in items if "tried" in item.fixturenames]
    chosen: list[Path] = [item.callspec.params["page"] for item in mine]  # type: ignore[misc]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {page: pool.submit(try_page, page) for page in chosen}


@pytest.mark.parametrize("page", RUN, ids=pages.name)
def test_a_pages_commands_do_what_it_says(page: Path, tried: dict[Path, Future[str]]) -> None:
    assert not tried[page].result()


def test_what_is_not_run_is_parsed_and_says_why() -> None:
    found = []
    for block in BLOCKS:
        if block.is_shell and "needs" in block.words:
            if block.words["needs"] not in NEEDS:
                found.append(f"{block.place}: needs one of {', '.join(NEEDS)}")
            found += [f"{block.place}: {problem}" for problem in parsing.problems(block.text)]
    assert not found, "\n".join(found)


def test_no_command_is_hidden_in_another_kind_of_block() -> None:
    """A command that a reader would copy stands in a block of its own kind, where it is tried."""
    found = [
        f"{block.place}: {command}: ```sh makes it a block that is run"
        for block in BLOCKS
        if not block.is_shell and "file" not in block.words
        for command in block.commands
    ]
    assert not found, "\n".join(found)


def test_a_block_has_no_words_that_nobody_reads() -> None:
    known = {"needs", "exit", "file", "output"}
    assert [b.place for b in BLOCKS if set(b.words) - known] == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("dpam-hpc run WORK --data-dri DATA\n", "No such option"),
        ("dpam-hpc bundel build X -o Y\n", "No such command"),
        ("cd WORK && dpam-hpc submit --dry-run | less; dpam-hpc statsu\n", "No such command"),
        ("dpam-hpc bundle build DATA \\\n    --oops\n", "No such option"),
        ("make demmo\n", "No rule to make target"),
        (".venv/bin/python -m pytest tests/nowhere\n", "there is no tests/nowhere"),
        ("if true; then\n", "syntax error"),
    ],
)
def test_a_wrong_command_is_seen(text: str, problem: str) -> None:
    assert problem in "\n".join(parsing.problems(text))


def test_a_right_command_is_not_complained_of(tmp_path: Path) -> None:
    text = 'DALI_HOME=x dpam-hpc run WORK --json > out.json 2>&1  # "quoted"\nmake demo\n'
    assert parsing.problems(text) == []


def test_python_can_be_compiled() -> None:
    for block in BLOCKS:
        if block.language == "python" and "Snakefile" not in block.words.get("file", ""):
            compile(block.text, block.place, "exec")


def test_a_failing_block_is_named(tmp_path: Path, stand_in: Path) -> None:
    page = pages.ROOT / "docs" / "x.md"
    home = Home.make(tmp_path / "home", stand_in)
    fine = Block(page, 1, "sh", {}, "cd WORK\n")
    fails = Block(page, 5, "sh", {"exit": "2"}, "ls *_hits4Dali\nexit 2\n")
    assert home.try_page([fine, fails]) == ""
    shown = Block(page, 8, "text", {"output": "above"}, "nobody says this\n")
    assert home.try_page([fine, shown]).startswith("docs/x.md:8: 'nobody says this' is not printed")
    told = home.try_page([fine, Block(page, 9, "sh", {}, "dpam-hpc run --nonsense\n")])
    assert told.startswith("docs/x.md:9: exit code 2")
    assert "No such option" in told
