"""A ``dpam`` that behaves as dpam_c2 2.0.0 around its steps, with made-up contents.

It keeps dpam's habits: state file, layouts, files written in place, steps that say complete without
input (15, 16, 24), that take an old file for theirs (1, 10), that fail where there is nothing to do
(23), and going on after a step that failed. Its contents depend on its inputs' bytes, so that a
chain that took another way ends with other bytes. ``DATA/behaviour.json`` tells it what to do
wrong: ``{target: {step: what}}``; calls are noted in ``DATA/calls``.
"""

from __future__ import annotations

import json
import shutil
import stat
import sys
from pathlib import Path
from typing import Any

from dpam_hpc.pipeline.steps import AT_EACH_START, STEPS

TOOLS = ("hhblits", "hhmake", "hhsearch", "psipred", "foldseek", "mkdssp")
PROGRAM = r"""#!{python} -IS
import argparse, hashlib, json, os, shutil, signal, sys, time
from pathlib import Path

TABLE = {table!r}
CRITICAL = {{"HHSEARCH", "FOLDSEEK", "ITERATIVE_DALI"}}
ENDINGS = {{
    "GET_SUPPORT": ["_sequence.result", "_structure.result"], "EXTRACT_DOMAINS": [],
    "PREPARE": [".fa"], "HHSEARCH": [".a3m", ".hmm", ".hhsearch"],
    "GET_MERGE_CANDIDATES": [".step19_merge_candidates", ".step19_merge_info"],
}}

parser = argparse.ArgumentParser()
verbs = parser.add_subparsers(dest="verb", required=True)
run = verbs.add_parser("run")
run.add_argument("prefix")
run.add_argument("--steps", nargs="+", choices=[row[1] for row in TABLE])
run.add_argument("--working-dir", type=Path, required=True)
run.add_argument("--data-dir", type=Path, required=True)
run.add_argument("--cpus", type=int, default=1)
for flag in ("--resume", "--flat", "--skip-addss"):
    run.add_argument(flag, action="store_true")
asked = parser.parse_args()
P, work, data = asked.prefix, asked.working_dir, asked.data_dir
for name in {at_start!r}:
    (data / name).read_text()
with open(data / "calls", "a") as calls:
    calls.write(json.dumps([P, asked.steps, sys.argv[1:]]) + "\n")
sharded = (work / "step01_prepare").is_dir() if asked.resume else True
if asked.flat:
    sharded = False
wrong = {{}}
if (data / "behaviour.json").exists():
    wrong = json.loads((data / "behaviour.json").read_text()).get(P, {{}})
rows = {{row[1]: row for row in TABLE}}
by_number = {{row[0]: row for row in TABLE}}


def say(level, text):
    print(time.strftime("%Y-%m-%d %H:%M:%S"), f"[{{level}}] dpam.steps: {{text}}", flush=True)


def place(row):
    folder = work / row[2] if sharded else work
    folder.mkdir(exist_ok=True)
    return folder


def file(name, ending):
    return place(rows[name]) / (P + ending)


def seen(row):
    digest = hashlib.sha256(P.encode())
    for number in row[3]:
        for ending in by_number[number][4]:
            path = place(by_number[number]) / (P + ending)
            digest.update(path.read_bytes() if path.exists() else b"absent")
    if 1 in row[3]:
        digest.update(file("PREPARE", ".pdb").read_bytes())
    return digest.hexdigest()[:16]


def write(path, text, what):
    with open(path, "w") as out:
        if what == "empty":
            return
        if what == "cut":
            out.write(text[: len(text) // 2])
            out.flush()
            time.sleep(600)
        out.write(text)


def step(name):
    row, what = rows[name], wrong.get(name, "")
    once = data / f"once-{{P}}-{{name}}"
    if what.endswith("-once"):
        what = "" if once.exists() else what[:-5]
        once.touch()
    if what == "fail":
        say("ERROR", f"{{name}} has failed for {{P}}: \x1b[31mno luck")
        return False
    if what == "raise":
        raise ValueError("a surprise")
    if what == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "hang":
        time.sleep(600)
    if what.startswith("sleep"):
        time.sleep(float(what[5:]))
    if name == "PREPARE":
        fasta, cif = file(name, ".fa"), work / f"{{P}}.cif"
        if not fasta.exists():
            source = cif if cif.exists() else work / f"{{P}}.pdb"
            if not source.exists():
                say("ERROR", "No structure file found (.cif or .pdb)")
                return False
            write(fasta, f">{{P}}\n" + hashlib.sha256(source.read_bytes()).hexdigest() + "\n", what)
        if cif.exists():
            file(name, ".pdb").write_text(cif.read_text().rstrip() + "\n")
        return True
    if name == "DALI_CANDIDATES":
        sources = [("MAP_ECOD", ".map2ecod.result"), ("FILTER_FOLDSEEK", ".foldseek.flt.result")]
        if not any(file(*source).exists() for source in sources):
            return False
        write(file(name, "_hits4Dali"), (data / "candidates" / P).read_text(), what)
        return True
    need, idle = row[5], row[6]
    if idle:
        source = place(by_number[idle[0]]) / (P + idle[1])
        if not source.exists() or (idle[2] and len(source.read_text().splitlines()) < 2):
            # dpam's 15 asks for domains first, and its 23 calls this a failure.
            return name not in ("PREPARE_DOMASS", "GET_PREDICTIONS")
    for number, ending in need:
        source = place(by_number[number]) / (P + ending)
        if not source.exists():
            say("ERROR", f"Required file not found: {{source}}")
            return False
    if name in ("DISORDER", "PARSE_DOMAINS") and not (work / f"{{P}}.json").exists():
        say("ERROR", f"JSON file not found: {{P}}.json")
        return False
    if name in ("SSE", "FOLDSEEK") and not file("PREPARE", ".pdb").exists():
        say("ERROR", f"PDB file not found: {{P}}.pdb")
        return False
    if name == "EXTRACT_DOMAINS":
        for domain in ("D1", "D2"):
            write(file(name, f"_{{domain}}.pdb"), seen(row) + "\n", what)
        return True
    text = seen(row)
    if what == "nothing":
        if name in ("PREPARE_DOMASS", "GET_PREDICTIONS"):
            write(file(name, row[4][0]), "header\n", "")
        return True
    for ending in ENDINGS.get(name, row[4]):
        content = f"# header\nD1\t{{name}}\tD2\t{{text}}\n"
        write(file(name, ending), content, what)
    if name == "PARSE_DOMAINS":
        for folder in (place(row), work / "results" if sharded else work):
            folder.mkdir(exist_ok=True)
            write(folder / f"{{P}}.finalDPAM.domains", content, "")
    if name == "INTEGRATE_RESULTS":
        for folder in (work, work / "results" if sharded else work):
            folder.mkdir(exist_ok=True)
            write(folder / f"{{P}}.finalDPAM.domains", f"nD1\t{{text}}\n", "")
    return True


path = work / f".{{P}}.dpam_state.json"
state = {{"prefix": P, "working_dir": str(work), "metadata": {{}}}}
state |= {{"completed_steps": [], "failed_steps": {{}}}}
if asked.resume and path.exists():
    state = json.loads(path.read_text())
for name in asked.steps:
    if name in state["completed_steps"]:
        continue
    say("INFO", f"Starting {{name}} for {{P}}")
    try:
        good = step(name)
    except Exception as error:
        say("ERROR", f"Exception in {{name}}: {{error}}")
        good = False
    if good:
        state["completed_steps"].append(name)
        state["failed_steps"].pop(name, None)
    else:
        state["failed_steps"][name] = f"Step {{name}} failed"
    path.write_text(json.dumps(state))
    if not good and name in CRITICAL:
        say("ERROR", f"CRITICAL STEP {{name}} FAILED - halting pipeline.")
        break
if state["failed_steps"]:
    say("ERROR", f"Pipeline completed with failures: {{state['failed_steps']}}")
    sys.exit(1)
"""


