"""The node's copy of a bundle: made once, shared, checked, removed by the last who uses it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from dpam_hpc.errors import BundleError
from dpam_hpc.node import scratch
from dpam_hpc.node.bundle_copy import BundleCopy


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    path = tmp_path / "shared.bundle"
    path.write_bytes(b"templates" * 1000)
    return path


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "node"
    folder.mkdir()
    return folder


def test_it_is_copied_once_and_removed_by_the_last(bundle: Path, place: Path) -> None:
    first = BundleCopy(bundle, place)
    inode = first.path.stat().st_ino
    second = BundleCopy(bundle, place)
    assert second.path == first.path and second.path.stat().st_ino == inode
    assert first.path.read_bytes() == bundle.read_bytes()
    assert first.folder.stat().st_mode & 0o777 == 0o700
    first.release(keep=False)
    assert second.path.exists(), "the second still uses it"
    second.release(keep=False)
    assert list(place.iterdir()) == []


def test_one_that_is_kept_is_used_by_the_next_and_swept_if_none_comes(
    bundle: Path, place: Path
) -> None:
    first = BundleCopy(bundle, place)
    inode = first.path.stat().st_ino
    first.release(keep=True)
    second = BundleCopy(bundle, place)
    assert second.path.stat().st_ino == inode
    assert scratch.sweep([place]) == [], "it is in use"
    second.release(keep=True)
    assert scratch.sweep([place]) == [second.folder]


def test_a_damaged_or_half_made_copy_is_made_anew(bundle: Path, place: Path) -> None:
    first = BundleCopy(bundle, place)
    first.release(keep=True)
    first.path.write_bytes(b"rubbish")
    second = BundleCopy(bundle, place)
    assert second.path.read_bytes() == bundle.read_bytes()
    second.release(keep=True)
    (second.folder / "copied.json").write_text('{"half')
    third = BundleCopy(bundle, place)
    assert third.path.read_bytes() == bundle.read_bytes()
    third.release(keep=False)


def test_another_bundle_of_that_name_is_another_copy(bundle: Path, place: Path) -> None:
    first = BundleCopy(bundle, place)
    bundle.write_bytes(b"other templates")
    second = BundleCopy(bundle, place)
    assert second.folder != first.folder
    assert second.path.read_bytes() == b"other templates"


def test_many_at_once_make_one_copy(bundle: Path, place: Path) -> None:
    copies: list[BundleCopy] = []
    threads = [
        threading.Thread(target=lambda: copies.append(BundleCopy(bundle, place))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len({copy.path for copy in copies}) == 1 and len(copies) == 8
    for copy in copies:
        copy.release(keep=False)
    assert list(place.iterdir()) == []


def test_a_folder_that_others_can_write_is_not_used(bundle: Path, place: Path) -> None:
    first = BundleCopy(bundle, place)
    first.release(keep=True)
    first.folder.chmod(0o777)
    second = BundleCopy(bundle, place)
    assert second.folder.parent == place and second.folder != first.folder
    assert second.path.read_bytes() == bundle.read_bytes()
    second.release(keep=False)
    assert list(place.iterdir()) == [first.folder]


def test_a_bundle_that_is_gone_is_named(place: Path) -> None:
    with pytest.raises(BundleError, match=r"gone\.bundle cannot be read"):
        BundleCopy(place / "gone.bundle", place)
