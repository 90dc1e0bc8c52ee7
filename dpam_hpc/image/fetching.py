"""Bring everything that a build takes into one folder, and prove that it is what was meant.

DIR/debian/              the files of a Debian mirror that the lock names
DIR/wheels/              Python packages
DIR/DaliLite.v5.tar.gz, DIR/dpam.tar, DIR/foldseek
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from dpam_hpc.errors import ImageError, StorageError
from dpam_hpc.image import debian, download, python_packages, tree
from dpam_hpc.image.choice import Choice, Given, contents
from dpam_hpc.image.recipe import DALI_SCRIPT, Source

OFFLINE_HINT = (
    "on a machine with a network: dpam-hpc image sources --fetch DIR; then image build --offline"
    " --sources-dir DIR"
)


def fetch(
    choice: Choice,
    folder: Path,
    *,
    offline: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, str]:
    """Bring what is not in ``folder`` yet; the SHA-256 of each part. Raises ImageError.

    ``offline``: nothing is brought, what is missing is an error.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        parts = {
            name: _fetch_part(name, source, choice.given.get(name), folder, offline, say)
            for name, source in choice.own_parts().items()
        }
        _fetch_debian(choice, folder / "debian", offline, say)
        _fetch_wheels(choice, folder / "wheels", offline, say)
    except OSError as error:
        raise StorageError(f"sources cannot be kept in {folder}: {error}") from None
    return parts


def lay_out(choice: Choice, folder: Path, parts: Mapping[str, str], epoch: int, to: Path) -> None:
    """Lay out in ``to`` what the recipe copies into the build: the image's share of ``folder``."""
    to.mkdir(exist_ok=True)
    text = choice.requirements()
    (to / "requirements.txt").write_text(text)
    shutil.copytree(folder / "wheels", to / "wheels", copy_function=_link_or_copy)
    python_packages.write_own_wheel(choice.recipe, to)
    if "dali" in parts:
        shutil.copyfile(choice.recipe / DALI_SCRIPT, to / DALI_SCRIPT.name)
    for name, digest in parts.items():
        source = choice.sources.parts()[name]
        shutil.copyfile(_place(source, folder, digest), to / _file_name(source))
    (to / "contents.json").write_text(json.dumps(contents(choice, parts, epoch), indent=1) + "\n")


def _link_or_copy(source: str, to: str) -> None:
    try:
        os.link(source, to)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, to)


def _fetch_part(
    name: str,
    source: Source,
    given: Given | None,
    folder: Path,
    offline: bool,
    say: Callable[[str], None],
) -> str:
    """Bring one part; the SHA-256 of what was brought."""
    if given is not None:
        return _take(name, source, given, folder)
    place = _place(source, folder, source.sha256)
    if place.exists() and _checksum(source, place) == source.sha256:
        return source.sha256
    if offline:
        raise ImageError(f"{place} is missing, or is not the one listed", OFFLINE_HINT)
    say(f"{name}: {source.homes[0]}")
    hint = (
        f"its home may have moved or be out of reach: with a copy of your own, --source {name}=PATH"
    )
    if source.kind == "file":
        download.fetch(source.homes, source.sha256, place, hint)
        return source.sha256
    problems = []
    for home in source.homes:
        with TemporaryDirectory(dir=folder, prefix=".clone-") as work:
            packed = Path(work) / "packed"
            try:
                tree.clone(home, source.commit, packed, Path(work))
                _check(name, source, home, source.sha256, tree.sha256(packed))
                os.replace(packed, place)
            except ImageError as error:
                problems.append(error.what)
                continue
            return source.sha256
    raise ImageError(f"{name} cannot be had:\n  " + "\n  ".join(problems), hint)


def _take(name: str, source: Source, given: Given, folder: Path) -> str:
    """Take what the user named, if it is what is listed or what they said that it is."""
    with TemporaryDirectory(dir=folder, prefix=".given-") as work:
        packed = Path(work) / "packed"
        if source.kind == "git":
            tree.pack(Path(given.path), source.commit, packed)
        elif not Path(given.path).is_file():
            raise ImageError(f"--source {name}={given.path}: not a file")
        else:
            shutil.copyfile(given.path, packed)
        found = _checksum(source, packed)
        _check(name, source, given.path, given.sha256 or source.sha256, found)
        os.replace(packed, _place(source, folder, found))
    return found


def _check(name: str, source: Source, where: str, expected: str, found: str) -> None:
    if expected and found != expected:
        raise ImageError(
            f"{where} is not the {source.title} that is listed: SHA-256 {found}, not {expected}",
            f"to build with this one on purpose: --source {name}={where}#sha256={found}",
        )


def _place(source: Source, folder: Path, digest: str) -> Path:
    """Where a part lies in ``folder``: another than the one listed beside it, not in its place."""
    name = _file_name(source)
    return folder / (name if digest == source.sha256 else f"{digest[:16]}-{name}")


def _file_name(source: Source) -> str:
    return f"{source.name}.tar" if source.kind == "git" else source.name


def _checksum(source: Source, path: Path) -> str:
    return tree.sha256(path) if source.kind == "git" else download.sha256(path)


def _fetch_debian(choice: Choice, folder: Path, offline: bool, say: Callable[[str], None]) -> None:
    files = choice.debian_files()
    lacking = debian.missing(files, folder)
    if not lacking:
        return
    if offline:
        raise ImageError(
            f"{len(lacking)} files of Debian are missing in {folder}: {lacking[0].path} and others",
            OFFLINE_HINT,
        )
    given = choice.given.get("debian")
    mirrors = debian.mirrors(given.path if given else None)
    megabytes = sum(file.bytes for file in lacking) / 1e6
    say(f"debian: {len(lacking)} files, {megabytes:.0f} MB, from {mirrors[0] if mirrors else '?'}")
    debian.fetch(lacking, mirrors, folder)


def _fetch_wheels(choice: Choice, folder: Path, offline: bool, say: Callable[[str], None]) -> None:
    text = choice.requirements()
    lacking = python_packages.missing(text, folder)
    if not lacking:
        return
    if offline:
        raise ImageError(
            f"{len(lacking)} Python packages are missing in {folder}: {', '.join(lacking)}",
            OFFLINE_HINT,
        )
    say(f"python: {len(lacking)} packages")
    folder.mkdir(exist_ok=True)
    with TemporaryDirectory(dir=folder.parent, prefix=".wheels-") as work:
        file = Path(work) / "requirements.txt"
        file.write_text(text)
        python_packages.download(
            file, choice.architecture, choice.sources.python.version, Path(work) / "new"
        )
        for wheel in (Path(work) / "new").glob("*.whl"):
            os.replace(wheel, folder / wheel.name)
