"""One fault run: the world that a plan describes, the starts of the launcher in it, and the end."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import psutil

from dpam_hpc import journal
from dpam_hpc.align import hits
from dpam_hpc.errors import ExitCode
from dpam_hpc.node import run_lock
from dpam_hpc.node.scratch import ABANDONED_AFTER, CLAIM, PREFIX
from dpam_hpc.node.worker import PROCESS_NAME
from dpam_hpc.run_dir import Plan as RunPlan
from dpam_hpc.run_dir import RunDir, journals
from tests import replay
from tests.conftest import COMMAND, HITS, Work, environment, lay_out
from tests.faults.hooked import STRUCK
from tests.faults.kinds import Fault
from tests.faults.plan import Plan

MOST_STARTS = 9
START_WITHIN = 300.0
NONE_LEFT_WITHIN = 10.0
TOKEN = "FAULT_RUN"
"""A variable of the environment that all processes of a run have."""
MARKER = ".iterativeDali.done"
FAILURES = "_iterativeDali.failures.tsv"
SMALL = "160m"
EXPECTED_CODES = {int(code) for code in ExitCode} - {ExitCode.INTERNAL}


class Broken(AssertionError):
    """Something that must hold whatever happens does not."""


def expect(holds: object, what: str) -> None:
    """Broken, if it does not hold."""
    if not holds:
        raise Broken(what)


@dataclass
class World:
    """A plan's folders; ``bundle`` is there if the plan has one."""

    plan: Plan
    root: Path
    home: Path
    made_bundle: Path | None
    pristine: Path = replay.DATA / "ECOD70"
    token: str = field(default_factory=lambda: secrets.token_hex(8))
    expected: dict[str, bytes] = field(default_factory=dict)
    struck: list[str] = field(default_factory=list)
    run_dir: RunDir | None = None

    @property
    def shared(self) -> Path:
        """The shared file system."""
        return self.root / "shared"

    @property
    def data(self) -> Path:
        """The data folder on it."""
        return self.shared / "data"

    @property
    def bundle(self) -> Path:
        """The bundle on it."""
        return self.shared / "templates.bundle"

    @property
    def scratch(self) -> Path:
        """The node's scratch disk."""
        return self.root / "scratch"

    @property
    def own(self) -> Path:
        """Where the launcher keeps its lock and journals."""
        return self.shared / "work" / ".dpam-hpc"

    def make(self) -> None:
        """Fill the folders."""
        work = lay_out(self.shared / "work", (), self.plan.sharded)
        self.work = Work(work.root, tuple(name for name, _, _ in self.plan.targets), work.sharded)
        queries = work.root / "step01_prepare" if self.plan.sharded else work.root
        lists = work.root / "step06_candidates" if self.plan.sharded else work.root
        for name, protein, candidates in self.plan.targets:
            shutil.copy(replay.DATA / f"{protein}.pdb", queries / f"{name}.pdb")
            (lists / f"{name}_hits4Dali").write_text("".join(f"{c}\n" for c in candidates))
            self.expected[name] = reference(protein, candidates)
        shutil.copytree(self.pristine, self.data / "ECOD70")
        if self.plan.bundled:
            self.restore_bundle()
        self._make_foreign_files()
        if self.plan.how == "task":
            self._make_run()
        self.foreign = self._foreign_files()

    def _make_foreign_files(self) -> None:
        (self.scratch / "of-another-user").write_text("precious\n")
        others = self.scratch / f"{PREFIX}99999-0a1b2c3d"
        others.mkdir()
        (others / "file").write_text("precious\n")
        (self.shared / "work" / "notes.txt").write_text("precious\n")
        (self.work.root / ".Q1_iterativdDali_hits.0a1b2c.part").write_text(">e1")

    def _foreign_files(self) -> dict[Path, str]:
        """Checksums of all that the launcher has no business to change."""
        folders = (self.shared, self.scratch, self.home)
        files = (path for folder in folders for path in folder.rglob("*") if path.is_file())
        return {
            path: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in files
            if self.own not in path.parents and not path.name.startswith(".stats")
        }

    def _make_run(self) -> None:
        """A submitted run of one task."""
        run = RunDir.create(self.work.root)
        tasks = run.write_targets([[(name, 1.0) for name in self.work.targets]])
        settings: dict[str, Any] = {
            "work_dir": str(self.work.root), "data_dir": str(self.data),
            "dali_workers": self.plan.workers, "dali_home": str(self.home),
            "min_free_gb": 0.002, "grace": 0.2, "dpam_state": True,
        }  # fmt: skip
        if self.plan.bundled:
            settings["templates"] = str(self.bundle)
        run.write_plan(
            RunPlan("local", "local", "run", 1, 2, 86400, tasks, [], settings, {}, False, None, "")
        )
        self.run_dir = run

    # -- what faults do ---------------------------------------------------------------------------

    def restore_bundle(self) -> None:
        """The bundle as it was."""
        assert self.made_bundle is not None
        shutil.copyfile(self.made_bundle, self.bundle)

    def empty_scratch(self) -> None:
        """Remove what is this user's."""
        for path in self.scratch.glob(f"*{PREFIX}{os.getuid()}-*"):
            shutil.rmtree(path, ignore_errors=True)

    def pass_a_minute(self) -> None:
        """Between two starts: what somebody removed by half is then known for dead."""
        for path in self.scratch.glob(f"*{PREFIX}{os.getuid()}-*"):
            if not (path / CLAIM).exists():
                long_ago = time.time() - 2 * ABANDONED_AFTER
                os.utime(path, (long_ago, long_ago))

    @staticmethod
    def fill(folder: Path) -> None:
        """Use up every byte."""
        with suppress(OSError), open(folder / "fill", "wb", buffering=0) as file:
            while True:
                file.write(b"\0" * 65536)

    @staticmethod
    def unfill(folder: Path) -> None:
        """Make room again."""
        (folder / "fill").unlink(missing_ok=True)

    def control(self, order: str) -> None:
        """Tell the slow file system what to do."""
        (self.shared / ".control").write_text(f"{order}\n")

    def locks(self) -> list[Path]:
        """The locks that are held."""
        return list(self.own.rglob("run.lock"))

    def journals(self) -> list[Path]:
        """The last journal of each place."""
        found = [path for path in (self.own / "journal.jsonl",) if path.exists()]
        if self.run_dir and self.run_dir.task_folder(0).exists():
            found += journals(self.run_dir.task_folder(0))[-1:]
        return found

    # -- processes --------------------------------------------------------------------------------

    def processes(self) -> list[psutil.Process]:
        """All that belong to the run and are alive; zombies are not."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                inside = f"{process.cwd()}/".startswith(f"{self.scratch}/")
                if inside or process.environ().get(TOKEN) == self.token:
                    found.append(process)
        return found

    def expect_no_process(self, after: str) -> None:
        """Broken, if one is left for long."""
        until = time.monotonic() + NONE_LEFT_WITHIN
        while (left := self.processes()) and time.monotonic() < until:
            time.sleep(0.1)
        names = []
        for process in left:
            with suppress(psutil.Error):
                names.append(f"{process.pid} {' '.join(process.cmdline())[-90:]}")
        expect(not left, f"processes are left {after}: {names}")

    # -- what must hold ---------------------------------------------------------------------------

    def expect_honest(self) -> None:
        """What a reader takes for a result is one, at any stop."""
        for name, expected in self.expected.items():
            if not (self.work.output / f"{name}{MARKER}").exists():
                continue
            if (self.work.output / f"{name}{FAILURES}").exists():
                continue
            path = self.work.output / f"{name}{HITS}"
            found = path.read_bytes() if path.exists() else None
            expect(found == expected, f"{name} is marked as done with other hits")

    def expect_whole(self) -> None:
        """At the end: the reference bytes, and nothing of what happened on the way."""
        for name, expected in self.expected.items():
            expect(self.work.hits(name) == expected, f"{name}: other hits")
            expect((self.work.output / f"{name}{MARKER}").exists(), f"{name}: no marker")
            failures = self.work.output / f"{name}{FAILURES}"
            expect(not failures.exists(), f"{name}: failures are left")
        now = self._foreign_files()
        for path, checksum in self.foreign.items():
            expect(now.pop(path, "") == checksum, f"{path} was changed")
        outputs = {
            self.work.output / f"{name}{end}" for name in self.expected for end in (HITS, MARKER)
        }
        states = {self.work.root / f".{name}.dpam_state.json" for name in self.expected}
        # FUSE hides what is still open.
        now = {path: checksum for path, checksum in now.items() if ".fuse_hidden" not in path.name}
        left = set(now) - outputs - states
        expect(not left, f"left behind: {sorted(map(str, left))}")
        mine = list(self.scratch.glob(f"*{PREFIX}{os.getuid()}-*"))
        expect(not mine, f"scratch is not empty: {mine}")
        hinder = [lock for lock in self.locks() if run_lock.holder_at_work(lock.parent)]
        expect(not hinder, f"locks that hinder: {hinder}")
        parts = [p for p in self.own.rglob("*") if p.name.endswith(".part")]
        # Those of the lock are removed by a start a minute later.
        young = (".run.lock.", ".fuse_hidden")
        parts += [p for p in self.own.rglob(".*") if not p.name.startswith(young)]
        expect(not parts, f"left behind: {sorted(map(str, parts))}")
        self._expect_sound_journals()

    def _expect_sound_journals(self) -> None:
        found = [self.own / "journal.jsonl"]
        if self.run_dir:
            found += journals(self.run_dir.task_folder(0))
        for path in found:
            if not path.exists() or not path.stat().st_size:
                continue
            for record in journal.read(path):
                known = record["target"] in {*self.expected, journal.LAUNCHER}
                expect(known, f"{path}: {record}")
        last = self.journals()
        expect(
            all(p.read_bytes().endswith(b"\n") for p in last if p.stat().st_size), f"torn: {last}"
        )


def reference(protein: str, candidates: tuple[str, ...]) -> bytes:
    """Upstream's hits of some of a protein's candidates: those of one do not depend on others."""
    by_template: dict[str, str] = dict.fromkeys(candidates, "")
    template = ""
    for line in (replay.DATA / f"{protein}{HITS}").read_text().splitlines(keepends=True):
        if line.startswith(">"):
            template = line[1:].split("\t")[0].rpartition("_")[0]
        if template in by_template:
            by_template[template] += line
    return "".join(by_template[name] for name in hits.in_upstream_order(by_template)).encode()


class Start:
    """One start of the launcher, as faults see it."""

    def __init__(self, world: World, number: int, restart: int, faults: list[Fault]) -> None:
        self.world = world
        self.number = number
        self._restart = restart
        self._ended = threading.Event()
        self._others: list[Start] = []
        self.stderr = ""
        self.struck: list[Fault] = []
        spec: dict[str, Any] = {"folder": str(world.shared)}
        for fault in faults:
            spec |= fault.spec()
        self._spec = spec
        self._faults = faults

    def begin(self, *more: str, as_run: bool = False) -> None:
        """Start the process, and the faults beside it."""
        world, plan = self.world, self.world.plan
        common = ["--dali-home", str(world.home)]
        if plan.how == "task" and not as_run:
            assert world.run_dir is not None
            arguments = ["launch", str(world.run_dir.path), "--task", "0"]
            arguments += ["--restart", str(self._restart), "--scratch", str(world.scratch)]
        else:
            arguments = ["run", str(world.work.root), "--data-dir", str(world.data), *common]
            arguments += ["--scratch-dir", str(world.scratch), "--min-free-gb", "0.002"]
            arguments += ["--dali-workers", str(plan.workers), "--grace", "0.2", "--dpam-state"]
            arguments += ["--templates", str(world.bundle)] if plan.bundled else []
            arguments += more
        hooked = [sys.executable, "-m", "tests.faults.hooked", json.dumps(self._spec)]
        command = hooked if len(self._spec) > 1 else COMMAND
        root = str(Path(__file__).parents[2])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
        self._log = (world.root / f"start-{self.number}.log").open("w+")
        self._process = subprocess.Popen(
            [*command, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=self._log, cwd=world.root,
            env=environment(**{TOKEN: world.token, "PYTHONPATH": path}),
        )  # fmt: skip
        self._threads = [
            threading.Thread(target=self._strike, args=(fault,), name=str(fault))
            for fault in self._faults
        ]
        for thread in self._threads:
            thread.start()
        self._problems: list[BaseException] = []

    def _strike(self, fault: Fault) -> None:
        try:
            with suppress(OSError):  # another fault is in its way
                fault.strike(self)
        except BaseException as error:  # told when the start is waited for
            self._problems.append(error)

    def end(self) -> int:
        """Wait for the process, the faults and the other launchers; how it ended."""
        try:
            code = self._process.wait(START_WITHIN)
        except subprocess.TimeoutExpired:
            raise Broken(f"it has not ended after {START_WITHIN:.0f} s: {self._text()}") from None
        finally:
            self._ended.set()
        for thread in self._threads:
            thread.join()
        self.stderr = self._text()
        self._log.close()
        if self._problems:
            raise self._problems[0]
        for fault in self._faults:
            if fault.spec() and STRUCK in self.stderr:
                self.note(fault)
        expect("Traceback" not in self.stderr, f"a traceback:\n{self.stderr}")
        expect(code < 0 or code in EXPECTED_CODES, f"ended with {code}:\n{self.stderr}")
        for other in self._others:
            other.end()
        return code

    def _text(self) -> str:
        self._log.flush()
        return Path(self._log.name).read_text()

    def is_alive_after(self, seconds: float) -> bool:
        """Wait; whether the launcher is still there."""
        return not self._ended.wait(seconds) and self._process.poll() is None

    def note(self, fault: Fault) -> None:
        """It has struck, and what it broke is to be mended."""
        self.struck.append(fault)
        self.world.struck.append(str(fault))

    def process(self, who: str) -> psutil.Process | None:
        """One of the launcher's processes, or itself."""
        with suppress(psutil.Error):
            launcher = psutil.Process(self._process.pid)
            if who == "launcher":
                return launcher
            below = launcher.children(recursive=True)
            workers = [p for p in below if p.name() == PROCESS_NAME]
            programs = [p for worker in workers for p in worker.children()]
            nursery = [p for p in launcher.children() if p not in workers]
            found = {"worker": workers, "program": programs, "nursery": nursery}[who]
            return found[0] if found else None
        return None

    def kill_all(self) -> bool:
        """Every process of the run ends at once; False where the launcher had ended before."""
        for _ in range(3):
            for process in self.world.processes():
                with suppress(psutil.Error):
                    process.kill()
        return self._process.wait(START_WITHIN) == -signal.SIGKILL

    def start_another(self) -> None:
        """One more launcher, as the scheduler starts it when it has lost sight of this one."""
        other = Start(self.world, 100 + self.number, self._restart + 1, [])
        other.begin()
        self._others.append(other)


