"""Scratch: where it is, that it is private, and that only what is dead and ours is swept."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import slowfs

from dpam_hpc.errors import ExitCode, StorageError
from dpam_hpc.node import scratch
from dpam_hpc.node.scratch import ABANDONED_AFTER, CLAIM, PREFIX, Scratch, choose, mount_type, sweep

MOUNTS = r"""
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:40 / /hpc/home rw shared:2 master:3 - nfs4 server:/home rw
31 30 0:41 / /hpc/home/me/local rw - xfs /dev/sdb1 rw
32 22 0:42 / /hpc/work rw - lustre mgs:/work rw
33 22 0:43 / /hpc/work-local rw - tmpfs tmpfs rw
34 22 0:44 / /hpc/my\040disk rw - btrfs /dev/sdc rw
35 22 0:45 / /hpc/auto rw - autofs systemd-1 rw
36 35 0:46 / /hpc/auto rw - nfs server:/auto rw
a line that is none
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/elsewhere", "ext4"),
        ("/", "ext4"),
        ("/hpc/home", "nfs4"),
        ("/hpc/home/me", "nfs4"),
        ("/hpc/home/me/local", "xfs"),
        ("/hpc/home/me/local/deep/er", "xfs"),
        ("/hpc/work/x", "lustre"),
        ("/hpc/work-local/x", "tmpfs"),
        ("/hpc/workshop", "ext4"),
        ("/hpc/my disk/x", "btrfs"),
        ("/hpc/auto/x", "nfs"),
    ],
)
def test_the_mount_table_tells_the_type_of_a_folder(folder: str, kind: str) -> None:
    assert mount_type(Path(folder), MOUNTS) == kind


