"""Step 7 on a slow shared file system: operations by kind, wall time, CPU, operations in flight.

Four ways to do the same work: upstream's (``upstream.py``) with its working folder on the share;
upstream with local scratch, inputs read from the share and hits written to it; ``dpam-hpc run``,
without and with a template bundle. Each of 1, 4 or 16 nodes is a mount of ``slowfs.py`` with
targets of its own; the server behind them serves 16 operations at once. DALI's programs lie on
local disk, as in an image. Without DALI the programs are the replayed ones of the tests, which
have no ``dali.pl``: then upstream's ways are left out, and CPU seconds are the stand-in's.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import measuring
import slowfs
import upstream
from measuring import Inputs, Measured, print_table

from dpam_hpc.align.dali.aligner import DaliAligner
from dpam_hpc.target import OWN_FOLDER

SERVED_AT_ONCE = 16
DATA_PART = 0.4
"""Latency of an operation on data, of that of any other."""
GOAL_OPERATIONS = 10
GOAL_WALL = 1.10
NOT_WAITED_FOR = ("release", "releasedir")
IN_OWN_FOLDER = "run's own folder"
KINDS = {
    "getattr": "look-ups and attributes",
    "flush": "closes",
    "release": "not waited for",
    "releasedir": "not waited for",
    IN_OWN_FOLDER: IN_OWN_FOLDER,
}
"""What the kernel adds to the operations that a program asks for, and the run's own."""
ASKED_FOR = "asked for"
TRACED = (
    "open,openat,creat,read,pread64,write,pwrite64,fsync,fdatasync,close,stat,lstat,fstat,"
    "newfstatat,statx,access,faccessat,faccessat2,rename,renameat,renameat2,link,linkat,unlink,"
    "unlinkat,mkdir,mkdirat,getdents64,ftruncate,flock"
)
NFS_COMPOUNDS = {
    "openat": 1, "read": 1, "write": 1, "fsync": 1, "rename": 1, "renameat": 1, "link": 1,
    "linkat": 1, "unlink": 1, "unlinkat": 1, "newfstatat": 1, "mkdir": 1, "getdents64": 1,
}  # fmt: skip
"""Round trips of an NFSv4.1 client that a system call waits for, at most; a close is not."""


@dataclass(frozen=True)
class Setting:
    """What runs share."""

    inputs: Inputs
    dali_home: Path
    bundle: Path
    workers: int


@dataclass(frozen=True)
class Node:
    """What a node sees: its working folder and the templates on the share, and a local folder."""

    shared: Path
    work: Path
    local: Path


@dataclass(frozen=True)
class Way:
    """How the step is done: the command for a node's targets."""

    label: str
    argv: Callable[[Setting, Node, Sequence[str]], list[str]]
    ours: bool


@dataclass(frozen=True)
class Outcome:
    """Some nodes at work at once: what it took, and what reached the server."""

    targets: int
    wall: float
    cpu: float
    operations: Counter[str]
    in_flight: int
    hits: dict[str, bytes]

    @property
    def waited_for(self) -> int:
        """Operations that somebody waited for."""
        return sum(n for kind, n in self.operations.items() if kind not in NOT_WAITED_FOR)


def _ours(*, bundled: bool) -> Callable[[Setting, Node, Sequence[str]], list[str]]:
    def argv(setting: Setting, node: Node, targets: Sequence[str]) -> list[str]:
        command = [*measuring.dpam_hpc(), "run", str(node.work), "--json"]
        command += ["--data-dir", str(node.shared / "data"), "--dali-home", str(setting.dali_home)]
        command += ["--scratch-dir", str(node.local), "--min-free-gb", "0.1"]
        command += ["--dali-workers", str(setting.workers)]
        return command + bundled * ["--templates", str(node.shared / "templates.bundle")]

    return argv


def _upstream(*, scratch: bool) -> Callable[[Setting, Node, Sequence[str]], list[str]]:
    def argv(setting: Setting, node: Node, targets: Sequence[str]) -> list[str]:
        command = [sys.executable, upstream.__file__, str(node.work), str(node.shared / "data")]
        command += [*targets, "--dali-home", str(setting.dali_home)]
        command += ["--workers", str(setting.workers)]
        return command + scratch * ["--scratch", str(node.local)]

    return argv


WAYS = {
    "upstream": Way("upstream's way", _upstream(scratch=False), ours=False),
    "upstream-scratch": Way("upstream, local scratch", _upstream(scratch=True), ours=False),
    "ours": Way("dpam-hpc", _ours(bundled=False), ours=True),
    "ours-bundle": Way("dpam-hpc, bundle", _ours(bundled=True), ours=True),
}


