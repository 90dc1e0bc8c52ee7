"""A build with programs that only look like Apptainer and mksquashfs: what is left, and told."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import signal
import stat
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from dpam_hpc.errors import ConfigError, ImageError, StorageError
from dpam_hpc.image import building, sandbox, sif
from dpam_hpc.image.building import Built
from dpam_hpc.image.choice import Choice
from tests.image.conftest import Program
from tests.image.made_up import Kitchen, mirror_file, sha256

EPOCH = 1783728000
APPTAINER = """
root="${@: -2:1}"
for word; do case $word in SOURCES=*) sources=${word#SOURCES=};; esac; done
stat -c %a "$(dirname "$root")" >"$0.mode"
env >"$0.environment"
printf '%s\\n' "$@" >"$0.asked"
umask >"$0.umask"
mkdir -p "$root"/{.singularity.d/env,etc,var/lib/dpkg,opt/dpam-hpc}
cp "$sources/contents.json" "$root/opt/dpam-hpc/"
echo $RANDOM >"$root/etc/hosts"
echo "export A=1" >"$root/.singularity.d/env/90-environment.sh"
printf 'Package: perl\\nStatus: install ok installed\\nVersion: 5\\n' >"$root/var/lib/dpkg/status"
echo '{"mine": "1", "org.label-schema.build-date": "'"$RANDOM $RANDOM $$"'",
    "org.label-schema.usage.singularity.deffile.from": "x"}' >"$root/.singularity.d/labels.json"
