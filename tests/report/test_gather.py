"""What a report reads of a run: nothing that was noted is lost, nothing that was not is made up."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from dpam_hpc import journal
from dpam_hpc.errors import ConfigError
from dpam_hpc.journal import END, LAUNCHER, START, Journal, Record
from dpam_hpc.report import choosing, failures, gather, page, texts
from dpam_hpc.report.facts import DIED, DONE, FAILED, FINISHED, INTERRUPTED, LEFT, RUNNING, Facts
from dpam_hpc.report.reckoning import reckon
from dpam_hpc.run_dir import RunDir
from tests import replay
from tests.report.simulated import BEGIN, CPUS, TASKS, Simulation

TARGETS = 400


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A working folder with a run of 400 targets."""
    work = tmp_path / "work"
    work.mkdir()
    return work


def seen(work: Path, run: str = "", now: float | None = None) -> Facts:
    return gather.gather(work, choosing.chosen(work, run), now)


def all_records(run: RunDir) -> list[Record]:
    return [record for task in run.started() for record in run.records(task)]


def plain(work: Path, *records: Record) -> Facts:
    """What is seen of a journal of ``dpam-hpc run`` that holds these records."""
    own = work / ".dpam-hpc"
    own.mkdir(exist_ok=True)
    (own / "journal.jsonl").unlink(missing_ok=True)
    opened = Journal(own / "journal.jsonl")
    opened.append_all(records)
    opened.close()
    return seen(work, "run")


def done(target: str, at: float = 0.0, **more: Any) -> Record:
    return {"target": target, "state": DONE, "step": "iterativeDali", "at": at, "residues": 100,
            "candidates": 9, "hits": 0, "failures": 0, "cpu": {"WOLF": 10.0}, **more}  # fmt: skip


def start(at: float, **more: Any) -> Record:
    return {"target": LAUNCHER, "state": START, "at": at, "ready": at + 10, "cpus": 2, "node": "n1",
            "aligner": "dali", **more}  # fmt: skip


def end(at: float, how: str = FINISHED, **more: Any) -> Record:
    return {"target": LAUNCHER, "state": END, "at": at, "how": how, **more}


def test_every_record_of_a_submitted_run_counts(work: Path) -> None:
    run = Simulation(work, TARGETS, seed=3).write()
    records = [record for record in all_records(run) if record["target"] != LAUNCHER]
    facts = seen(work)
    assert facts.run == run.id and len(facts.targets) == TARGETS
    states = Counter(record["state"] for record in records)
    assert (facts.count(DONE), facts.count(FAILED)) == (states[DONE], states[FAILED])
    assert facts.count(LEFT) == 0
    assert sum(t.hits for t in facts.targets) == sum(record["hits"] for record in records)
    assert sum(facts.scores.values()) == sum(record["hits"] for record in records)
    assert sum(s.done + s.failed for s in facts.starts) == TARGETS


def test_starts_tell_how_they_ended(work: Path) -> None:
    run = Simulation(work, 4000, seed=5).write(tasks=6)
    records = all_records(run)
    facts = seen(work)
    begun = [record for record in records if record["state"] == START]
    ended = Counter(record["how"] for record in records if record["state"] == END)
    assert len(facts.starts) == len(begun) and facts.starts[0].began == BEGIN + 320
    how = Counter(start.how for start in facts.starts)
    assert (how[FINISHED], how[INTERRUPTED]) == (6, ended[INTERRUPTED])
    assert how[DIED] == len(begun) - len(records_of(records, END))
    for task in facts.tasks:
        for one, after in zip(task.starts, task.starts[1:], strict=False):
            assert one.began < one.ended <= after.began
        assert len(task.waits) == len(task.starts) and all(b < e for b, e in task.waits)


def records_of(records: list[Record], state: str) -> list[Record]:
    return [record for record in records if record["state"] == state]


def test_the_parts_of_what_was_reserved_are_the_whole(work: Path) -> None:
    Simulation(work, 4000, seed=5).write(tasks=6)
    facts = seen(work)
    sums = reckon(facts)
    parts = sums.useful + sums.lost + sums.starting + sums.rest
    assert sums.reserved == pytest.approx(parts)
    assert sums.reserved == pytest.approx(sum(CPUS * s.wall for s in facts.starts))
    assert sums.efficiency is not None and 0.5 < sums.efficiency < 1
    assert sums.measured == pytest.approx(sum(t.cpu for t in facts.targets))
    assert 0.8 < sums.measured / sums.predicted < 1.2
    assert sums.asked_by and sum(sums.asked.values()) / sums.asked_by == pytest.approx(11, abs=0.3)


