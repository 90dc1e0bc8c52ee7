"""DALI's programs for tests without DALI: see README.md."""

from __future__ import annotations

import py_compile
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from dpam_hpc.align import hits, iterate
from dpam_hpc.align.aligner import Aligner

HERE = Path(__file__).resolve().parent
DATA = HERE.parents[1] / "sample"
RECORDINGS = HERE / "recordings" / "answers"
PROTEINS = ("A0A0K2WPR7", "O05011", "r1bd2X")
PROGRAMS = ("dsspcmbi", "puu", "puutos", "serialcompare", "fssp")
LONGEST_SHEBANG = 127


def make_home(folder: Path, recordings: Path = RECORDINGS, python: str = sys.executable) -> Path:
    """Make ``folder`` a DALI home whose five programs answer from ``recordings``."""
    library = folder / "lib"
    library.mkdir(parents=True)
    copy = shutil.copy(HERE / "standin.py", library)
    py_compile.compile(str(copy), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    return write_programs(
        folder,
        ["-IS"],
        f"import sys\nsys.path.insert(0, {str(library.resolve())!r})\n"
        f"import standin\nsys.exit(standin.main({str(recordings.resolve())!r}))\n",
        python,
    )


def write_programs(folder: Path, flags: list[str], body: str, python: str = sys.executable) -> Path:
    """Five executable files in ``folder/bin``, all of one Python text; ``folder``."""
    programs = folder / "bin"
    programs.mkdir(parents=True)
    for name in PROGRAMS:
        path = programs / name
        path.write_text(shebang(python, flags) + body)
        path.chmod(0o755)
    return folder


def shebang(python: str, flags: list[str]) -> str:
    """The head of a Python program; by way of ``sh`` where the kernel would cut its first line."""
    line = f"#!{python} {''.join(flags)}".rstrip()
    if len(line) < LONGEST_SHEBANG and " " not in python and "\t" not in python:
        return f"{line}\n"
    quoted = python.replace('"', '\\"').replace("$", "\\$").replace("`", "\\`")
    return f"#!/bin/sh\n'''exec' \"{quoted}\" {' '.join(flags)} \"$0\" \"$@\"\n' '''\n"


def prepare_templates(aligner: Aligner) -> dict[str, bytes]:
    """All templates of the sample, imported."""
    files = sorted((DATA / "ECOD70").glob("*.pdb"))
    return {file.stem: aligner.prepare(file.read_bytes()) for file in files}


def align(aligner: Aligner, protein: str, templates: Mapping[str, bytes], chunk: int) -> str:
    """The hits file of a protein of the sample, ``chunk`` templates at a time."""
    pdb = (DATA / f"{protein}.pdb").read_bytes()
    candidates = (DATA / f"{protein}_hits4Dali").read_text().split()
    query = aligner.prepare(pdb)
    records = {}
    for at in range(0, len(candidates), chunk):
        unit = {template: templates[template] for template in candidates[at : at + chunk]}
        for result in iterate.align_templates(aligner, pdb, query, unit):
            assert not result.failure, result.failure
            records[result.template] = "".join(result.records)
    return "".join(records[template] for template in hits.in_upstream_order(records))
