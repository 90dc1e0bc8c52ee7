"""Operations of ``dpam-hpc run`` on a shared file system, counted, and what slow ones cost.

Working folder, templates, bundle and DALI lie on a mount that counts what reaches it; scratch is
local. From two runs with different numbers of proteins: operations a protein, and those of a run.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import measuring
import slowfs
from measuring import Inputs, Measured, print_table

from dpam_hpc.align.dali import install

ASYNCHRONOUS = ("release", "releasedir")
"""Operations that nobody waits for; they are left out of totals."""


@dataclass(frozen=True)
class Caches:
    """How long a client trusts what it knows, in seconds."""

    name: str
    attributes: float
    entries: float


@dataclass(frozen=True)
class Latency:
    """Milliseconds of an operation, and of one that reads or writes; how many at once."""

    operation: float
    data: float
    at_once: int


UNCACHED = Caches("no caches", 0, 0)
LIKE_NFS = Caches("caches as NFS", 3, 30)
NONE = Latency(0, 0, 16)
SLOW = Latency(5, 2, 16)


@dataclass(frozen=True)
class Setting:
    """What all runs share."""

    arguments: argparse.Namespace
    inputs: Inputs
    bundle: Path

    @property
    def workers(self) -> int:
        """Workers of each run."""
        return int(self.arguments.workers)


@dataclass(frozen=True)
class Counted:
    """A run and what reached the mount: operations by kind, and by top folder."""

    measured: Measured
    operations: Counter[str]
    folders: Counter[str]

    @property
    def waited_for(self) -> dict[str, int]:
        """How many operations somebody waited for."""
        waited = (n for kind, n in self.operations.items() if kind not in ASYNCHRONOUS)
        return {"all waited for": sum(waited)}


@contextmanager
def mounted(backing: Path, caches: Caches, latency: Latency) -> Iterator[Path]:
    """The folder ``backing`` through the counting file system."""
    mount = backing.with_name("mount")
    options: list[str | float] = ["--latency-ms", latency.operation]
    options += ["--data-latency-ms", latency.data]
    options += ["--attr-ttl", caches.attributes, "--entry-ttl", caches.entries]
    options += ["--max-inflight", latency.at_once]
    with slowfs.mounted(backing, mount, options=options):
        yield mount


def lay_out(setting: Setting, shared: Path, copies: int) -> None:
    """Fill the shared folder: targets, templates, bundle and DALI's programs."""
    shared.mkdir()
    setting.inputs.lay_out(shared / "work", copies)
    setting.inputs.copy_templates(shared / "data" / "ECOD70")
    shutil.copyfile(setting.bundle, shared / "templates.bundle")
    home: Path = setting.arguments.dali_home
    programs = shared / "dali" / "bin"
    programs.mkdir(parents=True)
    for name in install.PROGRAMS:
        shutil.copy(install.find(str(home)) / name, programs / name)


def run(setting: Setting, shared: Path, local: Path, *, bundled: bool) -> Measured:
    """``dpam-hpc run`` on everything in ``shared``, with its scratch in ``local``."""
    scratch = local / "scratch"
    scratch.mkdir()
    argv = [*measuring.dpam_hpc(), "run", str(shared / "work"), "--scratch-dir", str(scratch)]
    argv += ["--data-dir", str(shared / "data"), "--dali-home", str(shared / "dali")]
    argv += ["--templates", str(shared / "templates.bundle")] if bundled else []
    argv += ["--dali-workers", str(setting.workers), "--json"]
    measured = measuring.measure(argv, cwd=local, environment=measuring.environment(local))
    summary = measured.summary()
    if summary["done"] != summary["targets"] or summary["failures"]:
        raise SystemExit(f"{summary['failures']} templates failed: these numbers mean nothing")
    return measured


def counted(
    setting: Setting, copies: int, bundled: bool, caches: Caches, latency: Latency
) -> Counted:
    """A run on the mount."""
    with measuring.fresh_folder() as folder:
        backing = folder / "backing"
        lay_out(setting, backing, copies)
        with mounted(backing, caches, latency) as mount:
            slowfs.reset(mount)
            measured = run(setting, mount, folder, bundled=bundled)
            stats = slowfs.stats(mount)
        folders = {f"in /{name.strip('/')}": number for name, number in stats["folders"].items()}
        return Counted(measured, Counter(stats["operations"]), Counter(folders))


