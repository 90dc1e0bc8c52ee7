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
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from dpam_hpc import __version__
from dpam_hpc.errors import ConfigError, ImageError, StorageError
from dpam_hpc.image import debian, download, python_packages, tree
from dpam_hpc.image.recipe import Source, Sources

OFFLINE_HINT = (
    "on a machine with a network: dpam-hpc image sources --fetch DIR; then image build --offline"
    " --sources-dir DIR"
)


@dataclass(frozen=True)
class Given:
    """A source that the user names, ``PATH`` or ``PATH#sha256=HEX`` for one of other contents."""

    path: str
    sha256: str = ""

    @classmethod
    def parse_all(cls, texts: tuple[str, ...], sources: Sources) -> dict[str, Given]:
        """``NAME=PATH`` each; ConfigError tells all that are none."""
        known = {*sources.parts(), "debian"}
        found, problems = {}, []
        for text in texts:
            name, equals, rest = text.partition("=")
            path, _, digest = rest.partition("#sha256=")
            if not equals or not path or name not in known:
                problems.append(f"--source {text}: not NAME=PATH with NAME of {_listed(known)}")
            elif name in sources.parts() and not Path(path).exists():
                problems.append(f"--source {text}: there is no {path}")
            found[name] = cls(path, digest.lower())
        if problems:
            raise ConfigError("\n  ".join(problems), "dpam-hpc image sources tells the names")
        return found


@dataclass(frozen=True)
class Choice:
    """Which image: its architecture, the parts beside dpam-hpc itself, sources of the user's."""

    sources: Sources
    recipe: Path
    architecture: str
    parts: frozenset[str]
    given: Mapping[str, Given] = field(default_factory=dict)

    @property
    def uses(self) -> tuple[str, ...]:
        """Uses of Debian's packages that it needs."""
        return (debian.INDEX, "build", "dpam" if "dpam" in self.parts else "base")

    def debian_files(self) -> list[debian.MirrorFile]:
        """What it takes from a Debian mirror."""
        lock = debian.read_lock(debian.lock_path(self.recipe, self.architecture))
        return [file for file in lock if set(file.uses) & set(self.uses)]

    def requirements(self) -> str:
        """Its Python packages, locked."""
        python = self.sources.python
        lock = self.recipe / (python.dpam if "dpam" in self.parts else python.base)
        leave_out = python.leave_out.get(self.architecture, ())
        return python_packages.requirements(
            lock.read_text(), self.architecture, python.version, leave_out
        )

    def own_parts(self) -> dict[str, Source]:
        """Its parts with a home of their own; foldseek only if the user supplies it."""
        named = self.sources.parts()
        return {name: named[name] for name in sorted(self.parts)}


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
    text = choice.requirements()
    (to / "requirements.txt").write_text(text)
    shutil.copytree(folder / "wheels", to / "wheels")
    python_packages.write_own_wheel(choice.recipe, to)
    for name, digest in parts.items():
        source = choice.sources.parts()[name]
        shutil.copyfile(_place(source, folder, digest), to / _file_name(source))
    (to / "contents.json").write_text(json.dumps(contents(choice, parts, epoch), indent=1) + "\n")


def contents(choice: Choice, parts: Mapping[str, str], epoch: int) -> dict[str, object]:
    """What an image says of itself in /opt/dpam-hpc/contents.json: all that decides its bytes."""
    own = choice.own_parts()
    lock = debian.lock_path(choice.recipe, choice.architecture)
    return {
        "schema": 1,
        "dpam_hpc": __version__,
        "architecture": choice.architecture,
        "epoch": epoch,
        "debian": {
            "suite": choice.sources.debian.suite,
            "version": choice.sources.debian.version,
            "lock": download.sha256(lock),
        },
        "parts": {
            name: {
                "title": own[name].title,
                "version": own[name].version,
                "homes": list(own[name].homes),
                "commit": own[name].commit,
                "sha256": digest,
                "as_listed": digest == own[name].sha256,
                "licence": own[name].licence,
                "redistribution": own[name].redistribution,
            }
            for name, digest in sorted(parts.items())
        },
    }


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


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names))


def listed(choice: Choice) -> list[dict[str, object]]:
    """What a build fetches: an entry each with its name, what it is, from where, its checksum."""
    entries: list[dict[str, object]] = [
        {
            "name": name, "what": f"{source.title} {source.version}", "from": list(source.homes),
            "commit": source.commit, "sha256": source.sha256, "licence": source.licence,
            "redistribution": source.redistribution,
        }
        for name, source in choice.own_parts().items()
    ]  # fmt: skip
    files = choice.debian_files()
    given = choice.given.get("debian")
    release = choice.sources.debian
    entries.append(
        {
            "name": "debian",
            "what": f"{release.suite} {release.version}: {len(files)} files,"
            f" {sum(file.bytes for file in files) / 1e6:.0f} MB",
            "from": debian.mirrors(given.path if given else None),
            "sha256": f"each in {debian.lock_path(choice.recipe, choice.architecture)}",
        }
    )
    packages = choice.requirements().count("==")
    python = choice.sources.python
    lock = choice.recipe / (python.dpam if "dpam" in choice.parts else python.base)
    entries.append(
        {
            "name": "python",
            "what": f"{packages} packages for Python {python.version}",
            "from": "the package index that pip is set to",
            "sha256": f"each in {lock}",
        }
    )
    return entries
