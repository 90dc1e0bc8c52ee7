"""The write-back is killed at every gap between two of its calls, and each call fails once."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from dpam_hpc import journal
from dpam_hpc.dpam_state import StateFiles
from dpam_hpc.errors import StorageError
from dpam_hpc.journal import Journal
from dpam_hpc.node import shared_fs
from dpam_hpc.node.staging import Staging, TargetResult
from dpam_hpc.target import OutputNames, WorkFolder
from tests.faults.hooked import ON_FILES, Hook, Spec
from tests.node.fake_aligner import structure
from tests.node.test_staging import hit, some_failed, two_hits

NAMES = OutputNames("_iterativdDali_hits", "iterativeDali")
OUTPUTS = {
    "hits": "P1_iterativdDali_hits",
    "marker": "P1.iterativeDali.done",
    "failures": "P1_iterativeDali.failures.tsv",
}
BATCH = "_batch_state.json"
ERRORS = ("EIO", "ESTALE", "ENOSPC", "EDQUOT", "EACCES", "EROFS", "ETIMEDOUT")
WHOLE, GAVE_UP, WRONG = 0, 3, 4
ALL = bool(os.environ.get("DPAM_HPC_FAULTS"))
"""Every error of every call: ``make faults`` sets it."""


def another_hit() -> TargetResult:
    """What an earlier run found, of another list of candidates."""
    return TargetResult("P1", 40, 1, [hit("e9")])


def nothing_usable() -> TargetResult:
    """A target that failed as a whole."""
    return TargetResult("P1", 40, 0, problem="P1.pdb: there is no atom in it")


def lay_out(root: Path) -> None:
    """A working folder with one target."""
    (root / ".dpam-hpc").mkdir(parents=True)
    (root / "P1.pdb").write_bytes(structure(40))
    (root / "P1_hits4Dali").write_text("e1\ne2\n")


def put_later_steps(root: Path) -> None:
    """Dpam has gone on with the hits that are there."""
    steps = ("PREPARE", "ITERATIVE_DALI", "ANALYZE_DALI")
    state = {step: {"P1": "complete", "P2": "complete"} for step in steps}
    (root / BATCH).write_text(json.dumps(state))


def write(root: Path, result: TargetResult, again: str = "") -> None:
    """A start of the launcher as far as the shared folder is concerned."""
    opened = Journal(root / ".dpam-hpc" / "journal.jsonl")
    states = StateFiles(root, root / ".dpam-hpc")
    staging = Staging(WorkFolder.at(root), NAMES, opened, again=again, dpam_state=states)
    staging.begin(["P1"])
    if again == "all":
        staging.begin_again(["P1"])
    if staging.stage_in("P1").finished is None:
        staging.stage_out(result)
    staging.flush()
    staging.finish()
    staging.close()
    opened.close()


def in_child(do: Callable[[], None]) -> int:
    """Do it in a process of its own; how that ended."""
    child = os.fork()
    if not child:
        try:
            do()
            os._exit(WHOLE)
        except (OSError, StorageError):
            os._exit(GAVE_UP)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(WRONG)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def outputs(root: Path) -> dict[str, bytes]:
    """What of the target's outputs is there."""
    return {
        kind: (root / name).read_bytes() for kind, name in OUTPUTS.items() if (root / name).exists()
    }


def expect_honest(root: Path, allowed: list[dict[str, bytes]]) -> None:
    """Nothing that a reader takes for a result is half of one."""
    found = outputs(root)
    hits = {state["hits"] for state in allowed if "hits" in state}
    assert found.get("hits", b"") in {b"", *hits}
    if "marker" in found:
        assert found.get("hits") in hits, "a marker without hits"
    records = root / ".dpam-hpc" / "journal.jsonl"
    if records.exists() and records.stat().st_size:
        for record in journal.read(records):
            assert record["state"] in (journal.DONE, journal.FAILED, journal.REDO)


def expect_nothing_else(root: Path) -> None:
    """No file that nobody will read again."""
    known = {".dpam-hpc", "P1.pdb", "P1_hits4Dali", ".P1.dpam_state.json", BATCH, *OUTPUTS.values()}
    assert set(os.listdir(root)) <= known
    assert set(os.listdir(root / ".dpam-hpc")) <= {"journal.jsonl"}


CASES = {
    "first": (None, two_hits, ""),
    "some-failed": (None, some_failed, ""),
    "failed": (None, nothing_usable, ""),
    "again": (another_hit, two_hits, "all"),
    "failures-mended": (some_failed, two_hits, "failed"),
    "now-failed": (two_hits, nothing_usable, "all"),
}