def test_a_run_that_goes_on(work: Path) -> None:
    until = BEGIN + 700
    run = Simulation(work, TARGETS, seed=3).write(until=until)
    facts = seen(work, now=until)
    assert facts.count(LEFT) > 0 and facts.count(DONE) > 0
    assert ("go on with what is left", f"dpam-hpc resume {work}") in facts.commands
    assert len(facts.tasks) == TASKS and not facts.tasks[-1].starts
    assert facts.cancelled is False
    run.cancel()
    assert seen(work, now=until).cancelled


def test_one_whose_lock_is_held_is_running(work: Path) -> None:
    from dpam_hpc.node.run_lock import RunLock

    facts = plain(work, start(BEGIN), done("P1", BEGIN + 50))
    assert [s.how for s in facts.starts] == [DIED]
    lock = RunLock(work / ".dpam-hpc")
    (running,) = seen(work, "run", now=BEGIN + 99).starts
    assert (running.how, running.ended) == (RUNNING, BEGIN + 99)
    lock.release()
    assert [s.how for s in seen(work, "run").starts] == [DIED]


def test_one_that_died_lasted_to_its_last_sign_of_life(work: Path) -> None:
    first = [start(BEGIN), done("P1", BEGIN + 50, cpu={"WOLF": 60.0})]
    then = [start(BEGIN + 400), done("P2", BEGIN + 420), end(BEGIN + 430, used={"WOLF": 9.0})]
    facts = plain(work, *first, *then)
    died, finished = facts.starts
    assert (died.how, died.ended, died.reserved) == (DIED, BEGIN + 50, 100.0)
    assert died.at_most_lost == pytest.approx(100 - 20 - 60)
    assert (finished.how, finished.ended, finished.cpu) == (FINISHED, BEGIN + 430, 9.0)
    assert reckon(facts).lost_is_bound


def test_a_journal_of_an_older_version_has_no_times(work: Path) -> None:
    old = {"target": "P1", "state": DONE, "step": "iterativeDali", "hits": 3, "residues": 50,
           "candidates": 4, "failures": 0, "lost": 0, "seconds": 2.0, "cpu": {"DP": 5.0},
           "sha256": "0"}  # fmt: skip
    facts = plain(work, old)
    (target,) = facts.targets
    assert (target.state, target.hits, target.cpu, target.best) == (DONE, 3, 5.0, None)
    assert target.covered_part is None, "what was not noted is not known"
    (one,) = facts.starts
    assert (one.began, one.reserved, one.done) == (0.0, 0.0, 1)
    assert facts.steps == {"DP": 5.0}
    assert reckon(facts).efficiency is None


def test_of_a_run_of_an_older_version_progress_tells_the_last_start(work: Path) -> None:
    run = Simulation(work, 20, seed=3).write(until=BEGIN)
    folder = run.task_folder(0)
    folder.mkdir(parents=True)
    opened = Journal(folder / "journal-0.jsonl")
    opened.append({"target": "P1", "state": DONE, "step": "iterativeDali", "hits": 1})
    opened.close()
    said = {"began": BEGIN, "at": BEGIN + 99, "node": "n7", "state": "finished", "reason": ""}
    run.write_progress(0, said)
    (one,) = seen(work).starts
    assert (one.began, one.ended, one.node, one.how) == (BEGIN, BEGIN + 99, "n7", FINISHED)


def test_one_that_failed_before_it_had_a_journal_is_seen(work: Path) -> None:
    run = Simulation(work, 20, seed=3).write(until=BEGIN)
    run.task_folder(1).mkdir(parents=True)
    said = {"began": BEGIN, "at": BEGIN + 5, "node": "n7", "state": "failed", "reason": "no DALI"}
    run.write_progress(1, said)
    facts = seen(work)
    (one,) = facts.starts
    assert (one.task, one.how, one.reason, one.wall) == (1, "failed", "no DALI", 5.0)
    assert ("what the jobs said", f"dpam-hpc logs -C {work}") in facts.commands


