"""Sources that are folders of files: as one tar, with a checksum of what is in it.

The checksum is over the contents alone, whoever packed them and when: a line
``SHA-256 mode path`` for each file, sorted by path, where mode is x for a program, l for a link (of
its target's name), - for any other file.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import zlib
from collections.abc import Iterator
from lzma import LZMAError
from pathlib import Path
from typing import IO

from dpam_hpc.command import TimedOut, capture
from dpam_hpc.errors import ImageError
from dpam_hpc.image import identity

GIT_SECONDS = 600
LEFT_OUT = frozenset({".git", "__pycache__", ".pytest_cache", ".venv"})


def sha256(archive: Path) -> str:
    """The checksum of a tar's contents; ImageError if it is none."""
    lines = []
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                path = member.name.removeprefix("./")
                if member.issym():
                    content: IO[bytes] | None = io.BytesIO(os.fsencode(member.linkname))
                    mode = "l"
                else:  # a second name of a file has its contents as well
                    content = tar.extractfile(member)
                    mode = "x" if member.mode & 0o100 else "-"
                if content is not None:
                    lines.append((path, mode, identity.sha256(content)))
    except (tarfile.TarError, OSError, EOFError, KeyError, zlib.error, LZMAError) as error:
        raise ImageError(f"{archive} is no archive: {error}") from None
    digest = hashlib.sha256()
    for path, mode, checksum in sorted(lines):
        digest.update(os.fsencode(f"{checksum} {mode} {path}\n"))
    return digest.hexdigest()


def pack(source: Path, commit: str, to: Path) -> None:
    """Write a tar of ``source``: a tar, a folder, or a git repository, of that its ``commit``.

    Of a repository without the commit, what is checked out there; ImageError.
    """
    if source.is_file():
        if not tarfile.is_tarfile(source):
            raise ImageError(f"{source} is no archive")
        to.write_bytes(source.read_bytes())
        return
    if not source.is_dir():
        raise ImageError(f"there is no {source}")
    if _is_repository(source) and not _git("-C", source, "cat-file", "-e", f"{commit}^{{commit}}"):
        _archive(source, commit, to)
        return
    with tarfile.open(to, "w") as tar:
        for path in sorted(_files(source)):
            tar.add(path, str(path.relative_to(source)), recursive=False)


def clone(home: str, commit: str, to: Path, work: Path) -> None:
    """Write a tar of one commit of a repository elsewhere, with ``work`` to work in; ImageError."""
    repository = work / "repository"
    if said := (
        _git("init", "--quiet", "--bare", repository)
        or _git("-C", repository, "fetch", "--quiet", "--depth", "1", home, commit)
    ):
        raise ImageError(f"{home} does not give commit {commit[:12]}: {said}")
    _archive(repository, commit, to)


def _archive(repository: Path, commit: str, to: Path) -> None:
    # git looks for a relative path from the repository on.
    if said := _git("-C", repository, "archive", "--format=tar", "-o", to.absolute(), commit):
        raise ImageError(f"git cannot pack commit {commit[:12]} of {repository}: {said}")


def _is_repository(folder: Path) -> bool:
    return (folder / ".git").exists() or (folder / "objects").is_dir()


def _git(*arguments: str | Path) -> str:
    """Why it failed, by its own words; empty if it did not."""
    # A repository of another owner is read, not run: its hooks and settings do nothing here.
    command = ["git", "-c", "safe.directory=*", *map(str, arguments)]
    try:
        done = capture(command, timeout=GIT_SECONDS)
    except FileNotFoundError:
        raise ImageError("there is no git on this machine", "install git") from None
    except TimedOut as error:
        raise ImageError(str(error)) from None
    said = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
    return said if done.returncode else ""


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.name in LEFT_OUT:
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _files(path)
        else:
            yield path
