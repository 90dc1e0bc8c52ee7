"""The checksum of a folder: of what is in it, whoever packed it and when."""

from __future__ import annotations

import io
import lzma
import os
import random
import tarfile
from pathlib import Path

import pytest

from dpam_hpc.errors import ImageError
from dpam_hpc.image import tree
from tests.image.made_up import git, repository, sha256, write_files

Entry = tuple[str, bytes, int, bytes]
FILE, LINK = tarfile.REGTYPE, tarfile.SYMTYPE
ENTRIES: list[Entry] = [
    ("bin/run", b"#!/bin/sh\n", 0o755, FILE),
    ("README", b"read me\n", 0o644, FILE),
    ("link", b"README", 0o777, LINK),
]


def packed(
    path: Path, entries: list[Entry], prefix: str = "", mtime: int = 0, owner: int = 0
) -> Path:
    with tarfile.open(path, "w:gz" if owner else "w") as tar:
        for name, content, mode, kind in entries:
            member = tarfile.TarInfo(prefix + name)
            member.mode, member.type, member.mtime, member.uid = mode, kind, mtime, owner
            if kind == FILE:
                member.size = len(content)
            else:
                member.linkname = content.decode()
            tar.addfile(member, io.BytesIO(content))
    return path


def test_it_is_what_the_documentation_says(tmp_path: Path) -> None:
    lines = (
        f"{sha256(b'read me' + bytes([10]))} - README\n"
        f"{sha256(b'#!/bin/sh' + bytes([10]))} x bin/run\n"
        f"{sha256(b'README')} l link\n"
    )
    assert tree.sha256(packed(tmp_path / "a.tar", ENTRIES)) == sha256(lines.encode())


def test_it_does_not_tell_who_smallit_and_when(tmp_path: Path) -> None:
    one = packed(tmp_path / "a.tar", ENTRIES)
    folder = ("bin", b"", 0o755, tarfile.DIRTYPE)
    readable = [(name, content, mode & 0o700, kind) for name, content, mode, kind in ENTRIES]
    two = packed(tmp_path / "b.tar", [folder, *readable[::-1]], "./", 7, 1000)
    assert tree.sha256(one) == tree.sha256(two)


@pytest.mark.parametrize(
    "changed",
    [
        ("bin/run", b"#!/bin/sh\n", 0o644, FILE),
        ("bin/run", b"#!/bin/ls\n", 0o755, FILE),
        ("bin/ran", b"#!/bin/sh\n", 0o755, FILE),
        ("README", b"read me\n", 0o755, FILE),
        ("link", b"bin/run", 0o777, LINK),
        ("link", b"README", 0o644, FILE),
    ],
)
def test_it_tells_every_change(changed: Entry, tmp_path: Path) -> None:
    place = {"bin/run": 0, "bin/ran": 0, "README": 1, "link": 2}[changed[0]]
    others = [*ENTRIES[:place], changed, *ENTRIES[place + 1 :]]
    before = tree.sha256(packed(tmp_path / "a.tar", ENTRIES))
    assert tree.sha256(packed(tmp_path / "b.tar", others)) != before
    assert tree.sha256(packed(tmp_path / "c.tar", ENTRIES[:place])) != before


def test_a_second_name_of_a_file_is_a_file(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "one")
    os.link(folder / "README", folder / "SECOND")
    tree.pack(folder, "", tmp_path / "linked.tar")
    (folder / "SECOND").unlink()
    (folder / "SECOND").write_text("read me\n")
    tree.pack(folder, "", tmp_path / "copied.tar")
    assert tree.sha256(tmp_path / "linked.tar") == tree.sha256(tmp_path / "copied.tar")


def test_a_folder_a_commit_and_a_tar_of_the_same_are_the_same(tmp_path: Path) -> None:
    commit = repository(tmp_path / "repository")
    folder = write_files(tmp_path / "folder")
    (folder / "bin" / "__pycache__").mkdir()
    (folder / "bin" / "__pycache__" / "x.pyc").write_bytes(b"x")
    for name in ("repository", "folder"):
        tree.pack(tmp_path / name, commit, tmp_path / f"{name}.tar")
    tree.pack(tmp_path / "folder.tar", commit, tmp_path / "tar.tar")
    (tmp_path / "work").mkdir()
    tree.clone(str(tmp_path / "repository"), commit, tmp_path / "clone.tar", tmp_path / "work")
    found = {tree.sha256(path) for path in tmp_path.glob("*.tar")}
    assert found == {tree.sha256(packed(tmp_path / "expected", ENTRIES))}


