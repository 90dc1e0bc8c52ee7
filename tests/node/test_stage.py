"""A stage of dpam's steps on its node: a dpam that fails, hangs, lies, is killed; going on then."""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from dpam_hpc.errors import ConfigError
from dpam_hpc.node import stage
from dpam_hpc.node.progress import Progress
from dpam_hpc.node.run_lock import Holder
from dpam_hpc.node.shutdown import Shutdown
from dpam_hpc.node.task import Start, work_off
from dpam_hpc.pipeline.outputs import Files
from dpam_hpc.pipeline.steps import ALL, DALI, STEPS, stages
from dpam_hpc.run_dir import Plan, RunDir
from dpam_hpc.target import WorkFolder
from tests import fake_dpam, replay
from tests.conftest import COMMAND, HITS, environment
from tests.pipeline_site import (
    TARGETS,
    Site,
    contents,
    dpams,
    failures,
    make_site,
    records,
    until,
)

A, B, C = TARGETS
UPTO6, FROM8, FROM15 = stages((*range(1, 7), *range(8, 14), *range(15, 25)))


@pytest.fixture(params=["flat", "sharded"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    return make_site(tmp_path, request.param == "sharded")


@pytest.fixture
def flat(tmp_path: Path) -> Site:
    return make_site(tmp_path, False)


def counts(progress: Progress) -> tuple[int, int, int]:
    return progress.done, progress.failed, progress.held


def test_the_stages_leave_what_dpam_alone_leaves(site: Site) -> None:
    site.steps_upto(24)
    expected = contents(site)
    shutil.rmtree(site.work)
    again = make_site(site.root / "again", site.sharded)
    site.work = again.work
    assert counts(site.do(UPTO6.numbers)[0]) == (3, 0, 0)
    for target in TARGETS:  # step 7
        hits = site.path(target, HITS, DALI)
        hits.parent.mkdir(exist_ok=True)
        shutil.copyfile(replay.DATA / f"{target}{HITS}", hits)
        site.path(target, ".iterativeDali.done", DALI).write_text("done\n")
    assert counts(site.do(FROM8.numbers)[0]) == (3, 0, 0)
    assert counts(site.do(FROM15.numbers)[0]) == (3, 0, 0)
    assert contents(site) == expected
    assert (site.work / "step01_prepare").exists() == site.sharded, "never in a flat folder"
    state = site.state(A)
    assert set(state["completed_steps"]) == {STEPS[n].name for n in ALL if n != DALI}
    assert not state["failed_steps"]
    assert not state["metadata"]


def test_what_is_done_is_not_done_again(site: Site) -> None:
    site.do(UPTO6.numbers)
    site.forget_calls()
    progress, run = site.do(UPTO6.numbers)
    assert counts(progress) == (3, 0, 0)
    assert site.calls() == []
    assert records(run)[A]["found"] is True
    assert site.launch(run).skipped == 3, "by its journal"


def test_dpam_starts_once_for_all_steps_of_a_target(flat: Site) -> None:
    flat.do(UPTO6.numbers, A)
    assert flat.calls() == [(A, UPTO6.names)]


@pytest.mark.parametrize("what", ["fail", "raise", "killed", "empty"])
def test_a_step_that_fails_holds_back_its_own_target_alone(site: Site, what: str) -> None:
    fake_dpam.behave(site.data, **{B: {"MAP_ECOD": what}})
    progress, run = site.do(UPTO6.numbers)
    assert counts(progress) == (2, 1, 0)
    head, row = failures(run)
    assert head == ["target", "step", "reason", "log", "command"]
    assert row[:2] == [B, "MAP_ECOD"]
    path = f"{B}.map2ecod.result"
    luck = "MAP_ECOD has failed for O05011: \N{REPLACEMENT CHARACTER}[31mno luck"
    assert row[2].startswith(
        {
            "fail": f"exit code 1; {path} is not there; [ERROR] dpam.steps: {luck}",
            "raise": f"exit code 1; {path} is not there; [ERROR] dpam.steps: Exception in MAP_ECOD",
            "killed": f"killed by signal 9 (out of memory?); {path} is not there",
            "empty": f"exit code 0; {path} is empty",
        }[what]
    )
    assert Path(row[3]).read_text().startswith("$ ")
    assert row[4].startswith(str(site.dpam)) or row[4].startswith(f"'{site.dpam}'")
    assert not site.path(B, "_hits4Dali", 6).exists(), "what followed had no input"
    state = site.state(B)
    assert set(state["completed_steps"]) == {STEPS[n].name for n in (1, 2, 3, 4)}
    assert list(state["failed_steps"]) == ["MAP_ECOD"]

    fake_dpam.behave(site.data)
    site.forget_calls()
    assert counts(site.do(UPTO6.numbers)[0]) == (3, 0, 0)
    assert site.calls() == [(B, ["MAP_ECOD", "DALI_CANDIDATES"])], "from there on"


def test_a_failure_is_not_tried_again_by_the_same_task(flat: Site) -> None:
    fake_dpam.behave(flat.data, **{B: {"MAP_ECOD": "fail"}})
    _, run = flat.do(UPTO6.numbers)
    flat.forget_calls()
    progress = flat.launch(run, restart=1)
    assert (progress.skipped, progress.earlier_failures) == (3, 1)
    assert flat.calls() == []
    assert failures(run)[1][:2] == [B, "MAP_ECOD"], "it is still in the list"


def test_a_dpam_that_hangs_is_ended_with_all_it_started(flat: Site) -> None:
    fake_dpam.behave(flat.data, **{A: {"HHSEARCH": "hang"}})
    progress, run = flat.do(UPTO6.numbers, A, B, time_limit_factor=0.0005)
    assert counts(progress) == (1, 1, 0)
    assert "ran over its time limit of 1 s" in failures(run)[1][2]
    until(lambda: not dpams(flat))


def test_targets_whose_earlier_steps_are_not_done_are_held_back(site: Site) -> None:
    site.steps_upto(7)
    site.path(A, ".iterativeDali.done", DALI).unlink()
    hits = site.path(B, HITS, DALI)
    hits.write_bytes(hits.read_bytes()[:-20])
    progress, run = site.do(FROM8.numbers)
    assert counts(progress) == (1, 0, 2)
    assert {t: r["state"] for t, r in records(run).items()} == {A: "held", B: "held", C: "done"}
    assert "there is no marker" in records(run)[A]["reason"]
    assert "is not whole" in records(run)[B]["reason"]
    assert "held back, step 7 (ITERATIVE_DALI) is not done" in failures(run)[1][2]
    assert {target for target, _ in site.calls() if _[0] == "ANALYZE_DALI"} == {C}

    site.path(A, ".iterativeDali.done", DALI).write_text("done\n")
    assert counts(site.launch(run, restart=1)) == (1, 0, 1), "it is looked at anew"


def test_no_hits_because_templates_failed_is_not_no_hits(flat: Site) -> None:
    flat.steps_upto(7)
    for target in (A, B):
        flat.path(target, HITS, DALI).write_text("")
    failed = "template\tkind\treason\ne1abcA1\tfailed\tno such file\n"
    flat.path(A, "_iterativeDali.failures.tsv", DALI).write_text(failed)
    progress, run = flat.do(FROM8.numbers)
    assert counts(progress) == (2, 0, 1)
    assert "templates failed" in records(run)[A]["reason"]
    assert flat.path(B, "_good_hits", 8).exists(), "zero hits are a result"


def test_steps_that_rightly_leave_nothing_are_no_failures(site: Site) -> None:
    site.steps_upto(7)
    fake_dpam.behave(
        site.data,
        **{
            A: {"FILTER_DOMAINS": "nothing"},
            B: {"PREPARE_DOMASS": "nothing"},
            C: {"GET_CONFIDENT": "nothing"},
        },
    )
    assert counts(site.do(FROM8.numbers)[0]) == (3, 0, 0)
    site.forget_calls()
    progress, _ = site.do(FROM15.numbers)
    assert counts(progress) == (3, 0, 0), "though dpam's 15 and 23 say that they failed"
    assert {target for target, _ in site.calls()} == {B, C}, "for A there is nothing to do at all"
    assert not site.path(B, "_domains", 24).exists()
    assert "INTEGRATE_RESULTS" in site.state(A)["completed_steps"]
    assert not site.state(C)["failed_steps"], "dpam --resume does not try it again"


def test_an_older_result_does_not_stand_in_for_none(site: Site) -> None:
    site.steps_upto(24)
    domains = site.work / ("results" if site.sharded else "") / f"{A}.finalDPAM.domains"
    assert domains.read_text().startswith("nD1")
    fake_dpam.behave(site.data, **{A: {"GET_CONFIDENT": "nothing", "FILTER_DOMAINS": "fail"}})
    site.path(A, ".step16_predictions", 16).unlink()
    assert counts(site.do(FROM15.numbers, A)[0]) == (1, 0, 0)
    assert not site.path(A, "_domains", 24).exists()
    assert domains.read_text() == site.path(A, ".step13_domains", 13).read_text()

    site.path(A, "_good_hits", 8).unlink()
    assert counts(site.do(FROM8.numbers, A)[0]) == (0, 1, 0)
    assert not site.path(A, ".goodDomains", 10).exists(), "dpam leaves the old one"
    assert not domains.exists(), "what steps after a failed one wrote is no result"


def test_what_is_older_than_its_input_is_done_again(site: Site) -> None:
    site.steps_upto(13)
    time.sleep(0.01)
    site.path(A, HITS, DALI).touch()
    site.forget_calls()
    assert counts(site.do(FROM8.numbers)[0]) == (3, 0, 0)
    assert site.calls() == [(A, FROM8.names)]


def test_a_new_pae_makes_new_domains(flat: Site) -> None:
    flat.steps_upto(13)
    time.sleep(0.01)
    (flat.work / f"{A}.json").touch()
    flat.forget_calls()
    assert counts(flat.do(FROM8.numbers)[0]) == (3, 0, 0)
    assert flat.calls() == [(A, ["DISORDER", "PARSE_DOMAINS"])]


def test_a_dpam_that_cannot_be_started_leaves_nothing_open(
    flat: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(subprocess, "Popen", no_room)
    gc.collect()  # of other tests
    before = len(os.listdir("/proc/self/fd"))
    progress, run = flat.do(UPTO6.numbers)
    assert counts(progress) == (0, 3, 0)
    assert "No space left on device" in failures(run)[1][2]
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def test_redo_does_everything_once_more_once(flat: Site) -> None:
    flat.do(UPTO6.numbers)
    fake_dpam.behave(flat.data, **{A: {"HHSEARCH": "killed-once"}})
    flat.forget_calls()
    progress, run = flat.do(UPTO6.numbers, redo=True)
    assert counts(progress) == (2, 1, 0)
    assert sorted(target for target, _ in flat.calls()) == sorted(TARGETS)
    flat.forget_calls()
    assert flat.launch(run, restart=1).skipped == 3
    assert flat.calls() == []


def test_new_candidates_make_old_hits_void(flat: Site) -> None:
    flat.steps_upto(7)
    time.sleep(0.01)
    (flat.work / f"{A}.pdb").touch()
    assert counts(flat.do(UPTO6.numbers)[0]) == (3, 0, 0)
    assert not flat.path(A, ".iterativeDali.done", DALI).exists()
    assert not flat.path(A, HITS, DALI).exists()
    assert flat.path(B, HITS, DALI).exists()


def test_a_users_pdb_file_is_put_where_a_sharded_dpam_looks(tmp_path: Path) -> None:
    site = make_site(tmp_path, sharded=True)
    assert counts(site.do(UPTO6.numbers)[0]) == (3, 0, 0)
    query = site.path(A, ".pdb", 1)
    assert query.read_bytes() == (site.work / f"{A}.pdb").read_bytes()
    assert query.stat().st_mtime_ns == (site.work / f"{A}.pdb").stat().st_mtime_ns


@pytest.mark.parametrize("sharded", [False, True])
def test_structures_may_be_cif(tmp_path: Path, sharded: bool) -> None:
    site = make_site(tmp_path, sharded, cif=True)
    assert counts(site.do(UPTO6.numbers)[0]) == (3, 0, 0)
    assert site.path(A, ".pdb", 1).exists()
    site.forget_calls()
    site.do(UPTO6.numbers)
    assert site.calls() == []


def test_a_target_without_structure_or_pae_is_named(flat: Site) -> None:
    flat.steps_upto(7)
    (flat.work / f"{B}.json").unlink()
    progress, run = flat.do(FROM8.numbers)
    assert counts(progress) == (2, 1, 0)
    assert failures(run)[1][:2] == [B, "DISORDER"]
    assert "JSON file not found" in failures(run)[1][2]
    progress, run = flat.do(UPTO6.numbers, "absent")
    assert failures(run)[1][:2] == ["absent", "PREPARE"]


def test_an_id_that_step_2_would_cut_is_refused(flat: Site) -> None:
    shutil.copyfile(flat.work / f"{A}.pdb", flat.work / "AF-1.v4.pdb")
    progress, run = flat.do(UPTO6.numbers, "AF-1.v4")
    assert counts(progress) == (0, 1, 0)
    assert "cuts an id at its last dot" in failures(run)[1][2]
    assert flat.calls() == []


def test_a_state_file_that_is_none_fails_its_target(flat: Site) -> None:
    (flat.work / f".{A}.dpam_state.json").write_text("{")
    progress, run = flat.do(UPTO6.numbers)
    assert counts(progress) == (2, 1, 0)
    assert "is no JSON" in failures(run)[1][2]


def test_the_batch_state_learns_what_is_done(flat: Site) -> None:
    state = flat.work / "_batch_state.json"
    state.write_text(json.dumps({"HHSEARCH": {A: "failed: x", "other": "complete"}}))
    flat.do(UPTO6.numbers)
    found = json.loads(state.read_text())
    assert found["HHSEARCH"] == {A: "complete", B: "complete", C: "complete", "other": "complete"}


def test_a_missing_program_ends_the_task_before_its_first_target(flat: Site) -> None:
    (flat.dpam.parent / "hhblits").unlink()
    with pytest.raises(ConfigError, match=r"there is no hhblits \(step 2\)"):
        flat.do(UPTO6.numbers)
    assert flat.calls() == []


def test_no_target_is_begun_that_does_not_fit_into_the_time(flat: Site) -> None:
    run = flat.plan(UPTO6.numbers)
    tasks = run.write_targets([[(A, 1000.0), (B, 1.0)]])
    plan = run.plan()
    run.write_plan(Plan(**{**plan.__dict__, "tasks": tasks}))
    progress = flat.launch(run, deadline=time.time() + 60)
    assert (progress.done, [target for target, _ in flat.calls()]) == (1, [B])
    assert run.progress(0)["state"] == "interrupted"


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[str]]]:
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        process.kill()
        process.wait()


def launch(site: Site, run: RunDir, started: list[subprocess.Popen[str]]) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [*COMMAND, "launch", str(run.path), "--task", "0"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True, env=environment(),
    )  # fmt: skip
    started.append(process)
    return process


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_stage_goes_on_where_it_stood(
    site: Site, by: signal.Signals, started: list[subprocess.Popen[str]]
) -> None:
    fake_dpam.behave(site.data, **{A: {"HHSEARCH": "cut-once"}, B: {"FILTER_FOLDSEEK": "cut-once"}})
    run = site.plan(UPTO6.numbers)
    process = launch(site, run, started)
    cut = [site.path(A, ".hhsearch", 2), site.path(B, ".foldseek.flt.result", 4)]
    half = [site.path(A, ".a3m", 2), cut[1]]
    until(lambda: all(path.exists() for path in half))
    process.send_signal(by)
    code = process.wait(20)
    assert code == (75 if by == signal.SIGTERM else -9)
    until(lambda: not dpams(site))
    assert "done" not in {r["state"] for t, r in records(run).items() if t in (A, B)}
    site.forget_calls()
    cut[1].write_text("header\n")  # as if it were cut at the end of a line
    assert Files(WorkFolder(site.work, site.sharded), B).missing(4) == (
        "FILTER_FOLDSEEK was begun and not ended"
    )
    progress = site.launch(run, restart=1)
    assert progress.done + progress.skipped == 3
    by_target = dict(site.calls())
    assert by_target[A] == UPTO6.names[1:], "step 1 was noted by dpam"
    assert by_target[B] == UPTO6.names[3:]
    assert all(path.read_text().endswith("\n") for path in (*half, *cut))


def test_a_scheduler_that_signals_all_processes_kills_no_dpam(
    flat: Site, started: list[subprocess.Popen[str]]
) -> None:
    fake_dpam.behave(flat.data, **{A: {"FOLDSEEK": "sleep1"}})
    run = flat.plan(UPTO6.numbers, (A,), grace=15.0)
    process = launch(flat, run, started)
    until(lambda: dpams(flat) and (flat.data / "calls").exists())
    for pid in [process.pid, *(each.pid for each in dpams(flat))]:
        os.kill(pid, signal.SIGUSR1)
    assert process.wait(20) == 75
    assert records(run)[A]["state"] == "done", "it had the grace to end"


def test_a_start_waits_for_what_another_node_may_still_write(
    flat: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "OTHERS_END", 1.0)
    run = flat.plan(UPTO6.numbers, (A,))
    holder = Holder("elsewhere", 1, 1, "boot", "token", rank=0)
    run.task_folder(0).mkdir(parents=True)
    (run.task_folder(0) / "run.lock").write_text(json.dumps(asdict(holder)))
    begun = time.monotonic()
    assert flat.launch(run, restart=1).done == 1
    assert time.monotonic() - begun > 1.0


def test_a_lease_that_was_taken_ends_the_stage(flat: Site) -> None:
    fake_dpam.behave(flat.data, **{A: {"FOLDSEEK": "hang"}})
    run = flat.plan(UPTO6.numbers, (A,))
    shutdown = Shutdown()
    threading.Timer(1.0, lambda: shutdown.ask("lost", at_once=True)).start()
    progress = work_off(run, 0, Start(), shutdown)
    shutdown.close()
    assert counts(progress) == (0, 0, 0)
    until(lambda: not dpams(flat))