def count(setting: Setting, caches: Caches, bundled: bool) -> dict[str, Any]:
    """Operations of a run and of each protein, printed and returned."""
    one = len(setting.inputs.candidates)
    all_of_them = one * setting.arguments.proteins
    few = counted(setting, 1, bundled, caches, NONE)
    many = counted(setting, setting.arguments.proteins, bundled, caches, NONE)
    results: dict[str, dict[str, list[float]]] = {}
    rows: list[list[object]] = []
    for group, a, b in (
        ("kinds", few.operations, many.operations),
        ("folders", few.folders, many.folders),
        ("all", Counter(few.waited_for), Counter(many.waited_for)),
    ):
        results[group] = {}
        for name, _ in (a + b).most_common():
            protein = (b[name] - a[name]) / (all_of_them - one)
            run_itself = a[name] - one * protein
            rows.append([name, a[name], b[name], run_itself, protein])
            results[group][name] = [run_itself, protein]
    title = f"{caches.name}, {_bundle(bundled)}"
    print_table([title, f"{one} proteins", f"{all_of_them} proteins", "run", "protein"], rows)
    return {"caches": caches.name, "bundle": bundled, **results}


def count_all(setting: Setting) -> list[dict[str, Any]]:
    """Operations by kind, in all four settings."""
    print(
        "operations; in the last two columns those of a run itself and those of each protein."
        f"\nThe {len(setting.inputs.templates)} templates are the same for all proteins, so their"
        " reading counts as the run's.\n"
    )
    return [
        count(setting, caches, bundled)
        for caches in (UNCACHED, LIKE_NFS)
        for bundled in (False, True)
    ]


def time_all(setting: Setting) -> list[dict[str, Any]]:
    """Wall seconds on local disk and on the mount at each latency, in an order that alternates."""
    places: dict[str, Latency | None] = {
        "local disk": None,
        "mount, 0 ms": NONE,
        f"mount, {SLOW.operation:.0f} ms ({SLOW.data:.0f} ms data)": SLOW,
    }
    cases = [(bundled, place) for bundled in (False, True) for place in places]
    runs: dict[tuple[bool, str], list[Measured]] = {case: [] for case in cases}
    for turn in range(setting.arguments.repeat):
        for bundled, place in cases if turn % 2 == 0 else reversed(cases):
            runs[bundled, place].append(timed(setting, bundled, places[place]))
    rows: list[list[object]] = []
    results = []
    for (bundled, place), found in runs.items():
        walls = [measured.wall for measured in found]
        local = statistics.median(measured.wall for measured in runs[bundled, "local disk"])
        wall, cpu = statistics.median(walls), statistics.median(m.cpu for m in found)
        rows.append([f"{place}, {_bundle(bundled)}", _range(walls), wall / local, cpu])
        results.append({"place": place, "bundle": bundled, "walls": walls, "ratio": wall / local})
    copies, at_once = setting.arguments.proteins, SLOW.at_once
    proteins = copies * len(setting.inputs.candidates)
    print(f"{proteins} proteins, {LIKE_NFS.name}, {at_once} operations served at once\n")
    print_table(["", "wall s", "of local disk's", "CPU s"], rows)
    return results


def timed(setting: Setting, bundled: bool, latency: Latency | None) -> Measured:
    """One run, on the mount or, without a latency, on local disk."""
    copies = setting.arguments.proteins
    if latency is not None:
        return counted(setting, copies, bundled, LIKE_NFS, latency).measured
    with measuring.fresh_folder() as folder:
        lay_out(setting, folder / "shared", copies)
        return run(setting, folder / "shared", folder, bundled=bundled)


def _bundle(bundled: bool) -> str:
    return "bundle" if bundled else "no bundle"


def _range(values: list[float]) -> str:
    """The median, and the smallest and the largest of several."""
    text = f"{statistics.median(values):.2f}"
    return text if len(values) == 1 else f"{text} ({min(values):.2f} to {max(values):.2f})"


def parse() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    measuring.add_input_arguments(parser)
    parser.add_argument(
        "--proteins", type=int, default=3, metavar="N", help="copies of each target in a long run"
    )
    parser.add_argument("--repeat", type=int, default=2, help="of the timed runs")
    arguments = parser.parse_args()
    if arguments.proteins < 2:
        parser.error("--proteins: a line needs two points, so at least 2")
    return arguments


def main() -> None:
    """Count, then time."""
    arguments = parse()
    inputs = Inputs.of(arguments)
    with measuring.fresh_folder() as folder:
        measuring.build_bundle(
            inputs, arguments.dali_home.absolute(), folder / "bundle", arguments.workers
        )
        setting = Setting(arguments, inputs, measuring.bundle_in(folder / "bundle"))
        operations = count_all(setting)
        walls = time_all(setting)
    measuring.write_json(
        arguments.json,
        arguments.dali_home,
        candidates={target: len(names) for target, names in inputs.candidates.items()},
        copies=arguments.proteins,
        workers=arguments.workers,
        operations=operations,
        walls=walls,
    )


if __name__ == "__main__":
    main()
