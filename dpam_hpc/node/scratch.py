"""Scratch: choose node-local working space, claim it, watch it, sweep what dead runs left."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from dpam_hpc import trust
from dpam_hpc.errors import StorageError

PREFIX = "dh-"
CLAIM = "claim"
CANDIDATES = ("$SLURM_TMPDIR", "$TMPDIR", "/tmp")  # noqa: S108 - what is made there is private
ABANDONED_AFTER = 60.0
"""Seconds after which a folder without a claim is taken for one that died while it was made."""
REMOVED_WITHIN = 40
"""Looks, twenty a second, at whether a folder on a shared file system can be removed now."""

# Types of file systems that several machines may share; whatever is not local is not taken.
LOCAL_TYPES = frozenset(
    ("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "jfs", "tmpfs", "ramfs", "overlay")
)


@dataclass
class Choice:
    """Where scratch will be, and what was wrong with each place that was not taken."""

    folder: Path
    refused: list[str] = field(default_factory=list)
    is_fallback: bool = False


def choose(
    work_dir: Path,
    need: int,
    explicit: Path | None = None,
    environment: Mapping[str, str] = os.environ,
    candidates: Sequence[str] = (),
) -> Choice:
    """The first place that is node-local, writable and has ``need`` bytes free.

    ``explicit`` is taken even on a shared file system, with a remark; anything else wrong with it
    is a StorageError. Where no place will do the working folder is the fallback.
    """
    if explicit is not None:
        if found := problem(explicit, need):
            raise StorageError(
                f"scratch folder {explicit} {found}",
                "name another with --scratch-dir, or leave it out to have one chosen",
            )
        shared = _shared_type(explicit)
        return Choice(
            explicit, [f"{explicit} is on a shared file system ({shared})"] if shared else []
        )
    choice = Choice(work_dir, is_fallback=True)
    for name, folder in _places(candidates or CANDIDATES, environment):
        if folder is None:
            continue
        found = problem(folder, need)
        if not found and (shared := _shared_type(folder)):
            found = f"is on a shared file system ({shared})"
        if not found:
            return Choice(folder, choice.refused)
        choice.refused.append(f"{name} {found}")
    if found := problem(work_dir, need):
        raise StorageError(
            f"there is no scratch: {'; '.join(choice.refused)}; the fallback {work_dir} {found}",
            "free some room, or name a folder with --scratch-dir",
        )
    return choice


def _places(
    candidates: Sequence[str], environment: Mapping[str, str]
) -> list[tuple[str, Path | None]]:
    places: list[tuple[str, Path | None]] = []
    for name in candidates:
        value = environment.get(name[1:], "") if name.startswith("$") else name
        label = f"{name} ({value})" if name.startswith("$") else name
        places.append((label, Path(value) if value else None))
    system = tempfile.gettempdir()
    if all(folder is None or str(folder) != system for _, folder in places):
        places.append((f"the system's temporary folder ({system})", Path(system)))
    return places


def problem(folder: Path, need: int) -> str:
    """What keeps ``folder`` from being scratch, apart from where it lies; empty if nothing."""
    if not folder.is_absolute():
        return "is no absolute path"
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0" * 4096)
            file.flush()
        unsafe = _unsafe(os.stat(folder))
    except OSError as error:
        return f"cannot be written: {error.strerror}"
    if unsafe:
        return unsafe
    free = free_bytes(folder)
    if free < need:
        return f"has {gb(free)} free of the {gb(need)} that this run needs"
    return ""


def _unsafe(status: os.stat_result) -> str:
    """What lets others put their folder in the place of one made here; empty if nothing."""
    if status.st_uid not in (os.geteuid(), 0, _unmapped()):
        return "belongs to another user"
    if trust.others_can_write(status) and not status.st_mode & stat.S_ISVTX:
        return "can be written by others and has no sticky bit (make a folder of your own in it)"
    return ""


def _unmapped() -> int:
    """Who all are that a user namespace does not know, root of the machine too; else nobody."""
    try:
        if Path("/proc/self/uid_map").read_text().split() != ["0", "0", "4294967295"]:
            return int(Path("/proc/sys/kernel/overflowuid").read_text())
    except (OSError, ValueError):
        pass
    return -1


def _shared_type(folder: Path) -> str:
    """The file system's type if it is not one that is local to a node, by the mount table."""
    kind = mount_type(folder)
    return "" if kind in LOCAL_TYPES else kind


