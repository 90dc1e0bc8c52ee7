"""A working folder with structures and a made-up dpam, for tests of its steps."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from dpam_hpc.node.progress import Progress
from dpam_hpc.node.shutdown import Shutdown
from dpam_hpc.node.task import Start, work_off
from dpam_hpc.pipeline.steps import ALL, DALI, STEPS, stages
from dpam_hpc.run_dir import Job, Plan, RunDir
from tests import fake_dpam, replay
from tests.conftest import HITS

TARGETS = ("A0A0K2WPR7", "O05011", "r1bd2X")


@dataclass
class Site:
    """A working folder with structures, and a dpam."""

    root: Path
    work: Path
    data: Path
    dpam: Path
    sharded: bool
    targets: tuple[str, ...] = TARGETS
    runs: int = 0

    def path(self, target: str, ending: str, number: int) -> Path:
        folder = self.work / STEPS[number].folder if self.sharded else self.work
        return folder / f"{target}{ending}"

    def plan(
        self, numbers: tuple[int, ...], targets: tuple[str, ...] = TARGETS, **settings: Any
    ) -> RunDir:
        """A run of one task for a stage."""
        self.runs += 1
        run = RunDir.create(self.work, f"20260101-00000{self.runs}-0000.s1")
        (stage,) = stages(numbers)
        tasks = run.write_targets([[(target, 1.0) for target in targets]])
        stage = replace(
            stage, cpus=1, memory_mb=0, at_once=2, command=(str(self.dpam),), skip_addss=True
        )
        given = {"work_dir": str(self.work), "data_dir": str(self.data), "grace": 0.2, **settings}
        job = [Job("job.sh", 0, 1)]
        run.write_plan(
            Plan("local", "local", "array", 1, 2, 60, tasks, job, given, {}, stage=stage)
        )
        return run

    def do(
        self, numbers: tuple[int, ...], *targets: str, **settings: Any
    ) -> tuple[Progress, RunDir]:
        """Work a stage off in this process."""
        run = self.plan(numbers, targets or TARGETS, **settings)
        return self.launch(run), run

    def launch(self, run: RunDir, **start: Any) -> Progress:
        shutdown = Shutdown()
        try:
            return work_off(run, 0, Start(**start), shutdown)
        finally:
            shutdown.close()

    def steps_upto(self, last: int) -> None:
        """Everything up to a step, by dpam itself, with upstream's hits for step 7."""
        for target in self.targets:
            if self.sharded:  # else its steps do not find it
                shutil.copy2(self.work / f"{target}.pdb", self.path(target, ".pdb", 1))
            hits = self.path(target, HITS, DALI)
            hits.parent.mkdir(exist_ok=True)
            names = [STEPS[n].name for n in ALL if n <= min(last, 6)]
            self.call(target, names)
            if last >= DALI:
                shutil.copyfile(replay.DATA / f"{target}{HITS}", hits)
                self.path(target, ".iterativeDali.done", DALI).write_text("done\n")
            later = [STEPS[n].name for n in ALL if DALI < n <= last]
            if later:
                self.call(target, later)

    def call(self, target: str, names: list[str]) -> None:
        flat = [] if self.sharded else ["--flat"]
        subprocess.run(
            [self.dpam, "run", target, "--resume", *flat, "--working-dir", self.work,
             "--data-dir", self.data, "--steps", *names],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip

    def state(self, target: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.work / f".{target}.dpam_state.json").read_text())
        return found

    def calls(self) -> list[tuple[str, list[str]]]:
        return fake_dpam.calls(self.data)

    def forget_calls(self) -> None:
        (self.data / "calls").unlink(missing_ok=True)


def make_site(
    root: Path, sharded: bool, cif: bool = False, targets: tuple[str, ...] = TARGETS
) -> Site:
    work = root / "my work"
    work.mkdir(parents=True)
    if sharded:
        (work / "step01_prepare").mkdir()
        (work / "step06_candidates").mkdir()
    for target in targets:
        shutil.copyfile(replay.DATA / f"{target}.pdb", work / f"{target}.{'cif' if cif else 'pdb'}")
        (work / f"{target}.json").write_text("[]")
    candidates = {target: replay.DATA / f"{target}_hits4Dali" for target in targets}
    data = fake_dpam.make_data(root / "data", candidates)
    return Site(root, work, data, fake_dpam.make(root / "bin"), sharded, targets)


def records(run: RunDir) -> dict[str, dict[str, Any]]:
    return {record["target"]: record for record in run.records(0)}


def failures(run: RunDir) -> list[list[str]]:
    path = run.task_folder(0) / "failures.tsv"
    return [line.split("\t") for line in path.read_text().splitlines()] if path.exists() else []


def contents(site: Site) -> dict[str, bytes]:
    """All outputs of dpam's, by name; state files apart."""
    return {
        str(path.relative_to(site.work)): path.read_bytes()
        for path in sorted(site.work.rglob("*"))
        if path.is_file() and ".dpam" not in str(path.relative_to(site.work))
    }


def dpams(site: Site) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if str(site.dpam) in process.cmdline():
                found.append(process)
        except psutil.Error:
            continue
    return found


def until(true: Callable[[], object], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.02)
