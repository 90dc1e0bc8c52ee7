"""Prove an image before it is used: the file, what it says, what its programs answer."""

from __future__ import annotations

import filecmp
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from dpam_hpc import __version__
from dpam_hpc.errors import DpamHpcError, ImageError
from dpam_hpc.image import apptainer, identity, sif, squashfs
from dpam_hpc.image.inspecting import Inspection, inspect
from dpam_hpc.image.recipe import Sources, this_architecture

PROBE = "probe"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: what came out, and whether the image may be used."""

    name: str
    good: bool
    text: str


def verify(image: Path, sources: Sources) -> Iterator[Check]:
    """Each check as it is made; those that need what failed before are left out."""
    try:
        found = identity.identify(image)
        sif.root_offset(image)
        own = inspect(image)
    except DpamHpcError as error:
        yield Check("file", False, error.what)
        return
    yield _checksum(image, found.sha256)
    yield _version(own)
    yield from _parts(own, sources)
    here = this_architecture()
    if found.architecture != here:
        text = f"made for {found.architecture}, and this is {here}: nothing in it can start here"
        yield Check("architecture", False, text)
        return
    yield Check("architecture", True, found.architecture)
    for name, look in (
        ("start", _start), ("labels", _labels), ("known answer", _self_test), ("bind", _bind),
        ("read-only root", _read_only),
    ):  # fmt: skip
        check = _made(name, look, image)
        yield check
        if name == "start" and not check.good:
            return


def _made(name: str, look: Callable[[Path], str], image: Path) -> Check:
    try:
        return Check(name, True, look(image))
    except DpamHpcError as error:
        return Check(name, False, f"{error.what}{f' -> {error.hint}' if error.hint else ''}")


def _checksum(image: Path, found: str) -> Check:
    beside = image.with_name(image.name + ".sha256")
    if not beside.is_file():
        return Check("checksum", True, f"{found} (no {beside.name} to compare with)")
    listed = beside.read_text().split()
    expected = listed[0] if listed else "nothing"
    if expected != found:
        return Check("checksum", False, f"{found}, and {beside.name} says {expected}")
    return Check("checksum", True, found)


def _version(own: Inspection) -> Check:
    made_by = own.contents["dpam_hpc"]
    if made_by != __version__:
        text = f"made by dpam-hpc {made_by}, and this is {__version__}: build it anew, or use that"
        return Check("version", False, text)
    return Check("version", True, f"dpam-hpc {made_by}")


def _parts(own: Inspection, sources: Sources) -> Iterator[Check]:
    listed = sources.parts()
    for name, part in own.contents["parts"].items():
        text = f"{part['title']}, SHA-256 {part['sha256'][:12]}"
        if part["sha256"] != listed[name].sha256:
            text += ": one of the user's own, not the one listed"
        yield Check(name, True, text)


def _start(image: Path) -> str:
    answer = apptainer.execute(image, ["true"], "--containall")
    if apptainer.UNPACKED in answer.said:
        raise ImageError(
            "Apptainer unpacks it at each start: it finds no squashfuse here",
            "install squashfuse (squashfuse_ll), or each start of a task costs minutes and scratch",
        )
    if answer.code:
        raise ImageError(f"it does not start: {answer.said or answer.text}")
    return "it is mounted, not unpacked"


def _labels(image: Path) -> str:
    labels = apptainer.inspect(image).get("labels", {})
    return str(labels.get("org.opencontainers.image.title", "none"))


def _self_test(image: Path) -> str:
    answer = apptainer.execute(image, ["dpam-hpc", "image", "self-test"], "--containall")
    if answer.code:
        raise ImageError(answer.text.strip() or answer.said)
    return answer.text.strip().replace("\n", "; ")


def _bind(image: Path) -> str:
    """As a job uses it: a folder of the node's is bound, and what is written there is there."""
    with TemporaryDirectory(prefix="dpam-hpc-bind-") as folder:
        text = f"{os.getpid()}"
        answer = apptainer.execute(
            image,
            ["sh", "-c", 'printf %s "$1" > "$2"', "sh", text, f"{folder}/{PROBE}"],
            "--containall", "--no-home", "--bind", folder,
        )  # fmt: skip
        probe = Path(folder, PROBE)
        if answer.code or not probe.is_file() or probe.read_text() != text:
            raise ImageError(f"what is written into a bound folder is lost: {answer.said}")
    return "a folder of this machine can be written"


def _read_only(image: Path) -> str:
    answer = apptainer.execute(image, ["sh", "-c", "echo > /opt/probe"], "--containall")
    if not answer.code:
        raise ImageError("its own files can be written")
    return "nothing in it changes"


def first_difference(one: Path, other: Path) -> str:
    """What differs first between two images, by path; empty if they are equal to the byte."""
    if filecmp.cmp(one, other, shallow=False):
        return ""
    with TemporaryDirectory(prefix="dpam-hpc-compare-", dir=other.parent) as folder:
        roots = [
            squashfs.unpack(image, Path(folder) / name)
            for image, name in ((one, "a"), (other, "b"))
        ]
        for path in sorted({path for root in roots for path in _paths(root)}):
            told = [_told(root / path) for root in roots]
            if told[0] != told[1]:
                return f"/{path}: {told[0]}, {told[1]}"
    for name, kind in (("recipe", sif.DEFFILE), ("metadata", sif.JSON), ("SBOM", sif.SBOM)):
        if sif.read_text(one, kind) != sif.read_text(other, kind):
            return f"the {name} in the file's head"
    return "the same files, packed in another way: another version of mksquashfs"


def _paths(root: Path) -> Iterator[str]:
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            yield os.path.relpath(os.path.join(folder, name), root)


def _told(path: Path) -> str:
    """What is compared of a file: whether it is there, its mode, and its contents."""
    if path.is_symlink():
        return f"a link to {os.readlink(path)}"
    if not path.exists():
        return "missing"
    mode = f"{path.stat().st_mode & 0o7777:o}"
    if not path.is_file():
        return f"mode {mode}"
    with path.open("rb") as file:
        return f"mode {mode}, SHA-256 {identity.sha256(file)[:12]}"
