"""Debian's packages: the files of a mirror that a build takes, each with its checksum.

A lock (containers/debian-ARCH.lock) names them, a line ``SHA-256 bytes uses path`` each: the
release's signed index, the list of packages, and the packages by their uses. Those files alone, in
the places that they have on a mirror, are a mirror to debootstrap: a build needs no other, and
takes the same packages for ever.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from dpam_hpc.command import TimedOut, capture
from dpam_hpc.errors import ImageError
from dpam_hpc.image import download
from dpam_hpc.image.recipe import DEBIAN_NAMES

INDEX = "index"
AT_ONCE = 8
MIRROR_HINT = (
    "name a mirror: --source debian=URL; for packages that Debian has replaced since, its snapshot"
    " service has every day's (docs/image.md)"
)


@dataclass(frozen=True)
class MirrorFile:
    """A file of a mirror; ``uses`` are of index, build, base and dpam."""

    sha256: str
    bytes: int
    uses: tuple[str, ...]
    path: str

    def __str__(self) -> str:
        return f"{self.sha256} {self.bytes} {','.join(self.uses)} {self.path}"


def lock_path(recipe: Path, architecture: str) -> Path:
    """Where the lock of an architecture lies; ImageError if there is none."""
    path = recipe / "containers" / f"debian-{DEBIAN_NAMES.get(architecture, architecture)}.lock"
    if not path.is_file():
        raise ImageError(
            f"there is no recipe for {architecture}: {path} is missing",
            f"images are built for {' and '.join(DEBIAN_NAMES)}",
        )
    return path


def read_lock(path: Path) -> list[MirrorFile]:
    """The files that a lock names; ImageError with the line that is none."""
    found = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            digest, size, uses, name = line.split()
            if len(digest) != 64 or ".." in name or name.startswith("/"):
                raise ValueError
            found.append(MirrorFile(digest, int(size), tuple(uses.split(",")), name))
        except ValueError:
            raise ImageError(f"{path}:{number} is no line of a lock: {line[:80]}") from None
    return found


def fetch(files: Iterable[MirrorFile], mirrors: list[str], to: Path) -> None:
    """Bring ``files`` from the first mirror that has each; those that are there are checked."""
    missing = [file for file in files if not _is_there(file, to)]
    if not missing:
        return
    if not mirrors:
        raise ImageError("no Debian mirror is known on this machine", MIRROR_HINT)

    def bring(file: MirrorFile) -> None:
        homes = [f"{mirror.rstrip('/')}/{file.path}" for mirror in mirrors]
        download.fetch(homes, file.sha256, to / file.path, MIRROR_HINT)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            list(pool.map(bring, missing))
        except BaseException:  # Ctrl-C as well: the hundreds that wait are not begun
            pool.shutdown(cancel_futures=True)
            raise


def missing(files: Iterable[MirrorFile], folder: Path) -> list[MirrorFile]:
    """Which of ``files`` are not there, or differ."""
    return [file for file in files if not _is_there(file, folder)]


def _is_there(file: MirrorFile, folder: Path) -> bool:
    path = folder / file.path
    try:
        return path.stat().st_size == file.bytes and download.sha256(path) == file.sha256
    except OSError:
        return False


def mirrors(given: str | None) -> list[str]:
    """The mirror that was named (a URL or folder), or those of this machine's own apt sources."""
    if given:
        return [given if "://" in given else Path(given).absolute().as_uri()]
    query = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages",
             "Origin: Debian", "Component: main"]  # fmt: skip
    try:
        answer = capture(query, timeout=60).stdout
    except (OSError, TimedOut):
        return []  # no apt here
    return list(dict.fromkeys(line for line in answer.split() if "security" not in line))
