"""What might make a pair cheaper with the same bytes, each idea tried beside what is done now.

One target's units are done one after the other as a worker does them, by every variant in turn; the
order alternates. A variant's figure is its cheapest turn: what else runs on a machine only adds.
"as it is, again" is what is done now under another name: what differs less than that is noise.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import select
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import measuring
from measuring import Inputs, print_table

from dpam_hpc import command
from dpam_hpc.align import structure
from dpam_hpc.align.aligner import Unusable
from dpam_hpc.align.dali import workbench
from dpam_hpc.align.dali.aligner import DaliAligner
from dpam_hpc.align.iterate import align_templates
from dpam_hpc.node import window

NOW = "as it is"
MEMORY = Path("/dev/shm")
Templates = Mapping[str, bytes]


@dataclass(frozen=True)
class Variant:
    """An idea: what of the work it changes, and nothing of what comes out."""

    name: str
    environment: Mapping[str, str] = field(default_factory=dict)
    around: Callable[[], AbstractContextManager[object]] = nullcontext
    ordered: Callable[[Templates], list[str]] = list
    units: float = 1.0
    """Times the usual number of pairs in a unit."""
    under: Path | None = None
    """Where the programs' folder is made; None: where temporary files go."""
    dali_home: Path | None = None
    """Other programs."""


# -- ideas that take more than a setting -----------------------------------------------------------