def test_a_target_counts_by_its_last_record(work: Path) -> None:
    failed = {"target": "P1", "state": FAILED, "reason": "two chains", "failures": 0}
    facts = plain(work, failed, done("P1"), done("P2"), {"target": "P2", "state": "redo"})
    assert {t.id: t.state for t in facts.targets} == {"P1": DONE, "P2": LEFT}
    assert facts.targets[0].reason == "" and not facts.failures


def test_targets_without_a_record_are_left_unless_some_were_named(work: Path) -> None:
    for name in ("P1", "P2"):
        (work / f"{name}_hits4Dali").write_text("")
    everything = start(BEGIN, settings={"target": "all", "targets": None})
    assert {t.id for t in plain(work, everything, done("P1")).targets} == {"P1", "P2"}
    named = start(BEGIN, settings={"target": "1 named", "targets": None})
    assert {t.id for t in plain(work, named, done("P1")).targets} == {"P1"}


def test_those_that_were_found_done_are_told_by_their_markers(work: Path) -> None:
    run = Simulation(work, 20, seed=3).write(until=BEGIN)
    folder = run.task_folder(0)
    folder.mkdir(parents=True)
    opened = Journal(folder / "journal-0.jsonl")
    opened.append_all([start(BEGIN), end(BEGIN + 60, found=1)])
    opened.close()
    target, _ = run.targets(run.plan().tasks[0])[0]
    assert seen(work).count(DONE) == 0
    (work / f"{target}.iterativeDali.done").touch()
    (work / f"{target}_iterativdDali_hits").write_text("hits")
    assert [t.id for t in seen(work).targets if t.state == DONE] == [target]


def test_which_run_is_meant(work: Path) -> None:
    with pytest.raises(ConfigError, match="nothing was run"):
        choosing.chosen(work)
    run = Simulation(work, 20).write()
    assert seen(work).run == run.id
    with pytest.raises(ConfigError) as unknown:
        choosing.chosen(work, "2020")
    assert run.id in unknown.value.hint
    with pytest.raises(ConfigError):
        choosing.chosen(work, "run")
    plain(work, done("P1"))
    later = (run.path / "plan.json").stat().st_mtime + 10
    os.utime(work / ".dpam-hpc" / "journal.jsonl", (later, later))
    assert seen(work).run == ""
    assert seen(work, run.id).run == run.id


def test_failures_are_counted_by_reason(work: Path) -> None:
    two = "{}.pdb: the query has 2 chains (A, B), not one"
    failed = [{"target": p, "state": FAILED, "reason": two.format(p)} for p in ("P1", "P2")]
    rows = "e1abA1\tfailed\tmissing: there is no /d/ECOD70/e1abA1.pdb\ne2\tlost\tround 1: x\n"
    (work / "P3_iterativeDali.failures.tsv").write_text(f"template\tkind\treason\n{rows}")
    facts = plain(work, *failed, done("P3", failures=1))
    chains, missing = facts.failures
    assert (chains.whole, chains.count, chains.examples) == (True, 2, ["P1", "P2"])
    assert chains.reason == "ID.pdb: the query has N chains (A, B), not one"
    assert chains.advice.startswith("cut out one chain")
    assert (missing.whole, missing.count) == (False, 1)
    assert missing.reason == "missing: there is no .../ID.pdb"
    assert ("try failures again", f"dpam-hpc run {work} --retry-failed") in facts.commands


def test_failures_files_beyond_some_hundreds_are_only_counted(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "FILES_READ", 2)
    facts = plain(work, *(done(f"P{n}", failures=1) for n in range(5)))
    assert facts.failures_unread == 3


def test_commands_are_those_that_were_given_and_safe_to_paste(work: Path) -> None:
    odd = work / "it's; rm"
    odd.mkdir()
    given = start(
        BEGIN,
        settings={"data_dir": "/d a", "cpus": 4, "redo": True, "fix_long_chains": True},
        sources={"data_dir": "flag --data-dir", "redo": "flag --redo", "cpus": "default",
                 "fix_long_chains": "flag --fix-long-chains"},
    )  # fmt: skip
    facts = plain(odd, given, {"target": "P1", "state": FAILED, "reason": "x"})
    quoted = str(odd).replace("'", "'\"'\"'")
    expected = f"dpam-hpc run '{quoted}' --data-dir '/d a' --fix-long-chains --retry-failed"
    assert facts.commands == [("try failures again", expected)]