"""
MKSQUASHFS = """(cd "$1" && find . -type f | LC_ALL=C sort | xargs tail -n +1) >"$2" """
UNSHARE = """while [ "$1" != -- ]; do [ $# = 0 ] && exit; shift; done; shift; exec "$@" """


@dataclass
class Machine:
    """A machine that can build, as far as its programs say, and what is asked of it."""

    program: Program
    choice: Choice
    folder: Path

    def build(self, name: str = "image.sif", **more: Path | int | None) -> Built:
        return building.build(
            self.choice, self.folder / "out" / name, self.folder / "sources",
            sandbox_parent=self.folder / "work", offline=True, **more,  # type: ignore[arg-type]
        )  # fmt: skip

    def noted(self, what: str) -> str:
        return (self.folder / f"programs/apptainer.{what}").read_text()

    def left(self) -> list[str]:
        return sorted(p.name for name in ("out", "work") for p in (self.folder / name).iterdir())


@pytest.fixture
def machine(tmp_path: Path, program: Program, monkeypatch: pytest.MonkeyPatch) -> Machine:
    program("apptainer", APPTAINER)
    program("mksquashfs", MKSQUASHFS)
    program("debootstrap", "")
    program("unshare", UNSHARE)
    monkeypatch.setattr(sandbox, "WORK_BYTES", {True: 1, False: 1})
    files = [mirror_file(tmp_path / "sources/debian", "pool/a.deb", b"a", "base")]
    for name in ("sources/wheels", "out", "work"):
        (tmp_path / name).mkdir()
    return Machine(program, Kitchen(tmp_path / "recipe").choice({}, files), tmp_path)


# -- a build that succeeds -----------------------------------------------------------------------


def test_an_image_is_complete_and_the_same_again(machine: Machine) -> None:
    one, two = machine.build(), machine.build("two.sif")
    content = one.path.read_bytes()
    assert content == two.path.read_bytes()
    assert one.sha256 == hashlib.sha256(content).hexdigest()
    assert one.bytes == len(content)
    assert machine.left() == ["image.sif", "image.sif.sha256", "two.sif", "two.sif.sha256"]
    assert (machine.folder / "out/image.sif.sha256").read_text() == f"{one.sha256}  image.sif\n"
    assert stat.S_IMODE(one.path.stat().st_mode) == 0o755
    metadata = json.loads(sif.read_text(one.path, sif.JSON))["data"]["attributes"]
    recipe = (machine.choice.recipe / "Apptainer.def").read_text()
    assert metadata["deffile"] == sif.read_text(one.path, sif.DEFFILE) == recipe
    assert metadata["labels"]["mine"] == "1"
    assert metadata["labels"]["org.label-schema.build-date"] == "2026-07-11T00:00:00Z"
    assert not [name for name in metadata["labels"] if "deffile" in name]
    assert "SPDXRef-Debian-perl" in sif.read_text(one.path, sif.SBOM)


def test_another_time_is_another_image(machine: Machine) -> None:
    one, two = machine.build(), machine.build("two.sif", epoch=7)
    assert one.sha256 != two.sha256
    assert "1970-01-01T00:00:07Z" in sif.read_text(two.path, sif.JSON)


def test_apptainer_is_asked_for_what_was_fetched(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APPTAINER_BIND", "/data")
    monkeypatch.setenv("SINGULARITY_NOHTTPS", "1")
    before = os.umask(0o077)
    try:
        machine.build()
    finally:
        os.umask(before)
    assert machine.noted("mode") == "700\n", "others must not look into it, nor change it"
    assert machine.noted("umask") == "0022\n"
    asked = machine.noted("asked").splitlines()
    assert asked[:2] == ["build", "--sandbox"]
    arguments = dict(word.split("=", 1) for word in asked if "=" in word)
    base = machine.choice.sources.debian.base
    assert arguments["PACKAGES"] == " ".join(base), "and none of dpam's"
    assert arguments["MIRROR"].startswith(f"file://{machine.folder}/work/")
    environment = dict(
        line.split("=", 1) for line in machine.noted("environment").splitlines() if "=" in line
    )
    assert not environment.keys() & {"APPTAINER_BIND", "SINGULARITY_NOHTTPS"}
    assert environment["SOURCE_DATE_EPOCH"] == str(EPOCH)
    for name in ("TMPDIR", "APPTAINER_TMPDIR", "APPTAINER_CACHEDIR"):
        assert environment[name].startswith(f"{machine.folder}/work/")


# -- builds that fail ----------------------------------------------------------------------------

FAILURES = [
    ("tar: No space left on device", "--sandbox-dir"),
    ("ERROR: could not use fakeroot: no mapping entry found in /etc/subuid", "three ways out"),
    ("FATAL: failed to create user namespace", "three ways out"),
    ("dpam-hpc: this image must not be used:", "hits from it would be lost"),
    ("make: *** [Makefile:7: dsspcmbi] Error 1", "--keep-log"),
]


@pytest.mark.parametrize(("line", "hint"), FAILURES)
def test_a_build_that_fails_tells_why(line: str, hint: str, machine: Machine) -> None:
    machine.program("apptainer", f"{APPTAINER}\nseq 100 140\necho '{line}' >&2\nexit 255")
    old = machine.folder / "out/image.sif"
    old.write_bytes(b"the one before")
    with pytest.raises(ImageError, match="the build failed") as caught:
        machine.build(keep_log=machine.folder / "log")
    told = caught.value.what.splitlines()
    assert told[-1].strip() == line
    assert told[-2].strip() == "140"
    assert "100" not in caught.value.what
    assert hint in caught.value.hint
    assert machine.left() == ["image.sif"]
    assert old.read_bytes() == b"the one before"
    assert (machine.folder / "log").read_text().splitlines()[0] == "100"


def test_mksquashfs_that_fails_leaves_nothing(machine: Machine) -> None:
    machine.program("mksquashfs", "echo half >$2; echo 'FATAL ERROR: no room' >&2; exit 1")
    with pytest.raises(ImageError, match="mksquashfs failed: FATAL ERROR: no room"):
        machine.build()
    assert machine.left() == []


def test_a_disk_that_fills_at_the_end_leaves_nothing(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sif, "write", full)
    with pytest.raises(StorageError, match=r"image\.sif cannot be written: No space left"):
        machine.build()
    assert machine.left() == []


HANGS = APPTAINER + "sleep 3000 & echo $$ $! >$0.part; mv $0.part $0.started; wait\n"


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def expect_gone(machine: Machine) -> None:
    """The build's processes end, and nothing of it is left."""
    for pid in map(int, machine.noted("started").split()):
        while is_alive(pid):  # until the test's own time is over
            time.sleep(0.05)
    assert machine.left() == []


def test_an_interrupted_build_leaves_nothing(machine: Machine) -> None:
    machine.program("apptainer", HANGS)

    def interrupt() -> None:
        while not (machine.folder / "programs/apptainer.started").exists():
            time.sleep(0.05)
        time.sleep(0.5)  # it has started, and on a busy machine Popen need not know yet
        os.kill(os.getpid(), signal.SIGINT)

    # Tests that a shell runs in the background have inherited that it is ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        thread = threading.Thread(target=interrupt, daemon=True)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            machine.build()
        thread.join()
    finally:
        signal.signal(signal.SIGINT, before)
    expect_gone(machine)


def test_a_build_that_hangs_leaves_nothing(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.program("apptainer", HANGS)
    monkeypatch.setattr(sandbox, "BUILD_SECONDS", 5)
    with pytest.raises(ImageError, match="apptainer ran over its time limit of 5 s"):
        machine.build()
    expect_gone(machine)


# -- what is found out before ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "package"),
    [("apptainer", "apptainer"), ("debootstrap", "debootstrap"), ("mksquashfs", "squashfs-tools")],
)
def test_a_program_that_is_missing(
    name: str, package: str, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = machine.folder / "programs"
    (programs / name).unlink()
    monkeypatch.setattr(sandbox, "path_of_administrators", lambda: str(programs))
    with pytest.raises(ImageError, match=f"there is no {name} on this machine") as caught:
        machine.build()
    assert caught.value.hint == f"install {package}"


def test_without_user_namespaces_there_are_three_ways_out(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.program("unshare", "exit 1")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ImageError, match="user namespaces are switched off") as caught:
        machine.build()
    for way in ("/etc/subuid", "another machine", "remote builder"):
        assert way in caught.value.hint
    machine.program("unshare", UNSHARE)
    machine.build()
    machine.program("unshare", "exit 1")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    machine.build()


def refuse_to_begin(machine: Machine) -> None:
    """From now on a build that begins is an error of its own."""
    machine.program("apptainer", 'echo >"$0.asked"; echo it began; exit 1')


def test_too_little_room_is_said_before_anything_is_built(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_to_begin(machine)
    monkeypatch.setattr(sandbox, "WORK_BYTES", {True: 1, False: 10**18})
    with pytest.raises(StorageError, match=r"GB free, and a build takes up to") as caught:
        machine.build()
    assert "--sandbox-dir" in caught.value.hint
    assert not (machine.folder / "programs/apptainer.asked").exists()
    assert machine.left() == []


def test_folders_that_are_not_there(machine: Machine) -> None:
    refuse_to_begin(machine)
    (machine.folder / "work").rmdir()
    with pytest.raises(StorageError, match="cannot be built in: No such file") as caught:
        machine.build()
    assert "--sandbox-dir" in caught.value.hint
    (machine.folder / "work").mkdir()
    (machine.folder / "out").rmdir()
    with pytest.raises(StorageError, match="out cannot be written: No such file"):
        machine.build()
    assert not (machine.folder / "programs/apptainer.asked").exists()


def test_an_image_for_another_machine_is_not_built_here(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "this_architecture", lambda: "riscv64")
    with pytest.raises(ConfigError, match="cannot be built on riscv64"):
        machine.build()


# -- the folder of a build -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["APPTAINER_TMPDIR", "TMPDIR"])
def test_where_a_build_is(name: str, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    for other in ("APPTAINER_TMPDIR", "TMPDIR"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, str(machine.folder / "work"))
    with sandbox.work_folder(None, False) as folder:
        assert folder.parent == machine.folder / "work"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert machine.left() == []


def test_files_of_other_ids_are_removed_under_them(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)
    with sandbox.work_folder(machine.folder / "work", False) as folder:
        (folder / "root").mkdir()
    assert machine.left() == []
    machine.program("unshare", "exit 1")
    with (
        pytest.raises(StorageError, match="could not be removed") as caught,
        sandbox.work_folder(machine.folder / "work", False) as folder,
    ):
        pass
    assert str(folder) in caught.value.what
    assert caught.value.hint == "remove it as root"


def test_the_checksum_of_what_is_locked_is_in_the_image(machine: Machine) -> None:
    told = sif.read_text(machine.build().path, sif.JSON)
    (lock,) = (machine.choice.recipe / "containers").glob("*amd64.lock")
    assert sha256(lock.read_bytes()) in told
