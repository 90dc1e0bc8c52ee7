"""Stage-in and stage-out: what is read, what is written and in which order, what counts as done."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from dpam_hpc import journal
from dpam_hpc.align import hits
from dpam_hpc.align.aligner import Alignment
from dpam_hpc.align.iterate import TemplateResult
from dpam_hpc.dpam_state import StateFiles
from dpam_hpc.journal import Journal
from dpam_hpc.node import shared_fs
from dpam_hpc.node.staging import Staging, TargetResult
from dpam_hpc.target import OutputNames, WorkFolder

from .fake_aligner import ROTATION, structure

NAMES = OutputNames("_iterativdDali_hits", "iterativeDali")
HITS, MARKER = "P1_iterativdDali_hits", "P1.iterativeDali.done"
FAILURES = "P1_iterativeDali.failures.tsv"
QUERY = structure(40)


class Work:
    """A working folder with target P1, and the journal of its runs."""

    def __init__(self, root: Path, sharded: bool) -> None:
        self.root = root
        self.sharded = sharded
        self.journal = root.parent / "journal.jsonl"
        self.inputs = root / "step06_candidates" if sharded else root
        self.output = root / "step07_dali" if sharded else root
        self.inputs.mkdir(parents=True)
        self.put_candidates("e1\ne2\n")
        (root / "P1.pdb").write_bytes(QUERY)

    def put_candidates(self, text: str) -> None:
        """Write the list of P1's candidates."""
        (self.inputs / "P1_hits4Dali").write_text(text)

    @contextmanager
    def run(self, again: str = "", *, dpam_state: bool = False) -> Iterator[Staging]:
        """A run's staging, from its start to its end."""
        opened = Journal(self.journal)
        files = StateFiles(self.root, self.root.parent) if dpam_state else None
        staging = Staging(WorkFolder.at(self.root), NAMES, opened, again=again, dpam_state=files)
        try:
            staging.begin(["P1"])
            yield staging
            staging.finish()
        finally:
            staging.close()
            opened.close()

    def write(self, result: TargetResult | None = None, again: str = "") -> None:
        """Run to the end with this result."""
        with self.run(again) as staging:
            staging.stage_out(result or two_hits())

    def is_finished(self, again: str = "") -> bool:
        """Whether a new run finds P1 finished."""
        with self.run(again) as staging:
            return staging.stage_in("P1").finished is not None

    def outputs(self) -> set[str]:
        """Names in the output folder, without the inputs."""
        return set(os.listdir(self.output)) - {"P1.pdb", "P1_hits4Dali"}