@pytest.mark.parametrize("bad", [None, "x", [1], {}, 1e300, float("nan"), -1, "\x1b[31m\ud800"])
def test_values_of_another_kind_do_no_harm(work: Path, bad: Any) -> None:
    names = ("at", "residues", "hits", "cpu", "scores", "cover", "best", "covered", "failures")
    ours = ("at", "ready", "cpus", "node", "settings", "programs", "bundle", "scratch", "used",
            "asked", "how", "reason")  # fmt: skip
    facts = plain(
        work,
        {**start(BEGIN), **dict.fromkeys(ours, bad)},
        {**done("P1"), **dict.fromkeys(names, bad)},
        {**end(BEGIN), **dict.fromkeys(ours, bad)},
        {"target": "\x1b<b>", "state": FAILED, "reason": bad},
    )
    reckon(facts)
    told = texts.as_json(facts)
    assert json.loads(told)["counts"]["failed"] == 1
    assert "\x1b" not in "".join(texts.tsv(facts)) and "\x1b" not in texts.markdown(facts)


def test_a_target_that_is_done_again_has_its_last_hits_alone(work: Path) -> None:
    again = {"target": "P1", "state": journal.REDO, "step": "iterativeDali"}
    one = done("P1", BEGIN + 5, hits=3, scores={"2": 2, "4": 1}, best=4.0)
    facts = plain(work, start(BEGIN), one, again, done("P1", BEGIN + 9, hits=1, scores={"2": 1}))
    assert facts.scores == {"2": 1} and facts.targets[0].hits == 1
    assert plain(work, start(BEGIN), one, again).scores == {}


def test_targets_that_were_named_and_not_begun_are_left(work: Path) -> None:
    named = start(
        BEGIN, settings={"target": ["P1", "P2", "../x"]}, sources={"target": "flag --target"}
    )
    facts = plain(work, named, done("P1"), end(BEGIN + 20, INTERRUPTED))
    assert [(t.id, t.state) for t in facts.targets] == [("P1", DONE), ("P2", LEFT)]
    expected = f"dpam-hpc run {work} --target P1 --target P2 --target ../x"
    assert facts.commands == [("go on with what is left", expected)]

    (work / "list").write_text("P1\n# no\nP3\n")
    listed = start(BEGIN, settings={"target": "all", "targets": str(work / "list")})
    facts = plain(work, listed, done("P1"), end(BEGIN + 20, INTERRUPTED))
    assert [(t.id, t.state) for t in facts.targets] == [("P1", DONE), ("P3", LEFT)]


def test_no_command_is_told_that_would_do_more_than_was_asked(work: Path) -> None:
    many = start(BEGIN, settings={"target": "70 named"}, sources={"target": "flag --target"})
    facts = plain(work, many, {"target": "P1", "state": FAILED, "reason": "x"})
    assert facts.commands == []
    ended = plain(work, many, done("P1"), end(BEGIN + 20, INTERRUPTED))
    assert "the last start did not work to its end" in page.of_run(ended)
    assert "nothing failed" in page.of_run(plain(work, many, done("P1"), end(BEGIN + 20)))


def test_between_two_calls_of_run_there_is_no_queue(work: Path) -> None:
    facts = plain(work, start(BEGIN), end(BEGIN + 20), start(BEGIN + 9000), end(BEGIN + 9020))
    assert reckon(facts).waits == []


def test_a_marker_alone_makes_no_target_done(work: Path) -> None:
    for name in ("P1", "P2", "P3"):
        (work / f"{name}.pdb").touch()
        (work / f"{name}_hits4Dali").touch()
        (work / f"{name}.iterativeDali.done").touch()
    (work / "P1_iterativdDali_hits").write_text("hits")
    (work / "P2_iterativdDali_hits").touch()
    (work / "P3_iterativdDali_hits").write_text("hits of an earlier run")
    records = (
        start(BEGIN, settings={"target": "all"}),
        {"target": "P3", "state": journal.REDO, "step": "iterativeDali"},
    )
    for ended in ([], [end(BEGIN + 20, INTERRUPTED, found=1)]):
        states = {t.id: t.state for t in plain(work, *records, *ended).targets}
        assert states == {"P1": DONE, "P2": LEFT, "P3": LEFT}
    again = start(BEGIN, settings={"target": "all", "retry_failed": True})
    assert plain(work, again, end(BEGIN + 20, INTERRUPTED, found=1)).count(DONE) == 0