def lay_out(setting: Setting, shared: Path, nodes: int, copies: int) -> list[list[str]]:
    """Fill the shared folder; the targets of each node, which are others for each."""
    shared.mkdir()
    setting.inputs.copy_templates(shared / "data" / "ECOD70")
    shutil.copyfile(setting.bundle, shared / "templates.bundle")
    return [setting.inputs.lay_out(shared / f"work-{node}", copies) for node in range(nodes)]


def slow(latency: float, *, nfs: bool = True) -> list[str | float]:
    """Options of slowfs.py: so many milliseconds an operation, a part of it for one on data."""
    options: list[str | float] = ["--max-inflight", SERVED_AT_ONCE, *nfs * ["--nfs"]]
    return [*options, "--latency-ms", latency, "--data-latency-ms", latency * DATA_PART]


def run(
    setting: Setting,
    way: Way,
    *,
    nodes: int = 1,
    copies: int = 1,
    share: Sequence[str | float] | None = None,
    before: Sequence[str] = (),
) -> Outcome:
    """Run ``way`` on so many nodes at once.

    ``share``: options of slowfs.py; without, a local folder is in its place.
    """
    with measuring.fresh_folder() as folder, ExitStack() as stack:
        backing = folder / "shared"
        targets = lay_out(setting, backing, nodes, copies)
        mounts = [folder / f"node-{node}" for node in range(nodes)]
        if share is None:
            mounts = [backing] * nodes
        else:
            stack.enter_context(slowfs.mounted(backing, *mounts, options=share))
            for mount in mounts:
                slowfs.reset(mount)
        places = []
        for node, mount in enumerate(mounts):
            local = folder / f"local-{node}"
            local.mkdir(mode=0o700)
            places.append(Node(mount, mount / f"work-{node}", local))
        begun = time.monotonic()
        with ThreadPoolExecutor(nodes) as threads:
            measured = list(
                threads.map(
                    lambda place, names: run_node(setting, way, place, names, before),
                    places,
                    targets,
                )
            )
        wall = time.monotonic() - begun
        counted = [slowfs.stats(mount) for mount in mounts] if share is not None else []
        hits = {}
        for node, names in enumerate(targets):
            for name in names:
                file = backing / f"work-{node}" / f"{name}{DaliAligner.hits_suffix}"
                hits[f"{node}/{name}"] = measuring.without_template_length(file.read_bytes())
        return Outcome(
            targets=sum(map(len, targets)),
            wall=wall,
            cpu=sum(m.cpu for m in measured),
            operations=sum((of_kinds(c["folders"]) for c in counted), Counter[str]()),
            in_flight=max((c["peak_inflight"] for c in counted), default=0),
            hits=hits,
        )


def of_kinds(folders: dict[str, dict[str, int]]) -> Counter[str]:
    """Operations by kind; those in the run's own folder, which go by the clock, are one kind."""
    found = Counter[str]()
    for folder, counted in folders.items():
        for kind, number in counted.items():
            own = OWN_FOLDER in folder and kind not in NOT_WAITED_FOR
            found[IN_OWN_FOLDER if own else kind] += number
    return found


def run_node(
    setting: Setting, way: Way, node: Node, targets: Sequence[str], before: Sequence[str]
) -> Measured:
    """One node's command to its end; SystemExit where something failed."""
    argv = [*before, *way.argv(setting, node, targets)]
    environment = measuring.environment(node.local, TMPDIR=str(node.local))
    measured = measuring.measure(argv, cwd=node.local, environment=environment)
    if way.ours:
        summary = measured.summary()
        if summary["done"] != summary["targets"] or summary["failures"]:
            raise SystemExit(f"{summary['failures']} templates failed: these numbers mean nothing")
    return measured


def line(few: float, few_targets: int, many: float, many_targets: int) -> dict[str, float]:
    """What a run takes of something, and what each protein adds."""
    protein = (many - few) / (many_targets - few_targets)
    return {"run": few - few_targets * protein, "protein": protein}


def by_kind(few: Counter[str], one: int, many: Counter[str], all_of_them: int) -> dict[str, Any]:
    """Of each kind: of a run, of a protein."""
    return {
        kind: line(few[kind], one, many[kind], all_of_them)
        for kind, _ in (few + many).most_common()
    }


def grouped(operations: dict[str, dict[str, float]]) -> dict[str, float]:
    """Operations a protein: those asked for, and what the kernel adds."""
    groups: dict[str, float] = {ASKED_FOR: 0.0}
    for kind, numbers in operations.items():
        group = KINDS.get(kind, ASKED_FOR)
        groups[group] = groups.get(group, 0.0) + numbers["protein"]
    return groups


