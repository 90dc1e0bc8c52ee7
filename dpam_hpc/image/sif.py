"""SIF, Apptainer's file format: write one that depends on its contents alone, and read its parts.

A header of 128 bytes, 48 descriptors of 585 bytes from 4096 on, then the objects. Written here, and
not by Apptainer: it gives each file a random id and the time of the day.
"""

from __future__ import annotations

import hashlib
import os
import struct
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from dpam_hpc.errors import ImageError

LAUNCH = b"#!/usr/bin/env run-singularity\n"
MAGIC = b"SIF_MAGIC\0"
VERSION = b"01"
ARCHITECTURES = {"x86_64": b"02", "aarch64": b"04"}
OTHER = "another architecture"
START = struct.Struct("<32s10s3s3s")
"""Of the header: launch line, magic, version, architecture."""
HEADER = struct.Struct("<32s10s3s3s16sqqqqqqqq")
DESCRIPTOR = struct.Struct("<i?IIIqqqqqqq128s384s")
DESCRIPTORS_AT, DESCRIPTORS = 4096, 48
MOST_OBJECTS = 10_000
DATA_AT = DESCRIPTORS_AT + DESCRIPTORS * DESCRIPTOR.size
DEFFILE, PARTITION, JSON, SBOM = 0x4001, 0x4004, 0x4006, 0x4009
SQUASHFS, PRIMARY_SYSTEM = 1, 2
SPDX_JSON = 5
GROUP = 0xF0000000 | 1
PAGE = 4096
METADATA_NAME = "inspect-metadata.json"
SBOM_NAME = "sbom.spdx.json"
BLOCK = 1 << 20


@dataclass(frozen=True)
class Parts:
    """What a SIF holds: recipe, metadata and SBOM as texts, the root as a squashfs file."""

    recipe: bytes
    metadata: bytes
    sbom: bytes
    squashfs: Path


@dataclass(frozen=True)
class Object:
    """An object of a SIF: its type, name, and where it lies."""

    type: int
    name: str
    offset: int
    size: int


def write(parts: Parts, architecture: str, epoch: int, to: BinaryIO) -> None:
    """Write a SIF of ``parts``; its id is made of their contents, its times are ``epoch``."""
    code = ARCHITECTURES[architecture] + b"\0"
    system = struct.pack("<ii3s", SQUASHFS, PRIMARY_SYSTEM, code)
    texts = [
        (DEFFILE, "", b"", parts.recipe),
        (JSON, METADATA_NAME, b"", parts.metadata),
        (SBOM, SBOM_NAME, struct.pack("<i", SPDX_JSON), parts.sbom),
    ]
    digest = hashlib.sha256()
    at = DATA_AT
    descriptors = []
    to.seek(at)
    for kind, name, extra, text in texts:
        to.write(text)
        digest.update(hashlib.sha256(text).digest())
        descriptors.append((kind, at, len(text), len(text), name, extra))
        at += len(text)
    start = -(-at // PAGE) * PAGE
    to.write(b"\0" * (start - at))
    with parts.squashfs.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
            to.write(block)
    size = to.tell() - start
    descriptors.append((PARTITION, start, size, start + size - at, "", system))
    identity = uuid.UUID(bytes=digest.digest()[:16], version=4).bytes
    to.seek(0)
    to.write(
        HEADER.pack(
            LAUNCH, MAGIC, VERSION + b"\0", code, identity, epoch, epoch,
            DESCRIPTORS - len(descriptors), DESCRIPTORS, DESCRIPTORS_AT, DATA_AT - DESCRIPTORS_AT,
            DATA_AT, start + size - DATA_AT,
        )
    )  # fmt: skip
    to.seek(DESCRIPTORS_AT)
    for number, (kind, offset, length, stored, name, extra) in enumerate(descriptors, 1):
        to.write(
            DESCRIPTOR.pack(
                kind, True, number, GROUP, 0, offset, length, stored, epoch, epoch, 0, 0,
                name.encode(), extra,
            )
        )  # fmt: skip


def made_for(head: bytes) -> str | None:
    """x86_64, aarch64 or ``OTHER``, by the first bytes of a file; None if it is no SIF."""
    if len(head) < START.size:
        return None
    _, magic, _, code = START.unpack_from(head)
    names = {code: name for name, code in ARCHITECTURES.items()}
    return names.get(code[:2], OTHER) if magic == MAGIC else None


def objects(image: Path) -> list[Object]:
    """The objects of a SIF; ImageError if the file is none."""
    try:
        with image.open("rb") as file:
            head = file.read(HEADER.size)
            if len(head) < HEADER.size or made_for(head) is None:
                raise ImageError(f"{image} is no Apptainer image (SIF)")
            free, total, at = HEADER.unpack(head)[7:10]
            if not 0 <= free <= total <= MOST_OBJECTS:
                raise ImageError(f"{image} is no Apptainer image (SIF)")
            file.seek(at)
            table = file.read(total * DESCRIPTOR.size)
            end = file.seek(0, os.SEEK_END)
    except OSError as error:
        raise ImageError(f"the image {image} cannot be read: {error.strerror}") from None
    if len(table) < total * DESCRIPTOR.size:
        raise ImageError(f"{image} is cut off in its table of contents")
    found = []
    for entry in DESCRIPTOR.iter_unpack(table):
        kind, used, _, _, _, offset, size, *_, name, _ = entry
        if not used:
            continue
        if offset < 0 or size < 0:
            raise ImageError(f"{image} is damaged in its table of contents")
        if offset + size > end:
            raise ImageError(f"{image} is cut off: {offset + size} bytes are needed, it has {end}")
        found.append(Object(kind, name.rstrip(b"\0").decode(errors="replace"), offset, size))
    return found


def read_text(image: Path, kind: int) -> str:
    """The text of the first object of a kind; empty if there is none."""
    for found in objects(image):
        if found.type == kind:
            with image.open("rb") as file:
                file.seek(found.offset)
                return file.read(found.size).decode(errors="replace")
    return ""


def root_offset(image: Path) -> int:
    """Where the squashfs of the image's root begins; ImageError if there is none."""
    for found in objects(image):
        if found.type == PARTITION:
            return found.offset
    raise ImageError(f"{image} has no root file system")
