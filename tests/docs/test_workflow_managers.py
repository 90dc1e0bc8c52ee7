"""The process and the rule of docs/workflows.md: by Nextflow and Snakemake, or by what is near."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from tests import replay
from tests.conftest import HITS
from tests.docs import pages
from tests.docs.home import ALL, TARGETS, Home, write_files

PAGE = pages.ROOT / "docs" / "workflows.md"
BESIDE = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"
SNAKEMAKE = shutil.which("snakemake", path=BESIDE)
NEXTFLOW = shutil.which("nextflow")
INTERRUPTED_ONCE = """#!/bin/sh
# The first call does one protein and is interrupted, as by a preemption.
if [ ! -e "$HOME/called" ]; then
    touch "$HOME/called"
    "{command}" "$@" --target O05011 && exit 75
fi
exec "{command}" "$@"
"""


@pytest.fixture
def home(tmp_path: Path, stand_in: Path) -> Home:
    made = Home.make(tmp_path / "home", stand_in, ALL)
    write_files(pages.blocks(PAGE), made.folder)
    built = made.run("dpam-hpc bundle build DATA/ECOD70 -o ecod70.bundle")
    assert built.returncode == 0, built.stdout
    return made


def commands(program: str) -> str:
    """The commands of the page that start a program."""
    return next(b.text for b in pages.blocks(PAGE) if b.words.get("needs") == program)


def interrupt_once(home: Home) -> None:
    command = home.folder / "bin" / "dpam-hpc"
    real = command.rename(command.with_name("real-dpam-hpc"))
    command.write_text(INTERRUPTED_ONCE.format(command=real))
    command.chmod(0o755)


def expect_hits(folder: Path) -> None:
    for target in TARGETS:
        expected = (replay.DATA / f"{target}{HITS}").read_bytes()
        assert (folder / f"{target}{HITS}").read_bytes() == expected
        assert (folder / f"{target}.iterativeDali.done").exists()


@pytest.mark.skipif(not SNAKEMAKE, reason="pip install snakemake")
def test_snakemake_tries_again_and_goes_on(home: Home) -> None:
    assert SNAKEMAKE
    interrupt_once(home)
    started = commands("snakemake").replace("snakemake ", f"{SNAKEMAKE} ", 1)
    done = home.run(started)
    assert done.returncode == 0, done.stdout
    assert (home.folder / "called").exists()
    assert "1 finished before" in done.stdout, "what the first try had finished was done again"
    expect_hits(home.folder / "WORK")
    assert "Nothing to be done" in home.run(started).stdout


@pytest.mark.skipif(not NEXTFLOW, reason="needs Java and Nextflow's launcher, nextflow, on PATH")
def test_nextflow_tries_again_and_goes_on(home: Home) -> None:
    assert NEXTFLOW
    interrupt_once(home)
    home.environment["PATH"] += f":{Path(NEXTFLOW).parent}"
    done = home.run(commands("nextflow"))
    assert done.returncode == 0, done.stdout
    expect_hits(home.folder / "WORK")


def test_the_process_can_be_read(tmp_path: Path) -> None:
    reftrace = pytest.importorskip("reftrace", reason="pip install reftrace")
    write_files(pages.blocks(PAGE), tmp_path)
    module = reftrace.Module.from_file(str(tmp_path / "flow" / "main.nf"))
    assert isinstance(module, reftrace.Module), module
    (process,) = module.processes
    assert process.name == "ITERATIVE_DALI"
    assert [len(x) for x in (process.cpus, process.max_retries, process.dynamics)] == [1, 1, 1]
    assert {parameter.name for parameter in module.params} == {"data", "bundle", "work"}


@pytest.mark.parametrize(("code", "ends_with"), [(0, 0), (3, 0), (75, 75), (2, 2), (143, 143)])
def test_the_script_of_the_process_ends_as_it_should(
    code: int, ends_with: int, tmp_path: Path, stand_in: Path
) -> None:
    home = Home.make(tmp_path / "home", stand_in)
    write_files(pages.blocks(PAGE), home.folder)
    script = process_script(home)
    for target in TARGETS:
        shutil.copy(replay.DATA / f"{target}{HITS}", home.folder / "WORK")
        (home.folder / "WORK" / f"{target}.iterativeDali.done").write_text("done\n")
    command = home.folder / "bin" / "dpam-hpc"
    command.write_text(f'#!/bin/sh\necho "$@" > ~/arguments\nexit {code}\n')
    # As Nextflow starts it: bash -ue, in a folder of the task.
    done = home.run(f"mkdir task && cd task && bash -ue -c '{script}'")
    assert done.returncode == ends_with, done.stdout
    assert (home.folder / "arguments").read_text().split()[:2] == ["run", f"{home.folder}/WORK"]
    if ends_with == 0:
        expect_hits(home.folder / "task")


def process_script(home: Home) -> str:
    """The script with the values that Nextflow puts in."""
    text = (home.folder / "flow" / "main.nf").read_text().split('"""')[1]
    folder = home.folder
    values = {
        "work": folder / "WORK", "params.data": folder / "DATA", "task.cpus": 2,
        "params.bundle": folder / "ecod70.bundle",
    }  # fmt: skip
    text = re.sub(r"(?<!\\)\$([a-z]+(?:\.[a-z]+)?)", lambda found: str(values[found[1]]), text)
    return text.replace("\\$", "$")
