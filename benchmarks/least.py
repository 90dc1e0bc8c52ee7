"""How few operations a target's four files can be had for on a shared file system.

Two inputs read, hits and marker written, as a launcher does it and in other ways, on a FUSE mount
(``slowfs.py``) that trusts names as NFS clients do and counts every operation. What a way gives up
stands beside it. By its count a kernel looks each name up and closes what it wrote by operations of
their own; NFSv4.1 has both in other round trips ([design.md](design.md)).
"""

from __future__ import annotations

import argparse
import errno
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import measuring
import slowfs
from measuring import print_goal, print_table

from dpam_hpc.node.shared_fs import SharedFolder

TARGETS = 20
GOAL = 10
CONTENT = b"x" * 4000
OPERATIONS = (
    "getattr", "open", "read", "create", "write", "fsync", "flush", "rename", "link", "symlink",
)  # fmt: skip
"""Releases are left out: nobody waits for them."""
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


@dataclass(frozen=True)
class Way:
    """A way to handle a target, and what it gives up."""

    name: str
    gives_up: str
    handle: Callable[[SharedFolder, int, str], None]
    """Called with the folder, its descriptor and the target."""
    known_names: bool = False


def read_inputs(folder: SharedFolder, target: str) -> None:
    """As stage-in does."""
    folder.read(f"{target}_hits4Dali")
    folder.read(f"{target}.pdb")


def as_it_is(folder: SharedFolder, _handle: int, target: str) -> None:
    """As a launcher does."""
    read_inputs(folder, target)
    folder.replace(f"{target}_hits", CONTENT)
    assert folder.link("a.done", f"{target}.done")


def unsynced(folder: SharedFolder, handle: int, target: str) -> None:
    """Renamed before it is on the disk."""
    read_inputs(folder, target)
    write(handle, f"{target}.part", sync=False)
    os.rename(f"{target}.part", f"{target}_hits", src_dir_fd=handle, dst_dir_fd=handle)
    assert folder.link("a.done", f"{target}.done")


def in_place(folder: SharedFolder, handle: int, target: str) -> None:
    """Written under its name."""
    read_inputs(folder, target)
    write(handle, f"{target}_hits", sync=True)
    assert folder.link("a.done", f"{target}.done")


def in_place_unsynced(folder: SharedFolder, handle: int, target: str) -> None:
    """Written under its name, and not put on the disk."""
    read_inputs(folder, target)
    write(handle, f"{target}_hits", sync=False)
    assert folder.link("a.done", f"{target}.done")


def unmarked(folder: SharedFolder, _handle: int, target: str) -> None:
    """No marker."""
    read_inputs(folder, target)
    folder.replace(f"{target}_hits", CONTENT)


def own_marker(folder: SharedFolder, _handle: int, target: str) -> None:
    """A marker that is a file of its own."""
    read_inputs(folder, target)
    folder.replace(f"{target}_hits", CONTENT)
    folder.write(f"{target}.done", b"done")


def symbolic_marker(folder: SharedFolder, handle: int, target: str) -> None:
    """A marker that is a symbolic link."""
    read_inputs(folder, target)
    folder.replace(f"{target}_hits", CONTENT)
    os.symlink("a.done", f"{target}.done", dir_fd=handle)


def nameless(folder: SharedFolder, handle: int, target: str) -> None:
    """Written to a file without a name, which gets it at the end."""
    read_inputs(folder, target)
    file = os.open(".", os.O_WRONLY | os.O_TMPFILE, 0o644, dir_fd=handle)
    try:
        os.write(file, CONTENT)
        os.fsync(file)
        os.link(f"/proc/self/fd/{file}", f"{target}_hits", dst_dir_fd=handle, follow_symlinks=True)
    finally:
        os.close(file)
    assert folder.link("a.done", f"{target}.done")


def write(handle: int, name: str, sync: bool) -> None:
    """Write a new file."""
    file = os.open(name, NEW, 0o644, dir_fd=handle)
    try:
        os.write(file, CONTENT)
        if sync:
            os.fsync(file)
    finally:
        os.close(file)


WAYS = (
    Way("as it is", "", as_it_is),
    Way("names known by a listing just before", "names are trusted for 30 s only", as_it_is, True),
    Way("marker a file of its own", "", own_marker),
    Way("marker a symbolic link", "it hangs on one other file", symbolic_marker),
    Way("hits not flushed", "a server's crash leaves half a file", unsynced),
    Way("hits written in place", "half a file can be read", in_place),
    Way("names known, hits in place, not flushed", "all three at once", in_place_unsynced, True),
    Way("hits of a nameless file", "NFS and FUSE have none", nameless),
    Way("no marker", "dpam does not go on by itself", unmarked),
)


def count(way: Way, folder: Path) -> Counter[str] | str:
    """Operations of ``TARGETS`` targets; or that the share cannot do it."""
    shared, mount = folder / "shared", folder / "mount"
    shared.mkdir()
    (shared / "a.done").write_text("done")
    for number in range(TARGETS):
        for ending in ("_hits4Dali", ".pdb"):
            (shared / f"t{number}{ending}").write_bytes(CONTENT)
    options = ("--nfs", "--latency-ms", 0, "--data-latency-ms", 0)
    with slowfs.mounted(shared, mount, options=options):
        opened = SharedFolder(mount)
        handle = os.open(mount, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            (mount / "a.done").stat()
            if way.known_names:
                for path in shared.iterdir():
                    (mount / path.name).stat()
            slowfs.reset(mount)
            for number in range(TARGETS):
                way.handle(opened, handle, f"t{number}")
            return Counter(slowfs.stats(mount)["folders"]["/"])
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            return "not possible"
        finally:
            os.close(handle)
            opened.close()


def main() -> None:
    """Count each way, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    measuring.add_json_argument(parser)
    arguments = parser.parse_args()
    if why := slowfs.why_none():
        parser.error(why)
    rows: list[list[object]] = []
    ways: dict[str, dict[str, float] | str] = {}
    for way in WAYS:
        with measuring.fresh_folder() as folder:
            found = count(way, folder)
        if isinstance(found, str):
            ways[way.name] = found
            rows.append([way.name, found, *[""] * len(OPERATIONS), way.gives_up])
            continue
        each = {kind: found[kind] / TARGETS for kind in OPERATIONS}
        ways[way.name] = each
        rows.append([way.name, sum(each.values()), *each.values(), way.gives_up])
    print_table(["way", "in all", *OPERATIONS, "gives up"], rows)
    ours = ways[WAYS[0].name]
    assert not isinstance(ours, str)
    asked = sum(ours.values()) - ours["getattr"] - ours["flush"]
    print_goal("operations a target, look-ups and closes not counted", asked, GOAL)
    measuring.write_json(arguments.json, None, ways=ways)


if __name__ == "__main__":
    main()