def count(setting: Setting, way: Way, copies: int, *, nfs: bool) -> dict[str, Any]:
    """Operations of a run and of each protein, from two lengths of it."""
    few = run(setting, way, share=slow(0, nfs=nfs))
    many = run(setting, way, share=slow(0, nfs=nfs), copies=copies)
    kinds = by_kind(few.operations, few.targets, many.operations, many.targets)
    total = line(few.waited_for, few.targets, many.waited_for, many.targets)
    rows: list[list[object]] = [[kind, n["run"], n["protein"]] for kind, n in kinds.items()]
    title = f"{way.label}, {'caches as NFS' if nfs else 'no caches'}"
    print_table(
        [title, "a run", "a protein"], [*rows, ["waited for", total["run"], total["protein"]]]
    )
    return {"nfs": nfs, "kinds": kinds, "waited_for": total, "groups": grouped(kinds)}


def print_goals(operations: dict[str, Any], calls: dict[str, Any] | None) -> None:
    """Operations a protein by three counts: what is asked for, NFS's round trips, FUSE's."""
    what = "operations a protein with a bundle"
    asked = operations["groups"][ASKED_FOR]
    measuring.print_goal(f"{what}: asked for by dpam-hpc", asked, GOAL_OPERATIONS)
    if calls:
        trips = calls["nfs_round_trips"]
        measuring.print_goal(f"{what}: round trips of NFSv4.1, estimated", trips, GOAL_OPERATIONS)
    every = operations["waited_for"]["protein"]
    measuring.print_goal(
        f"{what}: counted by FUSE, look-ups and closes too", every, GOAL_OPERATIONS
    )


def count_calls(setting: Setting, way: Way, most: int) -> dict[str, Any] | None:
    """System calls that name the working folder, by strace, on a local disk."""
    if not shutil.which("strace"):
        print("system calls are not counted: there is no strace on PATH\n")
        return None
    found: list[Counter[str]] = []
    targets = []
    for copies in (1, most):
        with measuring.fresh_folder() as folder:
            trace = folder / "trace"
            argv = ["strace", "-f", "-y", "-qq", "-e", f"trace={TRACED}", "-o", str(trace)]
            targets.append(run(setting, way, copies=copies, before=argv).targets)
            with trace.open(errors="replace") as lines:
                found.append(Counter(shared_calls(lines)))
    kinds = by_kind(found[0], targets[0], found[1], targets[1])
    nfs = sum(NFS_COMPOUNDS.get(kind, 0) * n["protein"] for kind, n in kinds.items())
    rows: list[list[object]] = [[kind, n["run"], n["protein"]] for kind, n in kinds.items()]
    print_table(
        [f"system calls on the share, {way.label}", "a run", "a protein"],
        [*rows, ["round trips of NFSv4.1, estimated", "", nfs]],
    )
    return {"kinds": kinds, "nfs_round_trips": nfs}


def shared_calls(trace: Iterable[str]) -> Iterator[str]:
    """Names of system calls on the working folder in the lines of strace, the run's own aside."""
    begun: dict[str, str] = {}
    for text in trace:
        process, _, call = text.partition(" ")
        call = call.strip()
        if call.endswith("<unfinished ...>"):
            begun[process] = call
            continue
        if call.startswith("<... "):
            call = begun.pop(process, "") + call
        if "/shared/work-" in call and OWN_FOLDER not in call:
            name = call.partition("(")[0]
            yield "empty read" if name == "read" and call.endswith("= 0") else name


def matrix(
    setting: Setting, ways: list[str], arguments: argparse.Namespace
) -> list[dict[str, Any]]:
    """Every way at every latency with every number of nodes."""
    results: list[dict[str, Any]] = []
    rows: list[list[object]] = []
    expected: dict[str, bytes] = {}
    for nodes in arguments.nodes:
        for latency in (None, *arguments.latencies):
            for name in ways:
                share = None if latency is None else slow(latency)
                outcome = run(setting, WAYS[name], nodes=nodes, share=share)
                for target, content in outcome.hits.items():
                    if expected.setdefault(target, content) != content:
                        raise SystemExit(f"{name}: the hits of {target} differ")
                results.append(
                    {
                        "way": name, "nodes": nodes, "latency_ms": latency,
                        "targets": outcome.targets, "wall": outcome.wall, "cpu": outcome.cpu,
                        "operations": dict(outcome.operations), "waited_for": outcome.waited_for,
                        "in_flight": outcome.in_flight,
                    }
                )  # fmt: skip
                where = "local disk" if latency is None else f"{latency:g} ms"
                rows.append(
                    [WAYS[name].label, nodes, where, outcome.wall, outcome.cpu, outcome.waited_for,
                     outcome.waited_for / outcome.targets, outcome.in_flight]
                )  # fmt: skip
    header = ["", "nodes", "share", "wall s", "CPU s", "operations", "a protein", "in flight"]
    print_table(header, rows)
    measuring.say(f"the same hits in all {len(results)} runs, field 5 of the headers aside")
    return results


