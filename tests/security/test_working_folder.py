"""A working folder in which others make files: what is read there, and what is written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dpam_hpc import trust
from dpam_hpc.align import hits
from dpam_hpc.align.aligner import Alignment
from dpam_hpc.align.iterate import TemplateResult
from dpam_hpc.errors import ConfigError
from dpam_hpc.journal import Journal
from dpam_hpc.node import shared_fs
from dpam_hpc.node.staging import Staging, TargetResult
from dpam_hpc.run_dir import RunDir
from dpam_hpc.settings import RunSettings, resolve
from dpam_hpc.target import OutputNames, WorkFolder, chosen_targets
from tests.node.fake_aligner import structure
from tests.security.people import NEEDED, THEY, WE

pytestmark = NEEDED

NAMES = OutputNames("_iterativdDali_hits", "iterativeDali")
OUTPUTS = ["P_iterativdDali_hits", "P.iterativeDali.done", "P_iterativeDali.failures.tsv"]


@pytest.fixture
def work(place: Path) -> Path:
    """A folder for all, with a target of ours."""
    folder = place / "work"
    folder.mkdir()
    folder.chmod(0o777)
    WE.file(folder / "P_hits4Dali", b"e1\ne2\n")
    WE.file(folder / "P.pdb", structure(40))
    return folder


# -- settings -------------------------------------------------------------------------------------


def settings(work: Path) -> RunSettings:
    with WE.acting():
        return resolve({"work_dir": work}, {}, work / "nobody").settings


@pytest.mark.parametrize("uid", [WE.uid, 0])
def test_settings_of_our_own_and_of_root_are_heard(work: Path, uid: int) -> None:
    file = WE.file(work / "dpam-hpc.toml", b"dali_workers = 3\n")
    os.chown(file, uid, uid)
    assert settings(work).dali_workers == 3


@pytest.mark.parametrize(
    ("uid", "mode", "why"),
    [
        (THEY.uid, 0o644, f"belongs to user {THEY.uid}"),
        (WE.uid, 0o666, "can be written by others"),
        (WE.uid, 0o664, "can be written by others"),
        (0, 0o666, "can be written by others"),
    ],
)
def test_settings_that_others_can_write_are_refused(
    work: Path, uid: int, mode: int, why: str
) -> None:
    file = WE.file(work / "dpam-hpc.toml", b'dali_home = "/theirs"\n', mode)
    os.chown(file, uid, uid)
    file.chmod(mode)
    with pytest.raises(ConfigError, match=f"{file}: {why}"):
        settings(work)


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_settings_that_are_no_file_of_ours_are_refused(place: Path, work: Path, kind: str) -> None:
    theirs = THEY.file(place / "theirs", b'dali_home = "/theirs"\n')
    with THEY.acting():
        if kind == "link":
            (work / "dpam-hpc.toml").symlink_to(theirs)
        elif kind == "pipe":
            os.mkfifo(work / "dpam-hpc.toml")
        else:
            (work / "dpam-hpc.toml").mkdir()
    with pytest.raises(ConfigError, match=r"dpam-hpc\.toml"):
        settings(work)


# -- the project's own folder ---------------------------------------------------------------------


def plant(work: Path, home: Path, kind: str) -> Path:
    """Something under the name of our folder for lock, journal and runs."""
    own = work / ".dpam-hpc"
    if kind == "theirs":
        THEY.folder(own)
    elif kind == "writable":
        WE.folder(own, 0o777)
    elif kind == "link":
        own.symlink_to(home)
    else:
        THEY.file(own, b"")
    return own


@pytest.mark.parametrize("kind", ["theirs", "writable", "link", "file"])
def test_lock_journal_and_runs_lie_in_no_folder_of_others(
    work: Path, home: Path, kind: str
) -> None:
    own = plant(work, home, kind)
    for make in (lambda: trust.own_folder(own), lambda: RunDir.create(work)):
        with WE.acting(), pytest.raises(ConfigError, match="would decide what you run"):
            make()
    assert [path.name for path in home.iterdir()] == ["precious"]


def test_what_is_made_there_can_be_written_by_nobody_else(work: Path) -> None:
    with WE.acting():
        os.umask(0)
        run = RunDir.create(work)
        run.add_job("1", 0, 1)
        Journal(run.path / "journal.jsonl").close()
    made = [run.path, *run.path.rglob("*"), run.path.parent, run.path.parent.parent]
    assert len(made) == 6
    assert all(not path.stat().st_mode & 0o022 for path in made), made


def test_a_journal_is_never_a_link_to_something_else(work: Path, home: Path) -> None:
    (work / "journal.jsonl").symlink_to(home / "precious")
    with WE.acting(), pytest.raises(OSError, match="symbolic links"):
        Journal(work / "journal.jsonl")
    assert (home / "precious").read_bytes() == b"precious"


# -- inputs and outputs ---------------------------------------------------------------------------


@pytest.fixture
def staging(work: Path, place: Path) -> Iterator[Staging]:
    """Of a run of ours."""
    WE.folder(place / "own")
    with WE.acting():
        journal = Journal(place / "own" / "journal.jsonl")
        staging = Staging(WorkFolder.at(work), NAMES, journal)
    yield staging
    staging.close()
    journal.close()


def result() -> TargetResult:
    alignment = Alignment("9.1", ("0.1\t0.2\t0.3",) * 3, "1.0\t2.0\t3.0", ((1, 1), (2, 2)), 40, ())
    text = hits.record("e1", 1, range(1, 41), alignment)
    done = TemplateResult("e1", records=[text])
    return TargetResult("P", 40, 2, [done, TemplateResult("e2", failure="missing")])


@pytest.mark.parametrize("to", ["file", "nothing", "hard link"])
def test_no_output_is_written_through_what_has_its_name(
    work: Path, home: Path, staging: Staging, to: str
) -> None:
    goal = home / ("precious" if to != "nothing" else "new")
    for name in OUTPUTS:
        if to == "hard link":
            os.link(goal, work / name)
        else:
            (work / name).symlink_to(goal)
    with WE.acting():
        staging.stage_out(result())
    assert [(path.name, path.read_bytes()) for path in home.iterdir()] == [
        ("precious", b"precious")
    ]
    for name in OUTPUTS:
        status = os.lstat(work / name)
        assert status.st_uid == WE.uid and not status.st_mode & 0o022
        assert (work / name).is_file() and not (work / name).is_symlink()
    assert (work / OUTPUTS[1]).read_bytes() == b"done\n"


def test_the_second_marker_is_no_link_either(work: Path, home: Path, staging: Staging) -> None:
    """It is made as one more name of the first."""
    with WE.acting():
        staging.stage_out(result())
        second = result()
        second.id = "Q"
        (work / "Q.iterativeDali.done").symlink_to(home / "precious")
        staging.stage_out(second)
    assert not (work / "Q.iterativeDali.done").is_symlink()
    assert (work / "Q.iterativeDali.done").read_bytes() == b"done\n"
    assert (home / "precious").read_bytes() == b"precious"


@pytest.mark.parametrize("name", ["P_hits4Dali", "P.pdb"])
@pytest.mark.parametrize("kind", ["pipe", "device without end", "secret"])
def test_an_input_that_is_no_file_to_be_read_is_the_targets_problem(
    work: Path, place: Path, staging: Staging, name: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (work / name).unlink()
    if kind == "pipe":
        os.mkfifo(work / name)
    elif kind == "secret":
        (work / name).symlink_to(THEY.file(place / "secret", b"theirs", 0o600))
    else:
        (work / name).symlink_to("/dev/zero")
        monkeypatch.setattr(shared_fs, "LONGEST", 1 << 20)
    with WE.acting():
        staged = staging.stage_in("P")
    assert staged.problem.startswith(name) and not staged.candidates


@pytest.mark.parametrize(
    "name",
    ["../up", "/etc/x", "-rf", ".hidden", "a;touch x", "$(touch x)", "a\nb", "a b", "x" * 201],
)
def test_names_that_could_leave_the_folder_or_reach_a_shell_are_no_targets(
    work: Path, name: str
) -> None:
    if "/" not in name:
        (work / f"{name}_hits4Dali").touch()
    assert list(WorkFolder.at(work).targets()) == ["P"]
    with pytest.raises(ConfigError, match="no target ids"):
        chosen_targets(WorkFolder.at(work), [name])