class Case:
    """A write-back from one state of the folder to another."""

    def __init__(self, name: str, folder: Path) -> None:
        before, self.after, self.again = CASES[name]
        self.start = folder / "start"
        lay_out(self.start)
        if before:
            write(self.start, before())
            put_later_steps(self.start)
        self.folder = folder
        whole = self.copy()
        write(whole, self.after(), self.again)
        self.expected = outputs(whole)
        self.allowed = [outputs(self.start), self.expected]

    def copy(self) -> Path:
        """The folder as it was before."""
        root = self.folder / "w"
        shutil.rmtree(root, ignore_errors=True)
        return Path(shutil.copytree(self.start, root))

    def run_with(self, spec: Spec) -> int:
        """The write-back with faults; how it ended."""

        def do() -> None:
            Hook(spec).install()
            write(Path(spec.folder), self.after(), self.again)

        return in_child(do)

    def calls(self) -> int:
        """How many calls the write-back makes."""
        root, counted = self.copy(), self.folder / "counted"

        def do() -> None:
            hook = Hook(Spec(str(root)))
            hook.install()
            write(root, self.after(), self.again)
            counted.write_text(str(hook.counted.total()))

        assert in_child(do) == WHOLE
        return int(counted.read_text())

    def expect_end(self, root: Path) -> None:
        """After one more start everything is as if nothing had happened."""
        expect_honest(root, self.allowed)
        # What was begun anew and not finished is told by the journal, not asked for again.
        again = "" if self.again == "all" and _is_begun(root) else self.again
        write(root, self.after(), again)
        found = outputs(root)
        marker = found.pop("marker", None)
        assert (marker is None) == ("marker" not in self.expected)
        assert found == {k: v for k, v in self.expected.items() if k != "marker"}
        expect_nothing_else(root)
        if (root / BATCH).exists():
            batch = json.loads((root / BATCH).read_text())
            assert batch["ANALYZE_DALI"] == {"P2": "complete"}, "it read the old hits"
        records = journal.read(root / ".dpam-hpc" / "journal.jsonl")
        assert (root / ".dpam-hpc" / "journal.jsonl").read_bytes().endswith(b"\n")
        assert all(record["target"] == "P1" for record in records)


def _is_begun(root: Path) -> bool:
    path = root / ".dpam-hpc" / "journal.jsonl"
    return any(record["state"] == journal.REDO for record in journal.read(path))


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    monkeypatch.setattr(shared_fs, "DELAYS", (0.0, 0.0))
    return Case(request.param, tmp_path)


def test_killed_at_every_gap_between_two_calls(case: Case) -> None:
    calls = case.calls()
    assert calls > 20, "the calls were not seen"
    for number in range(1, calls + 1):
        root = case.copy()
        assert case.run_with(Spec(str(root), kill_at=number)) == -signal.SIGKILL, f"call {number}"
        case.expect_end(root)


def test_each_call_fails_once(case: Case) -> None:
    for number in range(1, case.calls() + 1):
        for error in ERRORS if ALL else [ERRORS[number % len(ERRORS)]]:
            root = case.copy()
            ended = case.run_with(Spec(str(root), error=error, first=number))
            assert ended in (WHOLE, GAVE_UP), f"{error} of call {number}"
            case.expect_end(root)


TRACED = {
    "openat": "open", "write": "write", "fsync": "fsync", "ftruncate": "ftruncate",
    "rename": "rename", "renameat": "rename", "renameat2": "rename", "link": "link",
    "linkat": "link", "unlink": "unlink", "unlinkat": "unlink", "mkdir": "mkdir",
    "mkdirat": "mkdir",
}  # fmt: skip
"""System calls that change a folder, or may, and what they are called in Python."""
SAME = {"replace": "rename", "remove": "unlink", "scandir": "open"}


def test_the_hook_sees_every_call_that_changes_the_folder(tmp_path: Path) -> None:
    """What the kernel was asked to do there, by strace, and what the hook counted, are the same."""
    strace = shutil.which("strace")
    if not strace:
        pytest.skip("apt install strace")
    root, counted, trace = tmp_path / "w", tmp_path / "counted", tmp_path / "trace"
    lay_out(root)
    code = (
        "from tests.faults.test_write_back import *\n"
        f"hook = Hook(Spec({str(root)!r}))\n"
        "hook.install()\n"
        f"write(Path({str(root)!r}), some_failed())\n"
        f"Path({str(counted)!r}).write_text(json.dumps(hook.counted))\n"
    )
    argv = [strace, "-f", "-y", "-o", str(trace), "-e", f"trace={','.join(TRACED)}"]
    done = subprocess.run(
        [*argv, sys.executable, "-c", code], cwd=Path(__file__).parents[2], timeout=60,
        capture_output=True, text=True,
    )  # fmt: skip
    if "ptrace" in done.stderr.lower() and done.returncode:
        pytest.skip("strace may not trace here: allow ptrace (CAP_SYS_PTRACE)")
    assert done.returncode == 0, done.stderr
    asked: Counter[str] = Counter()
    for line in trace.read_text().splitlines():
        call = line.split(maxsplit=1)[1]
        name, _, rest = call.partition("(")
        if name in TRACED and str(root) in rest:
            asked[TRACED[name]] += 1
    hooked: Counter[str] = Counter()
    for name, times in json.loads(counted.read_text()).items():
        on_open_file = name.removesuffix(", open")
        hooked[SAME.get(name, on_open_file if on_open_file in ON_FILES else name)] += times
    assert asked["rename"] >= 3 and asked["fsync"] >= 2
    # The hook sees what is written through Python's own files as opened alone.
    del asked["write"], hooked["write"]
    assert asked == {kind: hooked[kind] for kind in asked}