@pytest.fixture(params=["flat", "sharded"])
def work(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Work:
    """A working folder on a file system for which one need not wait."""
    monkeypatch.setattr(shared_fs, "DELAYS", (0.0, 0.0, 0.0))
    return Work(tmp_path / "work", request.param == "sharded")


def hit(template: str) -> TemplateResult:
    """A template with one hit of 25 pairs."""
    pairs = tuple((number, number + 1) for number in range(1, 26))
    alignment = Alignment("9.9", ROTATION, "0.0\t0.0\t0.0", pairs, 60)
    return TemplateResult(template, [hits.record(template, 1, range(1, 41), alignment)])


def two_hits() -> TargetResult:
    """P1 with a hit on each template."""
    return TargetResult("P1", 40, 2, [hit("e2"), hit("e1")])


def some_failed() -> TargetResult:
    """P1 with a hit, a template that failed and one of which something was lost."""
    lost = TemplateResult("e3", lost=["round 1: a\tsegment\nof 9"])
    return TargetResult("P1", 40, 3, [hit("e1"), TemplateResult("e2", failure="crashed"), lost])


def failing(number: int, times: int | None = None, then: Callable[..., Any] = print) -> Any:
    """A function that fails with ``number``: always, or ``times`` times before it is ``then``."""
    calls: Iterator[int] = count() if times is None else iter(range(times))

    def fail(*arguments: Any, **named: Any) -> Any:
        if next(calls, None) is None:
            return then(*arguments, **named)
        raise OSError(number, os.strerror(number))

    return fail


# -- stage-in -------------------------------------------------------------------------------------


def test_a_target_is_read(work: Work) -> None:
    with work.run() as staging:
        staged = staging.stage_in("P1")
    assert (staged.id, staged.pdb, staged.residues) == ("P1", QUERY, 40)
    assert staged.candidates == ("e1", "e2")
    assert (staged.refused, staged.finished, staged.problem) == ((), None, "")


def test_a_query_of_dpams_step_1_comes_before_that_of_the_user(work: Work) -> None:
    """In the flat layout there is no folder of step 1, whatever lies about."""
    (work.root / "step01_prepare").mkdir()
    (work.root / "step01_prepare" / "P1.pdb").write_bytes(structure(50))
    with work.run() as staging:
        assert staging.stage_in("P1").residues == (50 if work.sharded else 40)
    (work.root / "step01_prepare" / "P1.pdb").unlink()
    with work.run() as staging:
        assert staging.stage_in("P1").residues == 40


def test_no_folder_is_made_that_would_change_the_layout(work: Work) -> None:
    (work.root / "P1.pdb").unlink()
    with work.run() as staging:
        assert staging.stage_in("P1").problem
        staging.stage_out(two_hits())
    folders = {path.name for path in work.root.iterdir() if path.is_dir()}
    assert folders == ({"step06_candidates", "step07_dali"} if work.sharded else set())


def test_candidates_are_unique_and_in_upstream_s_order(work: Work) -> None:
    work.put_candidates("e1abA1\n\n e1abA10 \r\n000000003\ne1abA1\n")
    with work.run() as staging:
        assert staging.stage_in("P1").candidates == ("000000003", "e1abA10", "e1abA1")


def test_names_that_can_be_no_template_are_refused(work: Work) -> None:
    bad = ["../x", "a b", ";", "/etc/passwd", "-x", ".x", "e1_2", "x\0y", "ä"]
    work.put_candidates("\n".join(["e1", *bad, *bad]))
    with work.run() as staging:
        staged = staging.stage_in("P1")
    assert staged.candidates == ("e1",)
    assert sorted(r.template for r in staged.refused) == sorted(repr(name) for name in bad)
    assert {r.failure for r in staged.refused} == {"no template id"}


def test_no_candidates_are_no_hits(work: Work) -> None:
    work.put_candidates("\n")
    (work.root / "P1.pdb").unlink()
    with work.run() as staging:
        staged = staging.stage_in("P1")
        assert (staged.candidates, staged.problem) == ((), "")
        staging.stage_out(TargetResult("P1"))
    assert work.outputs() == {HITS, MARKER}
    assert (work.output / HITS).read_bytes() == b""
    assert work.is_finished()


def remove_candidates(work: Work) -> None:
    """The list of candidates is missing."""
    (work.inputs / "P1_hits4Dali").unlink()


def binary_candidates(work: Work) -> None:
    """The list of candidates is no text."""
    (work.inputs / "P1_hits4Dali").write_bytes(b"\xff\xfe\0")


def remove_query(work: Work) -> None:
    """The query is missing."""
    (work.root / "P1.pdb").unlink()


def empty_query(work: Work) -> None:
    """The query is empty."""
    (work.root / "P1.pdb").write_bytes(b"")


def folder_for_query(work: Work) -> None:
    """A folder has the query's name."""
    (work.root / "P1.pdb").unlink()
    (work.root / "P1.pdb").mkdir()


def two_chains(work: Work) -> None:
    """The query has two chains."""
    (work.root / "P1.pdb").write_bytes(QUERY + structure(40, chain="B"))


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (remove_candidates, "missing: .*P1_hits4Dali"),
        (binary_candidates, "P1_hits4Dali cannot be read"),
        (remove_query, r"missing: .*P1\.pdb in .*work"),
        (empty_query, r"P1\.pdb: the file is empty"),
        (folder_for_query, r"P1\.pdb: .*directory"),
        (two_chains, r"P1\.pdb: .*2 chains"),
    ],
)
def test_a_bad_input_is_the_target_s_problem(
    work: Work, spoil: Callable[[Work], None], told: str
) -> None:
    spoil(work)
    with work.run() as staging:
        staged = staging.stage_in("P1")
    assert re.search(told, staged.problem), staged.problem
    assert staged.candidates == ()