@contextmanager
def mounted(plan: Plan, root: Path) -> Iterator[None]:
    """The plan's disks, empty."""
    shared, scratch = root / "shared", root / "scratch"
    for folder in (shared, scratch):
        folder.mkdir()
    if plan.storage == "small":
        with small_disk(shared), small_disk(scratch):
            yield
    elif plan.storage == "slow":
        backing = root / "backing"
        backing.mkdir()
        with slow_disk(backing, shared, plan.seed):
            yield
    else:
        yield


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """One that can be filled."""
    options = ["mount", "-t", "tmpfs", "-o", f"size={SMALL}", "tmpfs", str(folder)]
    subprocess.run(options, timeout=30, check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], timeout=30, check=True)


@contextmanager
def slow_disk(backing: Path, folder: Path, seed: int) -> Iterator[None]:
    """One whose operations take time, fail and hang on demand."""
    script = Path(__file__).parents[2] / "benchmarks" / "slowfs.py"
    argv = [sys.executable, str(script), str(backing), str(folder), "--seed", str(seed)]
    argv += ["--latency-ms", "0.2", "--data-latency-ms", "0.1", "--attr-ttl", "3"]
    argv += ["--entry-ttl", "3"]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd="/")
    try:
        assert process.stdout is not None
        expect(process.stdout.readline().strip() == "ready", "the slow file system did not come up")
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        process.stdout.close()  # type: ignore[union-attr]