def long_runs(setting: Setting, way: Way, arguments: argparse.Namespace) -> dict[str, Any]:
    """Wall seconds of a longer run on the slowest share and on local disk."""
    slowest = max(arguments.latencies)
    places = {"local disk": None, f"{slowest:g} ms": slow(slowest)}
    walls: dict[str, list[float]] = {place: [] for place in places}
    proteins = 0
    for turn in range(arguments.repeat):
        for place in places if turn % 2 == 0 else reversed(places):
            outcome = run(setting, way, copies=arguments.long_copies, share=places[place])
            walls[place].append(outcome.wall)
            proteins = outcome.targets
    local, there = (statistics.median(found) for found in walls.values())
    rows: list[list[object]] = [[place, statistics.median(w), w] for place, w in walls.items()]
    for row in rows:
        row[2] = f"{min(walls[str(row[0])]):.2f} to {max(walls[str(row[0])]):.2f}"
    title = f"{way.label}, {proteins} proteins"
    print_table([title, "wall s", "range"], [*rows, ["ratio", there / local, ""]])
    measuring.print_goal(f"wall at {slowest:g} ms, of local disk's", there / local, GOAL_WALL, "%")
    return {"way": way.label, "proteins": proteins, "walls": walls, "ratio": there / local,
            "goal": GOAL_WALL}  # fmt: skip


def numbers(kind: Callable[[str], float]) -> Callable[[str], list[Any]]:
    """Numbers with commas between."""
    return lambda text: [kind(part) for part in text.split(",")]


def parse() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    measuring.add_input_arguments(parser, needs_dali=False)
    add = parser.add_argument
    add("--latencies", type=numbers(float), default=[0.0, 1.0, 5.0, 10.0], metavar="MS,MS")
    add("--nodes", type=numbers(int), default=[1, 4, 16], metavar="N,N")
    add("--ways", default=",".join(WAYS), metavar="WAY,WAY", help=f"of {', '.join(WAYS)}")
    add("--copies", type=int, default=4, help="of each target in the longer of two counted runs")
    add("--long-copies", type=int, default=8, help="of each target in the run on the slowest share")
    add("--repeat", type=int, default=3, help="of that run")
    arguments = parser.parse_args()
    if arguments.copies < 2:
        parser.error("--copies: a line needs two points, so at least 2")
    if unknown := set(arguments.ways.split(",")) - set(WAYS):
        parser.error(f"--ways: {', '.join(unknown)}?")
    if why := slowfs.why_none():
        parser.error(why)
    return arguments


def main() -> None:
    """Count, then time."""
    arguments = parse()
    inputs = Inputs.of(arguments)
    with measuring.fresh_folder() as folder:
        home = measuring.dali_home_or_replay(arguments, folder)
        measuring.build_bundle(inputs, home, folder / "bundle", arguments.workers)
        bundle = measuring.bundle_in(folder / "bundle")
        setting = Setting(inputs, home, bundle, arguments.workers)
        ways = arguments.ways.split(",")
        if arguments.dali_home is None:
            measuring.say("no DALI: the programs are replayed ones, upstream's ways are left out")
            ways = [way for way in ways if WAYS[way].ours]
        operations = {
            name: [count(setting, WAYS[name], arguments.copies, nfs=nfs) for nfs in (True, False)]
            for name in ways
        }
        calls = {
            name: count_calls(setting, WAYS[name], arguments.copies)
            for name in ways
            if WAYS[name].ours
        }
        if "ours-bundle" in ways:
            print_goals(operations["ours-bundle"][0], calls["ours-bundle"])
        runs = matrix(setting, ways, arguments)
        long = long_runs(setting, WAYS["ours-bundle"], arguments) if "ours-bundle" in ways else None
    measuring.write_json(
        arguments.json,
        arguments.dali_home,
        programs="replayed" if arguments.dali_home is None else "DALI",
        candidates={target: len(names) for target, names in inputs.candidates.items()},
        workers=arguments.workers,
        goal_operations=GOAL_OPERATIONS,
        operations=operations,
        system_calls=calls,
        runs=runs,
        long=long,
    )


if __name__ == "__main__":
    main()
