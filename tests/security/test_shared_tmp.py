"""Scratch, the bundle's copy and the image's mark in a folder where anybody may make files."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from dpam_hpc.errors import ImageError, StorageError
from dpam_hpc.image.identity import ImageIdentity, sha256
from dpam_hpc.node import image_check, scratch
from dpam_hpc.node.bundle_copy import COPY, NOTE, BundleCopy
from dpam_hpc.node.scratch import CLAIM, Scratch
from tests.security.people import NEEDED, THEY, WE

pytestmark = NEEDED


def test_nobody_else_sees_into_scratch(shared_tmp: Path) -> None:
    with WE.acting():
        held = Scratch(shared_tmp)
        (held.folder / "query").write_text("ours")
    with THEY.acting():
        with pytest.raises(PermissionError):
            os.listdir(held.folder)
        with pytest.raises(PermissionError):
            held.folder.rename(shared_tmp / "theirs")
        with pytest.raises(PermissionError):
            (held.folder / "query").read_text()
    with WE.acting():
        held.remove()
    assert list(shared_tmp.iterdir()) == []


@pytest.mark.parametrize(
    ("owner", "mode", "remark"),
    [
        (0, 0o1777, ""),
        (WE.uid, 0o755, ""),
        (WE.uid, 0o700, ""),
        (WE.uid, 0o777, "no sticky bit"),
        (WE.uid, 0o2775, "no sticky bit"),
        (0, 0o777, "no sticky bit"),
        (THEY.uid, 0o1777, "belongs to another user"),
        (THEY.uid, 0o777, "belongs to another user"),
    ],
)
def test_scratch_is_where_nobody_can_exchange_it(
    place: Path, owner: int, mode: int, remark: str
) -> None:
    folder = place / "scratch"
    folder.mkdir()
    os.chown(folder, owner, 0)
    folder.chmod(mode)
    WE.folder(place / "work")
    (place / "link").symlink_to(folder)
    with WE.acting():
        for named in (folder, place / "link"):
            environment = {"TMPDIR": str(named)}
            choice = scratch.choose(place / "work", 0, None, environment, ["$TMPDIR"])
            assert (choice.folder == named) == (not remark)
            assert not remark or remark in choice.refused[0]
            if remark:
                with pytest.raises(StorageError, match=remark):
                    scratch.choose(place / "work", 0, named, environment)


def test_what_they_plant_is_not_swept_and_ends_no_process(shared_tmp: Path, home: Path) -> None:
    old = time.time() - 1000
    mine = f"{scratch.PREFIX}{WE.uid}-"
    with WE.acting():
        (home / "kept").mkdir()
        (home / "kept" / "file").write_text("ours")
    with THEY.acting():
        (shared_tmp / f"{mine}link").symlink_to(home)
        planted = shared_tmp / f"{mine}theirs"
        planted.mkdir(mode=0o777)
        planted.chmod(0o777)
        (planted / "way").symlink_to(home)
        (planted / CLAIM).touch()
        (planted / CLAIM).chmod(0o666)
    # Of ours: they cannot end it themselves, and would have the sweep do it.
    process = subprocess.Popen(["sleep", "60"], user=WE.uid, group=WE.uid, cwd=planted)
    os.utime(planted, (old, old))
    try:
        with WE.acting():
            assert scratch.sweep([shared_tmp]) == []
        assert process.poll() is None and planted.is_dir()
        assert (home / "kept" / "file").read_text() == "ours"
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("kind", ["folder", "open folder", "link", "file"])
def test_who_takes_the_name_of_the_bundles_copy_hinders_nobody(
    shared_tmp: Path, home: Path, place: Path, kind: str
) -> None:
    bundle = WE.file(place / "ecod.bundle", b"templates" * 1000)
    with WE.acting():
        before = BundleCopy(bundle, shared_tmp)
        before.release(keep=False)
    name = before.folder
    with THEY.acting():
        if kind == "link":
            name.symlink_to(home)
        elif kind == "file":
            name.write_text("theirs")
        else:
            name.mkdir()
            name.chmod(0o777 if kind == "open folder" else 0o700)
            for part in (COPY, NOTE, CLAIM):
                (name / part).write_text("theirs")
    with WE.acting():
        copy = BundleCopy(bundle, shared_tmp)
        assert copy.folder != name
        assert copy.path.read_bytes() == bundle.read_bytes()
        status = copy.folder.stat()
        assert (status.st_uid, status.st_mode & 0o777) == (WE.uid, 0o700)
        copy.release(keep=True)
        assert scratch.sweep([shared_tmp]) == [copy.folder], "it is swept as any other"
    assert [path.name for path in home.iterdir()] == ["precious"]
    if kind.endswith("folder"):
        assert (name / COPY).read_text() == "theirs"


@pytest.mark.parametrize("kind", ["file", "link", "pipe"])
def test_a_mark_that_they_make_vouches_for_no_image(
    shared_tmp: Path, home: Path, place: Path, kind: str
) -> None:
    image = WE.file(place / "dpam.sif", b"the image that was submitted")
    with WE.acting():
        with image.open("rb") as file:
            checksum = sha256(file)
        identity = ImageIdentity(image, checksum, "x86_64", image.stat().st_size)
        mark = image_check.verify(identity, "run", shared_tmp)
        (made,) = shared_tmp.iterdir()
        text = made.read_bytes()
        mark.remove()
        before = image.stat()
        # Another image in the same place, of the same size, age and number.
        image.write_bytes(b"THE IMAGE THAT WAS SUBMITTED")
        os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns))
    with THEY.acting():
        if kind == "file":
            made.write_bytes(text)
            made.chmod(0o666)
        elif kind == "link":
            made.symlink_to(home / "precious")
        else:
            os.mkfifo(made, 0o666)
    with WE.acting(), pytest.raises(ImageError, match="is not the one"):
        image_check.verify(identity, "run", shared_tmp)
    assert (home / "precious").read_bytes() == b"precious"
