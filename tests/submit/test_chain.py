"""``submit --steps``: a chain of stages, planned, submitted one after the other, resumed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dpam_hpc.pipeline.steps import ALL, DALI, STEPS
from dpam_hpc.run_dir import RunDir
from dpam_hpc.settings import SubmitSettings
from dpam_hpc.submit import databases, links
from tests import fake_dpam, replay, schemas
from tests.conftest import HITS, environment, run
from tests.pipeline_site import TARGETS, Site, contents, dpams, failures, make_site, until
from tests.submit import fake_slurm
from tests.terminal import Terminal

A, B, C = TARGETS
PATIENCE = 100.0
pytestmark = pytest.mark.timeout(240)


@dataclass
class Login:
    """A login node: a working folder, a data folder, a dpam on PATH."""

    site: Site
    env: dict[str, str]

    def call(self, *arguments: str | Path, exit: int = 0) -> subprocess.CompletedProcess[str]:
        done = run(*arguments, env=self.env, timeout=PATIENCE)
        assert done.returncode == exit, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    def submit(
        self, *more: str | Path, platform: str = "local", exit: int = 0
    ) -> subprocess.CompletedProcess[str]:
        return self.call(
            "submit", self.site.work, "--platform", platform, "--data-dir", self.site.data,
            "--min-free-gb", "0.01", "--grace", "1", *more, exit=exit,
        )  # fmt: skip

    def status(self) -> dict[str, Any]:
        return schemas.check("chain-status", self.call("status", self.site.work, "--json").stdout)

    def plan(self, *more: str) -> list[dict[str, Any]]:
        """The stages that would be submitted."""
        said = self.submit("--dry-run", "--json", *more).stdout
        stages: list[dict[str, Any]] = schemas.check("chain-plan", said)["stages"]
        return stages

    def runs(self) -> list[RunDir]:
        return RunDir.last(self.site.work)


def make_login(
    root: Path, sharded: bool, stand_in: Path, targets: tuple[str, ...] = TARGETS
) -> Login:
    site = make_site(root, sharded, targets=targets)
    (site.data / "ECOD70").symlink_to(replay.DATA / "ECOD70")
    (root / "scratch").mkdir()
    env = environment(
        XDG_CONFIG_HOME=str(root / "config"),
        COLUMNS="200",
        PATH=f"{site.dpam.parent}:{os.environ['PATH']}",
    )
    (site.work / "dpam-hpc.toml").write_text(
        f'dali_home = "{stand_in}"\nscratch_dir = "{root / "scratch"}"\n'
        "dali_workers = 2\ncpus = 2\n"
    )
    return Login(site, env)


@pytest.fixture
def login(tmp_path: Path, stand_in: Path) -> Login:
    return make_login(tmp_path, False, stand_in)


@pytest.fixture
def slurm(login: Login, tmp_path: Path) -> fake_slurm.FakeSlurm:
    """SLURM's commands, which number the jobs."""
    fake = fake_slurm.make(tmp_path / "slurm")
    for number in (11, 12, 13, 14):
        fake.does("sbatch", f"{number}\n")
    fake.does("squeue").does("sacct").does("scancel").does("scontrol", "MaxArraySize = 1001\n")
    login.env["PATH"] = f"{fake.folder / 'bin'}:{login.env['PATH']}"
    return fake


def with_hits(site: Site) -> dict[str, bytes]:
    """What dpam alone leaves, with upstream's hits for step 7, in a folder of its own."""
    site.steps_upto(24)
    return contents(site)


def test_all_steps_end_with_what_dpam_alone_leaves(tmp_path: Path, stand_in: Path) -> None:
    """In a sharded folder; those of the other tests are flat."""
    expected = with_hits(make_site(tmp_path / "reference", True, targets=(A, B)))
    login = make_login(tmp_path / "chain", True, stand_in, (A, B))
    said = login.submit("--steps", "all", "--wait").stdout
    assert "stage 1: steps 1-6: PREPARE, HHSEARCH" in said
    found = contents(login.site)
    del found["dpam-hpc.toml"]
    assert found == expected
    status = login.status()
    assert (status["done"], status["failed"], status["left"], status["queued"]) == (2, 0, 0, 0)
    assert [stage["stage"] for stage in status["stages"]] == ["1-6", "7", "8-13", "15-24"]
    assert all(stage["done"] == 2 for stage in status["stages"])
    calls = login.site.calls()
    assert len(calls) == 6
    assert calls.index((A, [STEPS[n].name for n in range(8, 14)])) >= 2, "one after the other"
    state = login.site.state(A)
    assert set(state["completed_steps"]) == {STEPS[n].name for n in ALL}
    said = login.call("resume", login.site.work).stdout
    assert said == f"nothing is left of run {login.runs()[0].chain}\n"