def _table() -> list[list[Any]]:
    """Of each step: number, name, folder, reads, endings, files required, when it is idle."""
    required: dict[int, list[tuple[int, str]]] = {
        2: [(1, ".fa")], 4: [(1, ".fa"), (3, ".foldseek")], 5: [(2, ".hhsearch")],
        8: [(7, "_iterativdDali_hits")], 9: [(5, ".map2ecod.result")], 11: [(1, ".fa")],
        12: [(11, ".sse")], 13: [(1, ".fa")], 15: [(11, ".sse"), (8, "_good_hits")],
        18: [(5, ".map2ecod.result"), (8, "_good_hits")], 21: [(13, ".step13_domains")],
        23: [(13, ".step13_domains"), (16, ".step16_predictions")], 24: [(11, ".sse")],
    }  # fmt: skip
    return [
        [
            n, s.name, s.folder, list(s.reads), [*s.always, *s.sometimes], required.get(n, []),
            list(s.idle_without) if s.idle_without else None,
        ]
        for n, s in STEPS.items()
    ]  # fmt: skip


def make(folder: Path, python: str = sys.executable) -> Path:
    """The command, and beside it the tools that steps call; its path."""
    folder.mkdir(parents=True)
    program = folder / "dpam"
    text = PROGRAM.format(python=python, table=_table(), at_start=AT_EACH_START)
    for path, content in [(program, text), *((folder / tool, "#!/bin/sh\n") for tool in TOOLS)]:
        path.write_text(content)
        path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    return program


def make_data(folder: Path, candidates: dict[str, Path], templates: Path | None = None) -> Path:
    """A data folder with what every step needs; ``candidates`` are each target's for step 7."""
    (folder / "candidates").mkdir(parents=True)
    for target, path in candidates.items():
        shutil.copy(path, folder / "candidates" / target)
    for name in {*AT_EACH_START, *(n for step in STEPS.values() for n in step.data)}:
        path = folder / name.split("|")[0]
        if name.endswith("/"):
            path.mkdir(exist_ok=True)
        else:
            path.write_text("")
    if templates is not None:
        (folder / "ECOD70").symlink_to(templates)
    return folder


def behave(data: Path, **wrong: dict[str, str]) -> None:
    """From now on do this wrong: for each target, by step."""
    (data / "behaviour.json").write_text(json.dumps(wrong))


def calls(data: Path) -> list[tuple[str, list[str]]]:
    """Targets and steps of all calls so far."""
    path = data / "calls"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(target, steps) for target, steps, _ in map(json.loads, lines)]
