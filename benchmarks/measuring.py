"""What the benchmarks share: processes measured from outside, their inputs, the machine, tables."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from dpam_hpc import __version__ as dpam_hpc_version
from dpam_hpc.align import aligner
from dpam_hpc.align.dali import install
from dpam_hpc.errors import DpamHpcError
from dpam_hpc.target import CANDIDATES_SUFFIX, WorkFolder, chosen_targets

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "sample"
TICKS = os.sysconf("SC_CLK_TCK")
LAST_LINES = 15
_report: list[dict[str, Any]] = []
"""What was printed for people, for docs/benchmarks.md: texts, tables, goals."""


@dataclass(frozen=True)
class Measured:
    """A process that ended: wall and CPU seconds with all its children, and its ``own`` CPU.

    ``peak`` is the most memory, in bytes, of the largest one; never less than the caller's own.
    """

    stdout: str
    wall: float
    user: float
    system: float
    own: float
    peak: int

    @property
    def cpu(self) -> float:
        """CPU seconds, user and system, of the process and of everything that it waited for."""
        return self.user + self.system

    def summary(self) -> dict[str, Any]:
        """What ``dpam-hpc run --json`` printed."""
        content: dict[str, Any] = json.loads(self.stdout)
        return content


def measure(
    argv: Sequence[str],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    accepted: Collection[int] = (0,),
) -> Measured:
    """Run a command to its end; SystemExit with its last words on a status not ``accepted``."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        begun = time.monotonic()
        process = subprocess.Popen(
            argv, cwd=cwd, env=dict(environment), stdin=subprocess.DEVNULL, stdout=out, stderr=err
        )
        try:
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            wall = time.monotonic() - begun
            own = _own_cpu(process.pid)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait()
        if process.returncode not in accepted:
            raise SystemExit(
                f"{os.path.basename(argv[0])} {argv[1]} ended with {process.returncode}:\n"
                + "\n".join(_text(err).splitlines()[-LAST_LINES:])
            )
        return Measured(
            _text(out),
            wall,
            usage.ru_utime,
            usage.ru_stime,
            own,
            usage.ru_maxrss * 1024,
        )


def _text(file: Any) -> str:
    file.seek(0)
    return str(file.read().decode("utf-8", "replace"))


def _own_cpu(ended: int) -> float:
    """CPU seconds, to a hundredth, of a process that ended and was not waited for, children out."""
    fields = Path(f"/proc/{ended}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def dpam_hpc() -> list[str]:
    """The command ``dpam-hpc`` of this Python."""
    command = Path(sysconfig.get_path("scripts")) / "dpam-hpc"
    return [str(command)] if command.exists() else [sys.executable, "-m", "dpam_hpc"]


def environment(folder: Path, **more: str) -> dict[str, str]:
    """The environment without settings of dpam-hpc, its settings file looked for in ``folder``."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DPAM_HPC_")}
    return {**kept, "XDG_CONFIG_HOME": str(folder), **more}


@contextmanager
def fresh_folder() -> Iterator[Path]:
    """An empty folder on local disk, removed in the end."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # in order: it is removed
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Inputs:
    """Targets with their candidates, and the data folder with the templates."""

    data: Path
    candidates: Mapping[str, Sequence[str]]

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> Inputs:
        """The inputs named by the arguments of ``add_input_arguments``."""
        folder: Path = arguments.inputs.absolute()
        if not (folder / "ECOD70").is_dir():
            raise SystemExit(f"there is no folder {folder / 'ECOD70'}")
        named = arguments.targets.split(",") if arguments.targets else []
        candidates = {}
        for target in chosen_targets(WorkFolder.at(folder), named):
            lines = (folder / f"{target}{CANDIDATES_SUFFIX}").read_text().split()
            candidates[target] = tuple(dict.fromkeys(lines))[: arguments.candidates]
        return cls(folder, candidates)

    @property
    def templates(self) -> list[str]:
        """All candidates, each once."""
        return sorted({name for names in self.candidates.values() for name in names})

    @property
    def pairs(self) -> int:
        """First-round pairs."""
        return sum(len(names) for names in self.candidates.values())

    def lay_out(self, work: Path, copies: int = 1) -> list[str]:
        """Make a working folder; further ``copies`` of the targets go by other names."""
        work.mkdir()
        targets = []
        for copy in range(copies):
            for target, candidates in self.candidates.items():
                name = f"{target}-{copy}" if copy else target
                shutil.copyfile(self.data / f"{target}.pdb", work / f"{name}.pdb")
                text = "".join(f"{candidate}\n" for candidate in candidates)
                (work / f"{name}{CANDIDATES_SUFFIX}").write_text(text)
                targets.append(name)
        return targets

    def copy_templates(self, folder: Path) -> None:
        """Copy the candidates' PDB files, those that exist."""
        folder.mkdir(parents=True)
        for template in self.templates:
            file = self.data / "ECOD70" / f"{template}.pdb"
            if file.exists():
                shutil.copyfile(file, folder / file.name)


def add_input_arguments(
    parser: argparse.ArgumentParser, *, workers: bool = True, needs_dali: bool = True
) -> None:
    """Options that name DALI and the inputs, and how many ``workers`` there are."""
    home = os.environ.get("DALI_HOME")
    parser.add_argument(
        "--dali-home",
        type=Path,
        default=home,
        required=needs_dali and not home,
        help="default: $DALI_HOME" + ("" if needs_dali else "; without, a part is left out"),
    )
    parser.add_argument(
        "--inputs",
        type=Path,
        default=SAMPLE,
        help="folder with P.pdb, P_hits4Dali and ECOD70/; default: sample/",
    )
    parser.add_argument("--targets", help="names, with commas between; default: all")
    parser.add_argument("--candidates", type=int, metavar="N", help="only the first N of each")
    if workers:
        parser.add_argument("--workers", type=int, default=2)
    add_json_argument(parser)


def add_json_argument(parser: argparse.ArgumentParser) -> None:
    """The option for the file with the results."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here too")


def dali_home_or_replay(arguments: argparse.Namespace, folder: Path) -> Path:
    """DALI as named, else programs that answer from the recordings of the tests."""
    if arguments.dali_home is not None:
        return Path(arguments.dali_home).absolute()
    home = folder / "replayed"
    make = "import sys; from pathlib import Path; from tests import replay; "
    make += "replay.make_home(Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", make, str(home)], cwd=ROOT, check=True, timeout=60)
    return home


def build_bundle(inputs: Inputs, dali_home: Path, folder: Path, workers: int) -> Measured:
    """Make ``folder`` with ``templates.bundle`` of the candidates in it; what that took."""
    inputs.copy_templates(folder / "ECOD70")
    options = ["--dali-home", str(dali_home), "--workers", str(workers)]
    argv = [*dpam_hpc(), "bundle", "build", str(folder / "ECOD70"), "-o", str(bundle_in(folder))]
    return measure([*argv, *options], cwd=folder, environment=environment(folder))


def bundle_in(folder: Path) -> Path:
    """Where ``build_bundle`` puts the bundle."""
    return folder / "templates.bundle"


def register_aligner(folder: Path, name: str, definition: str) -> None:
    """Make ``folder`` one that, on PYTHONPATH, offers ``module:class`` as the aligner ``name``."""
    info = folder / "plug_in-0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plug-in\nVersion: 0\n")
    entry = f"[{aligner.ENTRY_POINTS}]\n{name} = {definition}\n"
    (info / "entry_points.txt").write_text(entry)


def without_template_length(hits: bytes) -> bytes:
    """A hits file with 0 in field 5 of each header, as upstream leaves it."""
    lines = []
    for line in hits.splitlines(keepends=True):
        if line.startswith(b">"):
            line = b"\t".join([*line.rstrip(b"\n").split(b"\t")[:4], b"0\n"])
        lines.append(line)
    return b"".join(lines)


def write_json(path: Path | None, dali_home: Path | None, **content: Any) -> None:
    """Write results, if a file is asked for, with what they were measured by and on."""
    if path is not None:
        document = {
            "benchmark": Path(sys.argv[0]).stem,
            "arguments": [_without_folder(word) for word in sys.argv[1:]],
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
            "commit": _commit(),
            "machine": machine(),
            "versions": versions(dali_home),
            "report": _report,
            **content,
        }
        path.write_text(json.dumps(document, indent=1) + "\n")


def _without_folder(word: str) -> str:
    """An argument; of a path only the last part, since the rest says nothing elsewhere."""
    return Path(word).name if "/" in word else word


def machine() -> dict[str, Any]:
    """What the numbers depend on."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "load": round(os.getloadavg()[0], 1),
        "kernel": platform.release(),
    }


