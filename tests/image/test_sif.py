"""SIF: what is written is read, the same contents are the same bytes, damage is told."""

from __future__ import annotations

import hashlib
import io
import shutil
import struct
import subprocess
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpam_hpc.errors import ImageError
from dpam_hpc.image import identity, sif
from dpam_hpc.image.sif import DEFFILE, JSON, PARTITION, SBOM

EPOCH = 1783728000
ROOT = b"hsqs" + bytes(range(256)) * 20


@pytest.fixture
def parts(tmp_path: Path) -> sif.Parts:
    squashfs = tmp_path / "root.squashfs"
    squashfs.write_bytes(ROOT)
    return sif.Parts(b"Bootstrap: x\n", b'{"data": 1}', '{"ü": 2}'.encode(), squashfs)


def written(parts: sif.Parts, architecture: str = "x86_64", epoch: int = EPOCH) -> bytes:
    file = io.BytesIO()
    sif.write(parts, architecture, epoch, file)
    return file.getvalue()


@pytest.fixture
def image(parts: sif.Parts, tmp_path: Path) -> Path:
    path = tmp_path / "image.sif"
    path.write_bytes(written(parts))
    return path


def test_what_is_written_is_read(parts: sif.Parts, image: Path) -> None:
    assert [(o.type, o.name) for o in sif.objects(image)] == [
        (DEFFILE, ""), (JSON, "inspect-metadata.json"), (SBOM, "sbom.spdx.json"), (PARTITION, "")
    ]  # fmt: skip
    assert sif.read_text(image, DEFFILE).encode() == parts.recipe
    assert sif.read_text(image, JSON).encode() == parts.metadata
    assert sif.read_text(image, SBOM).encode() == parts.sbom
    assert sif.read_text(image, 0x4002) == ""
    start = sif.root_offset(image)
    assert start % 4096 == 0, "the kernel mounts it from there"
    assert image.read_bytes()[start:] == ROOT


@pytest.mark.parametrize("architecture", sif.ARCHITECTURES)
def test_the_header_tells_the_processors(architecture: str, parts: sif.Parts, image: Path) -> None:
    image.write_bytes(written(parts, architecture))
    assert identity.architecture(image) == architecture


def test_the_id_is_of_the_contents(parts: sif.Parts, tmp_path: Path) -> None:
    def name(changed: sif.Parts, epoch: int = EPOCH) -> uuid.UUID:
        return uuid.UUID(bytes=written(changed, epoch=epoch)[48:64])

    assert written(parts) == written(parts)
    other = tmp_path / "other"
    other.write_bytes(ROOT + b"x")
    changed = [
        replace(parts, recipe=b"x"),
        replace(parts, metadata=b"x"),
        replace(parts, sbom=b"x"),
        replace(parts, squashfs=other),
    ]
    ids = {name(one) for one in (parts, *changed)}
    assert len(ids) == 5
    assert all(one.version == 4 for one in ids)
    assert written(parts, epoch=7) != written(parts)
    assert name(parts, 7) == name(parts)


@pytest.mark.parametrize("length", [0, 1, 31, 47, 48, 127])
def test_the_beginning_of_an_image_is_none(length: int, image: Path) -> None:
    image.write_bytes(image.read_bytes()[:length])
    with pytest.raises(ImageError, match="is no Apptainer image"):
        sif.objects(image)


@pytest.mark.parametrize("less", [1, 4096, len(ROOT)])
def test_an_image_that_is_cut_off(less: int, image: Path) -> None:
    image.write_bytes(image.read_bytes()[:-less])
    for read in (sif.objects, sif.root_offset, lambda path: sif.read_text(path, SBOM)):
        with pytest.raises(ImageError, match="is cut off"):
            read(image)


def test_an_image_that_is_cut_off_in_its_table(image: Path) -> None:
    for length in (128, 4096, sif.DATA_AT - 1):
        image.write_bytes(image.read_bytes()[:length].ljust(length, b"\0"))
        with pytest.raises(ImageError, match="is cut off in its table"):
            sif.objects(image)


