"""A ``dpam`` that does step 8 by the real dpam_c2 and all others by the made-up one."""

from __future__ import annotations

import json
import stat
from pathlib import Path

from dpam_hpc.pipeline.steps import STEPS

PROGRAM = """#!{python} -IS
import json, subprocess, sys
from itertools import groupby
words = sys.argv[1:]
begin = words.index("--steps") + 1
end = next((n for n in range(begin, len(words)) if words[n].startswith("--")), len(words))
worst = 0
for is_real, names in groupby(words[begin:end], lambda name: name == "ANALYZE_DALI"):
    names = list(names)
    if is_real:
        with open({calls!r}, "a") as calls:
            calls.write(json.dumps([words[1], names]) + "\\n")
    program = {real!r} if is_real else {made_up!r}
    done = subprocess.run([program, *words[:begin], *names, *words[end:]])
    worst = max(worst, done.returncode)
sys.exit(worst)
"""


def make(folder: Path, made_up: Path, real: Path, python: str) -> Path:
    """The command, with the made-up one's tools beside it."""
    folder.mkdir()
    for tool in made_up.parent.iterdir():
        (folder / tool.name).symlink_to(tool)
    program = folder / "dpam"
    program.unlink()
    text = PROGRAM.format(
        python=python, real=str(real), made_up=str(made_up), calls=str(folder / "calls")
    )
    program.write_text(text)
    program.chmod(program.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    return program


def real_calls(folder: Path) -> list[tuple[str, list[str]]]:
    """Targets and steps that the real dpam was called for."""
    return [tuple(json.loads(line)) for line in (folder / "calls").read_text().splitlines()]


def lay_inputs(work: Path, golden: Path, target: str, sharded: bool = False) -> None:
    """A golden protein with a PAE, and what steps 2 and 3 leave, made up of its candidates."""
    pdb = (golden / f"{target}.pdb").read_text()
    (work / f"{target}.pdb").write_text(pdb)
    residues = len({line[22:27] for line in pdb.splitlines() if line.startswith("ATOM")})
    errors = [[abs(a - b) % 31 for b in range(residues)] for a in range(residues)]
    (work / f"{target}.json").write_text(json.dumps([{"predicted_aligned_error": errors}]))
    if sharded:
        (work / STEPS[1].folder).mkdir(exist_ok=True)
    candidates = (golden / f"{target}_hits4Dali").read_text().split()
    found = [f"{target}\t{c}.pdb\t0.5\t90\t9\t1\t1\t90\t1\t90\t1e-3\t99\n" for c in candidates]
    for number, ending, content in (
        (2, ".hhsearch", "Query\n\nno hits\n"),
        (3, ".foldseek", "".join(found)),
    ):
        folder = work / STEPS[number].folder if sharded else work
        folder.mkdir(exist_ok=True)
        (folder / f"{target}{ending}").write_text(content)


def lay_reference_data(data: Path, golden: Path) -> None:
    """Reference data of dpam's step 8, made up for the golden templates, each with its own."""
    templates = sorted(path.stem for path in (golden / "ECOD70").glob("*.pdb"))
    lines: dict[str, list[str]] = {}
    for n, template in enumerate(templates):
        residues = len(
            {
                line[22:27]
                for line in (golden / "ECOD70" / f"{template}.pdb").read_text().splitlines()
                if line.startswith("ATOM")
            }
        )
        family = f"{1 + n % 9}.{1 + n % 4}.{1 + n % 3}.1"
        for name, line in {
            "ECOD_length": f"{template} {template} {residues}",
            "ECOD_norms": f"{template} {10 + n % 17}.5",
            "ECOD_pdbmap": f"{template} 1abc A:1-{residues}",
            "ecod.latest.domains": f"{template}\t{template}\t1abc\t{family}",
        }.items():
            lines.setdefault(name, []).append(line)
        weights = [f"{p} x x {1 + (p * 7 + n) % 5}.0" for p in range(1, residues + 1)]
        scores = [f"x {z / 2} {((z * 3 + n) % 10) / 10}" for z in range(1, 60)]
        for folder, ending, content in (
            ("posi_weights", "weight", weights),
            ("ecod_internal", "info", scores),
        ):
            place = data / folder / template[-2:]
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{template}.{ending}").write_text("\n".join(content) + "\n")
    for name, content in lines.items():
        (data / name).write_text("\n".join(content) + "\n")
