"""``dali install``: DALI from its source, proven before it is there. Nothing is compiled here."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dpam_hpc.errors import AlignerError, ConfigError, ExitCode
from dpam_hpc.image import download, recipe
from dpam_hpc.settings import DALI_FOLDER, DALI_INSTALLED
from dpam_hpc.setup import dali_build
from tests import replay, schemas
from tests.apptainer import stand_in
from tests.conftest import COMMAND, environment, run

SOURCE = os.environ.get("DPAM_HPC_DALI_SOURCE", "")
PROGRAMS = ("cc", "gfortran", "make", "tar")


@dataclass
class Machine:
    """Somebody's machine: a home folder, compilers that do nothing, a source like DALI's."""

    root: Path
    tools: Path
    variables: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        library = self.root / "lib"
        library.mkdir()
        shutil.copy(replay.HERE / "standin.py", library)
        (library / "answers").symlink_to(replay.RECORDINGS)
        self.tools.mkdir()
        for name in ("cc", "gfortran"):
            self.program(name, "exit 0")

    @property
    def data(self) -> Path:
        """Where it is put by default."""
        return self.root / "data" / "dpam-hpc"

    @property
    def home(self) -> Path:
        return self.data / DALI_FOLDER

    def program(self, name: str, script: str) -> None:
        (self.tools / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.tools / name).chmod(0o755)

    def source(self, *, wrong: bool = False) -> tuple[Path, str]:
        """A tarball and its checksum."""
        path = stand_in.make_tarball(
            self.root / f"wrong-{wrong}.tgz", wrong=wrong, home=self.root, python=sys.executable
        )
        return path, download.sha256(path)

    @property
    def env(self) -> dict[str, str]:
        return environment(
            XDG_DATA_HOME=str(self.root / "data"), PATH=f"{self.tools}:{os.environ['PATH']}",
            **self.variables,
        )  # fmt: skip

    def call(self, *words: str | Path, exit: int = 0) -> subprocess.CompletedProcess[str]:
        done = run(*words, env=self.env)
        assert done.returncode == exit, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    def install(
        self, *more: str | Path, wrong: bool = False, exit: int = 0
    ) -> subprocess.CompletedProcess[str]:
        tarball, sha256 = self.source(wrong=wrong)
        return self.call(
            "dali", "install", "--source", tarball, "--sha256", sha256.upper(), *more, exit=exit
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path, tmp_path / "tools")


def test_it_is_built_proven_and_found_by_later_verbs(machine: Machine) -> None:
    before = os.umask(0o002)  # many sites have it; what a group may write would not be believed
    try:
        done = machine.install()
    finally:
        os.umask(before)
    assert "gives the known answer to the byte" in done.stdout
    assert f"export DALI_HOME={machine.home}\n" in done.stdout
    assert "COPYRIGHT" in done.stderr and "academic" in done.stderr, "the licence is shown"
    assert os.listdir(machine.data) == [DALI_FOLDER], "nothing else is left"
    makefile = (machine.home / "bin" / "Makefile").read_text()
    assert "cc -c -O2 " in makefile and "static" not in makefile
    assert not machine.home.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    said = machine.call("dali", "check").stdout
    assert f"DALI in {machine.home}/bin gives the known answer" in said

    def told() -> tuple[str, str]:
        rows = json.loads(machine.call("run", "--show-settings", "--json").stdout)["settings"]
        return next((row["value"], row["source"]) for row in rows if row["name"] == "dali_home")

    assert told() == (str(machine.home), DALI_INSTALLED)
    machine.variables["DALI_HOME"] = "/other"
    assert told() == ("/other", "environment DALI_HOME")


def test_what_others_may_write_is_not_believed(machine: Machine) -> None:
    machine.install()
    machine.home.chmod(0o777)
    assert "can be written by others" in machine.call("dali", "check", exit=2).stderr


def test_any_folder_however_long_its_name_and_linked_statically(machine: Machine) -> None:
    prefix = machine.root / ("a folder that is longer than Fortran's 80 characters " * 4)
    done = machine.install("--prefix", prefix, "--faster", "--json")
    told = schemas.check("dali-install", done.stdout)
    assert told["home"] == str(prefix / DALI_FOLDER)
    assert (told["by_default"], told["as_listed"]) == (False, False)
    makefile = (prefix / DALI_FOLDER / "bin" / "Makefile").read_text()
    assert "cc -static -no-pie -o" in makefile
    assert "-O3 -fno-pie -static -no-pie" in makefile


def test_another_source_is_taken_on_purpose_alone(machine: Machine) -> None:
    tarball, sha256 = machine.source()
    said = machine.call("dali", "install", "--source", tarball, exit=2).stderr
    assert f"SHA-256 {sha256}, not {recipe.read_sources().dali.sha256}" in said
    assert f"--sha256 {sha256}" in said
    said = machine.call("dali", "install", "--source", tarball, "--sha256", "0" * 64, exit=2).stderr
    assert f"not {'0' * 64}" in said
    said = machine.call("dali", "install", "--source", machine.root / "none", exit=2).stderr
    assert "there is no file" in said
    assert not machine.home.exists()


def test_one_that_is_built_wrong_is_not_there_and_the_earlier_one_stays(machine: Machine) -> None:
    said = machine.install(wrong=True, exit=ExitCode.ALIGNER).stderr
    assert "reads 0 residues" in said
    assert os.listdir(machine.data) == []
    machine.install()
    assert "is there already" in machine.install(exit=2).stderr
    (machine.home / "mine").touch()
    machine.install("--force", wrong=True, exit=ExitCode.ALIGNER)
    assert (machine.home / "mine").exists()
    machine.install("--force")
    assert not (machine.home / "mine").exists()
    assert os.listdir(machine.data) == [DALI_FOLDER]


def test_all_that_is_missing_is_told_at_once_before_anything_is_fetched(machine: Machine) -> None:
    only = machine.root / "only"
    only.mkdir()
    (only / "tar").symlink_to(shutil.which("tar") or "/bin/tar")
    done = run("dali", "install", env={**machine.env, "PATH": str(only)})
    assert done.returncode == ExitCode.ALIGNER
    assert "missing here: make, cc, gfortran" in done.stderr
    assert "apt install gcc gfortran make" in done.stderr
    assert "dnf install gcc gcc-gfortran make" in done.stderr
    assert not machine.data.exists()
    assert "fetching" not in done.stderr


def test_a_build_that_fails_says_why(machine: Machine) -> None:
    machine.program("make", "echo 'f951: Error: no room'; echo 'cannot find -lc' >&2; exit 2")
    said = machine.install(exit=ExitCode.ALIGNER).stderr
    assert "f951: Error: no room" in said and "cannot find -lc" in said
    said = machine.install("--faster", exit=ExitCode.ALIGNER).stderr
    assert "without --faster" in said
    text = machine.root / "text"
    text.write_text("this is no tarball\n")
    said = machine.call(
        "dali", "install", "--source", text, "--sha256", download.sha256(text),
        exit=ExitCode.ALIGNER,
    ).stderr  # fmt: skip
    assert "DALI could not be built" in said
    assert os.listdir(machine.data) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_when_interrupted_nothing_is_left(number: signal.Signals, machine: Machine) -> None:
    begun = machine.root / "begun"
    machine.program("make", f"touch {begun}; exec sleep 60")
    tarball, sha256 = machine.source()
    words = ["dali", "install", "--source", str(tarball), "--sha256", sha256]
    process = subprocess.Popen(
        [*COMMAND, *words], env=machine.env, stderr=subprocess.PIPE, text=True
    )
    end = time.monotonic() + 30
    while not begun.exists() and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert process.returncode == ExitCode.INTERRUPTED, said
    assert os.listdir(machine.data) == []


def test_it_is_fetched_from_its_home(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    tarball, sha256 = machine.source()
    monkeypatch.setenv("PATH", machine.env["PATH"])
    monkeypatch.setattr(download, "WAITS", (0.0,))
    sources = recipe.read_sources()

    def at(home: str) -> None:
        dali = sources.dali.model_copy(update={"homes": (home,), "sha256": sha256})
        monkeypatch.setattr(
            recipe, "read_sources", lambda: sources.model_copy(update={"dali": dali})
        )

    at(f"file://{machine.root}/gone.tgz")
    with pytest.raises(AlignerError, match="cannot be had") as raised:
        dali_build.build(machine.data)
    assert "--source TARBALL" in raised.value.hint
    at(f"file://{tarball}")
    made = dali_build.build(machine.data)
    assert (made.home, made.as_listed) == (machine.home, True)
    with pytest.raises(ConfigError, match="there already"):
        dali_build.build(machine.data)


def test_a_folder_that_cannot_be_written_is_told_as_one(machine: Machine) -> None:
    (machine.root / "file").touch()
    said = machine.install("--prefix", machine.root / "file", exit=ExitCode.STORAGE).stderr
    assert "DALI cannot be put into" in said


@pytest.mark.real
@pytest.mark.timeout(600)
@pytest.mark.skipif(not SOURCE, reason="set DPAM_HPC_DALI_SOURCE to DaliLite.v5.tar.gz")
@pytest.mark.skipif(
    any(shutil.which(name) is None for name in PROGRAMS), reason="apt install gcc gfortran make"
)
@pytest.mark.parametrize("more", [[], ["--faster"]])
def test_the_real_one_is_built_and_proven(more: list[str], tmp_path: Path) -> None:
    env = environment(XDG_DATA_HOME=str(tmp_path))
    done = run("dali", "install", "--source", SOURCE, *more, env=env, timeout=500)
    assert done.returncode == 0, done.stderr
    assert "gives the known answer to the byte" in run("dali", "check", env=env).stdout
    programs = tmp_path / "dpam-hpc" / DALI_FOLDER / "bin"
    dynamic = b"libgfortran.so" in (programs / "serialcompare").read_bytes()
    assert dynamic != bool(more)