@contextmanager
def on_one_processor() -> Iterator[None]:
    """Keep this process and its programs on one processor."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def by_posix_spawn() -> Iterator[None]:
    """Start programs by ``posix_spawn`` in place of ``subprocess``."""

    def run(argv: Sequence[str], **more: Any) -> command.Completed:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        begun = time.monotonic()
        for handle in more["pass_fds"]:
            os.set_inheritable(handle, True)
        os.chdir(more["cwd"])
        actions = [
            (os.POSIX_SPAWN_DUP2, more[name], at)
            for at, name in enumerate(("stdin", "stdout", "stderr"))
        ]
        child = os.posix_spawn(argv[0], list(argv), dict(more["env"]), file_actions=actions)
        ends = os.pidfd_open(child)
        if not select.select([ends], [], [], more["timeout"])[0]:
            os.kill(child, signal.SIGKILL)
        os.close(ends)
        _, status, _ = os.wait4(child, 0)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        seconds = time.monotonic() - begun
        return command.Completed(os.waitstatus_to_exitcode(status), seconds, cpu)

    here = Path.cwd()
    try:
        with mock.patch.object(command, "run", run):
            yield
    finally:
        os.chdir(here)


@contextmanager
def by_open_folders() -> Iterator[None]:
    """Write files by a handle of their folder, opened once, in place of by path."""
    folders: dict[str, int] = {}

    def write_bytes(path: Path, content: Any) -> int:
        parent, name = os.path.split(path)
        if parent not in folders:
            folders[parent] = os.open(parent, os.O_RDONLY | os.O_DIRECTORY)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        handle = os.open(name, flags, 0o666, dir_fd=folders[parent])
        try:
            return os.write(handle, content)
        finally:
            os.close(handle)

    try:
        with mock.patch.object(Path, "write_bytes", write_bytes):
            yield
    finally:
        for handle in folders.values():
            os.close(handle)


def by_size(templates: Templates) -> list[str]:
    """The smallest first."""
    return sorted(templates, key=lambda name: len(templates[name]))


def shuffled(templates: Templates) -> list[str]:
    """In an order of no meaning, the same each time."""
    return random.Random(1).sample(list(templates), len(templates))


def variants(static_home: Path | None) -> list[Variant]:
    """All that is tried; the first is what is done now."""
    tried = [
        Variant(NOW),
        Variant(f"{NOW}, again"),
        Variant("templates shortest first", ordered=by_size),
        Variant("templates longest first", ordered=lambda found: by_size(found)[::-1]),
        Variant("templates shuffled", ordered=shuffled),
        Variant("units of half the pairs", units=0.5),
        Variant("units of twice the pairs", units=2),
        Variant("units of four times the pairs", units=4),
        Variant("files written by open folders", around=by_open_folders),
        Variant("programs started by posix_spawn", around=by_posix_spawn),
        Variant("programs on one processor", around=on_one_processor),
        Variant("programs' folder in memory", under=MEMORY),
        Variant("LD_BIND_NOW=1", {"LD_BIND_NOW": "1"}),
        Variant("MALLOC_ARENA_MAX=1", {"MALLOC_ARENA_MAX": "1"}),
        Variant("MALLOC_TOP_PAD_=1048576", {"MALLOC_TOP_PAD_": "1048576"}),
        Variant(
            "glibc.malloc.hugetlb=1 (huge pages)", {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
        ),
    ]
    for size in (1 << 16, 1 << 18):
        name = "GFORTRAN_FORMATTED_BUFFER_SIZE"
        tried.append(Variant(f"{name}={size}", {name: str(size)}))
    if static_home is not None:
        tried.append(Variant("programs linked statically, fixed address", dali_home=static_home))
    return tried


# -- measuring -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Turn:
    """What one turn cost, and the hits of each template."""

    cpu: float
    wall: float
    hits: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Work:
    """One target with its templates, imported."""

    pdb: bytes
    query: bytes
    templates: Templates

    @classmethod
    def of(cls, inputs: Inputs, dali_home: Path) -> Work:
        """Import the first target and its candidates; those that cannot be are left out."""
        target, candidates = next(iter(inputs.candidates.items()))
        pdb = (inputs.data / f"{target}.pdb").read_bytes()
        with measuring.fresh_folder() as folder:
            aligner = DaliAligner({"dali_home": str(dali_home)}, folder / "worker")
            templates = {}
            for name in candidates:
                with suppress(Unusable, FileNotFoundError):
                    file = inputs.data / "ECOD70" / f"{name}.pdb"
                    templates[name] = aligner.prepare(file.read_bytes())
            work = cls(pdb, aligner.prepare(pdb), templates)
            aligner.close()
        return work


def turn(variant: Variant, work: Work, dali_home: Path) -> Turn:
    """Do all units once."""
    residues = len(structure.read(work.pdb).residues)
    size = max(1, round(variant.units * window.LARGEST_UNIT / residues))
    order = variant.ordered(work.templates)
    environment = {**workbench.program_environment(), **variant.environment}
    hits: dict[str, Sequence[str]] = {}
    with (
        tempfile.TemporaryDirectory(prefix="bench-", dir=variant.under) as folder,
        mock.patch.object(workbench, "program_environment", lambda: environment),
    ):
        home = variant.dali_home or dali_home
        options = DaliAligner.stage_in({"dali_home": str(home)}, Path(folder))
        aligner = DaliAligner(options, Path(folder, "worker"))
        with variant.around():
            wall, cpu = time.monotonic(), cpu_seconds()
            for at in range(0, len(order), size):
                unit = {name: work.templates[name] for name in order[at : at + size]}
                done = align_templates(aligner, work.pdb, work.query, unit)
                hits.update(zip(unit, (result.records for result in done), strict=True))
            spent = Turn(cpu_seconds() - cpu, time.monotonic() - wall, hits)
        aligner.close()
    return spent


def cpu_seconds() -> float:
    """Of this process and of all programs that it waited for."""
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def main() -> None:
    """Try all variants in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    measuring.add_input_arguments(parser, workers=False)
    static = os.environ.get("DALI_STATIC_HOME")
    parser.add_argument(
        "--static-home",
        type=Path,
        default=static,
        help="DALI as `dpam-hpc dali install --faster` builds it; default: $DALI_STATIC_HOME",
    )
    parser.add_argument("--repeat", type=int, default=5)
    arguments = parser.parse_args()
    home: Path = arguments.dali_home.absolute()
    work = Work.of(Inputs.of(arguments), home)
    tried = variants(arguments.static_home and arguments.static_home.absolute())
    turns: dict[str, list[Turn]] = {variant.name: [] for variant in tried}
    for at in range(arguments.repeat):
        for variant in tried if at % 2 == 0 else reversed(tried):
            turns[variant.name].append(turn(variant, work, home))
    expected = turns[NOW][0].hits
    least = {name: min(turn.cpu for turn in found) for name, found in turns.items()}
    same = {name: all(t.hits == expected for t in found) for name, found in turns.items()}
    measuring.say(f"{len(work.templates)} templates, {sum(map(len, expected.values()))} hits")
    print_table(
        ["", "CPU s, least", "median", "of what it is now", "wall s, least", "same bytes"],
        [
            [
                name,
                least[name],
                statistics.median(turn.cpu for turn in found),
                f"{least[name] / least[NOW] - 1:+.1%}",
                min(turn.wall for turn in found),
                "yes" if same[name] else "NO",
            ]
            for name, found in turns.items()
        ],
    )
    measuring.write_json(
        arguments.json,
        home,
        turns={name: [[t.cpu, t.wall] for t in found] for name, found in turns.items()},
        least={name: seconds / least[NOW] for name, seconds in least.items()},
        same_bytes=same,
    )
    if others := [name for name, is_same in same.items() if not is_same]:
        raise SystemExit(f"other bytes by: {', '.join(others)}")


if __name__ == "__main__":
    main()