# -- stage-out ------------------------------------------------------------------------------------


def test_hits_are_written_in_upstream_s_order_with_marker_and_record(work: Work) -> None:
    work.write()
    content = (hit("e1").records[0] + hit("e2").records[0]).encode()
    assert (work.output / HITS).read_bytes() == content
    assert (work.output / MARKER).read_text().strip() == "done"
    assert work.outputs() == {HITS, MARKER}
    (record,) = journal.read(work.journal)
    assert (record["target"], record["state"], record["hits"]) == ("P1", "done", 2)
    assert (record["residues"], record["candidates"], record["failures"]) == (40, 2, 0)


def test_many_targets_have_markers_of_their_own(work: Work) -> None:
    with work.run() as staging:
        for name in ("P1", "P2", "P3"):
            staging.stage_out(TargetResult(name))
    (work.output / MARKER).unlink()
    assert (work.output / "P2.iterativeDali.done").read_text().strip() == "done"
    assert len(work.outputs()) == 5


def test_a_marker_that_others_were_names_of_may_be_removed(work: Work) -> None:
    with work.run() as staging:
        staging.stage_out(TargetResult("P1"))
        (work.output / MARKER).unlink()
        staging.stage_out(TargetResult("P2"))
    assert (work.output / "P2.iterativeDali.done").read_text().strip() == "done"