def mount_type(folder: Path, table: str | None = None) -> str:
    """Type of the file system that holds ``folder``, as the mount table says."""
    if table is None:
        table = Path("/proc/self/mountinfo").read_text()
    path = os.path.realpath(folder)
    best, kind = "", "unknown"
    for line in table.splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split()
        if len(fields) < 5 or not right:
            continue
        point = fields[4].replace("\\040", " ").replace("\\134", "\\")
        # A later line mounts over an earlier one at the same point.
        if len(point) >= len(best) and (path == point or path.startswith(point.rstrip("/") + "/")):
            best, kind = point, right.split()[0]
    return kind


def is_local(path: Path) -> bool:
    """Whether ``path`` lies on a file system that is local to this machine."""
    return not _shared_type(path)


def free_bytes(folder: Path) -> int:
    """Bytes that an ordinary user can still write where ``folder`` lies."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def gb(size: int) -> str:
    """Bytes as people read them."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


class Scratch:
    """A private folder (0700, random name) in a scratch place, held by a lock while it is used."""

    def __init__(self, place: Path) -> None:
        self.folder = place / f"{PREFIX}{os.getuid()}-{secrets.token_hex(4)}"
        making = place / f".{self.folder.name}"
        try:
            making.mkdir(mode=0o700)
            self._claim = os.open(making / CLAIM, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
            making.rename(self.folder)  # it is held before anybody may sweep it
        except OSError as error:
            raise StorageError(f"scratch cannot be made in {place}: {error}", "") from None

    def remove(self) -> None:
        """Remove the folder and all that is in it."""
        _remove(self.folder)
        with suppress(OSError):
            os.close(self._claim)
        # An open file stays under another name in a shared folder (NFS, FUSE) until it is closed.
        for _ in range(REMOVED_WITHIN):
            if not self.folder.exists():
                return
            with suppress(OSError):
                self.folder.rmdir()
                return
            time.sleep(0.05)


def sweep(places: Sequence[Path]) -> list[Path]:
    """Remove what this user's dead runs left in ``places``, and end what still runs in there."""
    swept = []
    mine = f"{PREFIX}{os.getuid()}-"
    for place in places:
        try:
            entries = list(os.scandir(place))
        except OSError:
            continue
        for entry in entries:
            if entry.name.startswith((mine, f".{mine}")) and _is_dead(Path(entry.path)):
                _end_processes_in(Path(entry.path))
                _remove(Path(entry.path))
                swept.append(Path(entry.path))
    return swept


def _remove(folder: Path) -> None:
    """Remove a claimed folder, the claim last: without it a half-removed one looks half-made."""
    with suppress(OSError):
        for entry in list(os.scandir(folder)):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


def _is_dead(folder: Path) -> bool:
    """Whether ``folder`` is this user's own and nobody holds its claim."""
    try:
        status = os.lstat(folder)
        if status.st_uid != os.getuid() or not stat.S_ISDIR(status.st_mode):
            return False
        if folder.name.startswith(".") and time.time() - status.st_mtime < ABANDONED_AFTER:
            return False
        claim = os.open(folder / CLAIM, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return time.time() - status.st_mtime > ABANDONED_AFTER
    except OSError:
        return False
    try:
        fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(claim)
    return True


def _end_processes_in(folder: Path) -> None:
    """Kill this user's processes that work in ``folder``: programs that outlived their launcher."""
    inside = f"{os.path.realpath(folder)}/"
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.uids().real == os.getuid() and f"{process.cwd()}/".startswith(inside):
                process.kill()