def test_an_archive_is_written_where_a_relative_path_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = repository(tmp_path / "repository")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sources").mkdir()
    tree.pack(Path("repository"), commit, Path("sources", "a.tar"))
    home = str(tmp_path / "repository")
    tree.clone(home, commit, Path("sources", "b.tar"), Path("sources"))
    found = {tree.sha256(tmp_path / "sources" / name) for name in ("a.tar", "b.tar")}
    assert found == {tree.sha256(packed(tmp_path / "expected", ENTRIES))}


def test_git_says_why_a_commit_cannot_be_packed(tmp_path: Path) -> None:
    commit = repository(tmp_path / "repository")
    with pytest.raises(ImageError, match=r"git cannot pack commit .*: .*No such file"):
        tree.pack(tmp_path / "repository", commit, tmp_path / "absent" / "a.tar")


def test_a_repository_without_the_commit_gives_what_is_checked_out(tmp_path: Path) -> None:
    repository(tmp_path / "repository")
    tree.pack(tmp_path / "repository", "0" * 40, tmp_path / "a.tar")
    with tarfile.open(tmp_path / "a.tar") as tar:
        content = tar.extractfile("README")
        assert content is not None
        assert content.read() == b"changed since\n"
        assert sorted(tar.getnames()) == ["README", "bin/run", "link"]


def test_a_commit_that_is_not_to_be_had(tmp_path: Path) -> None:
    repository(tmp_path / "repository")
    (tmp_path / "work").mkdir()
    for home in (tmp_path / "repository", tmp_path / "absent"):
        with pytest.raises(ImageError, match=f"{home} does not give commit 000000000000"):
            tree.clone(str(home), "0" * 40, tmp_path / "a.tar", tmp_path / "work")


def test_hooks_and_settings_of_a_repository_do_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "repository"
    commit = repository(folder)
    git(folder, "config", "core.fsmonitor", f"touch {tmp_path}/ran; false")
    tree.pack(folder, commit, tmp_path / "a.tar")
    assert not (tmp_path / "ran").exists()


def test_without_git_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ImageError, match="there is no git") as caught:
        tree.clone("home", "0" * 40, tmp_path / "a.tar", tmp_path)
    assert caught.value.hint == "install git"


def test_what_is_no_archive_is_named(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("no archive\n" * 100)
    for path in (text, tmp_path / "absent"):
        with pytest.raises(ImageError, match=f"{path} is no archive"):
            tree.sha256(path)
    with pytest.raises(ImageError, match=f"{text} is no archive"):
        tree.pack(text, "", tmp_path / "to")
    with pytest.raises(ImageError, match=f"there is no {tmp_path}/absent"):
        tree.pack(tmp_path / "absent", "", tmp_path / "to")


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_an_archive_that_is_cut_off(mode: str, tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        tar.add(write_files(tmp_path / "folder"), "x")
        content = b"".join(b"%d\n" % n for n in range(100_000))
        member = tarfile.TarInfo("numbers")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ImageError, match="is no archive"):
        tree.sha256(path)


def test_a_damaged_archive_is_another_or_none(tmp_path: Path) -> None:
    content = random.Random(7).randbytes(50_000)
    entries: list[Entry] = [*ENTRIES, ("random", content, 0o644, FILE)]
    plain, small = tmp_path / "a.tar", tmp_path / "a.tar.xz"
    whole = packed(plain, entries).read_bytes()
    before = tree.sha256(plain)
    plain.write_bytes(whole[:9000] + b"x" * 9 + whole[9009:])
    assert tree.sha256(plain) != before
    whole = lzma.compress(whole)
    small.write_bytes(whole)
    assert tree.sha256(small) == before
    small.write_bytes(whole[:9000] + b"x" * 9 + whole[9009:])
    with pytest.raises(ImageError, match="is no archive"):
        tree.sha256(small)


def test_a_link_to_nothing_is_no_traceback(tmp_path: Path) -> None:
    path = packed(tmp_path / "a.tar", [("a", b"absent", 0o644, tarfile.LNKTYPE)])
    with pytest.raises(ImageError, match="is no archive"):
        tree.sha256(path)