def test_records_of_many_targets_are_written_by_one_operation(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    with work.run() as staging:
        staging.stage_out(two_hits())
        staging.stage_out(TargetResult("P2"))
        assert work.journal.read_bytes() == b""
        assert not staging.flush_is_due()
        monkeypatch.setattr(journal, "WRITE_WITHIN", 0.0)
        assert staging.flush_is_due()
        staging.flush()
        assert not staging.flush_is_due()
        assert [record["target"] for record in journal.read(work.journal)] == ["P1", "P2"]
        staging.flush()
    assert len(journal.read(work.journal)) == 2


def test_a_failure_is_recorded_at_once_and_what_waits_before_it(work: Work) -> None:
    """Nothing else tells of it."""
    with work.run() as staging:
        staging.stage_out(TargetResult("P2"))
        staging.stage_out(TargetResult("P1", problem="two chains"))
        states = [(r["target"], r["state"]) for r in journal.read(work.journal)]
    assert states == [("P2", "done"), ("P1", "failed")]


def test_a_record_that_a_crash_took_is_found_again(work: Work) -> None:
    opened = Journal(work.journal)
    staging = Staging(WorkFolder.at(work.root), NAMES, opened)
    staging.stage_out(two_hits())
    staging.close()
    assert work.is_finished()
    opened.close()


def test_a_file_system_without_links_has_markers_too(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", failing(errno.EPERM))
    work.write()
    assert (work.output / MARKER).read_text().strip() == "done"
    assert work.outputs() == {HITS, MARKER}


def test_each_step_comes_after_the_one_before(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []

    def watch(module: Any, name: str, tell: Callable[..., str]) -> None:
        do = getattr(module, name)

        def watched(*arguments: Any, **named: Any) -> Any:
            events.append(tell(*arguments))
            return do(*arguments, **named)

        monkeypatch.setattr(module, name, watched)

    watch(os, "open", lambda path, flags, *_: f"open {Path(path).name}")
    watch(os, "fsync", lambda file: "sync")
    watch(os, "close", lambda file: "close")
    watch(os, "rename", lambda source, target: f"rename {Path(target).name}")
    watch(os, "link", lambda source, target: f"open {Path(target).name}")
    watch(Journal, "add", lambda opened, record: "journal")
    with work.run() as staging:
        events.clear()
        staging.stage_out(two_hits())
    at = -1
    for step in ("sync", "close", f"rename {HITS}", f"open {MARKER}", "journal"):
        assert step in events[at + 1 :], f"{step} after {events[: at + 1]}"
        at = events.index(step, at + 1)


@pytest.mark.parametrize(
    ("function", "left"),
    [
        ("open", set()),
        ("write", set()),
        ("fsync", set()),
        ("close", set()),
        ("rename", set()),
        ("marker", {HITS}),
        ("journal", {HITS, MARKER}),
    ],
)
def test_a_failure_at_any_step_leaves_only_what_is_whole(
    work: Work, monkeypatch: pytest.MonkeyPatch, function: str, left: set[str]
) -> None:
    do_write, do_open, do_close = os.write, os.open, os.close

    def write_a_part(file: int, content: bytes) -> int:
        do_write(file, content[:10])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close_late(file: int) -> None:
        do_close(file)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def open_no_marker(path: str, *arguments: Any, **named: Any) -> int:
        if str(path).endswith(".done"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return do_open(path, *arguments, **named)

    fail = failing(errno.ENOSPC)
    with work.run() as staging, monkeypatch.context() as patched:
        if function == "marker":
            patched.setattr(os, "open", open_no_marker)
            patched.setattr(os, "link", fail)
        elif function == "journal":
            patched.setattr(Journal, "_write", fail)
        else:
            special = {"write": write_a_part, "close": close_late}
            patched.setattr(os, function, special.get(function, fail))
        with pytest.raises(OSError) as caught:
            staging.stage_out(two_hits())
            staging.flush()
        if function == "journal":
            assert journal.read(work.journal) == []
        patched.undo()
        assert caught.value.errno == errno.ENOSPC
    assert bool(journal.read(work.journal)) == (function == "journal"), "written at the end"
    assert work.outputs() == left
    assert work.is_finished() == (MARKER in left)
    work.write()
    assert work.outputs() == {HITS, MARKER}
    assert work.is_finished()


@pytest.mark.parametrize("function", ["open", "write", "fsync", "close", "rename", "link"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE])
def test_a_failure_that_passes_is_not_noticed(
    work: Work, monkeypatch: pytest.MonkeyPatch, function: str, number: int
) -> None:
    do = getattr(os, function)
    fail = failing(number, 2, do)
    if function == "close":  # it tells of a failed write, and the file is closed all the same
        complain = failing(number, 2, lambda: None)

        def fail(file: int) -> None:
            do(file)
            complain()

    with work.run() as staging, monkeypatch.context() as patched:
        patched.setattr(os, function, fail)
        staging.stage_out(two_hits())
    assert work.outputs() == {HITS, MARKER}
    assert hits.count((work.output / HITS).read_bytes()) == 2


def test_a_read_that_fails_for_a_moment_is_tried_again(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    with work.run() as staging, monkeypatch.context() as patched:
        patched.setattr(os, "read", failing(errno.ESTALE, 2, os.read))
        assert staging.stage_in("P1").candidates == ("e1", "e2")


def test_a_disk_that_takes_a_few_bytes_at_a_time_gets_all(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    with work.run() as staging, monkeypatch.context() as patched:
        patched.setattr(Journal, "add", lambda opened, record: None)
        patched.setattr(os, "write", lambda file, content: write(file, content[:7]))
        staging.stage_out(two_hits())
    assert hits.count((work.output / HITS).read_bytes()) == 2
    assert (work.output / MARKER).read_text().strip() == "done"


def test_the_half_of_a_file_that_a_killed_run_left_is_removed(work: Work) -> None:
    work.output.mkdir(exist_ok=True)
    mine = work.output / f".{HITS}.0a1b2c.part"
    of_another_task = work.output / ".P2_iterativdDali_hits.0a1b2c.part"
    of_the_user = work.output / f".{HITS}.part"
    for path in (mine, of_another_task, of_the_user):
        path.write_text(">e1")
    work.write()
    assert not mine.exists()
    assert of_another_task.exists() and of_the_user.exists()


# -- what counts as done --------------------------------------------------------------------------


def test_a_finished_target_is_verified_and_skipped(work: Work) -> None:
    assert not work.is_finished()
    work.write()
    remove_candidates(work)
    remove_query(work)
    with work.run() as staging:
        finished = staging.stage_in("P1").finished
    assert finished is not None
    assert (finished["state"], finished["hits"]) == ("done", 2)


def test_a_target_whose_outputs_changed_is_done_again(work: Work) -> None:
    work.write()
    path = work.output / HITS
    content = path.read_bytes()
    path.write_bytes(content.replace(b"9.9", b"9.8"))
    assert not work.is_finished()
    path.unlink()
    assert not work.is_finished()
    path.write_bytes(content)
    assert work.is_finished()
    (work.output / MARKER).unlink()
    assert not work.is_finished()


def test_hits_of_others_count_if_they_are_whole(work: Work) -> None:
    content = "".join(result.records[0] for result in (hit("e1"), hit("e2"))).encode()
    work.output.mkdir(exist_ok=True)
    (work.output / HITS).write_bytes(content)
    assert not work.is_finished(), "there is no marker"
    (work.output / MARKER).write_text("done")
    with work.run() as staging:
        finished = staging.stage_in("P1").finished
    assert finished is not None
    assert (finished["state"], finished["hits"]) == ("done", 2)


def test_hits_of_others_that_are_cut_do_not_count(work: Work) -> None:
    content = "".join(result.records[0] for result in (hit("e1"), hit("e2"))).encode()
    work.output.mkdir(exist_ok=True)
    (work.output / MARKER).write_text("done")
    with work.run() as staging:
        assert staging.stage_in("P1").finished is None, "there are no hits"
        for end in range(content.index(b">e2") + 1, len(content)):
            (work.output / HITS).write_bytes(content[:end])
            assert staging.stage_in("P1").finished is None, f"cut after byte {end}"


def test_a_redo_does_everything_again_even_if_it_is_interrupted(work: Work) -> None:
    work.write()
    with work.run("all") as staging:
        assert staging.stage_in("P1").finished is None
        staging.begin_again(["P1"])
    assert not work.is_finished()
    assert not work.is_finished("failed")
    work.write()
    assert work.is_finished()
    assert not work.is_finished("all")


def test_a_target_that_failed_is_not_done_and_not_tried_again_unasked(work: Work) -> None:
    work.write()
    work.write(TargetResult("P1", 40, 2, problem="P1.pdb: two chains"), "all")
    assert MARKER not in work.outputs()
    assert (work.output / FAILURES).read_text() == (
        "template\tkind\treason\n-\tfailed\tP1.pdb: two chains\n"
    )
    with work.run() as staging:
        finished = staging.stage_in("P1").finished
    assert finished is not None
    assert (finished["state"], finished["reason"]) == ("failed", "P1.pdb: two chains")
    assert not work.is_finished("failed")


def test_failures_and_losses_are_told_a_line_each(work: Work) -> None:
    work.write(some_failed())
    assert (work.output / FAILURES).read_text().splitlines() == [
        "template\tkind\treason",
        "e2\tfailed\tcrashed",
        "e3\tlost\tround 1: a segment of 9",
    ]
    (record,) = journal.read(work.journal)
    assert (record["state"], record["failures"], record["lost"]) == ("done", 1, 1)
    assert work.is_finished()
    assert not work.is_finished("failed")


@pytest.mark.parametrize("journal_lost", [False, True])
def test_when_nothing_fails_any_more_the_failures_file_is_gone(
    work: Work, journal_lost: bool
) -> None:
    work.write(TargetResult("P1", 40, 2, problem="no P1.pdb"))
    if journal_lost:
        work.journal.unlink()
    with work.run("" if journal_lost else "failed") as staging:
        assert staging.stage_in("P1").finished is None
        staging.stage_out(two_hits())
    assert work.outputs() == {HITS, MARKER}


def test_failures_are_tried_again_even_if_the_journal_is_lost(work: Work) -> None:
    work.write(some_failed())
    work.journal.unlink()
    assert work.is_finished()
    assert not work.is_finished("failed")


# -- dpam's own state -----------------------------------------------------------------------------


def state(work: Work) -> Any:
    """What dpam knows of P1."""
    return json.loads((work.root / ".P1.dpam_state.json").read_text())


def put_state(work: Work) -> None:
    """Dpam holds steps 1, 7 and 8 of P1 for complete."""
    steps = ["PREPARE", "ITERATIVE_DALI", "ANALYZE_DALI"]
    path = work.root / ".P1.dpam_state.json"
    path.write_text(json.dumps({"prefix": "P1", "completed_steps": steps, "failed_steps": {}}))
    path.with_name("_batch_state.json").write_text(
        json.dumps({step: {"P1": "complete", "P2": "complete"} for step in steps})
    )


def test_dpam_is_told_of_finished_targets_on_demand_alone(work: Work) -> None:
    work.write()
    assert not (work.root / ".P1.dpam_state.json").exists()
    (work.root / "_batch_state.json").write_text('{"PREPARE": {"P1": "complete"}}')
    with work.run(dpam_state=True) as staging:
        assert staging.stage_in("P1").finished
    assert state(work)["completed_steps"] == ["ITERATIVE_DALI"]
    batch = json.loads((work.root / "_batch_state.json").read_text())
    assert batch["ITERATIVE_DALI"] == {"P1": "complete"}


def test_dpam_is_not_told_of_a_target_that_failed(work: Work) -> None:
    with work.run(dpam_state=True) as staging:
        staging.stage_out(TargetResult("P1", problem="two chains"))
    assert not (work.root / ".P1.dpam_state.json").exists()


def test_what_dpam_made_of_hits_that_still_hold_is_kept(work: Work) -> None:
    work.write()
    put_state(work)
    with work.run(dpam_state=True) as staging:
        assert staging.stage_in("P1").finished
    assert "ANALYZE_DALI" in state(work)["completed_steps"]


@pytest.mark.parametrize("again", ["all", "failed", ""])
def test_what_dpam_made_of_earlier_hits_is_dropped(work: Work, again: str) -> None:
    """They were asked for again, or were found damaged."""
    work.write(some_failed())
    put_state(work)
    if not again:
        (work.output / HITS).write_bytes(b"")
    with work.run(again, dpam_state=True) as staging:
        assert staging.stage_in("P1").finished is None
        staging.stage_out(two_hits())
    assert state(work)["completed_steps"] == ["PREPARE", "ITERATIVE_DALI"]
    batch = json.loads((work.root / "_batch_state.json").read_text())
    assert batch["ANALYZE_DALI"] == {"P2": "complete"}


def test_before_failures_are_tried_again_later_steps_are_dropped(work: Work) -> None:
    """A kill between the new hits and the end of the run would leave those of the old ones."""
    work.write(some_failed())
    put_state(work)
    with work.run("failed", dpam_state=True):
        batch = json.loads((work.root / "_batch_state.json").read_text())
        assert batch["ANALYZE_DALI"] == batch["ITERATIVE_DALI"] == {"P2": "complete"}