def test_the_type_is_that_of_where_a_link_leads(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/hpc/work")
    assert mount_type(tmp_path / "link" / "x", MOUNTS) == "lustre"


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "lustre", "gpfs", "beegfs", "fuse.sshfs", "9p"])
def test_what_may_be_shared_is_not_local(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(scratch, "mount_type", lambda folder: kind)
    assert not scratch.is_local(tmp_path)


class Node:
    """A made-up node with four places for scratch, all of them fit for it at first."""

    def __init__(self, root: Path) -> None:
        self.slurm, self.tmpdir, self.tmp, self.system, self.work = (
            root / name for name in ("slurm", "tmpdir", "tmp", "system", "work")
        )
        for folder in (self.slurm, self.tmpdir, self.tmp, self.system, self.work):
            folder.mkdir()
        self.environment = {"SLURM_TMPDIR": str(self.slurm), "TMPDIR": str(self.tmpdir)}
        self.types: dict[Path, str] = {}
        self.free: dict[Path, int] = {}
        self.read_only: set[Path] = set()

    def choose(self, need: int = 1000, explicit: Path | None = None) -> scratch.Choice:
        """What is chosen here."""
        return choose(self.work, need, explicit, self.environment)


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    """A made-up node in place of this machine."""
    node = Node(tmp_path)
    make_file = tempfile.TemporaryFile

    def temporary_file(dir: Path) -> Any:
        if dir in node.read_only:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return make_file(dir=dir)

    monkeypatch.setattr(scratch, "CANDIDATES", ("$SLURM_TMPDIR", "$TMPDIR", str(node.tmp)))
    monkeypatch.setattr(tempfile, "tempdir", str(node.system))
    monkeypatch.setattr(tempfile, "TemporaryFile", temporary_file)
    monkeypatch.setattr(scratch, "mount_type", lambda folder: node.types.get(folder, "ext4"))
    monkeypatch.setattr(scratch, "free_bytes", lambda folder: node.free.get(folder, 10**12))
    return node


def test_the_places_are_tried_in_order(node: Node) -> None:
    assert node.choose() == scratch.Choice(node.slurm)
    del node.environment["SLURM_TMPDIR"]
    assert node.choose() == scratch.Choice(node.tmpdir)
    del node.environment["TMPDIR"]
    assert node.choose() == scratch.Choice(node.tmp)


def test_a_shared_place_is_refused_and_named(node: Node) -> None:
    node.types[node.slurm] = "lustre"
    choice = node.choose()
    assert choice.folder == node.tmpdir
    (reason,) = choice.refused
    assert reason == f"$SLURM_TMPDIR ({node.slurm}) is on a shared file system (lustre)"


def test_a_place_that_cannot_be_written_is_refused(node: Node) -> None:
    node.read_only.add(node.slurm)
    node.tmpdir.rmdir()
    choice = node.choose()
    assert choice.folder == node.tmp
    assert [reason.partition("cannot be written: ")[2] for reason in choice.refused] == [
        os.strerror(errno.EROFS),
        os.strerror(errno.ENOENT),
    ]


def test_a_place_with_too_little_room_is_refused(node: Node) -> None:
    node.free[node.slurm] = 1_000_000
    assert node.choose(1_000_000).refused == []
    choice = node.choose(2_500_000_000)
    assert choice.folder == node.tmpdir
    (reason,) = choice.refused
    assert "has 1.0 MB free of the 2.5 GB" in reason


def test_a_place_named_by_a_relative_path_is_refused(node: Node) -> None:
    node.environment["SLURM_TMPDIR"] = "tmp"
    assert node.choose().refused == ["$SLURM_TMPDIR (tmp) is no absolute path"]


def test_the_working_folder_is_the_last_resort_and_every_reason_is_told(node: Node) -> None:
    node.types[node.slurm] = "nfs"
    node.read_only.add(node.tmpdir)
    node.free[node.tmp] = 0
    node.system.rmdir()
    choice = node.choose()
    assert choice.folder == node.work
    assert choice.is_fallback
    for place, reason in zip(
        (node.slurm, node.tmpdir, node.tmp, node.system), choice.refused, strict=True
    ):
        assert str(place) in reason

    node.free[node.work] = 10
    with pytest.raises(StorageError) as caught:
        node.choose()
    assert caught.value.exit_code == ExitCode.STORAGE
    for reason in choice.refused:
        assert reason in caught.value.what
    assert "--scratch-dir" in caught.value.hint


def test_a_named_place_is_taken_whatever_the_environment_says(node: Node, tmp_path: Path) -> None:
    assert node.choose(explicit=tmp_path) == scratch.Choice(tmp_path)


def test_a_named_place_on_a_shared_file_system_is_taken_with_a_remark(
    node: Node, tmp_path: Path
) -> None:
    node.types[tmp_path] = "gpfs"
    choice = node.choose(explicit=tmp_path)
    assert choice.folder == tmp_path
    assert not choice.is_fallback
    assert choice.refused == [f"{tmp_path} is on a shared file system (gpfs)"]


@pytest.mark.parametrize("free", [None, 10])
def test_a_named_place_that_will_not_do_is_an_error(
    node: Node, tmp_path: Path, free: int | None
) -> None:
    """It is missing, or has too little room."""
    folder = tmp_path / "named"
    if free is not None:
        folder.mkdir()
        node.free[folder] = free
    with pytest.raises(StorageError, match=str(folder)) as caught:
        node.choose(explicit=folder)
    assert caught.value.exit_code == ExitCode.STORAGE
    assert "--scratch-dir" in caught.value.hint


def test_scratch_is_private_and_has_a_random_name(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        one, other = Scratch(tmp_path), Scratch(tmp_path)
    finally:
        os.umask(before)
    assert one.folder != other.folder
    for made in (one, other):
        assert made.folder.parent == tmp_path
        assert stat.S_IMODE(made.folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((made.folder / CLAIM).stat().st_mode) == 0o600
        (made.folder / "w0").mkdir()
        (made.folder / "w0" / "file").touch()
        made.remove()
    assert os.listdir(tmp_path) == []


def test_scratch_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="absent"):
        Scratch(tmp_path / "absent")


def left_behind(place: Path, name: str = "0123abcd", user: int | None = None) -> Path:
    """A folder as a dead run leaves it."""
    folder = place / f"{PREFIX}{os.getuid() if user is None else user}-{name}"
    folder.mkdir(mode=0o700)
    (folder / CLAIM).touch()
    (folder / "w0").mkdir()
    (folder / "w0" / "file").write_text("x")
    return folder


@contextmanager
def running(
    code: str, *arguments: Path, cwd: Path | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A Python program that has said something on its output already; killed at the end."""
    program = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=cwd,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with program:
        try:
            assert program.stdout is not None
            program.stdout.readline()
            yield program
        finally:
            program.kill()


HOLD = """
import sys
from pathlib import Path
from dpam_hpc.node.scratch import Scratch
held = Scratch(Path(sys.argv[1]))
print(held.folder, flush=True)
sys.stdin.read()
"""
STAY = "import sys; print('here', flush=True); sys.stdin.read()"


def test_what_dead_runs_left_is_swept(tmp_path: Path) -> None:
    places = [tmp_path / "a", tmp_path / "b", tmp_path / "absent"]
    for place in places[:2]:
        place.mkdir()
    dead = {left_behind(places[0]), left_behind(places[0], "1"), left_behind(places[1])}
    assert set(sweep(places)) == dead
    assert os.listdir(places[0]) == os.listdir(places[1]) == []


def test_what_another_process_holds_stays_until_that_is_dead(tmp_path: Path) -> None:
    with running(HOLD, tmp_path) as holder:
        (held,) = tmp_path.iterdir()
        (held / "file").touch()
        assert sweep([tmp_path]) == []
        assert (held / "file").exists()
        holder.kill()
        holder.wait()
        assert sweep([tmp_path]) == [held]


def test_what_this_process_holds_stays(tmp_path: Path) -> None:
    held = Scratch(tmp_path)
    assert sweep([tmp_path]) == []
    assert (held.folder / CLAIM).exists()
    held.remove()


def test_scratch_is_held_from_its_first_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run sweeps while it is being made."""
    lock = fcntl.flock

    def sweep_and_lock(file: int, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)
        sweep([tmp_path])
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", sweep_and_lock)
    made = Scratch(tmp_path)
    assert (made.folder / CLAIM).exists()
    made.remove()


def test_what_is_not_a_folder_of_ours_stays(tmp_path: Path) -> None:
    place, foreign = tmp_path / "place", tmp_path / "foreign"
    place.mkdir()
    foreign.mkdir()
    target = left_behind(foreign)
    (place / f"{PREFIX}{os.getuid()}-link").symlink_to(target)
    (place / f"{PREFIX}{os.getuid()}-file").touch()
    (place / f"other-{PREFIX}{os.getuid()}-x").mkdir()
    left_behind(place, user=os.getuid() + 1)
    claim_is_link = left_behind(place, "claim-is-link")
    (claim_is_link / CLAIM).unlink()
    (claim_is_link / CLAIM).symlink_to(target / CLAIM)
    before = sorted(place.iterdir())
    assert sweep([place]) == []
    assert sorted(place.iterdir()) == before
    assert (target / "w0" / "file").read_text() == "x"
    assert (claim_is_link / "w0" / "file").exists()


def test_a_folder_of_another_user_stays_whatever_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    me = os.getuid() + 1
    folder = left_behind(tmp_path, user=me)
    monkeypatch.setattr(os, "getuid", lambda: me)
    assert sweep([tmp_path]) == []
    assert folder.exists()


def test_a_folder_without_a_claim_may_be_in_the_making(tmp_path: Path) -> None:
    folder = left_behind(tmp_path)
    (folder / CLAIM).unlink()
    assert sweep([tmp_path]) == []
    long_ago = time.time() - ABANDONED_AFTER - 1
    os.utime(folder, (long_ago, long_ago))
    assert sweep([tmp_path]) == [folder]


def test_who_still_works_in_a_dead_run_s_folder_is_ended(tmp_path: Path) -> None:
    folder = left_behind(tmp_path)
    neighbour = tmp_path / f"{folder.name}2"
    neighbour.mkdir()
    with (
        running(STAY, cwd=folder / "w0") as inside,
        running(STAY, cwd=folder) as at_top,
        running(STAY, cwd=neighbour) as beside,
        running(STAY, cwd=tmp_path) as above,
    ):
        assert sweep([tmp_path]) == [folder]
        assert inside.wait(5) == at_top.wait(5) == -signal.SIGKILL
        assert beside.poll() is None
        assert above.poll() is None


def test_who_works_in_a_place_that_is_named_by_a_link_is_ended(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    folder = left_behind(tmp_path / "real")
    with running(STAY, cwd=folder) as inside:
        assert sweep([tmp_path / "link"]) == [tmp_path / "link" / folder.name]
        assert inside.wait(5) == -signal.SIGKILL


@pytest.mark.slow_fs
@pytest.mark.skipif(bool(slowfs.why_none()), reason=slowfs.why_none())
def test_nothing_is_left_on_a_shared_file_system(tmp_path: Path) -> None:
    """The claim is open as the folder is removed: there it stays under another name until then."""
    backing, share = tmp_path / "backing", tmp_path / "share"
    backing.mkdir()
    with slowfs.mounted(backing, share, options=("--nfs", "--latency-ms", 1)):
        held = Scratch(share)
        (held.folder / "cache").mkdir()
        held.remove()
        assert list(share.iterdir()) == []