def test_hits_of_a_target_without_a_record_are_counted_in_their_file(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hits = (replay.DATA / "O05011_iterativdDali_hits").read_text()
    for name in ("P1", "P2"):
        (work / f"{name}_hits4Dali").touch()
        (work / f"{name}.iterativeDali.done").touch()
        (work / f"{name}_iterativdDali_hits").write_text(hits)
    killed = start(BEGIN, settings={"target": "all"})
    facts = plain(work, killed)
    heads = [line.split("\t") for line in hits.splitlines() if line.startswith(">")]
    assert [t.hits for t in facts.targets] == [len(heads)] * 2
    assert facts.targets[0].best == max(float(head[1]) for head in heads)
    assert sum(facts.scores.values()) == 2 * len(heads)
    monkeypatch.setattr(failures, "FILES_READ", 1)
    told = dict(texts.figures_of(facts := plain(work, killed), reckon(facts)))
    assert told["hits"] == f"{len(heads)} and those of 1 target found done"


def test_what_progress_tells_of_all_starts_is_not_lost_twice(work: Path) -> None:
    run = Simulation(work, 40, seed=3).write(tasks=1)
    folder = run.task_folder(0)
    (folder / "progress.json").unlink(missing_ok=True)
    for path in folder.glob("journal-*"):
        path.unlink()
    for n, more in enumerate(([end(BEGIN + 50, INTERRUPTED, wasted=30)], [])):
        opened = Journal(folder / f"journal-{n}.jsonl")
        opened.append_all([start(BEGIN + 100 * n), *more])
        opened.close()
    said = {"began": BEGIN + 100, "at": BEGIN + 150, "state": "interrupted", "wasted": 42.0}
    run.write_progress(0, said)
    assert [s.wasted for s in seen(work).tasks[0].starts] == [30, 12]


def test_a_report_is_of_step_7(work: Path) -> None:
    of_hits = Simulation(work, 40, seed=3).write()
    later = of_hits.path.with_name("20990101-000000-aaaa.s3")
    shutil.copytree(of_hits.path, later)
    plan = json.loads((later / "plan.json").read_text())
    plan["stage"] = {"numbers": [8], "cpus": 1, "memory_mb": 1, "command": ["dpam"]}
    (later / "plan.json").write_text(json.dumps(plan))
    assert seen(work).run == of_hits.id
    with pytest.raises(ConfigError, match="a report is of step 7"):
        seen(work, later.name)


@pytest.mark.parametrize("bad", [None, "x", [1], {}, 1e300, -1])
def test_tables_in_records_may_hold_values_of_another_kind(work: Path, bad: Any) -> None:
    scratch = dict.fromkeys(("path", "type", "free_bytes", "fallback"), bad)
    settings = dict.fromkeys(("target", "targets", "data_dir", "redo"), bad)
    sums = dict.fromkeys(("WOLF", "read"), bad)
    given = {**start(BEGIN), "scratch": scratch, "settings": settings, "programs": sums}
    ended = end(BEGIN + 60, used=sums, asked=sums, launcher=bad, wasted=bad)
    facts = plain(work, given, done("P1", BEGIN + 20, cpu=sums), ended)
    assert "P1" in page.of_run(facts)
    sums_of_run = reckon(facts)
    assert min(sums_of_run.used, sums_of_run.lost, sums_of_run.rest) >= 0


def test_what_a_launcher_notes_of_itself_is_read_by_nobody_else(work: Path) -> None:
    """Older versions pass over such records: they have a target and a state, as all have."""
    path = work / "journal.jsonl"
    opened = Journal(path)
    opened.append_all([start(BEGIN), done("P1"), end(BEGIN + 1)])
    opened.close()
    assert [record["target"] for record in journal.read(path)] == ["", "P1", ""]
