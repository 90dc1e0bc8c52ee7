"""Which image is wanted: what it is made of, what of it a user supplies, what it says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dpam_hpc import __version__
from dpam_hpc.errors import ConfigError
from dpam_hpc.image import debian, download, python_packages
from dpam_hpc.image.recipe import Source, Sources


@dataclass(frozen=True)
class Given:
    """A source that the user names, ``PATH`` or ``PATH#sha256=HEX`` for one of other contents."""

    path: str
    sha256: str = ""

    @classmethod
    def parse_all(cls, texts: tuple[str, ...], sources: Sources) -> dict[str, Given]:
        """``NAME=PATH`` each; ConfigError tells all that are none."""
        known = {*sources.parts(), "debian"}
        names = ", ".join(sorted(known))
        found, problems = {}, []
        for text in texts:
            name, equals, rest = text.partition("=")
            path, _, digest = rest.partition("#sha256=")
            if not equals or not path or name not in known:
                problems.append(f"--source {text}: not NAME=PATH with NAME of {names}")
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
