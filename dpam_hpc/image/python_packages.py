"""Python packages of an image: those of the lock that it needs, and dpam-hpc's own wheel."""

from __future__ import annotations

import base64
import hashlib
import sys
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.markers import Marker

from dpam_hpc.command import TimedOut, capture
from dpam_hpc.errors import ImageError
from dpam_hpc.image.download import sha256

DOWNLOAD_SECONDS = 1800
OLDEST_GLIBC, GLIBC = 5, 36
"""Of manylinux wheels, and Debian bookworm's: the second number of the version."""
PACKAGE = "dpam_hpc"
ZIP_TIME = (1980, 1, 1, 0, 0, 0)


def requirements(lock: str, architecture: str, python: str, leave_out: tuple[str, ...]) -> str:
    """The lines of a lock that hold in the image, without their conditions."""
    target = {
        "implementation_name": "cpython", "implementation_version": f"{python}.0",
        "os_name": "posix", "platform_machine": architecture, "platform_system": "Linux",
        "platform_python_implementation": "CPython", "python_version": python,
        "python_full_version": f"{python}.0", "sys_platform": "linux", "extra": "",
    }  # fmt: skip
    kept = []
    for entry in _entries(lock):
        head, *hashes = entry
        requirement, _, condition = head.removesuffix("\\").partition(" ; ")
        name = requirement.partition("==")[0].strip()
        if name in leave_out or (condition and not Marker(condition.strip()).evaluate(target)):
            continue
        kept.append("\n".join([f"{requirement.strip()} \\", *hashes]))
    return "\n".join(kept) + "\n"


def _entries(lock: str) -> Iterator[list[str]]:
    """Each requirement's lines: the first names it, the others are its hashes."""
    entry: list[str] = []
    for line in lock.splitlines():
        if line.startswith((" ", "\t")) and not line.lstrip().startswith("#"):
            entry.append(line)
        elif line and not line.lstrip().startswith("#"):
            if entry:
                yield entry
            entry = [line]
    if entry:
        yield entry


def download(requirements_file: Path, architecture: str, python: str, to: Path) -> None:
    """Bring the wheels of a requirements file, whichever machine this is; ImageError."""
    tags = [f"manylinux_2_{n}_{architecture}" for n in range(OLDEST_GLIBC, GLIBC + 1)]
    tags += [f"manylinux{old}_{architecture}" for old in ("1", "2010", "2014")]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
               "--require-hashes", "--no-deps", "--only-binary=:all:", "--implementation=cp",
               f"--python-version={python}", *(f"--platform={tag}" for tag in tags),
               f"--dest={to}", f"--requirement={requirements_file}"]  # fmt: skip
    try:
        done = capture(command, timeout=DOWNLOAD_SECONDS)
    except TimedOut as error:
        raise ImageError(f"Python packages: {error}") from None
    if done.returncode:
        raise ImageError(
            f"the Python packages cannot be had: {done.stderr.strip()[-800:]}",
            "pip must be installed beside dpam-hpc, and reach a package index",
        )


def missing(requirements_text: str, folder: Path) -> list[str]:
    """Packages of which ``folder`` has no wheel with one of the checksums."""
    have = {sha256(path) for path in folder.glob("*.whl")} if folder.is_dir() else set()
    lacking = []
    for head, *hashes in _entries(requirements_text):
        wanted = {line.strip().removesuffix("\\").strip().partition(":")[2] for line in hashes}
        if not wanted & have:
            lacking.append(head.removesuffix("\\").strip())
    return lacking


def write_own_wheel(recipe: Path, to: Path) -> Path:
    """Write a wheel of this very dpam-hpc, installed or in a checkout: the same bytes of both."""
    package = Path(__file__).parents[1]
    own = metadata.distribution("dpam-hpc")
    files = {
        f"{PACKAGE}/{path.relative_to(package).as_posix()}": path.read_bytes()
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    for folder in ("templates",):  # beside the package in a checkout
        beside = package.parent / folder
        if not (package / folder).is_dir():
            files |= {
                f"{PACKAGE}/{folder}/{path.name}": path.read_bytes() for path in beside.iterdir()
            }
    files = {name: data for name, data in files.items() if "/recipe/" not in name}
    info = f"{PACKAGE}-{own.version}.dist-info"
    wheel_text = (
        "Wheel-Version: 1.0\nGenerator: dpam-hpc\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    # Not the metadata files as installed: they differ with the tool that built dpam-hpc.
    needs = "".join(f"Requires-Dist: {line}\n" for line in sorted(own.requires or ()))
    head = f"Metadata-Version: 2.1\nName: {own.metadata['Name']}\nVersion: {own.version}\n"
    files[f"{info}/METADATA"] = (head + needs).encode()
    files[f"{info}/entry_points.txt"] = _entry_points(own).encode()
    files[f"{info}/WHEEL"] = wheel_text.encode()
    record = "".join(
        f"{name},sha256={_record_hash(data)},{len(data)}\n" for name, data in sorted(files.items())
    )
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    wheel = to / f"{PACKAGE}-{own.version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_STORED) as archive:
        for name, data in sorted(files.items()):
            entry = zipfile.ZipInfo(name, ZIP_TIME)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data)
    return wheel


def _entry_points(own: metadata.Distribution) -> str:
    lines = []
    for group in sorted({point.group for point in own.entry_points}):
        lines.append(f"[{group}]")
        points = sorted(own.entry_points.select(group=group), key=lambda point: point.name)
        lines += [f"{point.name} = {point.value}" for point in points]
    return "\n".join(lines) + "\n"


def _record_hash(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
