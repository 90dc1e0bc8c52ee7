"""Make a lock of Debian's packages anew: what a mirror has now, chosen by debootstrap itself."""

from __future__ import annotations

import hashlib
import lzma
import os
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from dpam_hpc.command import capture, path_of_administrators
from dpam_hpc.errors import ImageError
from dpam_hpc.image import download
from dpam_hpc.image.debian import INDEX, MIRROR_HINT, MirrorFile, mirrors
from dpam_hpc.image.recipe import DEBIAN_NAMES, Debian

LEFT_OUT = "openssl,udev,debconf-i18n,e2fsprogs"
"""What Apptainer's own bootstrap leaves out of a smallest Debian."""
RESOLVING_SECONDS = 300


def make_lock(debian: Debian, architecture: str, mirror: str) -> list[MirrorFile]:
    """What a mirror has now of the packages asked for and all that they need; ImageError."""
    arch = DEBIAN_NAMES[architecture]
    release_path = f"dists/{debian.suite}/InRelease"
    release = _get(f"{mirror}/{release_path}")
    index_path = f"main/binary-{arch}/Packages.xz"
    listed = _listed(release.decode(), index_path)
    # Where debootstrap looks: a mirror that changes has both lists under their own names.
    by_hash = f"dists/{debian.suite}/main/binary-{arch}/by-hash/SHA256/{listed}"
    index = _get(f"{mirror}/{by_hash}")
    if (found := hashlib.sha256(index).hexdigest()) != listed:
        raise ImageError(f"{mirror}/{by_hash} has SHA-256 {found}")
    packages = _packages(lzma.decompress(index).decode())
    asked = {
        "build": debian.build,
        "base": debian.base,
        "dpam": (*debian.base, *debian.dpam),
    }
    uses: dict[str, list[str]] = {}
    for use, include in asked.items():
        for name in _resolve(debian, arch, mirror, include):
            uses.setdefault(name, []).append(use)
    index_files = [
        MirrorFile(hashlib.sha256(release).hexdigest(), len(release), (INDEX,), release_path),
        MirrorFile(listed, len(index), (INDEX,), by_hash),
    ]
    return index_files + [
        MirrorFile(packages[name][0], int(packages[name][1]), tuple(uses[name]), packages[name][2])
        for name in sorted(uses)
    ]


def _get(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=download.SILENT_SECONDS) as answer:  # noqa: S310
            content: bytes = answer.read()
            return content
    except OSError as error:
        raise ImageError(f"{url}: {error}", MIRROR_HINT) from None


def _listed(release: str, path: str) -> str:
    """The SHA-256 that a release's index has for a file."""
    section = release.partition("\nSHA256:\n")[2]
    for line in section.splitlines():
        words = line.split()
        if len(words) == 3 and words[2] == path:
            return words[0]
    raise ImageError(f"the release's index does not name {path}")


def _packages(index: str) -> dict[str, tuple[str, str, str]]:
    """SHA-256, bytes and path of each package."""
    found = {}
    for stanza in index.split("\n\n"):
        fields = dict(_fields(stanza))
        if "Package" in fields:
            found[fields["Package"]] = (fields["SHA256"], fields["Size"], fields["Filename"])
    return found


def _fields(stanza: str) -> Iterator[tuple[str, str]]:
    for line in stanza.splitlines():
        name, colon, value = line.partition(": ")
        if colon and not line.startswith(" "):
            yield name, value


def _resolve(debian: Debian, arch: str, mirror: str, include: Iterable[str]) -> set[str]:
    """What debootstrap would install for ``include``."""
    with TemporaryDirectory(prefix="dpam-hpc-lock-") as folder:
        answer = capture(
            ["debootstrap", "--print-debs", "--variant=minbase", f"--exclude={LEFT_OUT}",
             f"--include={','.join(('apt', *include))}", f"--arch={arch}", debian.suite,
             f"{folder}/root", mirror],
            timeout=RESOLVING_SECONDS,
            env={**os.environ, "PATH": path_of_administrators()},
        )  # fmt: skip
    if answer.returncode:
        raise ImageError(f"debootstrap: {answer.stderr[-500:]}", "install debootstrap")
    return set(answer.stdout.split())


def write_locks(recipe: Path, debian: Debian, given: str | None) -> list[Path]:
    """Write the locks of a recipe anew, from what a mirror has now; ImageError."""
    found = mirrors(given)
    if not found:
        raise ImageError("no Debian mirror is known on this machine", MIRROR_HINT)
    written = []
    for architecture, name in DEBIAN_NAMES.items():
        files = make_lock(debian, architecture, found[0].rstrip("/"))
        path = recipe / "containers" / f"debian-{name}.lock"
        path.write_text(
            f"# Debian {debian.suite} {debian.version}, {name}: what a build takes from a mirror\n"
            "# (SHA-256, bytes, uses, path). Written by `dpam-hpc image sources --lock`.\n"
            + "".join(f"{file}\n" for file in files)
        )
        written.append(path)
    return written