def versions(dali_home: Path | None) -> dict[str, str]:
    """Of the programs; DALI's is the fingerprint of its import."""
    return {
        "dpam-hpc": dpam_hpc_version,
        "python": platform.python_version(),
        "dali_import": _fingerprint(dali_home),
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _commit() -> str:
    """The commit of this checkout, with a + where tracked files differ from it."""
    git = ["git", "--no-optional-locks", "-C", str(ROOT)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, check=True).stdout
        changes = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"], capture_output=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.decode().strip() + ("+" if changes else "")


def _fingerprint(dali_home: Path | None) -> str:
    if dali_home is None:
        return ""
    try:
        return install.import_fingerprint(install.find(str(dali_home)))
    except DpamHpcError as error:
        raise SystemExit(str(error)) from None


def print_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table, its first column to the left and all others to the right; keep it."""
    texts = [[shown(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[at]) for row in texts) for at in range(len(header))]
    for row in texts:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        print("  ".join(cells).rstrip())
    print()
    _report.append({"table": [list(header), *map(list, rows)]})


def say(text: str) -> None:
    """Print a paragraph; keep it."""
    print(f"{text}\n")
    _report.append({"text": text})


def print_goal(
    what: str, measured: float, goal: float, unit: str = "", *, at_most: bool = True
) -> None:
    """Print a figure beside its goal; keep it. ``unit`` % is of fractions."""
    met = measured <= goal if at_most else measured >= goal
    kept = {"what": what, "measured": measured, "goal": goal, "unit": unit, "at_most": at_most}
    print(f"{what}: {with_unit(measured, unit)}, {goal_text(kept)}{'' if met else ', missed'}\n")
    _report.append({"goal": {**kept, "met": met}})


def goal_text(kept: Mapping[str, Any]) -> str:
    """A goal of ``print_goal`` in words."""
    bound = "at most" if kept["at_most"] else "at least"
    return f"goal {bound} {with_unit(kept['goal'], kept['unit'])}"


def with_unit(number: float, unit: str) -> str:
    """A number for people."""
    if unit == "%":
        return f"{100 * number:.3g} %"
    return f"{number:.3g} {unit}".rstrip()


def shown(cell: object) -> str:
    """A cell of a table."""
    return f"{cell:.2f}" if isinstance(cell, float) else str(cell)