def test_failures_hold_back_their_own_targets_alone(login: Login) -> None:
    site = login.site
    fake_dpam.behave(site.data, **{A: {"FOLDSEEK": "fail"}})
    query = site.work / f"{C}.pdb"
    query.write_text("".join(query.read_text().splitlines(keepends=True)[:30]))  # too short for 7
    login.submit("--steps", "all", "--wait", exit=3)
    status = login.status()
    assert (status["done"], status["failed"], status["left"]) == (1, 2, 0)
    assert [(s["done"], s["failed"], s["held"]) for s in status["stages"]] == [
        (2, 1, 0),
        (1, 1, 1),
        (1, 0, 2),
        (1, 0, 2),
    ]
    assert not site.path(C, "_good_hits", 8).exists(), "it is not one without hits"
    first, _, third, _ = login.runs()
    assert failures(first)[1][:2] == [A, "FOLDSEEK"]
    assert "FOLDSEEK has failed" in failures(first)[1][2]
    reasons = {row[0]: row[2] for row in failures(third)[1:]}
    assert "step 5 (MAP_ECOD) is not done" in reasons[A]
    assert "step 7 (ITERATIVE_DALI) is not done" in reasons[C]
    del login.env["COLUMNS"]
    text = login.call("status", site.work).stdout
    assert "held back" in text
    assert f": {first.task_folder(0) / 'failures.tsv'}\n" in text, "whole, whatever the width"
    assert "resume goes on" not in text, "nothing is left for it"
    assert "could not say why" not in text
    told = login.call("logs", A, "-C", site.work).stdout
    assert f"\nfailed: {A} FOLDSEEK: exit code 1" in told
    assert f"\n{A} MAP_ECOD: held back" in told
    assert "of stage 1" in told
    assert "FOLDSEEK has failed" in told
    assert "\x1b" not in told

    fake_dpam.behave(site.data)
    assert "nothing is left" in login.call("resume", site.work).stdout, "failures are not tried"
    login.call("resume", site.work, "--retry-failed", "--wait", exit=3)
    status = login.status()
    assert (status["failed"], status["left"]) == (1, 0), "step 7 has failed again"
    for target in (A, B):
        assert site.path(target, "_domains", 24).exists()
        reference = (replay.DATA / f"{target}{HITS}").read_bytes()
        assert site.path(target, HITS, DALI).read_bytes() == reference


def test_it_is_told_who_is_left_out_for_having_failed(login: Login, tmp_path: Path) -> None:
    fake_dpam.behave(login.site.data, **{A: {"MAP_ECOD": "fail"}})
    (tmp_path / "some").write_text(f"{A}\n")
    login.submit("--steps", "1-6", "--targets", tmp_path / "some", "--wait", exit=3)
    (first,) = login.plan("--steps", "1-6")
    assert first["targets"] == 2
    told = "left out, since they failed before: 1 targets; --retry-failed tries them again"
    assert told in first["remarks"]
    (first,) = login.plan("--steps", "1-6", "--retry-failed")
    assert first["targets"] == 3


def test_a_chain_that_is_killed_goes_on(login: Login, tmp_path: Path) -> None:
    fake_dpam.behave(login.site.data, **{A: {"HHSEARCH": "cut-once"}})
    login.submit("--steps", "1-6,8-13")
    first = login.runs()[0]
    until(lambda: login.site.path(A, ".a3m", 2).exists())
    lock = first.task_folder(0) / "run.lock"
    os.kill(json.loads(lock.read_text())["pid"], signal.SIGKILL)
    until(lambda: not login.status()["queued"])
    assert not dpams(login.site)
    status = login.status()
    assert [(s["done"], s["held"]) for s in status["stages"]][1] == (0, 3), "there are no hits"
    login.site.forget_calls()
    login.call("resume", login.site.work, "--wait", exit=2)
    assert dict(login.site.calls())[A][0] == "HHSEARCH", "where it stood"
    assert login.status()["stages"][0]["left"] == 0


