"""The command itself, run by an ordinary user in a folder where another has been before."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from tests import replay
from tests.conftest import lay_out
from tests.ordinary_user import NO_PYTHON, User, environment, make_command
from tests.security.people import NEEDED, THEY, WE

pytestmark = NEEDED


@pytest.fixture
def we(home: Path) -> User:
    account = ("we", "x", WE.uid, WE.uid, "", str(home), "/bin/sh")
    return User(pwd.struct_passwd(account), environment(home))


@pytest.fixture
def command(we: User, home: Path) -> Path:
    made = make_command(we, home / "venv")
    if made is None:
        pytest.skip(NO_PYTHON)
    return made


@pytest.fixture
def arguments(place: Path, command: Path) -> list[str | Path]:
    """Of a run with a DALI of ours, in a folder that all can write."""
    home = replay.make_home(place / "dali", python=str(command.with_name("python")))
    work = lay_out(place / "work", ("O05011",))
    for path in work.root.iterdir():
        os.chown(path, WE.uid, WE.uid)
    work.root.chmod(0o1777)
    scratch = WE.folder(place / "scratch")
    return [
        work.root, "--data-dir", replay.DATA, "--dali-home", home, "--scratch-dir", scratch,
        "--min-free-gb", "0.01", "--dali-workers", "1",
    ]  # fmt: skip


def test_a_run_beside_what_others_have_planted(
    we: User, command: Path, home: Path, place: Path, arguments: list[str | Path]
) -> None:
    work = place / "work"
    evil = place / "evil"
    for name in replay.PROGRAMS:
        program = THEY.file(evil / "bin" / name, b"", 0o755) if evil.exists() else None
        if program is None:
            THEY.folder(evil)
            THEY.folder(evil / "bin")
            program = THEY.file(evil / "bin" / name, b"", 0o755)
        program.write_text(f"#!/bin/sh\ntouch {home}/pwned\n")
    theirs = THEY.file(work / "dpam-hpc.toml", f'dali_home = "{evil}"\n'.encode())
    own = work / ".dpam-hpc"
    own.symlink_to(home)
    for name in ("O05011_iterativdDali_hits", "O05011.iterativeDali.done"):
        with THEY.acting():
            (work / name).symlink_to(home / "precious")

    for verb in ("run", "submit"):
        more = [] if verb == "run" else ["--platform", "local", "--no-image"]
        done = we.run([command, verb, *arguments, *more])
        assert done.returncode == 2, done.stderr
        assert f"{theirs}: belongs to user {THEY.uid}" in done.stderr
        assert "Traceback" not in done.stderr
    theirs.unlink()
    for verb in ("run", "submit"):
        more = [] if verb == "run" else ["--platform", "local", "--no-image"]
        done = we.run([command, verb, *arguments, *more])
        assert done.returncode == 2, done.stderr
        assert f"{own} is no folder, and would decide what you run" in done.stderr
    own.unlink()
    THEY.folder(own)
    for verb in ("resume", "cancel", "run"):
        done = we.run([command, verb, *(arguments if verb == "run" else [work])])
        assert done.returncode == 2, done.stderr
        assert f"{own} belongs to user {THEY.uid}" in done.stderr
    own.rmdir()
    assert sorted(path.name for path in home.iterdir()) == ["precious", "venv"]


def test_a_run_in_a_folder_for_all_writes_its_own_files(
    we: User, command: Path, home: Path, place: Path, arguments: list[str | Path]
) -> None:
    work = place / "work"
    for name in ("O05011.iterativeDali.done", "O05011_iterativeDali.failures.tsv"):
        os.symlink(home / "precious", work / name)
        os.chown(work / name, WE.uid, WE.uid, follow_symlinks=False)
    done = we.run([command, "run", *arguments])
    assert done.returncode == 0, done.stderr
    assert (home / "precious").read_bytes() == b"precious"
    for name in ("O05011.iterativeDali.done", "O05011_iterativdDali_hits"):
        assert not (work / name).is_symlink()
        assert (work / name).stat().st_uid == WE.uid
    expected = (replay.DATA / "O05011_iterativdDali_hits").read_bytes()
    assert (work / "O05011_iterativdDali_hits").read_bytes() == expected
    assert (work / ".dpam-hpc").stat().st_mode & 0o777 == 0o755
    assert list((place / "scratch").iterdir()) == []


@pytest.mark.parametrize(("closed", "mode"), [("", 0o750), ("bin", 0o750), ("bin/puu", 0o711)])
def test_a_dali_that_we_may_not_read_is_said_to_be_so(
    we: User, command: Path, place: Path, arguments: list[str | Path], closed: str, mode: int
) -> None:
    (place / "dali" / closed).chmod(mode)
    for verb in (["dali", "check", "--dali-home", place / "dali"], ["run", *arguments]):
        done = we.run([command, *verb])
        assert done.returncode == 4, done.stderr
        assert f"user {WE.uid} may not read DALI in {place}/dali" in done.stderr
        assert f"chmod -R go+rX {place}/dali" in done.stderr


def test_a_folder_on_path_that_we_may_not_read_is_passed_by(
    we: User, command: Path, place: Path
) -> None:
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    done = we.run([command, "dali", "check"], PATH=f"{closed}:{we.environment['PATH']}")
    assert done.returncode == 4, done.stderr
    assert "there is no DALI here" in done.stderr and "Traceback" not in done.stderr
