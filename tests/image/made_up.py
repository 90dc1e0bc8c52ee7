"""Small sources: a repository, a Debian mirror, a recipe that asks for little."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dpam_hpc.image import recipe
from dpam_hpc.image.choice import Choice, Given
from dpam_hpc.image.debian import MirrorFile
from dpam_hpc.image.recipe import DEBIAN_NAMES, Source, this_architecture

ROOT = Path(__file__).parents[2]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def git(folder: Path, *arguments: str) -> str:
    """Run git, as nobody in particular; what it prints."""
    who = {
        f"GIT_{role}_{what}": "x" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    plain = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    return subprocess.run(
        ["git", *arguments], cwd=folder, env={**os.environ, **who, **plain}, check=True,
        capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip


def write_files(folder: Path) -> Path:
    """A program, a text and a link."""
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "run").write_text("#!/bin/sh\n")
    (folder / "bin" / "run").chmod(0o755)
    (folder / "README").write_text("read me\n")
    (folder / "link").symlink_to("README")
    return folder


def repository(folder: Path) -> str:
    """Make a repository with those files; its first commit, after which another came."""
    write_files(folder)
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "one")
    commit = git(folder, "rev-parse", "HEAD")
    (folder / "README").write_text("changed since\n")
    git(folder, "commit", "--quiet", "-am", "two")
    return commit


def mirror_file(mirror: Path, path: str, content: bytes, *uses: str) -> MirrorFile:
    """Put a file on a mirror."""
    (mirror / path).parent.mkdir(parents=True, exist_ok=True)
    (mirror / path).write_bytes(content)
    return MirrorFile(sha256(content), len(content), uses or ("base",), path)


@dataclass
class Kitchen:
    """A recipe that asks for what a test says."""

    folder: Path

    def choice(
        self,
        parts: Mapping[str, Source] | None = None,
        files: Iterable[MirrorFile] = (),
        given: Mapping[str, Given] | None = None,
        architecture: str = "",
        requirements: str = "",
    ) -> Choice:
        sources = recipe.read_sources().model_copy(update=dict(parts or {}))
        (self.folder / "containers").mkdir(parents=True, exist_ok=True)
        (self.folder / "requirements").mkdir(exist_ok=True)
        shutil.copy(ROOT / "Apptainer.def", self.folder)
        shutil.copy(ROOT / recipe.DALI_SCRIPT, self.folder / "containers")
        for name in DEBIAN_NAMES.values():
            lock = self.folder / "containers" / f"debian-{name}.lock"
            lock.write_text("".join(f"{file}\n" for file in files))
        for name in (sources.python.base, sources.python.dpam):
            (self.folder / name).write_text(requirements)
        named = frozenset(parts or {})
        return Choice(sources, self.folder, architecture or this_architecture(), named, given or {})


def file_source(content: bytes, *homes: str, name: str = "dali.tar.gz") -> Source:
    """A part that is a file."""
    return Source(
        title="a part", kind="file", name=name, homes=homes, sha256=sha256(content), version="1",
        licence="MIT", redistribution="allowed",
    )  # fmt: skip


def git_source(commit: str, checksum: str, *homes: str) -> Source:
    """A part that is a commit."""
    return Source(
        title="some steps", kind="git", name="dpam", homes=homes, sha256=checksum, version="1",
        licence="NONE", redistribution="forbidden", commit=commit,
    )  # fmt: skip