def killed(login: Login, place: int, step: str) -> None:
    """End the launcher of a stage, and with it its job, in the middle of a step."""
    stage = login.runs()[place - 1]
    until(lambda: any(step in steps for _, steps in login.site.calls()), 60)
    lock = stage.task_folder(0) / "run.lock"
    os.kill(json.loads(lock.read_text())["pid"], signal.SIGKILL)
    until(lambda: not login.status()["queued"], 60)


def left_of_chain(login: Login, *more: str) -> list[tuple[str, int]]:
    said = login.call("resume", login.site.work, "--dry-run", "--json", *more).stdout
    return [(stage["stage"], stage["targets"]) for stage in json.loads(said)["stages"]]


def test_what_is_done_once_more_is_done_in_all_stages(login: Login) -> None:
    """Stages go on with what was there before; that is not what --redo was asked for."""
    login.site.steps_upto(13)
    login.site.forget_calls()
    fake_dpam.behave(login.site.data, **{target: {"HHSEARCH": "hang"} for target in TARGETS})
    login.submit("--steps", "1-13", "--redo")
    killed(login, 1, "HHSEARCH")
    status = login.status()
    assert [stage["done"] for stage in status["stages"]] == [0, 2, 2]
    assert status["left"] == 3, "two were done from old files"
    assert left_of_chain(login) == [("1-6", 3), ("7", 3), ("8-13", 3)]

    fake_dpam.behave(login.site.data, **{target: {"SSE": "hang"} for target in TARGETS})
    for _ in range(2):
        login.site.forget_calls()
        login.call("resume", login.site.work)
        killed(login, len(login.runs()), "SSE")
        assert left_of_chain(login) == [("8-13", 3)], "what is done is not done a third time"


def test_failures_of_what_is_done_once_more_can_be_tried_again(login: Login) -> None:
    login.site.steps_upto(13)
    fake_dpam.behave(login.site.data, **{A: {"SSE": "fail"}, B: {"SSE": "fail"}})
    login.submit("--steps", "8-13", "--redo", "--wait", exit=3)
    assert "nothing is left" in login.call("resume", login.site.work).stdout
    assert left_of_chain(login, "--retry-failed") == [("8-13", 2)]
    fake_dpam.behave(login.site.data, **{target: {"SSE": "hang"} for target in TARGETS})
    login.site.forget_calls()
    login.submit("--steps", "8-13", "--redo")
    killed(login, 1, "SSE")
    assert left_of_chain(login) == [("8-13", 3)], "an earlier run's failures are not this one's"


def test_a_chain_is_cancelled_with_all_its_stages(login: Login) -> None:
    fake_dpam.behave(login.site.data, **{A: {"HHSEARCH": "hang"}})
    login.submit("--steps", "all")
    until(lambda: login.site.calls())
    states = [stage["jobs"] for stage in login.status()["stages"]]
    assert states == [{"running": 1}, *[{"pending": 1}] * 3]
    login.submit("--steps", "all", exit=2)
    assert "4 jobs cancelled" in login.call("cancel", login.site.work).stdout
    until(lambda: not login.status()["queued"])
    until(lambda: not dpams(login.site))
    assert {target for target, _ in login.site.calls()} <= set(TARGETS)
    assert all("ANALYZE_DALI" not in steps for _, steps in login.site.calls())
    assert sum(s["done"] for s in login.status()["stages"][1:]) == 0


