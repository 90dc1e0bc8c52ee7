"""The image as the node sees it: the submitted one or none, and read once a node and run."""

from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path
from typing import BinaryIO

import pytest

from dpam_hpc.errors import ExitCode, ImageError
from dpam_hpc.image.identity import ImageIdentity, sha256
from dpam_hpc.node import image_check, scratch, shared_fs
from dpam_hpc.node.image_check import FORGOTTEN_AFTER, verify

RUN = "20260102-030405-c0de"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "dpam.sif"
    path.write_bytes(b"an image" * 1000)
    return path


@pytest.fixture
def image(path: Path) -> ImageIdentity:
    with path.open("rb") as file:
        return ImageIdentity(path, sha256(file), "x86_64", path.stat().st_size)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "node"
    folder.mkdir()
    return folder


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A name for each time that an image was read to its end."""
    names: list[str] = []

    def read(file: BinaryIO) -> str:
        names.append(str(file.name))
        time.sleep(0.05)
        return sha256(file)

    monkeypatch.setattr(image_check, "sha256", read)
    return names


def test_it_is_read_once_a_node_and_run(
    image: ImageIdentity, place: Path, reads: list[str], tmp_path: Path
) -> None:
    for _ in range(3):
        verify(image, RUN, place)
    assert len(reads) == 1
    verify(image, "20260102-030406-beef", place)
    assert len(reads) == 2, "of another run nothing is known"
    other = tmp_path / "other node"
    other.mkdir()
    verify(image, RUN, other)
    assert len(reads) == 3


def test_many_that_start_at_once_read_it_once(
    image: ImageIdentity, place: Path, reads: list[str]
) -> None:
    done: list[object] = []
    threads = [
        threading.Thread(target=lambda: done.append(verify(image, RUN, place))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert (len(done), len(reads)) == (8, 1)


def test_without_a_place_it_is_read_each_time(image: ImageIdentity, reads: list[str]) -> None:
    verify(image, RUN, None)
    verify(image, RUN, None).remove()
    assert len(reads) == 2


def test_another_image_is_refused_and_named(
    image: ImageIdentity, path: Path, place: Path, reads: list[str]
) -> None:
    verify(image, RUN, place)
    path.write_bytes(b"another image")
    for _ in range(2):
        with pytest.raises(ImageError) as caught:
            verify(image, RUN, place)
    with path.open("rb") as file:
        now = sha256(file)
    assert f"{path} is not the one that run {RUN} was submitted with" in caught.value.what
    assert f"is {now[:12]}..., and was {image.sha256[:12]}..." in caught.value.what
    assert "dpam-hpc resume takes the new one" in caught.value.hint
    assert caught.value.exit_code == ExitCode.IMAGE
    assert len(reads) == 3, "a refusal leaves no mark"
    assert len(list(place.iterdir())) == 1


@pytest.mark.parametrize("how", ["rewritten", "replaced", "touched"])
def test_a_file_that_may_be_another_is_read_again(
    how: str, image: ImageIdentity, path: Path, place: Path, reads: list[str]
) -> None:
    verify(image, RUN, place)
    content, before = path.read_bytes(), path.stat()
    if how == "replaced":  # of the same size and time
        path.rename(path.with_name("old"))
        path.write_bytes(content)
        os.utime(path, ns=(before.st_mtime_ns, before.st_mtime_ns))
    elif how == "rewritten":
        path.write_bytes(content + b"more")
        path.write_bytes(content)
        os.utime(path, ns=(before.st_mtime_ns, before.st_mtime_ns + 1))
    else:
        path.touch()
    verify(image, RUN, place)
    assert len(reads) == 2


def test_an_image_that_is_gone_is_named(image: ImageIdentity, path: Path, place: Path) -> None:
    path.unlink()
    with pytest.raises(ImageError, match=r"dpam\.sif cannot be read: No such file") as caught:
        verify(image, RUN, place)
    assert caught.value.hint


def test_a_failure_that_passes_is_none(
    image: ImageIdentity, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [errno.EIO, errno.ESTALE]

    def read(file: BinaryIO) -> str:
        if failures:
            raise OSError(failures.pop(), "for a moment")
        return sha256(file)

    monkeypatch.setattr(image_check, "sha256", read)
    monkeypatch.setattr(shared_fs, "DELAYS", (0.0, 0.0))
    verify(image, RUN, place)
    assert failures == []


# -- the mark -------------------------------------------------------------------------------------


def test_a_mark_is_private_and_outlives_sweeps(
    image: ImageIdentity, place: Path, reads: list[str]
) -> None:
    mark = verify(image, RUN, place)
    (file,) = place.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert scratch.sweep([place]) == []
    verify(image, RUN, place)
    assert len(reads) == 1
    mark.remove()
    assert list(place.iterdir()) == []
    mark.remove()


def test_a_mark_that_is_not_its_users_own_private_file_counts_for_nothing(
    image: ImageIdentity, place: Path, reads: list[str], tmp_path: Path
) -> None:
    verify(image, RUN, place)
    (file,) = place.iterdir()
    text = file.read_bytes()

    def read_again() -> bool:
        before = len(reads)
        verify(image, RUN, place)
        return len(reads) == before + 1

    file.chmod(0o644)
    assert read_again()
    file.chmod(0o600)
    assert not read_again()
    os.link(file, tmp_path / "second name")
    assert read_again()
    file.unlink()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(text)
    elsewhere.chmod(0o600)
    file.symlink_to(elsewhere)
    assert read_again()
    assert elsewhere.read_bytes() == text
    file.unlink()
    os.mkfifo(file, 0o600)
    assert read_again()


def test_a_mark_of_another_owner_counts_for_nothing(
    image: ImageIdentity, place: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    verify(image, RUN, place)
    mine = image_check._mine()
    monkeypatch.setattr(image_check, "_mine", lambda: mine)  # it has the name that we look for
    monkeypatch.setattr(os, "getuid", lambda: 4242)
    verify(image, RUN, place)
    assert len(reads) == 2


@pytest.mark.parametrize("text", [b"", b'["half', b"x" * 1000])
def test_a_torn_mark_is_made_anew(
    text: bytes, image: ImageIdentity, place: Path, reads: list[str]
) -> None:
    verify(image, RUN, place)
    (file,) = place.iterdir()
    file.write_bytes(text)
    verify(image, RUN, place)
    verify(image, RUN, place)
    assert len(reads) == 2


def test_marks_that_nobody_uses_are_removed(image: ImageIdentity, place: Path) -> None:
    verify(image, "an old run", place)
    verify(image, "a long run", place)
    old = time.time() - FORGOTTEN_AFTER - 100
    folder, foreign = place / f"{image_check._mine()}folder", place / "dh-foreign"
    folder.mkdir()
    foreign.touch()
    for entry in place.iterdir():
        os.utime(entry, (old, old))
    mark = next(f for f in place.iterdir() if f.is_file() and "a long run" in f.read_text())
    os.utime(mark)  # as its use does
    verify(image, RUN, place)
    left = {entry for entry in place.iterdir() if entry.is_file() and entry != foreign}
    assert folder.exists() and foreign.exists()
    assert mark in left and len(left) == 2


def test_use_keeps_a_mark(image: ImageIdentity, place: Path) -> None:
    verify(image, RUN, place)
    (file,) = place.iterdir()
    os.utime(file, (1, time.time() - FORGOTTEN_AFTER + 100))
    verify(image, RUN, place)
    assert time.time() - file.stat().st_mtime < 100
