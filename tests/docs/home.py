"""The home folder in which a page is tried, as its reader would have it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests import replay
from tests.docs import stand_ins
from tests.docs.pages import ROOT, Block
from tests.images import sif

TARGETS = ("A0A0K2WPR7", "O05011")
FEW, ALL = 2, 100
"""Candidates: pages are to be tried soon, hits to be compared want all."""
MARK = "@@ block "
YOURS = "/home/you"
"""What pages call the home folder, in what commands print."""


@dataclass(frozen=True)
class Home:
    """``WORK`` with targets, ``DATA`` with templates, a bundle, DALI, and commands on PATH."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    @classmethod
    def make(cls, folder: Path, dali_home: Path, candidates: int = FEW) -> Home:
        """One whose commands are this checkout's, with a SLURM that runs jobs at once."""
        programs = folder / "bin"
        for made in (programs, folder / "tmp", folder / "scratch"):
            made.mkdir(parents=True)
        stand_ins.slurm(programs, folder / "jobs")
        for name, options in (("dpam-hpc", "-m dpam_hpc "), ("python3", "")):
            command = programs / name
            command.write_text(f'#!/bin/sh\nexec "{sys.executable}" {options}"$@"\n')
            command.chmod(0o755)
        fill(folder, dali_home, candidates)
        (folder / "dpam-hpc").symlink_to(ROOT)
        return cls(folder, {
            "PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin", "HOME": str(folder), "USER": "you",
            "LANG": "C.UTF-8", "TMPDIR": str(folder / "tmp"), "SCRATCH": str(folder / "scratch"),
            "PYTHONPATH": str(ROOT), "DALI_HOME": str(folder / "DaliLite.v5"), "COLUMNS": "100",
            # What the machine of the tests is too small, or too busy, for.
            "DPAM_HPC_MIN_FREE_GB": "0.01", "DPAM_HPC_DALI_WORKERS": "2",
            "DPAM_HPC_SCHEDULER_TIMEOUT": "100",
        })  # fmt: skip

    def run(self, script: str, timeout: float = 100) -> subprocess.CompletedProcess[str]:
        """Run a script of bash in it."""
        return subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
        )

    def try_page(self, blocks: list[Block]) -> str:
        """Run the blocks in one shell; empty, or what went wrong and where."""
        write_files(blocks, self.folder)
        done = self.run(script(blocks))
        return judge(blocks, done.returncode, done.stdout, str(self.folder))


def fill(folder: Path, dali_home: Path, candidates: int = FEW) -> None:
    """What every page may name: DALI, the sample, data, a working folder, an image.

    Targets have at most so many candidates, the last of their lists.
    """
    (folder / "DaliLite.v5").symlink_to(dali_home)
    shutil.copytree(replay.DATA, folder / "sample", ignore=shutil.ignore_patterns("r1bd2X*"))
    kept: set[str] = set()
    for path in (folder / "sample").glob("*_hits4Dali"):
        few = path.read_text().split()[-candidates:]
        path.write_text("".join(f"{template}\n" for template in few))
        kept.update(few)
    for path in (folder / "sample" / "ECOD70").iterdir():
        if path.stem not in kept:
            path.unlink()
    (folder / "DATA").mkdir()
    shutil.copytree(folder / "sample" / "ECOD70", folder / "DATA" / "ECOD70")
    (folder / "WORK").mkdir()
    for target in TARGETS:
        for suffix in (".pdb", "_hits4Dali"):
            shutil.copy(folder / "sample" / f"{target}{suffix}", folder / "WORK")
    sif(folder / "dpam.sif")


def write_files(blocks: Iterable[Block], home: Path) -> None:
    """Write the blocks that are a file's text."""
    for block in blocks:
        if "file" in block.words:
            path = home / block.words["file"].removeprefix("~/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)


def script(blocks: Iterable[Block]) -> str:
    """The blocks that are run, as one script: folders and variables stay from one to the next."""
    lines = ["set -eu"]
    for block in blocks:
        if not block.is_run:
            continue
        lines.append(f"echo '{MARK}{block.place}'")
        code = block.words.get("exit", "0")
        if code == "0":
            lines.append(block.text)
        else:
            lines.append(f'( {block.text}\n) && code=0 || code=$?\n[ "$code" = {code} ]')
    return "\n".join(lines)


def judge(blocks: Iterable[Block], code: int, printed: str, home: str) -> str:
    """What went wrong and where, of a script that printed this; empty if nothing."""
    parts = re.split(f"^{MARK}(.*)\n", printed, flags=re.MULTILINE)
    by_place = dict(zip(parts[1::2], parts[2::2], strict=True))
    if code:
        return f"{[*by_place, 'the script'][len(by_place) - 1]}: exit code {code}\n{parts[-1]}"
    above = ""
    for block in blocks:
        if block.is_run and not block.hidden:
            above = by_place[block.place].replace(home, YOURS)
        elif block.words.get("output") == "above":
            known = {_squeezed(line) for line in above.splitlines()}
            for line in block.text.splitlines():
                if _squeezed(line) not in known:
                    return f"{block.place}: {line!r} is not printed\n{above}"
    return ""


def _squeezed(line: str) -> str:
    return " ".join(line.split())