def test_stages_wait_for_each_other_whatever_their_end(
    login: Login, slurm: fake_slurm.FakeSlurm
) -> None:
    said = login.submit("--steps", "all", platform="generic").stdout
    assert "stage 4 submitted: job 14" in said
    submitted = [call for call in slurm.calls() if call[0] == "sbatch"]
    runs = login.runs()
    assert submitted == [
        ["sbatch", "--parsable", *after, str(run.path / "job.sh")]
        for run, after in zip(
            runs,
            [[], *([f"--dependency=afterany:{job}"] for job in (11, 12, 13))],
            strict=True,
        )
    ]
    assert [run.place for run in runs] == [1, 2, 3, 4]
    assert runs[1].plan().stage is None
    login.call("cancel", login.site.work)
    assert slurm.calls()[-1] == ["scancel", "14", "13", "12", "11"]


GONE = "slurm_load_jobs error: Invalid job id specified\n"
AGAIN = ("status", "--watch", "--every", "1")


def watched(login: Login, slurm: fake_slurm.FakeSlurm) -> None:
    """A chain whose first stage runs, then its second, then none is known any more."""
    login.submit("--steps", "all", platform="generic")
    (slurm.folder / "squeue.json").unlink()
    waiting = "".join(f"{job}|N/A|PENDING||Dependency\n" for job in (13, 14))
    slurm.does("squeue", "11|N/A|RUNNING|n1|None\n12|N/A|PENDING||Dependency\n" + waiting)
    slurm.does("squeue", "12|N/A|RUNNING|n2|None\n" + waiting)
    slurm.does("squeue", stderr=GONE, exit=1)


def test_a_chain_is_watched_on_a_terminal(login: Login, slurm: fake_slurm.FakeSlurm) -> None:
    watched(login, slurm)
    del login.env["COLUMNS"]
    with Terminal(*AGAIN, login.site.work, env=login.env) as terminal:
        terminal.until("Ctrl-C stops watching")  # the last line: all of the screen is there
        first = terminal.lines
        terminal.until("nothing is queued any more")
        assert terminal.end() == 0
    assert first[0] == f"run {login.runs()[0].chain} on generic, 4 stages"
    assert [line.split()[:4] for line in first[1:4]] == [
        ["stage", "steps", "jobs", "tasks"], ["1", "1-6", "1", "running"],
        ["2", "7", "1", "pending"],
    ]  # fmt: skip
    assert "Ctrl-C stops watching" in first[-1]
    assert "no job of it is known to be queued: dpam-hpc resume goes on" in terminal.lines
    assert terminal.screen.wrapped == 0
    assert terminal.screen.pushed_out == 0


def test_a_chain_is_watched_by_lines_and_documents(
    login: Login, slurm: fake_slurm.FakeSlurm
) -> None:
    watched(login, slurm)
    lines = login.call(*AGAIN, login.site.work).stdout.splitlines()
    assert [line.split(maxsplit=1)[1].split(":")[0] for line in lines[:3]] == [
        "stage 1 of 4", "stage 2 of 4", "stage 4 of 4",
    ]  # fmt: skip
    assert lines[3:] == ["no job of it is known to be queued: dpam-hpc resume goes on"]
    slurm.does("squeue", "12|N/A|RUNNING|n2|None\n").does("squeue", stderr=GONE, exit=1)
    said = login.call(*AGAIN, "--json", login.site.work).stdout.splitlines()
    assert [schemas.check("chain-status", line)["queued"] for line in said] == [1, 0]


def test_a_stage_that_is_refused_is_told_with_what_is_submitted(
    login: Login, tmp_path: Path
) -> None:
    fake = fake_slurm.make(tmp_path / "slurm")
    fake.does("sbatch", "11\n").does("sbatch", stderr="sbatch: error: no\n", exit=1)
    fake.does("squeue").does("sacct").does("scontrol", "MaxArraySize = 1001\n")
    login.env["PATH"] = f"{fake.folder / 'bin'}:{login.env['PATH']}"
    said = login.submit("--steps", "all", platform="generic", exit=8).stderr
    assert "stage 2 of" in said
    assert "the stages before it are, as job 11" in said