@pytest.mark.parametrize("content", [b"", b"\x7fELF" + bytes(9000), b"x" * 9000])
def test_what_is_no_image(content: bytes, image: Path) -> None:
    image.write_bytes(content)
    for read in (sif.objects, sif.root_offset):
        with pytest.raises(ImageError, match="is no Apptainer image"):
            read(image)
    for path in (image.parent, image.parent / "absent"):
        with pytest.raises(ImageError, match="cannot be read"):
            sif.objects(path)


def test_an_image_without_a_root(image: Path) -> None:
    data = bytearray(image.read_bytes())
    struct.pack_into("<i", data, sif.DESCRIPTORS_AT + 3 * sif.DESCRIPTOR.size, SBOM)
    image.write_bytes(data)
    with pytest.raises(ImageError, match="has no root file system"):
        sif.root_offset(image)


def test_a_text_that_is_none_is_replaced(image: Path, parts: sif.Parts) -> None:
    image.write_bytes(written(replace(parts, recipe=b"\xff")))
    assert sif.read_text(image, DEFFILE) == "\N{REPLACEMENT CHARACTER}"


NUMBER = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-5, 60_000),
    st.sampled_from([0, 48, 4096, sif.DATA_AT, 2**63 - 1, -(2**63)]),
)
ENTRY = st.tuples(st.sampled_from([DEFFILE, JSON, SBOM, PARTITION]), st.booleans(), NUMBER, NUMBER)


def survives(path: Path, read: Callable[[Path], object]) -> None:
    try:
        read(path)
    except ImageError as error:
        assert str(path) in error.what


@settings(deadline=None)
@given(numbers=st.tuples(*[NUMBER] * 6), entries=st.lists(ENTRY, max_size=5), magic=st.booleans())
def test_nonsense_is_no_traceback(
    tmp_path_factory: pytest.TempPathFactory,
    numbers: tuple[int, ...],
    entries: list[tuple[int, bool, int, int]],
    magic: bool,
) -> None:
    path = tmp_path_factory.getbasetemp() / "nonsense.sif"
    start = sif.MAGIC if magic else b"\0" * 10
    head = sif.HEADER.pack(sif.LAUNCH, start, b"01\0", b"02\0", bytes(16), 0, 0, *numbers)
    table = b"".join(
        sif.DESCRIPTOR.pack(kind, used, 1, 0, 0, at, size, size, 0, 0, 0, 0, b"\xff", b"")
        for kind, used, at, size in entries
    )
    path.write_bytes(head + bytes(4096 - len(head)) + table)
    survives(path, sif.objects)
    survives(path, sif.root_offset)
    survives(path, identity.architecture)
    survives(path, lambda file: sif.read_text(file, JSON))


@settings(deadline=None)
@given(at=NUMBER, size=NUMBER)
def test_an_object_outside_of_the_file_is_no_traceback(
    tmp_path_factory: pytest.TempPathFactory, at: int, size: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "outside.sif"
    head = sif.HEADER.pack(
        sif.LAUNCH, sif.MAGIC, b"01\0", b"02\0", bytes(16), 0, 0, 0, 1, 4096, 585, 0, 0
    )
    table = sif.DESCRIPTOR.pack(PARTITION, True, 1, 0, 0, at, size, size, 0, 0, 0, 0, b"", b"")
    content = head + bytes(4096 - len(head)) + table
    path.write_bytes(content)
    if at < 0 or size < 0 or at + size > len(content):
        with pytest.raises(ImageError, match=r"cut off|damaged"):
            sif.objects(path)
    else:
        assert sif.objects(path) == [sif.Object(PARTITION, "", at, size)]
        assert len(sif.read_text(path, PARTITION)) <= size


@pytest.mark.skipif(shutil.which("apptainer") is None, reason="install apptainer")
def test_apptainer_reads_it(image: Path, tmp_path: Path) -> None:
    def ask(*arguments: str) -> bytes:
        done = subprocess.run(["apptainer", "sif", *arguments], capture_output=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    listed = ask("list", str(image)).decode()
    for expected in ("Def.FILE", "JSON.Generic", "SBOM", "FS (Squashfs/*System/amd64)"):
        assert expected in listed
    assert hashlib.sha256(ask("dump", "4", str(image))).digest() == hashlib.sha256(ROOT).digest()
    head = ask("header", str(image)).decode()
    assert str(uuid.UUID(bytes=image.read_bytes()[48:64])) in head