def run(plan: Plan, root: Path, home: Path, made_bundle: Path | None, log: IO[str]) -> list[str]:
    """Run a plan to its end; the faults that struck. Raises Broken."""
    with mounted(plan, root):
        world = World(plan, root, home, made_bundle)
        world.make()
        try:
            _until_done(world, log)
        finally:
            for process in world.processes():
                with suppress(psutil.Error):
                    process.kill()
        return world.struck


def _until_done(world: World, log: IO[str]) -> None:
    restart, as_run = 0, False
    more: list[str] = []
    for number in range(MOST_STARTS):
        faults = [fault for fault in world.plan.faults if fault.start == number]
        start = Start(world, number, restart, faults)
        start.begin(*more, as_run=as_run)
        code = start.end()
        # The file system first: without it nothing else can be mended.
        for fault in sorted(start.struck, key=lambda fault: not fault.storage):
            fault.mend(world)
        print(f"  start {number} ended with {code}: {start.stderr.strip()[-300:]}", file=log)
        world.expect_no_process(f"after start {number}")
        world.expect_honest()
        world.pass_a_minute()
        # Where two were started, the second has the rank of the next.
        restart += 2
        if code == ExitCode.FAILURES:
            more, as_run = ["--retry-failed"], True
        elif code == ExitCode.DONE:
            break
    else:
        raise Broken(f"not done after {MOST_STARTS} starts: {start.stderr}")
    world.expect_whole()
    last = Start(world, MOST_STARTS, restart, [])
    last.begin(as_run=as_run)
    expect(last.end() == ExitCode.DONE, f"one more start fails: {last.stderr}")
    world.expect_whole()