def test_all_that_is_missing_is_told_at_once(login: Login) -> None:
    for name in ("ECOD_foldseek_DB", "tgroup_length", "ECOD_norms"):
        (login.site.data / name).unlink()
    shutil.rmtree(login.site.data / "ECOD_maps")
    (login.site.data / "UniRef30_2023_02_cs219.ffdata").unlink()
    said = login.submit("--steps", "all", "--dpam", "/no/dpam", exit=2).stderr
    for part in (
        "there is no command /no/dpam", "no ECOD_foldseek_DB in", "for step 3",
        "no tgroup_length in", "no ECOD_norms in", "every step of dpam's", "no ECOD_maps/ in",
        "for steps 15, 18", "UniRef30_2023_02_cs219.ffdata or UniRef30_2022_02/",
    ):  # fmt: skip
        assert part in said, part
    said = login.submit("--steps", "4-6", exit=2).stderr
    assert "ECOD_foldseek_DB" not in said, "step 3 alone needs it"
    said = login.submit("--steps", "7-13", "--aligner", "tmalign", exit=2).stderr
    assert "do not read the hits of --aligner tmalign" in said
    login.submit("--steps", "9-7", exit=2)
    login.submit("--steps", "14", exit=2)


def test_what_is_wrong_with_single_targets_is_told_before(login: Login) -> None:
    (login.site.work / f"{B}.json").unlink()
    shutil.copyfile(login.site.work / f"{A}.pdb", login.site.work / "P_D1.pdb")
    said = login.submit("--steps", "all", "--dry-run").stdout
    assert f"will fail: {B}: no {B}.json" in said
    assert not (login.site.work / ".dpam-hpc").exists()
    plan = login.plan("--steps", "all")
    assert [stage["targets"] for stage in plan] == [4, 4, 4, 4]
    (login.site.work / "P.step19_merge_candidates").touch()
    plan = login.plan("--steps", "all")
    assert plan[0]["targets"] == 3, "a domain that step 20 cut out is no target"


def test_what_is_done_is_not_planned(login: Login) -> None:
    login.site.steps_upto(7)
    login.site.path(B, ".foldseek.flt.result", 4).unlink()
    plan = login.plan("--steps", "1-13")
    assert [(s["stage"], s["targets"], s["done_before"]) for s in plan] == [
        ("1-6", 1, 2),
        ("7", 1, 2),
        ("8-13", 3, 0),
    ]
    said = login.submit("--steps", "8-13", "--wait").stdout
    assert "stage 1: steps 8-13" in said
    said = login.submit("--steps", "8-13", exit=2).stderr
    assert "all targets are done with these steps" in said


def test_dpam_is_named_as_jobs_find_it_from_any_folder(
    login: Login, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(login.site.dpam.parent.parent)
    for given, called in [("bin/dpam", str(login.site.dpam)), ("dpam-2", "dpam-2")]:
        settings = SubmitSettings(dpam=given)
        assert databases.command(settings) == called
        inside = settings.model_copy(update={"image": Path("/image.sif")})
        assert databases.command(inside) == given, "it knows its own folders"


def test_steps_can_stand_in_the_settings(login: Login) -> None:
    with (login.site.work / "dpam-hpc.toml").open("a") as file:
        file.write('steps = "1-6"\nskip_addss = true\n')
    plan = login.plan()
    assert [stage["stage"] for stage in plan] == ["1-6"]
    plan = login.plan("--steps", "4-6")
    assert [stage["stage"] for stage in plan] == ["4-6"]


def test_links_to_databases_are_bound_into_the_container(login: Login, tmp_path: Path) -> None:
    elsewhere = tmp_path / "uniref"
    elsewhere.mkdir()
    name = "UniRef30_2023_02_cs219.ffdata"
    (login.site.data / name).rename(elsewhere / name)
    (login.site.data / name).symlink_to(elsewhere / name)
    (login.site.data / name).replace(login.site.data / "first")
    (login.site.data / name).symlink_to("first")
    given = [login.site.data]
    assert links.outside(databases.behind(login.site.data, (2,)), given) == [elsewhere]
    assert links.outside(databases.behind(login.site.data, (3,)), given) == []


def test_a_fresh_folder_is_flat_unless_step_1_has_a_folder(tmp_path: Path) -> None:
    from dpam_hpc.submit.structures import layout

    assert not layout(tmp_path).sharded
    (tmp_path / "step01_prepare").mkdir()
    assert layout(tmp_path).sharded
    (tmp_path / "P_hits4Dali").touch()
    assert not layout(tmp_path).sharded, "a dpam without --flat has made the folder by mistake"
